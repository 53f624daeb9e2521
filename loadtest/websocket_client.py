"""IRC over WebSocket as a wire: wsproto shakes hands and frames, nothing here reads or writes a socket."""

from __future__ import annotations

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, RejectConnection, Request, TextMessage
from wsproto.utilities import RemoteProtocolError

from loadtest.wire import WireClosed


class WebSocketWire:
    """Lines sent before the server has agreed are held until it has."""

    __slots__ = ("_accepted", "_connection", "_extra", "_frame", "_head", "_held", "_host", "_out")

    def __init__(self, host: str) -> None:
        self._host = host
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._accepted = False
        self._held = b""
        self._out = b""
        self._frame: list[str] = []
        self._head = b""
        self._extra = 0

    def begin(self) -> None:
        self._write(Request(host=self._host, target="/", subprotocols=["irc"]))

    def send(self, lines: bytes) -> None:
        if self._accepted:
            self._write(TextMessage(data=lines.decode()))
        else:
            self._held += lines

    def feed(self, data: bytes) -> list[tuple[bytes, int]]:
        if not self._accepted:
            self._head += data
        try:
            self._connection.receive_data(data)
            return [unit for event in self._connection.events() if (unit := self._take(event)) is not None]
        except RemoteProtocolError as error:
            raise WireClosed(f"WebSocket: {error}") from None

    def outgoing(self) -> bytes:
        out, self._out = self._out, b""
        return out

    def _take(self, event: Event) -> tuple[bytes, int] | None:
        if isinstance(event, TextMessage):
            self._frame.append(event.data)
            if not event.message_finished:
                return None
            payload = "".join(self._frame).encode()
            self._frame.clear()
            size, self._extra = frame_size(len(payload)) + self._extra, 0
            return payload, size
        if isinstance(event, AcceptConnection):
            self._accepted = True
            self._extra = self._head.find(b"\r\n\r\n") + 4
            self._head = b""
            if self._held:
                self.send(self._held)
        elif isinstance(event, Ping):
            self._write(event.response())
        elif isinstance(event, RejectConnection):
            raise WireClosed(f"no WebSocket here: HTTP {event.status_code}")
        elif isinstance(event, CloseConnection):
            raise WireClosed(f"WebSocket closed: {event.code}")
        return None

    def _write(self, event: Event) -> None:
        self._out += self._connection.send(event)


def frame_size(payload: int) -> int:
    """Bytes of an unmasked frame (RFC 6455 section 5.2)."""
    return payload + (2 if payload < 126 else 4 if payload < 65_536 else 10)

"""IRC over TCP, plain or TLS: an asyncio protocol around a line buffer.

A trusted proxy may put one PROXY line (version 1 of haproxy.org's proxy-protocol.txt, section 2.1) before everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from common.irc.linebuffer import LineBuffer
from edge.disconnect import Disconnect
from edge.transports.kernel import bound_send_buffer, reset
from edge.transports.sockets import Stream

if TYPE_CHECKING:
    from edge.connection import Connection
    from edge.door import Door

_PROXY = b"PROXY "
_PROXY_MAX = 107  # the longest version 1 header, CRLF included
_TLS_HANDSHAKE = 0x16  # first byte of a TLS record; no IRC line begins with it


class TcpTransport(asyncio.Protocol):
    __slots__ = ("_buffer", "_connection", "_door", "_head", "_transport", "_trusted", "peer", "tls", "write")

    websocket = False
    write: Callable[[bytes], None]

    def __init__(self, door: Door, *, tls: bool) -> None:
        self._door = door
        self._connection: Connection | None = None
        self._buffer = LineBuffer()
        self._head: bytes | None = b""  # None once the first bytes were looked at
        self.peer = ""
        self.tls = tls

    # -- asyncio's side -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        bound_send_buffer(self._transport)
        self._transport.set_write_buffer_limits(high=self._door.config.write_buffer)
        self.write = self._transport.write
        host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]
        self.peer = f"{host}:{port}"
        self._trusted = self._door.trusts(host)
        self._connection = self._door.enter(self, None if self._trusted else host)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            data = self._first_bytes(self._head + data)
        connection = self._connection  # asked after the first bytes, which may have ended it
        if data and connection is not None:
            connection.received(self._buffer.feed(data))

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.slow_down()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.catch_up()

    def eof_received(self) -> bool:
        return False  # a client that stops sending is gone; close

    def connection_lost(self, error: Exception | None) -> None:
        if self._connection is not None:
            self._connection.lost()
            self._connection = None

    # -- the connection's side ----------------------------------------------------------------------------------

    @property
    def stream(self) -> Stream | None:
        return self._transport if isinstance(self._transport, Stream) else None

    def send(self, lines: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(lines)

    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        reset(self._transport)

    # -- the first bytes ----------------------------------------------------------------------------------------

    def _first_bytes(self, head: bytes) -> bytes:
        """Look at what comes before the first line; returns what belongs to the user, b"" while undecided."""
        connection = self._connection
        if connection is None:
            return b""
        self._head = head
        if self._trusted and head.startswith(_PROXY[: len(head)]):
            end = head.find(b"\r\n", 0, _PROXY_MAX)
            if end == -1 and len(head) < _PROXY_MAX:
                return b""
            fields = head[:end].decode("ascii", "replace").split(" ")
            if end != -1 and len(fields) == 6:
                self.peer = f"{fields[2]}:{fields[4]}"
                self._door.count_address(connection, fields[2])
            elif end == -1 or fields[1:2] != ["UNKNOWN"]:
                connection.disconnect(Disconnect.BAD_PROXY_HEADER)
                return b""
            self._trusted = False  # one header at most; what follows is the user's
            head = self._head = head[end + 2 :]
            if not head:
                return b""
        if head[0] == _TLS_HANDSHAKE and not self.tls:
            connection.disconnect(Disconnect.TLS_ON_PLAIN_PORT)
            return b""
        self._head = None
        return head

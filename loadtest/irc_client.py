"""One chat user as a blocking client, for locust's greenlets: connects, logs in, joins, speaks and hears its verdicts.

Built on common/irc and gevent's sockets. The edge answers submissions of one session in their order, so verdicts are
told apart by counting, as every client of the dialect has to.
"""

from __future__ import annotations

import errno
import socket
import time
from collections import deque
from collections.abc import Callable

import gevent
from gevent.event import AsyncResult

from common.irc.linebuffer import LineBuffer
from common.irc.message import Message, MessageError, parse
from common.irc.numerics import RPL_ENDOFNAMES, RPL_WELCOME
from loadtest.plan import Seat
from loadtest.websocket_client import WebSocketWire
from loadtest.wire import MAX_READ, PlainWire, TlsWire, Wire, WireClosed
from ops.checker import Fate

IP_BIND_ADDRESS_NO_PORT = 24  # <linux/in.h>; the socket module names it from Python 3.12 on
DEADLINE_S = 20.0
VERDICT_S = 10.0              # an edge answers within 6 s, or says that it does not know

_UNCONFIRMED = "could not be confirmed"  # what an edge says when it does not know (edge/session.py)
# How notices begin that are told to the whole room when a mode changes: nobody's verdict (tmi_protocol section 10b).
ROOM_NOTICES = ("This room is now in ", "This room is no longer in ")
_NEWS = (b" USERSTATE ", b" NOTICE ", b"PING ", b"ERROR ", b" 001 ", b" 366 ", b" PART ", b"RECONNECT")


class Refused(Exception):
    """The server did not let us do what we asked for, and said why."""


def wire_for(seat: Seat) -> Wire:
    wire: Wire = WebSocketWire(seat.host) if seat.websocket else PlainWire()
    return TlsWire(wire, seat.host) if seat.tls else wire


def entrance(seat: Seat, channels: list[str]) -> bytes:
    """All lines from the first to the JOIN: servers take them in one piece."""
    lines = "CAP REQ :twitch.tv/tags twitch.tv/commands\r\n" if seat.tagged else ""
    lines += f"PASS oauth:{seat.login}token\r\nNICK {seat.login}\r\n"
    return (lines + (f"JOIN {','.join(channels)}\r\n" if channels else "")).encode()


class IrcClient:
    """Methods block the calling greenlet and raise Refused, OSError or gevent.Timeout."""

    def __init__(
        self, seat: Seat, *, receive_buffer: int = 0, on_end: Callable[[str], None] | None = None,
        on_line: Callable[[Message], None] | None = None,
    ) -> None:
        """`on_line` hears every line; without it a busy channel's messages are not even parsed."""
        self.seat = seat
        self.open = False
        self.why_closed = ""
        self._on_end = on_end
        self._on_line = on_line
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._wire = wire_for(seat)
        self._lines = LineBuffer()
        self._reader: gevent.Greenlet | None = None
        self._welcome: AsyncResult = AsyncResult()
        self._joins: dict[str, AsyncResult] = {}
        self._parts: dict[str, AsyncResult] = {}
        self._verdicts: deque[AsyncResult] = deque()
        self._tail = b""

    def connect(self, *, read: bool = True) -> None:
        """`read=False`: a client that never reads."""
        self._socket.settimeout(DEADLINE_S)
        self._socket.bind((self.seat.source, 0))
        self._socket.connect((self.seat.host, self.seat.port))
        self._socket.settimeout(None)
        self.open = True
        self._wire.begin()
        self._flush()
        if read:
            self._reader = gevent.spawn(self._read)

    def log_in(self) -> None:
        self._write(entrance(self.seat, []))
        with gevent.Timeout(DEADLINE_S):
            self._welcome.get()

    def join(self, *channels: str) -> None:
        waits = [self._joins.setdefault(channel, AsyncResult()) for channel in channels]
        self._write(f"JOIN {','.join(channels)}\r\n".encode())
        with gevent.Timeout(DEADLINE_S):
            for wait in waits:
                wait.get()

    def part(self, *channels: str) -> None:
        waits = [self._parts.setdefault(channel, AsyncResult()) for channel in channels]
        self._write(f"PART {','.join(channels)}\r\n".encode())
        with gevent.Timeout(DEADLINE_S):
            for wait in waits:
                wait.get()

    def say(self, channel: str, text: str) -> tuple[Fate, str]:
        """What became of it, and the words of the NOTICE when there was one."""
        wait: AsyncResult = AsyncResult()
        self._verdicts.append(wait)
        try:
            self._write(f"PRIVMSG {channel} :{text}\r\n".encode())
            with gevent.Timeout(VERDICT_S):
                fate, told = wait.get()
                return fate, told
        except gevent.Timeout:
            return Fate.UNANSWERED, ""
        except (Refused, OSError) as error:
            return Fate.CUT_OFF, str(error)

    def send_raw(self, lines: bytes) -> None:
        self._write(lines)

    def close(self) -> None:
        self.open = False
        if self._reader is not None and self._reader is not gevent.getcurrent():
            self._reader.kill(block=False)
        self._socket.close()

    # -- below ------------------------------------------------------------------------------------------------------

    def _write(self, lines: bytes) -> None:
        if not self.open:
            raise Refused(self.why_closed or "not connected")
        self._wire.send(lines)
        self._flush()

    def _flush(self) -> None:
        out = self._wire.outgoing()
        if out:
            self._socket.sendall(out)

    def _read(self) -> None:
        try:
            while data := self._socket.recv(MAX_READ):
                for unit, _ in self._wire.feed(data):
                    self._take(unit)
                self._flush()
            self._ended(self.why_closed or "the server closed the connection")
        except (OSError, WireClosed) as error:
            if not (isinstance(error, OSError) and error.errno == errno.EBADF and not self.open):
                self._ended(self.why_closed or str(error))

    def _take(self, data: bytes) -> None:
        # A busy channel's lines are of no interest to this client: whole pieces without any news are passed over.
        data = self._tail + data
        end = data.rfind(b"\n") + 1
        self._tail = data[end:]
        data = data[:end]
        heard = self._on_line
        if heard is None and not any(word in data for word in _NEWS):
            return
        for line in self._lines.feed(data):
            if isinstance(line, bytes) and (heard is not None or b" PRIVMSG #" not in line):
                try:
                    message = parse(line)
                except MessageError:
                    continue
                self._handle(message)
                if heard is not None:
                    heard(message)

    def _handle(self, message: Message) -> None:
        command, params = message.command, message.params
        if command == "PING":
            self._write(b"PONG :tmi.twitch.tv\r\n")
        elif command == RPL_WELCOME:
            self._welcome.set()
        elif command == RPL_ENDOFNAMES:
            self._told(self._joins, params[1])
        elif command == "PART":
            self._told(self._parts, params[0])
        elif command == "USERSTATE":
            if self._verdicts and "id" in message.tags:  # the one of a join has no id
                self._verdicts.popleft().set((Fate.ALLOWED, ""))
        elif command == "NOTICE":
            self._noticed(message)
        elif command in ("ERROR", "RECONNECT"):
            self.why_closed = params[-1] if params else command

    def _noticed(self, message: Message) -> None:
        words = message.params[-1]
        if words.startswith(ROOM_NOTICES):
            return
        if not self._welcome.ready():
            self._welcome.set_exception(Refused(words))
        elif message.params[0] in self._joins:
            self._joins.pop(message.params[0]).set_exception(Refused(words))
        elif self._verdicts:
            self._verdicts.popleft().set((Fate.UNCONFIRMED if _UNCONFIRMED in words else Fate.DENIED, words))

    @staticmethod
    def _told(waits: dict[str, AsyncResult], channel: str) -> None:
        wait = waits.pop(channel, None)
        if wait is not None:
            wait.set()

    def _ended(self, why: str) -> None:
        was_open, self.open, self.why_closed = self.open, False, why
        for wait in [self._welcome, *self._joins.values(), *self._parts.values(), *self._verdicts]:
            if not wait.ready():
                wait.set_exception(Refused(why))
        self._verdicts.clear()
        self._socket.close()
        if was_open and self._on_end is not None:
            self._on_end(why)


def now() -> float:
    """The clock of marks and delays: CLOCK_MONOTONIC, which all processes of the machine share."""
    return time.monotonic()

"""Users' plain sockets, in an epoll set of their own, so that a storm of them does not hold up who is chatting.

uvloop calls back for all that is ready in one turn: when thousands of connections end within a second, a turn takes 100
ms, and a line passes six on its way through an edge. Here what open sockets sent is taken in the turn in which it came,
while those who come and go pass the turnstile. [15,000 end and come back at once on two cores: p99 of those who stayed
+386 to +778 ms with uvloop's sockets, +87 and +136 with these]

Contract: 1. a `Stream` is an asyncio.Transport (PEP 3156), with `pause_writing` and `resume_writing` as asyncio calls
them; 2. `write` tries the socket at once; 3. of one address, who has gone is lost before who comes later is let in;
4. a protocol that raises loses its own socket, and no other.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from common.log import Log
from edge.turnstile import Turnstile

_EVENTS = 1_024  # of one turn
_CHUNK = 65_536  # bytes of one socket in one turn; also asyncio's own bound of what is buffered to be written
_WAITING = 16  # at the turnstile; while there are more, newcomers wait in the kernel
_AGAIN_S = 1.0  # after an accept that failed, for want of descriptors mostly

# Edge-triggered: a socket that has ended is told of once, however long it waits to be dealt with.
_READ = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_WRITE = _READ | select.EPOLLOUT
_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR  # after a reset it can be written to, too, and fails


class Stream(asyncio.Transport):
    """One accepted socket. `busy`: a pass must not write to `fd` past it (edge/fanout.py): it holds older bytes, or
    closes.
    """

    __slots__ = (
        "_buffer", "_closing", "_ended", "_high", "_protocol", "_reading", "_socket", "_sockets",
        "_told_to_pause", "busy", "fd",
    )  # fmt: skip

    def __init__(self, sockets: Sockets, accepted: socket.socket, protocol: Any) -> None:
        self.fd = accepted.fileno()  # -1: it is lost
        self.busy = False
        self._socket = accepted
        self._sockets = sockets
        self._protocol = protocol
        self._buffer: bytes | bytearray = b""
        self._high = _CHUNK
        self._told_to_pause = False
        self._reading = True
        self._closing = False
        self._ended = False  # the user's end has sent its last byte

    # -- asyncio.Transport --------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return self._socket
        try:
            if name == "peername":
                return self._socket.getpeername()
            if name == "sockname":
                return self._socket.getsockname()
        except OSError:  # it is gone
            pass
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._sockets.turnstile.put(self._take)  # it was told of once, maybe meanwhile

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """`low` is a quarter of `high`, as asyncio has it."""
        self._high = _CHUNK if high is None else high

    def can_write_eof(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        if not self._buffer:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._fail(error)
                return
            if sent == len(data):
                return
            self._buffer = bytearray(memoryview(data)[sent:])
            self.busy = True
            self._sockets.watch(self.fd, _WRITE)
        else:
            self._buffer += data
        if not self._told_to_pause and len(self._buffer) > self._high:
            self._told_to_pause = True
            self._protocol.pause_writing()

    def close(self) -> None:
        if not self._closing:
            self._closing = self.busy = True
            if not self._buffer:
                self._sockets.turnstile.put(partial(self._lost, None))

    def abort(self) -> None:
        self._fail(None)

    # -- what epoll tells ---------------------------------------------------------------------------------------

    def ready(self, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._guarded(self._flush)
        if mask & _ENDED:
            if not self._ended:
                self._ended = True
                self._sockets.turnstile.put(self._take)
        elif mask & select.EPOLLIN:
            self._take()

    def _take(self) -> None:
        self._guarded(self._read)

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self._sockets.failed(self, error)
            self._fail(error)

    def _read(self) -> None:
        while self._reading and not self._closing:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                return
            except OSError as error:
                self._lost(error)
                return
            if not data:
                self._protocol.eof_received()
                if self._buffer:
                    self.close()
                else:
                    self._lost(None)
                return
            self._protocol.data_received(data)
            if len(data) == _CHUNK:
                self._sockets.turnstile.put(self._take)  # others first
                return
            if not self._ended:
                return  # a short read has taken all (epoll(7))

    def _flush(self) -> None:
        if not self._buffer:
            return
        try:
            sent = self._socket.send(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        self._buffer = self._buffer[sent:]
        if not self._buffer:
            self._buffer = b""
            self._sockets.watch(self.fd, _READ)
            if self._closing:
                self._lost(None)
                return
            self.busy = False
        if self._told_to_pause and len(self._buffer) <= self._high // 4:
            self._told_to_pause = False
            self._protocol.resume_writing()

    # -- the end ------------------------------------------------------------------------------------------------

    def _fail(self, error: Exception | None) -> None:
        """Lost, but its protocol is in the middle of something, and hears of it later."""
        self._closing = self.busy = True
        self._buffer = b""
        self._sockets.turnstile.put(partial(self._lost, error))

    def _lost(self, error: Exception | None) -> None:
        if self.fd < 0:
            return
        self._closing = self.busy = True
        self._buffer = b""
        self._sockets.forget(self.fd)
        self.fd = -1
        try:
            self._protocol.connection_lost(error)
        except Exception as failure:
            self._sockets.failed(self, failure)
        # A third of what an end costs. Its number is another's from then on, and everybody has let go of it.
        self._sockets.turnstile.put(self._socket.close)


class Sockets:
    """All of them, and the listeners through which they come."""

    def __init__(self, turnstile: Turnstile, log: Log) -> None:
        self.turnstile = turnstile
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._streams: dict[int, Stream] = {}
        self._listeners: dict[int, tuple[socket.socket, Callable[[], Any]]] = {}
        self._knocking: list[int] = []  # listeners at which somebody waits
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def listen(self, listener: socket.socket, protocol: Callable[[], Any]) -> None:
        """`protocol()` gives a new asyncio.Protocol for each who comes. The listener is closed by `close`."""
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener, protocol
        self._epoll.register(listener.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Nobody comes in any more; those who are in stay."""
        for listener, _ in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self._knocking.clear()

    # -- for streams --------------------------------------------------------------------------------------------

    def watch(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """What epoll tells of it until it is closed concerns nobody."""
        del self._streams[fd]

    def failed(self, stream: Stream, error: Exception) -> None:
        """A bug of ours."""
        self._loop.call_exception_handler(
            {"message": "a protocol raised", "exception": error, "transport": stream, "protocol": stream.get_protocol()}
        )

    # -- one turn -----------------------------------------------------------------------------------------------

    def _ready(self) -> None:
        """First accept, then look who has ended, then let in: who came back is not counted beside who went."""
        newcomers = self._accept()
        for fd, mask in self._epoll.poll(0, _EVENTS):
            stream = self._streams.get(fd)
            if stream is not None:
                stream.ready(mask)
            elif fd in self._listeners:
                self._knocking.append(fd)
        for newcomer in newcomers:
            self.turnstile.put(newcomer)

    def _accept(self) -> list[Callable[[], None]]:
        knocking, self._knocking = self._knocking, []
        newcomers: list[Callable[[], None]] = []
        for fd in knocking:
            listener, protocol = self._listeners[fd]
            try:
                for _ in range(_WAITING - len(self.turnstile)):
                    accepted, _ = listener.accept()
                    newcomers.append(partial(self._let_in, accepted, protocol))
            except (BlockingIOError, ConnectionError):  # that was all, or it has gone already
                pass
            except OSError as error:
                self._log.warning("accept_failed", operation="accept", cause=str(error), again_s=_AGAIN_S)
                self._epoll.unregister(fd)
                self._loop.call_later(_AGAIN_S, self._listen_again, fd)
        return newcomers

    def _listen_again(self, fd: int) -> None:
        if fd in self._listeners:
            self._epoll.register(fd, select.EPOLLIN)

    def _let_in(self, accepted: socket.socket, protocol: Callable[[], Any]) -> None:
        accepted.setblocking(False)
        try:
            accepted.getpeername()
        except OSError:  # it has gone
            accepted.close()
            return
        stream = Stream(self, accepted, protocol())
        self._streams[stream.fd] = stream
        self._epoll.register(stream.fd, _READ)
        try:
            stream.get_protocol().connection_made(stream)
        except Exception as error:
            self.failed(stream, error)
            stream.abort()

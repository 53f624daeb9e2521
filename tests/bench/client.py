"""A small IRC client on asyncio: logs in, joins, and stamps every line with the time it came."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import cast

from .machine import BenchError

_DEADLINE_S = 20

OnLine = Callable[[bytes, float], None]


class Client(asyncio.Protocol):
    """`on_line(line, seconds)` gets each line without its CRLF and time.perf_counter() of its arrival."""

    def __init__(self, on_line: OnLine | None = None) -> None:
        self.on_line = on_line
        self.transport: asyncio.Transport | None = None
        self._rest = b""
        self._awaited: tuple[bytes, asyncio.Future[bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            if line.startswith(b"PING"):
                self.send(b"PONG" + line[4:])
            elif self._awaited and self._awaited[0] in line:
                future, self._awaited = self._awaited[1], None
                if not future.done():
                    future.set_result(line)
            elif self.on_line:
                self.on_line(line, now)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._awaited and not self._awaited[1].done():
            self._awaited[1].set_exception(BenchError(f"the server closed the connection: {self._rest[:100]!r}"))

    def send(self, line: bytes) -> None:
        assert self.transport is not None
        self.transport.write(line + b"\r\n")

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    async def asked(self, line: bytes, answer: bytes) -> bytes:
        """Sends a line and waits for the one that holds `answer`. Raises BenchError when it does not come."""
        self._awaited = (answer, asyncio.get_running_loop().create_future())
        self.send(line)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                return await self._awaited[1]
        except TimeoutError:
            raise BenchError(f"no {answer!r} within {_DEADLINE_S} s after {line!r}") from None


async def log_in(
    port: int,
    nick: str,
    *,
    channel: str = "#c",
    on_line: OnLine | None = None,
    tls: ssl.SSLContext | None = None,
) -> Client:
    """A client of 127.0.0.1:port that has joined the channel. Raises BenchError when it could not."""
    loop = asyncio.get_running_loop()
    try:
        _, client = await loop.create_connection(lambda: Client(on_line), "127.0.0.1", port, ssl=tls)
    except OSError as error:
        raise BenchError(f"127.0.0.1:{port} refused {nick}: {error}") from error
    await client.asked(f"PASS oauth:x\r\nNICK {nick}\r\nUSER u 0 * :x".encode(), b" 001 ")
    await client.asked(f"JOIN {channel}".encode(), b" 366 ")
    return client

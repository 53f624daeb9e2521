"""An IRC test client on asyncio, over TCP or WebSocket: send lines, expect lines within a deadline.

It shares no code with the product: what it takes for a line, a tag or an escape is read from the specification again.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp

DEADLINE_S = 15.0  # far past anything that works: only a failure waits so long
ALL = ("twitch.tv/tags", "twitch.tv/commands", "twitch.tv/membership")
CHAT = ALL[:2]  # membership's lines come whenever a batch is due: tests that expect exact lines do without

_LINE = re.compile(r"(?:@(?P<tags>\S+) )?(?::(?P<prefix>\S+) )?(?P<command>\S+)(?: (?P<rest>.*))?", re.DOTALL)
_ESCAPES = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}


@dataclass(frozen=True, slots=True)
class Line:
    """One received line, taken apart."""

    raw: str
    tags: dict[str, str]  # unescaped
    prefix: str           # "" without one
    command: str
    params: list[str]

    @property
    def nick(self) -> str:
        return self.prefix.partition("!")[0]

    @property
    def untagged(self) -> str:
        return self.raw.partition(" ")[2] if self.raw.startswith("@") else self.raw


def parse(raw: str) -> Line:
    found = _LINE.fullmatch(raw)
    assert found, f"not an IRC line: {raw!r}"
    pairs = [pair.partition("=") for pair in (found["tags"] or "").split(";") if pair]
    assert all(separator for _, separator, _ in pairs), f"a tag without '=': {raw!r}"
    tags = {key: re.sub(r"\\(.)", lambda escape: _ESCAPES[escape[1]], value) for key, _, value in pairs}
    middle, colon, trailing = (" " + (found["rest"] or "")).partition(" :")
    return Line(raw, tags, found["prefix"] or "", found["command"], middle.split() + ([trailing] if colon else []))


@dataclass(frozen=True, slots=True)
class Door:
    """Where to connect: an address that speaks IRC over TCP, or one that speaks it over WebSocket."""

    transport: str  # "tcp" | "websocket"
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.transport} {self.host}:{self.port}"


@dataclass(slots=True, eq=False)
class Client:
    """One connection. Lines are consumed in order: each expectation begins after the line that met the one before."""

    door: Door
    received: list[str] = field(default_factory=list)  # every line so far, without CRLF
    closed: bool = False
    _next: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _fences: itertools.count[int] = field(default_factory=itertools.count)
    _reader: asyncio.Task[None] | None = None
    _writer: asyncio.StreamWriter | None = None
    _http: aiohttp.ClientSession | None = None
    _websocket: aiohttp.ClientWebSocketResponse | None = None

    # Connecting

    @classmethod
    async def connect(cls, door: Door) -> Client:
        client = cls(door)
        if door.transport == "tcp":
            reader, client._writer = await asyncio.open_connection(door.host, door.port, limit=1 << 20)
            client._reader = asyncio.create_task(client._read_tcp(reader))
        else:
            client._http = aiohttp.ClientSession()
            try:
                client._websocket = await client._http.ws_connect(f"ws://{door.host}:{door.port}/", max_msg_size=0)
            except BaseException:
                await client._http.close()
                raise
            client._reader = asyncio.create_task(client._read_websocket(client._websocket))
        return client

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the socket, as a client does that just goes."""
        if self._reader:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        if self._writer:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
        if self._websocket and self._http:
            await self._websocket.close()
            await self._http.close()

    # Sending

    async def send(self, *lines: str) -> None:
        for line in lines:
            await self.send_bytes(line.encode() + b"\r\n")

    async def send_bytes(self, data: bytes) -> None:
        """As they are: over TCP a piece of the stream, over WebSocket one text frame."""
        if self._writer:
            self._writer.write(data)
            with suppress(ConnectionError):
                await self._writer.drain()
        elif self._websocket:
            with suppress(ConnectionError):
                await self._websocket.send_frame(data, aiohttp.WSMsgType.TEXT)

    # Expecting

    async def line(self, within: float = DEADLINE_S) -> str:
        """The next line, whatever it is."""
        await self._until(lambda: self._next < len(self.received), "any line", within)
        self._next += 1
        return self.received[self._next - 1]

    async def lines(self, count: int, within: float = DEADLINE_S) -> list[str]:
        return [await self.line(within) for _ in range(count)]

    async def expect(self, pattern: str, within: float = DEADLINE_S) -> Line:
        """The next line in which `pattern` is found; those before it are passed over."""
        return parse((await self._passed(pattern, within))[-1])

    async def collect_until(self, pattern: str, within: float = DEADLINE_S) -> list[str]:
        """The lines before the next one in which `pattern` is found; that one is consumed as well."""
        return (await self._passed(pattern, within))[:-1]

    async def saw(self, pattern: str, within: float = DEADLINE_S) -> None:
        """Wait until `pattern` is found in a line of whatever age: what comes by the channel may be before or after an
        answer. Nothing is consumed.
        """
        found = re.compile(pattern)
        await self._until(lambda: any(map(found.search, self.received)), f"a line with {pattern!r}", within)

    async def fence(self) -> list[str]:
        """Everything that came before the answer to a PING sent now: what the session itself had to say is in it, and
        not yet what comes by the channel.
        """
        token = f"fence-{next(self._fences)}"
        await self.send(f"PING :{token}")
        return await self.collect_until(rf"PONG tmi\.twitch\.tv :{token}$")

    async def end(self, within: float = DEADLINE_S) -> list[str]:
        """Wait until the server has closed the connection; what it said before."""
        await self._until(lambda: self.closed, "the connection's end", within)
        rest, self._next = self.received[self._next :], len(self.received)
        return rest

    # Chat, as a client that has read the documentation

    async def login(self, nick: str, token: str = "oauth:anything", capabilities: Sequence[str] = CHAT) -> Client:
        if capabilities:
            await self.send(f"CAP REQ :{' '.join(capabilities)}")
        if not nick.startswith("justinfan"):
            await self.send(f"PASS {token}")
        await self.send(f"NICK {nick}")
        await self.expect(r"^:tmi\.twitch\.tv 376 ")
        await self.fence()
        return self

    async def join(self, *channels: str) -> Client:
        await self.send(f"JOIN {','.join(channels)}")
        await self.expect(rf" 366 \S+ {re.escape(channels[-1])} ")
        await self.fence()
        return self

    async def say(self, channel: str, text: str) -> Line:
        """Say `text` and return the answer to it: USERSTATE, or the NOTICE that refuses."""
        await self.send(f"PRIVMSG {channel} :{text}")
        return await self.answer(channel)

    async def answer(self, channel: str) -> Line:
        return await self.expect(rf"^(@\S+ )?:tmi\.twitch\.tv (USERSTATE|NOTICE) {re.escape(channel)}( |$)")

    async def hear(self, channel: str) -> Line:
        """The next PRIVMSG in `channel`."""
        return await self.expect(rf"^(@\S+ )?:\S+ PRIVMSG {re.escape(channel)} :")

    # Reading

    async def _passed(self, pattern: str, within: float) -> list[str]:
        found = re.compile(pattern)
        start = seen = self._next

        def met() -> bool:
            nonlocal seen
            while seen < len(self.received):
                seen += 1
                if found.search(self.received[seen - 1]):
                    return True
            return False

        await self._until(met, f"a line with {pattern!r}", within)
        self._next = seen
        return self.received[start:seen]

    async def _until(self, met: Callable[[], bool], what: str, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                while not met():
                    if self.closed:
                        raise AssertionError(f"{what} did not come before the end of {self}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {within} s over {self}") from None

    def __str__(self) -> str:
        said = "\n".join(f"    {line[:400]}" for line in self.received[-12:])
        return f"{self.door}, which said last:\n{said or '    nothing'}"

    def _take(self, data: bytes) -> None:
        *lines, rest = data.split(b"\r\n")
        assert rest == b"", f"a line without CRLF: {rest!r}"
        self.received += [line.decode() for line in lines]
        self._news.set()

    async def _read_tcp(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(line)
        except ConnectionError:
            pass
        finally:
            self.closed = True
            self._news.set()

    async def _read_websocket(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async for message in websocket:
                assert message.type is aiohttp.WSMsgType.TEXT, f"not a text frame: {message!r}"
                self._take(message.data.encode())
        finally:
            self.closed = True
            self._news.set()

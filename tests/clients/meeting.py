"""All real clients in one channel: two logins of each, and a witness of our own that writes down what was said.

Everything is recorded, nothing judged: a client that fails leaves its part of the record empty, and the tests say so.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.irc import Client, Door, Line

HERE = Path(__file__).resolve().parent
CHANNEL = "#meeting"
WITNESS = "witness"
TAGS = ("id", "display-name", "user-id", "room-id", "tmi-sent-ts")

STARTS_AT_ONCE = 4  # programs; some give up when a busy machine keeps them waiting for two seconds
JOIN_S = 30.0  # irssi takes 5 s to join by its own pace
TALK_S = 30.0
PART_S = 20.0
QUIT_S = 10.0


@dataclass(frozen=True, slots=True)
class RealClient:
    name: str  # of its driver in this folder
    transports: tuple[str, str]  # of its two logins
    program: str = sys.executable  # that runs the driver, or is the client itself
    reads_tags: bool = True
    hears_itself: bool = False  # it speaks over a second connection, so the first one hears it, as on Twitch

    @property
    def logins(self) -> tuple[str, str]:
        return f"{self.name}_a", f"{self.name}_b"

    @property
    def missing(self) -> str:
        """What to do before it can be driven; "" when it can."""
        if not shutil.which(self.program):
            return f"{self.program} is not installed: make test as root installs it"
        if self.program == "node" and not (HERE / "node_modules").is_dir():
            return "its package is not installed: npm ci --prefix tests/clients"
        return ""

    def command(self) -> list[str]:
        if self.program == "node":
            return ["node", str(HERE / f"{self.name}.mjs")]
        return [sys.executable, str(HERE / f"{self.name}_driver.py")]


CLIENTS = (
    RealClient("tmi_js", ("websocket", "websocket"), "node"),
    RealClient("twurple", ("websocket", "tcp"), "node"),
    RealClient("dank_twitch_irc", ("tcp", "tcp"), "node", hears_itself=True),
    RealClient("irc_framework", ("tcp", "websocket"), "node"),
    RealClient("twitch_api", ("websocket", "websocket")),
    RealClient("twitchio", ("websocket", "websocket")),
    RealClient("pydle", ("tcp", "tcp")),
    RealClient("python_irc", ("tcp", "tcp")),
    RealClient("irc3", ("tcp", "tcp")),
    RealClient("bottom", ("tcp", "tcp"), reads_tags=False),
    RealClient("miniirc", ("tcp", "tcp")),
    RealClient("irssi", ("tcp", "tcp"), "irssi", reads_tags=False),
    RealClient("weechat", ("tcp", "tcp"), "weechat-headless", reads_tags=False),
)


@dataclass(slots=True, eq=False)
class Guest:
    """One login of one client: a process, and everything that it reported."""

    login: str
    process: Process
    errors: Path  # what the program wrote to its standard error
    events: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None  # None: it had to be killed
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: bool = False
    _reader: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self._reader = asyncio.create_task(self._read())

    def of(self, event: str) -> list[dict[str, Any]]:
        return [report for report in self.events if report["event"] == event]

    def text_of(self) -> str:
        """For the report of a failure."""
        reports = "\n".join(json.dumps(report)[:300] for report in self.events[-8:])
        return f"{self.login} reported last:\n{reports}\nand on its standard error:\n{self.errors.read_text()[-3000:]}"

    async def command(self, line: str) -> None:
        assert self.process.stdin
        with suppress(ConnectionError):
            self.process.stdin.write(f"{line}\n".encode())
            await self.process.stdin.drain()

    async def _read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            if line.startswith(b'{"event"'):  # a library may print as well
                self.events.append(json.loads(line))
                self._news.set()
        self._ended = True
        self._news.set()

    async def until(self, met: Callable[[Guest], bool], within: float) -> None:
        """Wait for it; no matter here whether it comes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not met(self) and not self._ended:
                    self._news.clear()
                    await self._news.wait()

    async def leave(self) -> None:
        await self.command("quit")
        try:
            self.exit_code = await asyncio.wait_for(self.process.wait(), QUIT_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._reader


@dataclass(slots=True)
class Meeting:
    said: list[Line]  # every message, in the channel's order, as the witness heard it or said it
    guests: dict[str, Guest]


def greeting(login: str) -> str:
    return f"hello from {login}: ünïcödé 漢字 👋"


async def hold(tcp: Door, websocket: Door, folder: Path) -> Meeting:
    """`folder` takes the standard errors of the programs."""
    doors = {"tcp": tcp, "websocket": websocket}
    room = asyncio.Semaphore(STARTS_AT_ONCE)
    guests: dict[str, Guest] = {}

    async def come_in(client: RealClient, login: str, door: Door) -> None:
        async with room:
            guests[login] = await _start(client, login, door, folder)
            await guests[login].until(lambda guest: bool(guest.of("joined")), JOIN_S)

    async with await Client.connect(tcp) as witness:
        await witness.login(WITNESS)
        await witness.join(CHANNEL)
        try:
            invited = [
                come_in(client, login, doors[transport])
                for client in CLIENTS
                if not client.missing
                for login, transport in zip(client.logins, client.transports, strict=True)
            ]
            await asyncio.gather(*invited)
            said = await _talk(witness, list(guests.values()))
            await _each(guests, lambda guest: guest.command("part"))
            await _each(guests, lambda guest: guest.until(lambda guest: bool(guest.of("parted")), PART_S))
        finally:
            await _each(guests, Guest.leave)
    return Meeting(said, guests)


async def _each(guests: dict[str, Guest], do: Callable[[Guest], Awaitable[None]]) -> None:
    await asyncio.gather(*(do(guest) for guest in guests.values()))


async def _start(client: RealClient, login: str, door: Door, folder: Path) -> Guest:
    errors = folder / f"{login}.stderr"
    with errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *client.command(), door.transport, door.host, str(door.port), login, f"oauth:token_of_{login}", CHANNEL,
            stdin=PIPE, stdout=PIPE, stderr=stderr, limit=1 << 20,
        )  # fmt: skip
    return Guest(login, process, errors)


async def _talk(witness: Client, guests: list[Guest]) -> list[Line]:
    """Everybody says one thing at once; the witness greets last. Returns what the witness heard and said, in order."""
    present = [guest for guest in guests if guest.of("joined")]
    await asyncio.gather(*(guest.command(f"say {greeting(guest.login)}") for guest in present))
    said: list[Line] = []
    with suppress(AssertionError):  # a guest that is not heard is the tests' business
        while len(said) < len(present):
            said.append(await witness.hear(CHANNEL))
    await witness.say(CHANNEL, greeting(WITNESS))
    texts = {line.params[1] for line in said} | {greeting(WITNESS)}

    def heard_all(guest: Guest) -> bool:
        return {report["text"] for report in guest.of("heard")} >= texts - {greeting(guest.login)}

    await asyncio.gather(*(guest.until(heard_all, TALK_S) for guest in present))
    await asyncio.gather(*(guest.until(lambda guest: bool(guest.of("said")), TALK_S) for guest in present))
    return said

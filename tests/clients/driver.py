"""What every Python driver shares: its arguments, commands on standard input, events on standard output.

    python NAME_driver.py TRANSPORT HOST PORT LOGIN TOKEN CHANNEL      (TRANSPORT: tcp | websocket)

Commands, one a line: ``say TEXT``, ``part``, ``quit``. Events, one JSON object a line:

* ``joined``, ``parted``: the client itself says that it is in, or out of, the channel
* ``heard``: ``from``, ``channel``, ``text``, and in ``tags`` those tags that this client parses
* ``said``: ``text``; the client's own call has returned
* ``disconnected``, ``failed``: what a person would see as trouble
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    transport: str
    host: str
    port: int
    login: str
    token: str
    channel: str


def target() -> Target:
    transport, host, port, login, token, channel = sys.argv[1:]
    return Target(transport, host, int(port), login, token, channel)


def report(event: str, **details: object) -> None:
    # One write a line: the thread-based clients report from several threads.
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()


class Tail:
    """The lines that another program adds to its log."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._done = 0  # bytes, whole lines only

    def read(self) -> list[str]:
        if not self._log.exists():
            return []
        new = self._log.read_bytes()[self._done :]
        whole = new[: new.rfind(b"\n") + 1]
        self._done += len(whole)
        return whole.decode().splitlines()

    async def follow(self, read: Callable[[str], None]) -> None:
        while True:
            for line in self.read():
                read(line)
            await asyncio.sleep(0.02)


async def commands() -> AsyncIterator[tuple[str, str]]:
    """The commands as (verb, text), for drivers that run on asyncio."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        verb, _, text = line.decode().rstrip("\n").partition(" ")
        yield verb, text

"""Clients that follow RECONNECT to a channel's new home, and ask there for what they missed (IRCv3 "chathistory")."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ops.checker import compare, from_first_seen

_ID = re.compile(rb"[@;]id=([0-9a-f-]{36})[; ]")
_LIMIT = 200           # lines of one answer, as the 005 of an edge says
_IN_S = 20.0
_CAPABILITIES = b"CAP REQ :twitch.tv/tags twitch.tv/commands batch draft/chathistory\r\n"


@dataclass
class Followed:
    """Counts."""

    asked: int = 0           # RECONNECTs
    arrived: int = 0         # of them, followed to the end: in, and caught up
    cut: int = 0             # closed by an edge, unasked
    refused: int = 0         # CHATHISTORY answered by FAIL
    caught_up: int = 0       # messages that only the history gave
    pages: int = 0
    missing: int = 0
    repeated: int = 0
    out_of_order: int = 0
    foreign: int = 0

    def __str__(self) -> str:
        return (
            f"{self.asked} asked to reconnect, {self.arrived} followed; {self.caught_up} messages caught up in "
            f"{self.pages} answers, {self.refused} refused, {self.cut} cut off; {self.missing} missing, "
            f"{self.repeated} repeated, {self.out_of_order} out of order, {self.foreign} foreign"
        )

    @property
    def faultless(self) -> bool:
        wrong = self.missing + self.repeated + self.out_of_order + self.foreign + self.refused + self.cut
        return not wrong and self.asked == self.arrived > 0


class _Life(asyncio.Protocol):
    """One connection of a follower."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.transport: asyncio.Transport | None = None
        self.caught_up = asyncio.get_running_loop().create_future()
        self.leaving = False
        self._rest = b""
        self._waiting: deque[tuple[bytes, int]] | None = deque()   # what is said while the history is on its way
        self._batch = False
        self._page = 0

    def connection_made(self, transport) -> None:
        self.transport = transport
        login, channel = self._follower.login, self._follower.channel
        transport.write(_CAPABILITIES + f"PASS oauth:x\r\nNICK {login}\r\nJOIN {channel}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            if not self.leaving:
                self._line(line)

    def connection_lost(self, error) -> None:
        if not self.leaving:
            self._follower.crowd.told.cut += 1
        if not self.caught_up.done():
            self.caught_up.set_result(False)

    def leave(self) -> None:
        """At once, as a client does: what the old edge still has for it is lost to it."""
        self.leaving = True
        if self.transport is not None:
            self.transport.abort()

    def _line(self, line: bytes) -> None:
        follower = self._follower
        found = follower.crowd.pattern.search(line)
        if found is not None:
            identity = _ID.search(line)
            assert identity is not None, line
            message = (identity[1], int(found[1]))
            if self._batch:
                self._page += 1
                if follower.take(*message):
                    follower.crowd.told.caught_up += 1
            elif self._waiting is not None:
                self._waiting.append(message)
            else:
                follower.take(*message)
        elif b" ROOMSTATE " in line and not self.caught_up.done():
            self._ask()
        elif b" BATCH +" in line:
            self._batch, self._page = True, 0
        elif b" BATCH -" in line:
            self._batch = False
            follower.crowd.told.pages += 1
            if self._page >= _LIMIT:
                self._ask()
            else:
                self._live()
        elif b" FAIL CHATHISTORY " in line:
            follower.crowd.told.refused += 1
            self._live()
        elif line.endswith(b" RECONNECT"):
            follower.crowd.follow(follower)
        elif line.startswith(b"PING"):
            assert self.transport is not None
            self.transport.write(b"PONG :tmi.twitch.tv\r\n")

    def _ask(self) -> None:
        """For what came after the last message that it has; the first connection has none, and missed nothing."""
        last = self._follower.last
        if not last:
            self._live()
            return
        assert self.transport is not None
        words = f"CHATHISTORY AFTER {self._follower.channel} msgid={last.decode()} {_LIMIT}\r\n"
        self.transport.write(words.encode())

    def _live(self) -> None:
        waiting, self._waiting = self._waiting or (), None
        for message in waiting:
            self._follower.take(*message)
        if not self.caught_up.done():
            self.caught_up.set_result(True)


class Follower:
    """One user, over all its connections: what it has on its screen."""

    def __init__(self, crowd: Followers, login: str, channel: str) -> None:
        self.crowd = crowd
        self.login = login
        self.channel = channel
        self.seen: list[int] = []
        self.last = b""            # id of the last message
        self.life: _Life | None = None
        self._ids: set[bytes] = set()

    def take(self, identity: bytes, number: int) -> bool:
        """False: it has that one. A client that asks for history drops by id what it has on its screen already."""
        if identity in self._ids:
            return False
        self._ids.add(identity)
        self.seen.append(number)
        self.last = identity
        return True


class Followers:
    """`pattern` finds a message's number. `door`: HOST:PORT, where those go who are asked to reconnect."""

    def __init__(self, pattern: re.Pattern[bytes], channel: str, door: str) -> None:
        self.pattern = pattern
        self.told = Followed()
        self.door = door
        self._channel = channel
        self._all: list[Follower] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def enter(self, count: int) -> None:
        run = secrets.token_hex(3)
        for number in range(count):
            follower = Follower(self, f"follow{run}{number}", self._channel)
            self._all.append(follower)
            assert await self._go(follower), f"{follower.login} was not let in"

    def follow(self, follower: Follower) -> None:
        self.told.asked += 1
        task = asyncio.get_running_loop().create_task(self._follow(follower))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def judge(self, log: Sequence[int]) -> list[str]:
        """Each against the log of all that was said since it came. Adds to `told`; gives who lacks what."""
        details = []
        for follower in self._all:
            expected = from_first_seen(log, set(follower.seen))
            sight = compare(expected, follower.seen)
            self.told.missing += sight.missing
            self.told.repeated += sight.repeated
            self.told.out_of_order += sight.out_of_order
            self.told.foreign += sight.foreign
            if not sight.faultless:
                lacking = sorted(set(expected) - set(follower.seen))[:8]
                details.append(f"{follower.login}: {sight}, lacking {lacking}")
        return details

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for follower in self._all:
            if follower.life is not None:
                follower.life.leave()

    async def _follow(self, follower: Follower) -> None:
        assert follower.life is not None
        follower.life.leave()
        await asyncio.sleep(0.2)  # a client's own pause: meanwhile people talk
        arrived = await self._go(follower)
        self.told.arrived += arrived

    async def _go(self, follower: Follower) -> bool:
        host, _, port = self.door.rpartition(":")
        _, life = await asyncio.get_running_loop().create_connection(lambda: _Life(follower), host, int(port))
        follower.life = life
        try:
            return await asyncio.wait_for(life.caught_up, _IN_S)
        except TimeoutError:
            return False

"""Who is in the channels, for those who asked: JOIN and PART of others in batches, NAMES, the list of chatters.

Each edge reports its own chatters to clue, lane by lane, every `period_s` seconds, and gets back the lists over all
edges of those channels in which somebody here reads them. One task; a channel costs two hash entries for each of its
members and nothing between the reports.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

from common.clock import Clock
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2
from common.sharding import LANES
from edge import render
from edge.hub import Hub
from edge.presence import LocalChannel, Presence, Roster
from edge.render import Capability

if TYPE_CHECKING:
    from edge.clue_client import ClueClient
    from edge.connection import Connection

# A list asked for by NAMES or over HTTP serves all who ask within this time.
FRESH_S = 2.0
_ASKED = 1_000  # channels of which such lists are kept


class Membership:
    def __init__(
        self, hub: Hub, clue: ClueClient, *, period_s: float, metrics: Metrics, log: Log, clock: Clock
    ) -> None:
        self._hub = hub
        self._clue = clue
        self._period_s = period_s
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._presence = Presence()
        self._reports: dict[int, asyncio.Task[None]] = {}  # under way, by lane
        self._asked: dict[str, asyncio.Task[Roster | None]] = {}

    # -- what connections tell and ask --------------------------------------------------------------------------

    def enter(self, connection: Connection, name: str) -> None:
        """It is a member now, and was told so."""
        self._presence.enter(name, _chatter(connection))
        local = self._known(name)
        if local is not None and Capability.MEMBERSHIP in connection.session.capabilities:
            roster = local.known
            modes = b"".join(render.mode(name, "+o", login) for login in sorted(roster.operators)) if roster else b""
            if modes:
                connection.transport.send(modes)

    def leave(self, connection: Connection, name: str) -> None:
        self._presence.leave(name, _chatter(connection))

    def already_there(self, connection: Connection, name: str) -> bytes:
        """353 of the others, as far as readers here know them."""
        local = self._known(name)
        if local is None or local.known is None:
            return b""
        login = connection.session.login
        return render.already_there(login, name, (other for other in local.known.names if other != login))

    def names(self, names: Collection[str], answer: Callable[[dict[str, Collection[str]]], None]) -> None:
        """Whom NAMES lists, of those channels of which it can be learned: answered at once when readers here know all
        of them, else when clue has said.
        """
        rosters = {name: local.known if (local := self._known(name)) is not None else None for name in names}
        asked = {name: self.chatters(name) for name, roster in rosters.items() if roster is None}

        def done(_: object = None) -> None:
            for name, task in asked.items():
                if not task.cancelled() and task.exception() is None:
                    rosters[name] = task.result()
            self._metrics.count("names.unavailable", sum(rosters[name] is None for name in asked))
            answer({name: roster.names for name, roster in rosters.items() if roster is not None})

        if asked:
            asyncio.gather(*asked.values(), return_exceptions=True).add_done_callback(done)
        else:
            done()

    def chatters(self, name: str) -> asyncio.Task[Roster | None]:
        """Everybody over all edges; None: clue cannot say. Never raises."""
        task = self._asked.get(name)
        if task is None:
            if len(self._asked) >= _ASKED:
                del self._asked[next(iter(self._asked))]
            task = self._asked[name] = asyncio.get_running_loop().create_task(self._ask(name))
            asyncio.get_running_loop().call_later(FRESH_S, self._forget, name, task)
        return task

    async def _ask(self, name: str) -> Roster | None:
        chatters = await self._clue.chatters(name)
        return Roster.of(chatters) if chatters.available else None

    def _forget(self, name: str, task: asyncio.Task[Roster | None]) -> None:
        if self._asked.get(name) is task:
            del self._asked[name]

    def _known(self, name: str) -> LocalChannel | None:
        """The channel, when readers here know who is in it."""
        local = self._presence.get(name)
        return local if local is not None and local.known is not None else None

    # -- reports ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled: one lane after the other, so that neither clue nor our readers get all in one moment."""
        try:
            while True:
                for number in range(LANES):
                    await self._clock.sleep(self._period_s / LANES * random.uniform(0.5, 1.5))
                    if number not in self._reports:
                        self._report(number)
        finally:
            for task in self._reports.values():
                task.cancel()
            await asyncio.gather(*self._reports.values(), return_exceptions=True)

    def _report(self, number: int) -> None:
        wanted = []
        for local in self._presence.of_lane(number):
            channel = self._hub.channels.get(local.name)
            if channel is not None and channel.tells_movements:
                wanted.append(local.name)
            else:
                local.forget()
        reports = self._presence.report(number)
        if reports or wanted:
            task = asyncio.get_running_loop().create_task(self._send(number, reports, wanted))
            self._reports[number] = task
            task.add_done_callback(partial(self._reported, number))

    async def _send(self, number: int, reports: list[clue_pb2.ChannelPresence], wanted: list[str]) -> None:
        reply = await self._clue.presence(number, reports, wanted)
        self._presence.lost(reply.unknown)
        for chatters in reply.chatters:
            if chatters.available:
                self._learn(Roster.of(chatters))

    def _learn(self, roster: Roster) -> None:
        local, channel = self._presence.get(roster.channel), self._hub.channels.get(roster.channel)
        if local is None or channel is None:
            return
        movement = local.learn(roster)
        if movement is not None:
            self._metrics.count("presence.moves", len(movement.own))
            channel.tell(movement)

    def _reported(self, number: int, task: asyncio.Task[None]) -> None:
        del self._reports[number]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._metrics.count("bugs")
            self._log.error("presence_failed", operation="Presence", cause=repr(error))


def _chatter(connection: Connection) -> str:
    return connection.session.user.login if connection.session.user is not None else ""

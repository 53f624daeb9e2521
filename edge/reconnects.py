"""Asking sessions to go: RECONNECT, spread over a time, so that they do not all come back in one moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from common.clock import Clock
from common.metrics import Metrics
from common.pb.chat_pb2 import Moved
from edge.hub import Hub
from edge.render import Capability

if TYPE_CHECKING:
    from edge.connection import Connection

MOST_WITHIN_S = 3_600.0


async def spread(
    connections: Sequence[Connection], within_s: float, ask: Callable[[Connection], None], clock: Clock
) -> None:
    """Call `ask` for each, in order and at even distances; those that are closed by their turn are left out."""
    started = clock.monotonic()
    for turn, connection in enumerate(connections):
        wait = started + within_s * turn / len(connections) - clock.monotonic()
        if wait > 0:
            await clock.sleep(wait)
        if not connection.closed:
            ask(connection)


class Followers:
    """After a channel has moved, those sessions that may go where it is now (ARCHITECTURE 3.9)."""

    def __init__(self, hub: Hub, own: str, metrics: Metrics, clock: Clock) -> None:
        self._hub = hub
        self._own = own
        self._metrics = metrics
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def moved(self, name: str, moved: Moved) -> None:
        """The channel lives on another cluster from here on. Nobody has to go when that is ours."""
        self._metrics.count("moves.told")
        channel = self._hub.channels.get(name)
        if channel is None or moved.cluster == self._own or moved.redirect not in ("clients", "all"):
            return
        members = [
            member
            for member in self._hub.sessions.values()
            if name in member.session.channels and self._may_go(member, moved.redirect)
        ]
        random.shuffle(members)
        within_s = min(float(moved.within_s), MOST_WITHIN_S)
        asking = spread(members, within_s, lambda member: self._ask(member, name), self._clock)
        task = asyncio.get_running_loop().create_task(asking)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _may_go(self, member: Connection, redirect: str) -> bool:
        """It knows RECONNECT, and (clients) has no other channel that it would leave here."""
        session = member.session
        return Capability.COMMANDS in session.capabilities and (redirect == "all" or len(session.channels) == 1)

    def _ask(self, member: Connection, name: str) -> None:
        if name in member.session.channels:
            self._metrics.count("moves.reconnects")
            member.ask_to_reconnect()

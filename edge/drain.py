"""Emptying this edge: no new users, RECONNECT to those who are here, spread over a time; who stays is closed.

Asked for by SIGTERM, after which the process ends, or by an operator's order, after which it stays up, empty, until it
is told to take users again (ARCHITECTURE 3.10).
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from common.clock import Clock
from common.log import Log
from common.metrics import Metrics
from common.pb.clue_pb2 import Order, Registration
from edge.door import Door
from edge.hub import Hub
from edge.reconnects import spread

if TYPE_CHECKING:
    from edge.connection import Connection

# Of the time of an order: everybody is asked in this part of it. In the rest those who stayed are closed in turn,
# spread likewise, since most plain IRC clients know no RECONNECT and come back when they are closed.
ASKING = 0.8

# An order is carried out so much later: HAProxy asks once a second what we take, and whoever it sends here before it
# has heard "drain" is let in, and asked to go with the others. Without, a tenth of them was refused [measured].
HEARD_S = 1.5


class Drain:
    """`registration.draining`, `door.leaving` and `door.closed` tell the others."""

    def __init__(
        self, door: Door, hub: Hub, registration: Registration, *, metrics: Metrics, log: Log, clock: Clock
    ) -> None:
        self._door = door
        self._hub = hub
        self._registration = registration
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._number = 0  # of the last order
        self._emptying: asyncio.Task[None] | None = None
        metrics.gauge("drain.active", lambda: int(door.leaving))

    def obey(self, order: Order) -> None:
        """What the directory says each time; an order is carried out once."""
        if order.number <= self._number:
            return
        self._number = order.number
        self._metrics.count("drain.orders")
        self.cancel()
        if order.drain:
            self._emptying = asyncio.get_running_loop().create_task(self._empty(float(order.within_s)))
        else:
            self._close_door(False)
            self._log.info("taking_users", sessions=len(self._hub.sessions))

    def cancel(self) -> None:
        """Of an order: whoever is here stays."""
        if self._emptying is not None:
            self._emptying.cancel()
            self._emptying = None

    async def ask(self, within_s: float) -> list[Connection]:
        """Close the door and ask everybody to reconnect. Gives all who were asked."""
        self._close_door(True)
        connections = list(self._hub.sessions.values())
        random.shuffle(connections)
        self._log.info("draining", sessions=len(connections), seconds=within_s)
        await spread(connections, within_s, self._ask, self._clock)
        return connections

    async def _empty(self, within_s: float) -> None:
        try:
            self._door.leaving = self._registration.draining = True
            await self._clock.sleep(HEARD_S)
            closing = self._clock.monotonic() + within_s * ASKING
            asked = await self.ask(within_s * ASKING)
            await self._clock.sleep(max(0.0, closing - self._clock.monotonic()))
            left = [connection for connection in asked if not connection.closed]
            await spread(left, within_s * (1 - ASKING), self._end, self._clock)
            self._log.info("drained", sessions=len(self._hub.sessions), asked=len(asked))
        except Exception:
            self._metrics.count("bugs")
            self._log.error("drain_failed", trace=True, operation="drain")

    def _end(self, connection: Connection) -> None:
        self._metrics.count("drain.closed")
        connection.stop()

    def _ask(self, connection: Connection) -> None:
        self._metrics.count("drain.asked")
        connection.ask_to_reconnect()

    def _close_door(self, closed: bool) -> None:
        self._door.closed = self._door.leaving = closed
        self._registration.draining = closed

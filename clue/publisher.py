"""Accepted publications on their way to the exchanges, lane by lane.

1. Entries of one channel are sent in the order they were put. 2. One call a lane is under way; what comes meanwhile is
the next call. 3. A call that fails is repeated until an exchange takes it (exchanges and edges do not mind a repeat).
4. What waits in a lane is bounded: past that the oldest is dropped, counted and logged. Edges find it in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

from clue.scripts import LOG_ENTRIES
from common import rpc
from common.backoff import delays
from common.errors import RemoteError
from common.lifecycle import within
from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, exchange_pb2, exchange_pb2_grpc
from common.sharding import lane
from common.streams import LaneCalls
from common.trace import passed

CALL_TIMEOUT_S = 1.0
RETRY_FIRST_S, RETRY_MAX_S = 0.05, 0.5
WAITING = LOG_ENTRIES  # commits of a lane that wait; more would have left the log before they arrive
_COMMITS_A_CALL = 256


class _Waiting:
    """One commit's entries; `taken` tells whether an exchange has them (False: dropped)."""

    __slots__ = ("channel", "entries", "taken", "traced")

    def __init__(
        self, channel: str, entries: bytes, traced: Sequence[chat_pb2.Traced], taken: asyncio.Future[bool]
    ) -> None:
        self.channel = channel
        self.entries = entries
        self.traced = traced
        self.taken = taken


class _Lane:
    """One lane's queue; it owns a task only while something waits."""

    def __init__(self, number: int, publisher: Publisher) -> None:
        self.number = number
        self.queue: deque[_Waiting] = deque()
        self.task: asyncio.Task[None] | None = None
        self._publisher = publisher

    def put(self, item: _Waiting) -> int:
        """Returns how many were dropped to make room."""
        self.queue.append(item)
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._run())
        dropped = 0
        while len(self.queue) > WAITING:
            self.queue.popleft().taken.set_result(False)
            dropped += 1
        return dropped

    async def _run(self) -> None:
        try:
            while self.queue:
                batch = [self.queue.popleft() for _ in range(min(len(self.queue), _COMMITS_A_CALL))]
                await self._publisher.send(self.number, batch)
                for item in batch:
                    item.taken.set_result(True)
        finally:
            self.task = None


class Publisher:
    """Hands entries to `address` (an exchange, or HAProxies in front of them, comma-separated)."""

    def __init__(self, address: str, *, metrics: Metrics, log: Log) -> None:
        self._exchange = rpc.Service("exchange", address, exchange_pb2_grpc.ExchangeStub)
        self._calls = LaneCalls(self._exchange, "Publish")
        self._lanes: dict[int, _Lane] = {}
        self._metrics = metrics
        self._log = log

    def __len__(self) -> int:
        """Commits that wait, over all lanes."""
        return sum(len(queue.queue) for queue in self._lanes.values())

    def publish(
        self, channel: str, entries: bytes, traced: Sequence[chat_pb2.Traced] = ()
    ) -> asyncio.Future[bool]:
        """Queue a serialized Entries. The future: True when an exchange has it, False when it was dropped.

        `traced`: those of the entries that are followed.
        """
        number = lane(channel)
        queue = self._lanes.get(number)
        if queue is None:
            queue = self._lanes[number] = _Lane(number, self)
        item = _Waiting(channel, entries, traced, asyncio.get_running_loop().create_future())
        dropped = queue.put(item)
        if dropped:
            self._metrics.count("publish.dropped", dropped)
            self._log.error(
                "publications dropped", remote=self._exchange.remote, operation="Publish", lane=number,
                cause="the lane's queue is full",
            )  # fmt: skip
        return item.taken

    async def send(self, number: int, batch: list[_Waiting]) -> None:
        """Return when an exchange has taken all of `batch`."""
        request = exchange_pb2.PublishRequest(channels=_merged(batch))
        retries = delays(RETRY_FIRST_S, RETRY_MAX_S)
        attempt = 1
        while True:
            started = time.monotonic()
            try:
                await self._calls.call(number, request, attempt=attempt, timeout=CALL_TIMEOUT_S)
            except RemoteError as error:
                self._metrics.count("publish.retries")
                self._log.warning(
                    "publish failed",
                    remote=error.remote,
                    operation=error.operation,
                    lane=number,
                    attempt=attempt,
                    cause=error.cause,
                )
                await asyncio.sleep(next(retries))
                attempt += 1
            else:
                self._metrics.count("publish.calls")
                self._metrics.count("publish.commits", len(batch))
                self._metrics.timing("publish.ms", (time.monotonic() - started) * 1000)
                for item in batch:
                    for one in item.traced:
                        passed(self._log, "published", one.id, item.channel, seq=one.seq)
                return

    async def close(self, timeout_s: float) -> None:
        """Give what waits some time, then drop it (counted); close the connection."""
        tasks = [queue.task for queue in self._lanes.values() if queue.task is not None]
        if tasks and not await within(timeout_s, asyncio.wait(tasks)):
            self._metrics.count("publish.dropped", len(self))
            self._log.error(
                "publications dropped", remote=self._exchange.remote, operation="Publish",
                cause="no exchange took them before the stop",
            )  # fmt: skip
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await self._calls.close()
        await self._exchange.close()


def _merged(batch: list[_Waiting]) -> list[chat_pb2.ChannelEntries]:
    """One ChannelEntries a channel. Serialized Entries in a row are one Entries (so protobuf merges them)."""
    by_channel: dict[str, list[_Waiting]] = {}
    for item in batch:
        by_channel.setdefault(item.channel, []).append(item)
    return [
        chat_pb2.ChannelEntries(
            channel=name,
            entries=b"".join([item.entries for item in items]),
            traced=[one for item in items for one in item.traced],
        )
        for name, items in by_channel.items()
    ]

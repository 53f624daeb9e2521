"""Reading a channel's whole log from clue, for those who catch up; what was read is kept for a moment.

Many come back at the same time and ask for the same channel: they share one reading. A log read a second ago is as
good as one read now: what entered since is delivered to whoever is in the channel, as it always is.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

from google.protobuf.message import DecodeError

from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2
from edge.history import History
from edge.homes import Homes

KEEP_S = 1.0
KEEP_ENTRIES = 50_000  # of all channels together, at about 1 kB each
READS = 8  # under way at once, of channels of one cluster
_PAGES = 10  # a log of 1,000 entries is two or three; one that grows as fast as it is read has an end, too


class Clue(Protocol):
    """What ClueClient does."""

    async def replay(self, channel: str, after_seq: int, limit: int = 0) -> clue_pb2.ReplayReply:
        """Raises RemoteError."""


async def entries(clue: Clue, channel: str) -> list[tuple[int, chat_pb2.Publication]]:
    """Seq and publication of all entries, oldest first. Raises RemoteError."""
    read: list[tuple[int, chat_pb2.Publication]] = []
    for _ in range(_PAGES):
        reply = await clue.replay(channel, read[-1][0] if read else 0)
        if not reply.available:
            raise RemoteError("clue", "Replay", f"the shard of {channel} did not answer")
        try:
            page = chat_pb2.Entries.FromString(reply.entries).entry
            read += ((entry.seq, chat_pb2.Publication.FromString(entry.publication)) for entry in page)
        except DecodeError:
            raise RemoteError("clue", "Replay", f"the log of {channel} holds what is no protobuf") from None
        if not reply.more or not page:
            break
    return read


class LogReader:
    """Histories of channels, at most KEEP_S old."""

    def __init__(self, clue: Clue, homes: Homes, metrics: Metrics, log: Log) -> None:
        self._clue = clue
        self._homes = homes
        self._metrics = metrics
        self._log = log
        self._reads: dict[str, asyncio.Task[History | None]] = {}  # under way, and done a moment ago
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(READS))

    def read(self, channel: str) -> asyncio.Task[History | None]:
        """Resolves with None when the log cannot be read now; never raises."""
        self._metrics.counters["history.queries"] += 1
        task = self._reads.get(channel)
        if task is None:
            loop = asyncio.get_running_loop()
            task = self._reads[channel] = loop.create_task(self._read(channel))
            task.add_done_callback(lambda done: loop.call_later(KEEP_S, self._forget, channel, done))
        return task

    async def _read(self, channel: str) -> History | None:
        async with self._slots[self._homes.of(channel)]:
            try:
                history = History([publication for _, publication in await entries(self._clue, channel)])
            except RemoteError as error:
                self._metrics.count("history.failures")
                self._log.warning(
                    "history_failed", remote=error.remote, operation=error.operation, channel=channel, cause=error.cause
                )
                return None
        self._metrics.count("history.reads")
        self._make_room(len(history))
        return history

    def _forget(self, channel: str, task: asyncio.Task[History | None]) -> None:
        if self._reads.get(channel) is task:
            del self._reads[channel]

    def _make_room(self, wanted: int) -> None:
        """Forget the oldest readings while all together are too large."""
        kept = list(self._kept())
        surplus = sum(size for _, size in kept) + wanted - KEEP_ENTRIES
        for channel, size in kept:
            if surplus <= 0:
                break
            del self._reads[channel]
            surplus -= size

    def _kept(self) -> Iterator[tuple[str, int]]:
        for channel, task in self._reads.items():
            if task.done() and not task.cancelled() and task.exception() is None and (history := task.result()):
                yield channel, len(history)

"""Reading a channel's whole log from clue, for those who catch up.

Many come back at the same time and ask for the same channel: they share one reading. It serves those alone who asked
before it began: an older one lacks what entered between it and the asker's JOIN, which nobody delivers to the asker.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from typing import Protocol

from google.protobuf.message import DecodeError

from common.batcher import Batcher
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2
from edge.history import History
from edge.homes import Homes

REST_S = 0.2  # between the beginnings of two readings of a channel
ASKERS = 1_000  # served by one reading
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
    """Histories of channels, each as it was when it was asked for, or later."""

    def __init__(self, clue: Clue, homes: Homes, metrics: Metrics, log: Log) -> None:
        self._clue = clue
        self._homes = homes
        self._metrics = metrics
        self._log = log
        self._readers: dict[str, Batcher[None, History | None]] = {}  # of channels asked for a moment ago
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(READS))

    def read(self, channel: str) -> asyncio.Future[History | None]:
        """Resolves with None when the log cannot be read now; never raises."""
        self._metrics.counters["history.queries"] += 1
        reader = self._readers.get(channel)
        if reader is None:
            reader = Batcher(partial(self._read, channel), limit=ASKERS, due=lambda _, began: began + REST_S)
            self._readers[channel] = reader
        return reader.put(None)

    async def _read(self, channel: str, askers: list[None]) -> list[History | None]:
        try:
            async with self._slots[self._homes.of(channel)]:
                history = History([publication for _, publication in await entries(self._clue, channel)])
        except RemoteError as error:
            self._metrics.count("history.failures")
            self._log.warning(
                "history_failed", remote=error.remote, operation=error.operation, channel=channel, cause=error.cause
            )
            return [None] * len(askers)
        finally:
            asyncio.get_running_loop().call_later(REST_S, self._forget, channel)
        self._metrics.count("history.reads")
        return [history] * len(askers)

    def _forget(self, channel: str) -> None:
        """Unless another reading is under way, or rests: it comes here when it is done."""
        reader = self._readers.get(channel)
        if reader is not None and reader.idle:
            del self._readers[channel]

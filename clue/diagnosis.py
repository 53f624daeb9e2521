"""What clue sees of its Redis servers, for `tallgrass doctor`: facts, no judgement (ops/doctor_checks.py has that)."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Sequence

from clue import keys
from clue.redis_shards import Shard
from clue.scripts import Command
from common.clock import Clock
from common.errors import RemoteError
from common.pb import clue_pb2

_CONFIG = ("appendonly", "appendfsync", "maxclients", "maxmemory", "maxmemory-policy")
_CLIENTS = 5_000  # lines of CLIENT LIST, 100 bytes each and more
_ASK: tuple[Command, ...] = (
    ("TIME",),
    ("INFO", "all"),
    ("CLIENT", "LIST"),
    ("GET", keys.PLACE),
    ("GET", keys.IDENTITY),
    ("DBSIZE",),
    *(("CONFIG", "GET", name) for name in _CONFIG),  # one by one: Redis 6 takes no more
)


class Diagnoser:
    """`shards` gives the servers of now; `directory` the one with the shared directory, if there is one."""

    def __init__(
        self,
        shards: Callable[[], Sequence[Shard]],
        *,
        instance: str,
        statsd: str,
        clock: Clock,
        directory: Callable[[], Sequence[Shard]] = tuple,
    ) -> None:
        self._shards = shards
        self._directory = directory
        self._instance = instance
        self._statsd = statsd
        self._clock = clock

    async def look(self) -> clue_pb2.Diagnosis:
        """All servers at once, each once. One that does not answer is told as such."""
        asked = [(shard, False) for shard in self._shards()] + [(shard, True) for shard in self._directory()]
        found = await asyncio.gather(*(self._of(shard, is_directory) for shard, is_directory in asked))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return clue_pb2.Diagnosis(
            shards=found,
            now_ms=self._clock.unix_ms(),
            max_files=min(soft, 2**32 - 1) if soft != resource.RLIM_INFINITY else 2**32 - 1,
            statsd=self._statsd,
            instance=self._instance,
        )

    async def _of(self, shard: Shard, is_directory: bool) -> clue_pb2.ShardFacts:
        facts = clue_pb2.ShardFacts(name=shard.name, directory=is_directory)
        asked_ms = self._clock.unix_ms()
        try:
            replies = await shard.call(_ASK)
        except RemoteError as error:
            facts.cause = error.cause
            return facts
        needed = replies[: len(_ASK) - len(_CONFIG)]
        failed = next((reply for reply in needed if isinstance(reply, RemoteError)), None)
        if failed is not None:
            facts.cause = f"{failed.operation}: {failed.cause}"
            return facts
        (seconds, microseconds), info, clients, place, identity, count, *settings = replies
        facts.available = True
        # Redis was asked between the two moments; the middle is off by at most half the time that it took.
        middle_ms = (asked_ms + self._clock.unix_ms()) // 2
        facts.clock_ahead_ms = int(seconds) * 1_000 + int(microseconds) // 1_000 - middle_ms
        for line in _text(info).splitlines():
            name, colon, value = line.partition(":")
            if colon and not line.startswith("#"):
                facts.info[name] = value
        facts.clients.extend(_text(clients).splitlines()[:_CLIENTS])
        facts.place, facts.identity = _text(place), _text(identity)
        facts.keys = count
        for pair in settings:
            if pair and not isinstance(pair, RemoteError):  # a hosted Redis may keep CONFIG to itself
                facts.config[_text(pair[0])] = _text(pair[1])
        return facts


def _text(reply: bytes | None) -> str:
    return (reply or b"").decode("utf-8", "replace")

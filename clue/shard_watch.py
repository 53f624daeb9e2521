"""What the Redis servers say of themselves, as gauges, and who else is connected to them.

Nodes of a Redis Cluster, too: those that are primaries now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clue.redis_shards import Shard
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics

PERIOD_S = 5.0
_SENTINEL = b"sentinel-"
_SCRIPTS = (b"evalsha", b"eval")
_ASK = (("INFO", "cpu"), ("INFO", "memory"), ("INFO", "commandstats"), ("CLIENT", "LIST"))


@dataclass(frozen=True, slots=True)
class _Look:
    """Counters of one server at one moment."""

    at: float
    cpu_s: float
    commands: int
    scripts: int
    script_us: int


class ShardWatch:
    """`run` asks each shard every PERIOD_S and keeps its gauges; what a lost shard said last is forgotten."""

    def __init__(self, shards: Callable[[], Sequence[Shard]], *, cluster: str, metrics: Metrics, log: Log) -> None:
        self._shards = shards
        self._ours = f"@{cluster}".encode()
        self._cluster = cluster
        self._log = log
        self._looks: dict[Shard, _Look] = {}
        self._gauges: dict[Shard, dict[str, float]] = {}
        metrics.gauges(self._all)

    async def run(self) -> None:
        while True:
            shards = self._shards()
            for gone in self._gauges.keys() - set(shards):  # a replica was promoted in its place
                del self._gauges[gone]
            await asyncio.gather(*map(self._look, shards))
            await asyncio.sleep(PERIOD_S)

    def _all(self) -> dict[str, float]:
        gauges: dict[str, float] = {f"redis.{shard.label}.up": int(shard.down is None) for shard in self._shards()}
        for found in self._gauges.values():
            gauges.update(found)
        return gauges

    async def _look(self, shard: Shard) -> None:
        before = self._looks.pop(shard, None)
        self._gauges.pop(shard, None)
        try:
            cpu, memory, stats, clients = await shard.call(_ASK)
        except RemoteError:
            return  # the shard counts and logs it
        if any(isinstance(reply, RemoteError) for reply in (cpu, memory, stats, clients)):
            return
        look = self._read(cpu, stats)
        self._looks[shard] = look
        names = list(_clients(clients))
        foreign = [(address, name) for address, name in names if not name.endswith(self._ours)]
        for address, name in foreign:
            self._log.warning(
                "foreign_redis_connection",
                remote=f"{name.decode(errors='replace') or 'unnamed'}@{address.decode(errors='replace')}",
                operation="CLIENT LIST",
                shard=shard.name,
                cause=f"not a service of cluster {self._cluster}",
            )
        label = shard.label
        gauges: dict[str, float] = {
            f"redis.{label}.memory_bytes": float(_info(memory)[b"used_memory"]),
            f"redis.{label}.clients": len(names),
            f"redis.{label}.foreign_clients": len(foreign),
        }
        if before is not None and look.cpu_s >= before.cpu_s:  # less: the server is a new one
            seconds = look.at - before.at
            scripts = look.scripts - before.scripts
            script_us = (look.script_us - before.script_us) / scripts if scripts else 0.0
            gauges[f"redis.{label}.core_percent"] = round(100 * (look.cpu_s - before.cpu_s) / seconds, 1)
            gauges[f"redis.{label}.commands_per_s"] = round((look.commands - before.commands) / seconds, 1)
            gauges[f"redis.{label}.script_us"] = round(script_us, 1)
        self._gauges[shard] = gauges

    def _read(self, cpu: bytes, stats: bytes) -> _Look:
        used = _info(cpu)
        commands = scripts = script_us = 0
        for key, value in _info(stats).items():
            fields = dict(part.split(b"=", 1) for part in value.split(b","))
            calls = int(fields[b"calls"])
            commands += calls
            if key.removeprefix(b"cmdstat_") in _SCRIPTS:
                scripts += calls
                script_us += int(fields[b"usec"])
        return _Look(
            at=asyncio.get_running_loop().time(),
            cpu_s=float(used[b"used_cpu_user"]) + float(used[b"used_cpu_sys"]),
            commands=commands,
            scripts=scripts,
            script_us=script_us,
        )


def _info(reply: bytes) -> dict[bytes, bytes]:
    return dict(line.split(b":", 1) for line in reply.splitlines() if b":" in line and not line.startswith(b"#"))


def _clients(reply: bytes) -> Iterable[tuple[bytes, bytes]]:
    """Address and name of each connection but its replicas' and Sentinels'.

    One of this second may not have told its name yet, and is left out.
    """
    for line in reply.splitlines():
        fields = dict(part.split(b"=", 1) for part in line.split(b" ") if b"=" in part)
        replica = b"S" in fields[b"flags"] or b"M" in fields[b"flags"]
        if fields[b"age"] != b"0" and not replica and not fields[b"name"].startswith(_SENTINEL):
            yield fields[b"addr"], fields[b"name"]

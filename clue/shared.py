"""The directory that clusters share: each other's addresses and edges, and where channels live.

It is a Redis server of its own. What it said last is kept in memory, and as a copy in this cluster's own shard, from
where a clue starts that does not find it; so without it everything goes on but moves and new accounts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from clue import keys, scripts
from clue.homes import Home, Homes, read_home
from clue.redis_shards import Shard, Shards
from common.directory import own_edges
from common.errors import RemoteError
from common.metrics import Metrics
from common.pb import clue_pb2

REFRESH_S = 2.0
LATELY_S = 6.0  # so long after its last answer the directory counts as there

# Of an edge's registration, what the copy of the clusters is written anew for.
_LASTING = ("service", "instance", "run", "grpc_address", "irc_address", "http_address", "cluster", "agent_address")


class SharedDirectory:
    """`clusters` by name, as last known, this one included; `version` of the homes, which are in Homes.listed."""

    def __init__(self, directory: Shards | None, shards: Shards, homes: Homes, *, metrics: Metrics) -> None:
        """`directory` None: this cluster is alone, and none of this happens."""
        self._directory = directory
        self._shards = shards
        self._homes = homes
        self._clue_address = ""
        self._answered_at = float("-inf")
        self._started = False
        self._kept: bytes = b""  # of the copy
        self.clusters: dict[str, clue_pb2.Cluster] = {}
        self.version = 0
        if directory is not None:
            metrics.gauge("directory.up", lambda: int(self.reached))
            metrics.gauge("homes", lambda: len(homes.listed))

    @property
    def exists(self) -> bool:
        return self._directory is not None

    @property
    def reached(self) -> bool:
        """It answered lately."""
        return (
            self._directory is not None and self.server.down is None and time.monotonic() - self._answered_at < LATELY_S
        )

    @property
    def server(self) -> Shard:
        """Only where it `exists`."""
        assert self._directory is not None
        return self._directory.at(keys.HOMES)

    def reach(self, clue_address: str) -> None:
        """Where other clusters reach this one's clues: HOST:PORT[,HOST:PORT]."""
        self._clue_address = clue_address

    async def start(self) -> None:
        """Begin with the copy, before anybody is answered."""
        if self._directory is None:
            return
        try:
            clusters, homes = await self._shards.at(keys.COPY).call_one(("HMGET", keys.COPY, "clusters", "homes"))
        except RemoteError:
            return  # the shard counts and logs it; `run` tries again
        self._started = True
        if clusters and not self.clusters:
            self._kept = clusters
            self.clusters = {one.name: one for one in clue_pb2.Directory.FromString(clusters).clusters}
        if homes and not self.version:
            copy = clue_pb2.Directory.FromString(homes)
            self.version = copy.homes_version
            self._homes.listed = {home.channel: Home(home.cluster, home.move) for home in copy.homes}

    async def run(self, services: Callable[[], Awaitable[clue_pb2.Directory]]) -> None:
        """`services`: reads this cluster's."""
        if self._directory is None:
            return
        while True:
            if not self._started:
                await self.start()
            try:
                await self.refresh(await services())
            except RemoteError:
                pass  # the directory's shard counts and logs it
            await asyncio.sleep(REFRESH_S)

    async def refresh(self, own: clue_pb2.Directory) -> None:
        """Tell of this cluster and learn of the others. Raises RemoteError."""
        entry = clue_pb2.Cluster(name=self._homes.cluster, clue_address=self._clue_address)
        if own.available:
            entry.edges.extend(own_edges(own, entry.name))
        elif entry.name in self.clusters:
            entry.edges.extend(self.clusters[entry.name].edges)
        reply = await self.server.call_one(scripts.share(entry.name, entry.SerializeToString(), self.version))
        self._answered_at = time.monotonic()
        version, clusters, homes = reply
        found = {}
        for name, stored in zip(clusters[::2], clusters[1::2], strict=True):
            when, _, serialized = stored.partition(b" ")
            cluster = clue_pb2.Cluster.FromString(serialized)
            cluster.last_seen_ms = int(when)
            found[name.decode()] = cluster
        self.clusters = found
        if int(version) != self.version:
            self.version = int(version)
            self._homes.listed = {
                name.decode(): read_home(home) for name, home in zip(homes[::2], homes[1::2], strict=True)
            }
            listed = clue_pb2.Directory(homes_version=self.version, homes=self.homes())
            await self._keep("homes", listed.SerializeToString())
        lasting = _lasting(found)
        if lasting != self._kept:
            await self._keep("clusters", lasting)
            self._kept = lasting

    def homes(self) -> list[clue_pb2.Home]:
        return [
            clue_pb2.Home(channel=name, cluster=home.cluster, move=home.move)
            for name, home in self._homes.listed.items()
        ]

    async def set_home(self, channel: str, home: Home) -> None:
        """List it, unless a later move is listed. Raises RemoteError."""
        by_name = self._homes.by_name(channel) == home.cluster
        await self.server.call_one(scripts.set_home(channel, home.stored(), home.move, by_name=by_name))
        listed = dict(self._homes.listed)
        if by_name:
            listed.pop(channel, None)
        else:
            listed[channel] = home
        self._homes.listed = listed

    async def _keep(self, field: str, value: bytes) -> None:
        try:
            await self._shards.at(keys.COPY).call_one(("HSET", keys.COPY, field, value))
        except RemoteError:
            pass  # the shard counts and logs it; other clues keep it, too


def _lasting(clusters: dict[str, clue_pb2.Cluster]) -> bytes:
    """The clusters without what changes all the time."""
    copy = clue_pb2.Directory()
    for name in sorted(clusters):
        cluster = copy.clusters.add(name=name, clue_address=clusters[name].clue_address)
        for edge in sorted(clusters[name].edges, key=lambda edge: edge.instance):
            cluster.edges.add(**{field: getattr(edge, field) for field in _LASTING})
    return copy.SerializeToString()

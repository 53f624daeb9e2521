"""Who is there: services register every few seconds and learn of all others, of the other clusters, and of where
channels live. The services are one key on one shard; what clusters share is in clue/shared.py.

Edges of other clusters, which serve channels of this one as guests, register here as well.
"""

from __future__ import annotations

from clue import keys, scripts
from clue.homes import Homes
from clue.redis_shards import Shards
from clue.scripts import Argument
from clue.shared import SharedDirectory
from common.clock import Clock
from common.directory import belongs, own_edges
from common.errors import RemoteError
from common.pb import clue_pb2

TTL_MS = 6_000  # of a service that does not register again
REGISTER_S = 2.0  # how often one does


class DirectoryStore:
    """Each answer is the whole directory; available=False when the services' shard did not answer."""

    def __init__(self, shards: Shards, homes: Homes, shared: SharedDirectory, clock: Clock) -> None:
        self._shards = shards
        self._homes = homes
        self._shared = shared
        self._clock = clock

    async def register(self, registration: clue_pb2.Registration) -> clue_pb2.Directory:
        field = self._field(registration)
        directory = await self._services("register", field, registration.run, registration.SerializeToString())
        return self._with_clusters(directory, registration.homes_version)

    async def leave(self, registration: clue_pb2.Registration) -> clue_pb2.Directory:
        """Forgets the service, unless a later run of it has registered."""
        directory = await self._services("leave", self._field(registration), registration.run)
        return self._with_clusters(directory, registration.homes_version)

    async def read(self) -> clue_pb2.Directory:
        return self._with_clusters(await self.services(), 0)

    async def services(self) -> clue_pb2.Directory:
        """Without the clusters and homes."""
        return await self._services("read")

    async def order(self, edge: str, *, drain: bool, within_s: int) -> clue_pb2.Registration:
        """Give an edge of this cluster an order with its next registration; returns the one that it has now.

        The order is for the edge's present run alone. Raises RemoteError, and ValueError when there is no such edge.
        """
        directory = await self.services()
        if not directory.available:
            raise RemoteError(self._shards.at(keys.ORDERS).name, "drain", "the shard did not answer")
        edges = {service.instance: service for service in own_edges(directory, self._homes.cluster)}
        if edge not in edges:
            there = ", ".join(sorted(edges)) or "none"
            raise ValueError(f"there is no edge {edge!r} in cluster {self._homes.cluster}: there are {there}")
        found = edges[edge]
        stored = f"{found.run} {self._clock.unix_ms()} {int(drain)} {within_s}"
        await self._shards.at(keys.ORDERS).call_one(("HSET", keys.ORDERS, self._field(found), stored))
        return found

    async def _services(self, *action: Argument) -> clue_pb2.Directory:
        try:
            reply = await self._shards.at(keys.DIRECTORY).call_one(scripts.directory(TTL_MS, *action))
        except RemoteError:
            return clue_pb2.Directory(available=False)
        directory = clue_pb2.Directory(available=True)
        order, *found = reply
        if order:
            _, number, drain, within_s = map(int, order.split())
            directory.order.number, directory.order.drain, directory.order.within_s = number, bool(drain), within_s
        for seen, stored in zip(found[::2], found[1::2], strict=True):
            service = clue_pb2.Registration.FromString(stored)
            service.last_seen_ms = int(seen)
            directory.services.append(service)
        directory.services.sort(key=lambda service: (service.service, service.cluster, service.instance))
        return directory

    def _with_clusters(self, directory: clue_pb2.Directory, known_version: int) -> clue_pb2.Directory:
        shared = self._shared
        if not shared.exists:
            return directory
        directory.clusters.extend(cluster for _, cluster in sorted(shared.clusters.items()))
        directory.homes_version = shared.version
        if shared.version != known_version:
            directory.homes.extend(shared.homes())
        directory.default_home = self._homes.default_home
        directory.inbox_home = self._homes.inbox_home
        directory.shared = shared.reached
        return directory

    def _field(self, registration: clue_pb2.Registration) -> str:
        field = f"{registration.service}/{registration.instance}"
        if belongs(registration, self._homes.cluster):
            return field
        return f"{field}@{registration.cluster}"  # a guest: names are unique in a cluster

"""This edge in the directories of all clusters: at home in its own, a guest in the others (ARCHITECTURE 3.9).

As a guest it registers there like any edge of theirs, so that their exchanges dial it. The own cluster's directory says
who the others are and where channels live; what it said is kept while it cannot say more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from common.clock import Clock
from common.directory import own_edges
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2
from common.registrar import Registrar
from edge.clues import Clues
from edge.follower import Follower


class Clusters:
    """`registration` is asked for before each call. `on_directory` gets the own cluster's answers."""

    def __init__(
        self,
        clues: Clues,
        follower: Follower,
        registration: Callable[[], clue_pb2.Registration],
        on_directory: Callable[[clue_pb2.Directory], None],
        *,
        metrics: Metrics,
        log: Log,
        clock: Clock,
    ) -> None:
        self.registered = False  # the own cluster's clue has answered
        self._clues = clues
        self._homes = clues.homes
        self._follower = follower
        self._registration = registration
        self._on_directory = on_directory
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._own = self._registrar(clues.homes.own, self._at_home)
        self._addresses: dict[str, str] = {}  # clue pools of the others
        self._guests: dict[str, tuple[Registrar, asyncio.Task[None]]] = {}
        self._edges: dict[str, Sequence[clue_pb2.Registration]] = {}  # by cluster
        metrics.gauge("guests.clusters", lambda: len(self._guests))

    def edges(self, cluster: str) -> Sequence[clue_pb2.Registration]:
        """Those of a cluster, as last known."""
        return self._edges.get(cluster, ())

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._own.run()
        finally:
            tasks = [task for _, task in self._guests.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def leave(self) -> None:
        """Say goodbye everywhere."""
        await asyncio.gather(self._own.leave(), *(registrar.leave() for registrar, _ in self._guests.values()))

    # -- answers ------------------------------------------------------------------------------------------------

    def _at_home(self, directory: clue_pb2.Directory) -> None:
        self.registered = True
        if directory.available:
            self._follower.directory(self._homes.own, directory)
            self._edges[self._homes.own] = list(own_edges(directory, self._homes.own))
        if directory.available or directory.clusters:
            self._learn_clusters(directory)
            if self._homes.learn(directory):
                self._follower.homes_changed()
        self._on_directory(directory)

    def _learn_clusters(self, directory: clue_pb2.Directory) -> None:
        others = [cluster for cluster in directory.clusters if cluster.name != self._homes.own and cluster.clue_address]
        self._edges.update((cluster.name, cluster.edges) for cluster in others)
        addresses = {cluster.name: cluster.clue_address for cluster in others}
        if not directory.shared:  # who is not named may be there all the same
            addresses = {**self._addresses, **addresses}
        if addresses == self._addresses:
            return
        for cluster in [name for name, address in self._addresses.items() if addresses.get(name) != address]:
            self._guests.pop(cluster)[1].cancel()
            if cluster not in addresses:
                self._follower.forget_cluster(cluster)
                self._edges.pop(cluster, None)
                self._log.info("cluster_gone", of=cluster, cause="the directory names it no more")
        self._addresses = addresses
        self._clues.update(addresses)
        for cluster in addresses.keys() - self._guests.keys():
            registrar = self._registrar(cluster, partial(self._as_guest, cluster))
            task = asyncio.get_running_loop().create_task(registrar.run())
            task.add_done_callback(self._ended)
            self._guests[cluster] = registrar, task
            self._follower.expect_cluster(cluster)
            self._log.info("guest", of=cluster, remote=addresses[cluster])

    def _as_guest(self, cluster: str, directory: clue_pb2.Directory) -> None:
        self._metrics.count("guests.registrations")
        self._follower.directory(cluster, directory)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._metrics.count("bugs")
            self._log.error("guest_failed", operation="Register", cause=repr(error))

    def _registrar(self, cluster: str, on_directory: Callable[[clue_pb2.Directory], None]) -> Registrar:
        service = self._clues.service(cluster)
        return Registrar(service, self._registration, on_directory, self._metrics, self._log, self._clock)

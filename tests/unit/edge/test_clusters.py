"""edge/clusters.py: whose guest this edge is, as the own cluster's directory says it, or fails to say it."""

import asyncio
import contextlib

import pytest

from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2
from common.pb.clue_pb2 import Cluster, Directory, Home, Order, Registration
from edge.clusters import Clusters
from edge.homes import Homes
from tests.support.eventually import eventually


class Clock:
    def monotonic(self):
        return 0.0

    async def sleep(self, seconds):
        await asyncio.sleep(0.002)


class Service:
    """A clue pool; `directory` None: it does not answer."""

    def __init__(self, address):
        self.remote = f"clue@{address}"
        self.directory = Directory(available=True)
        self.registered = []
        self.left = 0

    async def call(self, method, request, *, timeout):
        if self.directory is None:
            raise RemoteError(self.remote, method, "UNAVAILABLE: gone")
        if method == "Leave":
            self.left += 1
        else:
            self.registered.append(request.homes_version)
        return self.directory


class Clues:
    def __init__(self, homes):
        self.homes = homes
        self.pools = {"main": Service("main:1")}
        self.made = []

    def service(self, cluster):
        return self.pools[cluster]

    def update(self, addresses):
        for cluster in [name for name in self.pools if name != "main" and name not in addresses]:
            del self.pools[cluster]
        for cluster, address in addresses.items():
            if cluster not in self.pools or self.pools[cluster].remote != f"clue@{address}":
                self.pools[cluster] = Service(address)
                self.made.append(address)


class Follower:
    def __init__(self):
        self.directories, self.forgotten, self.rehomed = {}, [], 0
        self.expected = set()

    def directory(self, cluster, directory):
        self.directories[cluster] = directory

    def expect_cluster(self, cluster):
        self.expected.add(cluster)

    def forget_cluster(self, cluster):
        self.forgotten.append(cluster)

    def homes_changed(self):
        self.rehomed += 1


class World:
    def __init__(self):
        self.homes, self.follower, self.metrics = Homes("main"), Follower(), Metrics()
        self.clues = Clues(self.homes)
        self.orders = []
        self.clusters = Clusters(
            self.clues, self.follower, lambda: Registration(homes_version=self.homes.version),
            lambda directory: self.orders.append(directory.order.number),
            metrics=self.metrics, log=Log(), clock=Clock(),
        )  # fmt: skip

    @property
    def main(self):
        return self.clues.pools["main"]

    async def says(self, directory):
        """The own clue from now on; returns once that was taken in."""
        self.main.directory = directory
        seen = len(self.orders)
        await eventually(lambda: len(self.orders) >= seen + 2)

    @property
    def guests(self):
        return set(self.clusters._guests)


@pytest.fixture
async def world():
    made = World()
    task = asyncio.create_task(made.clusters.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def shared(*others, **fields):
    """A directory that names main and these: (name, address)."""
    clusters = [Cluster(name="main", clue_address="main:1"), *(Cluster(name=n, clue_address=a) for n, a in others)]
    return Directory(**{"available": True, "shared": True, "clusters": clusters, **fields})


EVENT, GROUP = ("event", "event:1"), ("group", "group:1")


async def test_a_cluster_alone_has_no_guests(world):
    """It registers at home, and nowhere else."""
    await world.says(Directory(available=True))
    assert world.clusters.registered
    assert world.guests == set()
    assert world.follower.rehomed == 0


async def test_an_edge_is_a_guest_of_all_others(world):
    """It registers with each, and hears which exchanges of theirs should deliver to it."""
    await world.says(shared(EVENT, GROUP))
    event, group = world.clues.pools["event"], world.clues.pools["group"]
    await eventually(lambda: event.registered and group.registered)
    await eventually(lambda: set(world.follower.directories) == {"main", "event", "group"})
    assert world.metrics.counters["guests.registrations"] >= 2
    assert world.follower.expected == {"event", "group"}


async def test_only_the_directory_itself_takes_a_cluster_away(world):
    """A clue that cannot reach it may have forgotten some."""
    await world.says(shared(EVENT, GROUP))
    await world.says(shared(EVENT, shared=False))
    assert world.guests == {"event", "group"}
    await world.says(Directory(available=False))
    assert world.guests == {"event", "group"}
    await world.says(shared(EVENT))
    assert world.guests == {"event"}
    assert world.follower.forgotten == ["group"]


async def test_a_new_address_is_registered_with(world):
    """The cluster stays, its clue pool moved."""
    await world.says(shared(EVENT))
    await world.says(shared(("event", "event:2")))
    await eventually(lambda: world.clues.pools["event"].registered)
    assert world.clues.made == ["event:1", "event:2"]
    assert world.follower.forgotten == []


async def test_homes_are_taken_from_the_own_cluster(world):
    """Those of another's directory are not looked at, and its version is told with the next registration."""
    await world.says(shared(EVENT, homes_version=7, homes=[Home(channel="#a", cluster="event", move="m")]))
    event = world.clues.pools["event"]
    event.directory = Directory(available=True, homes_version=9, default_home="event")
    await eventually(lambda: len(event.registered) > 3)
    assert (world.homes.of("#a"), world.homes.of("#b"), world.homes.version) == ("event", "main", 7)
    assert world.main.registered[-1] == 7
    assert world.follower.rehomed == 1


async def test_a_clue_that_knows_nothing_changes_nothing(world):
    """Its shard did not answer: homes, edges and expected exchanges stay."""
    edge = Registration(service="edge", instance="edge-1", cluster="main")
    guest = Registration(service="edge", instance="edge-1", cluster="event")
    await world.says(shared(EVENT, services=[edge, guest], default_home="event"))
    await world.says(Directory(available=False))
    assert world.homes.of("#a") == "event"
    assert list(world.clusters.edges("main")) == [edge]
    assert world.follower.directories["main"].available


async def test_edges_of_other_clusters_are_known(world):
    """As the directory says; of a cluster that it does not name: none."""
    edge = Registration(service="edge", instance="event-edge-1", irc_address="h:1")
    await world.says(shared(clusters=[Cluster(name="event", clue_address="event:1", edges=[edge])]))
    assert list(world.clusters.edges("event")) == [edge]
    assert list(world.clusters.edges("group")) == []


async def test_goodbye_is_said_everywhere(world):
    """Also where nobody answers any more: that is no error."""
    await world.says(shared(EVENT, GROUP, order=Order(number=3)))
    assert world.orders[-1] == 3
    world.clues.pools["group"].directory = None
    await world.clusters.leave()
    assert (world.main.left, world.clues.pools["event"].left) == (1, 1)


async def test_a_dead_cluster_costs_one_line(world, caplog):
    """However long it is dead; the own one goes on."""
    await world.says(shared(EVENT))
    world.clues.pools["event"].directory = None
    await eventually(lambda: world.metrics.counters["directory_failures"] > 5)
    lines = [record for record in caplog.records if record.getMessage() == "directory_unavailable"]
    assert len(lines) == 1
    await world.says(shared(EVENT))


async def test_a_bug_in_a_guest_is_counted(world, monkeypatch):
    """And does not end the edge."""

    def broken(cluster, directory):
        if cluster == "event":
            raise ValueError("a bug")

    monkeypatch.setattr(world.follower, "directory", broken)
    await world.says(shared(EVENT))
    await eventually(lambda: world.metrics.counters["bugs"] == 1)
    await world.says(clue_pb2.Directory(available=True))

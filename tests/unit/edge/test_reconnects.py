"""edge/reconnects.py and edge/drain.py: who is asked to go, when, and in which spread."""

import asyncio
from types import SimpleNamespace

import pytest

from common.log import Log
from common.metrics import Metrics
from common.pb.chat_pb2 import Moved
from common.pb.clue_pb2 import Order, Registration
from edge.drain import HEARD_S, Drain
from edge.reconnects import Followers, spread
from edge.render import Capability
from tests.support.eventually import eventually


class Clock:
    """Sleeping is what makes time pass."""

    def __init__(self):
        self.now = 100.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.free = 0  # sleeps that end although the gate is shut

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)
        if self.free:
            self.free -= 1
            return
        await self.gate.wait()


class Member:
    def __init__(self, clock, number, *channels, capabilities=Capability.COMMANDS):
        self.session = SimpleNamespace(number=number, channels=set(channels), capabilities=capabilities)
        self.closed = False
        self.asked, self.stopped = [], []
        self._clock = clock

    def ask_to_reconnect(self):
        self.asked.append(round(self._clock.now, 6))

    def stop(self):
        self.stopped.append(round(self._clock.now, 6))
        self.closed = True


@pytest.fixture
def clock():
    return Clock()


def house(*members):
    """A hub with these, all of them in the channels that they say."""
    channels = {name: object() for member in members for name in member.session.channels}
    return SimpleNamespace(sessions={member.session.number: member for member in members}, channels=channels)


# -- spread ---------------------------------------------------------------------------------------------------------


async def test_asking_is_spread_evenly(clock):
    """The first at once, the others at even distances, all within the time."""
    members = [Member(clock, number) for number in range(4)]
    await spread(members, 8.0, Member.ask_to_reconnect, clock)
    assert [member.asked for member in members] == [[100.0], [102.0], [104.0], [106.0]]


async def test_who_has_gone_is_not_asked(clock):
    """And nobody is asked in its place."""
    members = [Member(clock, number) for number in range(3)]
    members[1].closed = True
    await spread(members, 3.0, Member.ask_to_reconnect, clock)
    assert [member.asked for member in members] == [[100.0], [], [102.0]]


async def test_nobody_is_nothing(clock):
    """An empty edge."""
    await spread([], 30.0, Member.ask_to_reconnect, clock)
    assert clock.now == 100.0


# -- after a move ---------------------------------------------------------------------------------------------------


async def redirected(clock, moved, own="main"):
    """Who of five was asked."""
    members = {
        "free": Member(clock, 1, "#a"),
        "busy": Member(clock, 2, "#a", "#b"),
        "plain": Member(clock, 3, "#a", capabilities=Capability.TAGS),
        "outside": Member(clock, 4, "#b"),
        "gone": Member(clock, 5, "#a"),
    }
    members["gone"].closed = True
    metrics = Metrics()
    followers = Followers(house(*members.values()), own, metrics, clock)
    followers.moved("#a", moved)
    await eventually(lambda: not followers._tasks)
    assert metrics.counters["moves.told"] == 1
    assert metrics.counters["moves.reconnects"] == sum(len(member.asked) for member in members.values())
    return {name for name, member in members.items() if member.asked}


@pytest.mark.parametrize(
    ("redirect", "asked"),
    [("none", set()), ("", set()), ("clients", {"free"}), ("all", {"free", "busy"})],
)
async def test_the_move_says_who_is_asked(clock, redirect, asked):
    """Only who knows RECONNECT; with "clients" only who has no other channel here."""
    assert await redirected(clock, Moved(cluster="event", redirect=redirect, within_s=2)) == asked


async def test_nobody_leaves_the_new_home(clock):
    """This edge belongs to it."""
    assert await redirected(clock, Moved(cluster="event", redirect="all", within_s=2), own="event") == set()


async def test_who_has_parted_meanwhile_is_left_alone(clock):
    """Its turn comes after it has left the channel."""
    members = [Member(clock, number, "#a") for number in range(2)]
    followers = Followers(house(*members), "main", Metrics(), clock)
    clock.gate.clear()
    followers.moved("#a", Moved(cluster="event", redirect="all", within_s=10))
    await eventually(lambda: any(member.asked for member in members))
    waiting = next(member for member in members if not member.asked)
    waiting.session.channels.clear()
    clock.gate.set()
    await eventually(lambda: not followers._tasks)
    assert waiting.asked == []


# -- emptying -------------------------------------------------------------------------------------------------------


@pytest.fixture
def edge(clock):
    members = [Member(clock, number) for number in range(10)]
    edge = SimpleNamespace(members=members, hub=house(*members), said=Registration(), metrics=Metrics())
    edge.door = SimpleNamespace(closed=False, leaving=False)
    edge.drain = Drain(edge.door, edge.hub, edge.said, metrics=edge.metrics, log=Log(), clock=clock)
    return edge


async def test_an_order_empties_the_edge(edge):
    """Everybody is asked within four fifths of the time; who is still there is closed in turn in the rest of it."""
    edge.members[0].closed = True
    edge.drain.obey(Order(number=1, drain=True, within_s=100))
    await eventually(lambda: all(member.stopped for member in edge.members[1:]))
    assert edge.door.closed
    assert edge.said.draining
    asked = sorted(member.asked[0] for member in edge.members[1:])
    stopped = [member.stopped[0] for member in edge.members[1:]]
    assert asked[0] >= 100.0 + HEARD_S
    assert asked[-1] <= 180.0 + HEARD_S
    assert min(stopped) >= 180.0 + HEARD_S
    assert max(stopped) <= 200.0 + HEARD_S
    assert all(member.stopped[0] - member.asked[0] >= 19.0 for member in edge.members[1:])
    assert (edge.metrics.counters["drain.asked"], edge.metrics.counters["drain.closed"]) == (9, 9)


async def test_users_are_let_in_until_haproxy_has_heard_of_it(edge, clock):
    """It asks once a second; whoever it sends before would be refused."""
    clock.gate.clear()
    edge.drain.obey(Order(number=1, drain=True, within_s=10))
    await eventually(lambda: edge.door.leaving)
    for _ in range(50):
        await asyncio.sleep(0)
    assert edge.said.draining
    assert not edge.door.closed
    assert not any(member.asked for member in edge.members)
    clock.gate.set()
    await eventually(lambda: edge.door.closed)
    edge.drain.obey(Order(number=2))
    assert not edge.door.leaving


async def test_an_order_is_carried_out_once(edge):
    """The directory repeats it with each answer; a later one counts."""
    for _ in range(3):
        edge.drain.obey(Order(number=1, drain=True, within_s=10))
    await eventually(lambda: all(member.stopped for member in edge.members))
    assert edge.metrics.counters["drain.orders"] == 1
    edge.drain.obey(Order(number=2))
    assert not edge.door.closed
    assert not edge.said.draining
    edge.drain.obey(Order(number=1, drain=True, within_s=10))
    assert not edge.door.closed


async def test_no_order_is_no_order(edge):
    """What a directory without one says."""
    edge.drain.obey(Order())
    assert not edge.door.closed


async def test_an_edge_that_is_called_back_keeps_who_is_there(edge, clock):
    """Those who were not asked yet are not, and nobody is closed."""
    clock.gate.clear()
    clock.free = 1  # HAProxy has heard of it
    edge.drain.obey(Order(number=1, drain=True, within_s=10))
    await eventually(lambda: any(member.asked for member in edge.members))
    edge.drain.obey(Order(number=2))
    clock.gate.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert sum(bool(member.asked) for member in edge.members) == 1
    assert not any(member.stopped for member in edge.members)

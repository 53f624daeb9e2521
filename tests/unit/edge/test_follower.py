"""The follower with links and a log in memory: openings, holes, repairs and their races."""

import asyncio
import collections

import pytest

from common.clock import SystemClock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2
from edge.follower import Bounds, Follower
from edge.homes import Homes
from tests.support.eventually import eventually


class Link:
    def __init__(self, instance="exchange-1", run=1, cluster="main"):
        self.instance, self.run, self.remote = instance, run, f"{instance}@x"
        self.cluster, self.name = cluster, instance
        self.last_heard = SystemClock().monotonic() + 3600.0
        self.up = True


class Links:
    """Confirms at once, or when `confirm` is called."""

    def __init__(self):
        self.links = [Link()]
        self.confirming = True
        self.waiting = []
        self.wanted = set()
        self.homes = {}  # as they were announced

    def attach(self, listener):
        self.listener = listener

    def live(self):
        return self.links

    def announce(self, channels, home):
        self.wanted.update(channels)
        self.homes.update(dict.fromkeys(channels, home))
        future = asyncio.get_running_loop().create_future()
        if self.confirming:
            future.set_result(None)
        else:
            self.waiting.append(future)
        return future

    def confirm(self):
        while self.waiting:
            self.waiting.pop().set_result(None)

    def withdraw(self, channels):
        self.wanted.difference_update(channels)


class Clue:
    """A log in memory. `gate` holds replays back; `failing` makes them fail."""

    def __init__(self):
        self.log = {}
        self.failing = False
        self.known = True
        self.gate = asyncio.Event()
        self.gate.set()
        self.replays = []
        self.compared = 0
        self.asked = []  # for heads
        self.hanging = set()  # channels whose heads do not come

    def commit(self, channel, n=1):
        log = self.log.setdefault(channel, [])
        for _ in range(n):
            seq = log[-1].seq + 1 if log else 1
            raw = chat_pb2.Publication(id=str(seq)).SerializeToString()
            log.append(chat_pb2.Entry(seq=seq, prev=seq - 1, publication=raw))
        return log[-n:]

    async def replay(self, channel, after_seq, limit=0):
        self.replays.append((channel, after_seq))
        rest = [entry for entry in self.log.get(channel, []) if entry.seq > after_seq]
        await self.gate.wait()
        if self.failing:
            raise RemoteError("clue@x", "Replay", "UNAVAILABLE: gone")
        return clue_pb2.ReplayReply(
            entries=chat_pb2.Entries(entry=rest[:limit]).SerializeToString(), more=len(rest) > limit, available=True
        )

    async def heads(self, channels):
        self.compared += 1
        self.asked.append(sorted(channels))
        while not self.hanging.isdisjoint(channels):
            await asyncio.sleep(0.01)
        return {
            name: (self.log[name][-1].seq if self.log.get(name) else 0) if self.known else None for name in channels
        }


class World:
    def __init__(self, **bounds):
        self.links, self.clue, self.metrics = Links(), Clue(), Metrics()
        self.out = []
        self.homes = Homes("main")
        quick = {"tick": 0.02, "overtake": 0.02, "retry_first": 0.01, "retry_max": 0.02, "poll": 0.05, "confirm": 0.1}
        self.follower = Follower(
            self.links,
            self.clue,
            self.homes,
            lambda channel, entries: self.out.extend((channel, seq) for seq, _ in entries),
            metrics=self.metrics,
            log=Log(),
            clock=SystemClock(),
            bounds=Bounds(**{**quick, **bounds}),
        )
        self._run = None

    async def __aenter__(self):
        self._run = asyncio.create_task(self.follower.run())
        return self

    async def __aexit__(self, *_):
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)

    def deliver(self, channel, entries):
        raw = chat_pb2.Entries(entry=entries).SerializeToString()
        self.links.listener.on_delivery(
            self.links.links[0] if self.links.links else Link(), [chat_pb2.ChannelEntries(channel=channel, entries=raw)]
        )

    def seqs(self, channel):
        return [seq for name, seq in self.out if name == channel]

    def count(self, name):
        return self.metrics.counters[name]


@pytest.fixture
async def world():
    async with World() as made:
        yield made


async def test_what_is_delivered_between_open_and_begin_comes_after_begin(world):
    """Entries above the head come out at begin; those the joiner's facts already hold do not."""
    world.clue.commit("#a", 2)
    await world.follower.open("#a")
    world.deliver("#a", world.clue.log["#a"][1:])
    world.deliver("#a", world.clue.commit("#a"))
    assert world.out == []
    world.follower.begin("#a", 2)
    assert world.out == [("#a", 3)]


async def test_later_begins_change_nothing(world):
    """The second member's older or newer head neither repeats nor skips for the first."""
    await world.follower.open("#a")
    world.follower.begin("#a", 0)
    first, second = world.clue.commit("#a", 2)
    world.follower.begin("#a", 2)
    world.deliver("#a", [first])
    world.follower.begin("#a", 0)
    world.deliver("#a", [second])
    assert world.seqs("#a") == [1, 2]


async def test_concurrent_openers_share_one_announcement(world):
    """Both wait for the same confirmation, and nobody counts as following before it."""
    world.links.confirming = False
    one = asyncio.create_task(world.follower.open("#a"))
    two = asyncio.create_task(world.follower.open("#a"))
    await eventually(lambda: world.links.waiting)
    assert len(world.links.waiting) == 1
    assert not world.follower.is_following("#a")
    world.links.confirm()
    await asyncio.wait_for(asyncio.gather(one, two), 5)
    assert world.follower.is_following("#a")
    assert world.count("follower.unconfirmed") == 0


async def test_a_late_confirmation_is_followed_by_a_comparison(world):
    """open goes on without it; when it comes, what was published before is found in the log."""
    world.links.confirming = False
    await world.follower.open("#a")
    assert world.count("follower.unconfirmed") == 1
    world.follower.begin("#a", 0)
    world.clue.commit("#a")
    assert world.out == []
    world.links.confirm()
    await eventually(lambda: world.seqs("#a") == [1])


async def test_a_hole_is_filled_from_the_log_page_by_page():
    """A lost stretch longer than a page comes in order, each entry once."""
    async with World(page=3) as world:
        await world.follower.open("#a")
        world.follower.begin("#a", 0)
        world.clue.commit("#a", 10)
        world.deliver("#a", world.clue.commit("#a"))
        await eventually(lambda: len(world.out) >= 11)
        assert world.seqs("#a") == list(range(1, 12))
        assert world.count("follower.holes") == 1
        assert world.count("follower.losses") == 0


async def test_an_overtaken_entry_needs_no_replay():
    """When the missing entry comes within the moment, the log is not asked."""
    async with World(overtake=3600.0) as world:
        await world.follower.open("#a")
        world.follower.begin("#a", 0)
        first, second = world.clue.commit("#a", 2)
        world.deliver("#a", [second])
        assert world.out == []
        world.deliver("#a", [first])
        assert world.seqs("#a") == [1, 2]
        assert world.clue.replays == []


async def test_one_replay_at_a_time_and_deliveries_meanwhile(world):
    """Deliveries during a replay are neither lost nor repeated, and start no second one."""
    await world.follower.open("#a")
    world.follower.begin("#a", 0)
    world.clue.gate.clear()
    world.clue.commit("#a", 3)
    world.deliver("#a", world.clue.commit("#a"))
    await eventually(lambda: world.clue.replays)
    world.deliver("#a", world.clue.log["#a"][:2])
    world.deliver("#a", world.clue.commit("#a"))
    assert len(world.clue.replays) == 1
    world.clue.gate.set()
    await eventually(lambda: len(world.out) >= 5)
    assert world.seqs("#a") == [1, 2, 3, 4, 5]


async def test_a_replay_is_tried_until_the_log_answers(world):
    """Failures are counted and retried; nothing is skipped."""
    await world.follower.open("#a")
    world.follower.begin("#a", 0)
    world.clue.failing = True
    world.clue.commit("#a")
    world.deliver("#a", world.clue.commit("#a"))
    await eventually(lambda: world.count("follower.replay_failures") >= 3)
    assert world.out == []
    world.clue.failing = False
    await eventually(lambda: world.seqs("#a") == [1, 2])


async def test_a_replay_for_a_channel_that_was_left_and_reopened_is_ignored():
    """Its answer belongs to the former following: it brings nothing into the new one."""
    async with World(linger=0.0) as world:
        await world.follower.open("#a")
        world.follower.begin("#a", 0)
        world.clue.gate.clear()
        world.clue.commit("#a", 3)
        world.deliver("#a", world.clue.log["#a"][2:])
        await eventually(lambda: world.clue.replays)
        world.follower.release("#a")
        await eventually(lambda: not world.follower.is_following("#a"))
        assert "#a" not in world.links.wanted
        await world.follower.open("#a")
        world.follower.begin("#a", 3)
        world.clue.gate.set()
        await eventually(lambda: world.metrics.snapshot()["follower.repairs"] == 0)
        world.deliver("#a", world.clue.commit("#a"))
        assert world.seqs("#a") == [4]


async def test_a_returning_member_takes_the_release_back():
    """open and begin each cancel the lingering end of interest."""
    async with World(linger=0.1) as world:
        await world.follower.open("#a")
        world.follower.begin("#a", 0)
        await world.follower.open("#b")
        world.follower.begin("#b", 0)
        await world.follower.open("#gone")
        for channel in ("#a", "#b", "#gone"):
            world.follower.release(channel)
        await world.follower.open("#a")
        world.follower.begin("#b", 0)
        await eventually(lambda: "#gone" not in world.links.wanted)
        assert world.links.wanted == {"#a", "#b"}


async def test_a_begin_after_interest_lapsed_announces_it_again():
    """A very late admission still makes a followed channel: what was published meanwhile is fetched."""
    async with World(linger=0.0) as world:
        await world.follower.open("#a")
        world.follower.release("#a")
        await eventually(lambda: "#a" not in world.links.wanted)
        world.clue.commit("#a", 2)
        world.follower.begin("#a", 1)
        assert "#a" in world.links.wanted
        await eventually(lambda: world.seqs("#a") == [2])


async def test_deliveries_for_a_channel_that_is_not_followed_are_counted(world):
    """They are late ones after a withdrawal."""
    world.deliver("#x", world.clue.commit("#x"))
    assert world.count("follower.strays") == 1
    assert world.out == []


@pytest.mark.parametrize("event", ["on_up", "on_down", "on_dropped"])
async def test_heads_are_compared_when_a_link_comes_goes_or_dropped(world, event):
    """What no hole shows is found."""
    await world.follower.open("#a")
    world.follower.begin("#a", 0)
    world.clue.commit("#a")
    more = (3,) if event == "on_dropped" else ()
    getattr(world.links.listener, event)(world.links.links[0], *more)
    await eventually(lambda: world.seqs("#a") == [1])


async def test_heads_are_compared_now_and_then():
    """For hygiene, when all is well."""
    async with World(hygiene=0.05) as world:
        await world.follower.open("#a")
        world.follower.begin("#a", 0)
        world.clue.commit("#a")
        await eventually(lambda: world.seqs("#a") == [1])


async def test_comparisons_for_hygiene_are_spread_over_its_time():
    """All channels have their turn, again and again, some at a time; those followed no more have none."""
    async with World(hygiene=0.4, heads=4) as world:
        names = [f"@{number}" for number in range(60)]
        await world.follower.open_all([*names, "#gone"])
        world.follower._channels.pop("#gone")
        await eventually(lambda: {name for batch in world.clue.asked for name in batch} == set(names))
        first = len(world.clue.asked)
        assert max(map(len, world.clue.asked)) <= 4
        await eventually(lambda: len(world.clue.asked) >= 3 * first)
        times = collections.Counter(name for batch in world.clue.asked for name in batch)
        assert set(times) == set(names)
        assert max(times.values()) - min(times.values()) <= 1


async def test_unknown_heads_are_asked_for_again(world):
    """A shard that did not answer leaves the comparison due."""
    await world.follower.open("#a")
    world.follower.begin("#a", 0)
    world.clue.known = False
    world.clue.commit("#a")
    world.links.listener.on_up(world.links.links[0])
    await eventually(lambda: world.count("follower.heads_unknown") >= 2)
    world.clue.known = True
    await eventually(lambda: world.seqs("#a") == [1])


async def test_a_lower_head_is_ignored(world):
    """A log that lost its newest entries goes on higher; the edge goes on with it."""
    await world.follower.open("#a")
    world.follower.begin("#a", 7)
    world.clue.commit("#a", 3)
    world.links.listener.on_up(world.links.links[0])
    await eventually(lambda: world.count("follower.heads_lower") == 1)
    assert world.out == []
    assert world.clue.replays == []


@pytest.mark.parametrize(
    ("links", "missing"),
    [([], ["every exchange"]), ([Link("exchange-2", 2)], ["exchange-1"]), ([Link("exchange-1", 9)], ["exchange-1"])],
)
async def test_a_missing_exchange_makes_the_edge_poll(world, links, missing):
    """No link at all, none to an exchange of the directory, or only to its former self: degraded, and polling."""
    if missing != ["every exchange"]:
        exchanges = [
            clue_pb2.Registration(service="exchange", instance="exchange-1", run=1),
            clue_pb2.Registration(service="exchange", instance="exchange-9", run=9, draining=True),
            clue_pb2.Registration(service="edge", instance="edge-1", run=4),
        ]
        world.follower.directory("main", clue_pb2.Directory(services=exchanges, available=True))
    await world.follower.open("#a")
    world.follower.begin("#a", 0)
    world.links.links = links
    await eventually(lambda: world.follower.snapshot()["missing"] == missing)
    world.clue.commit("#a")
    await eventually(lambda: world.seqs("#a") == [1])
    world.clue.commit("#a")
    await eventually(lambda: world.seqs("#a") == [1, 2])
    world.links.links = [Link()]
    await eventually(lambda: not world.follower.snapshot()["missing"])


async def test_a_silent_exchange_is_missing(world):
    """A link that is up but brings not even heartbeats does not count."""
    world.links.links[0].last_heard = 0.0
    await eventually(lambda: world.count("links.silent") == 1)
    assert world.follower.snapshot()["missing"] == ["every exchange"]


async def test_an_unreadable_directory_changes_nothing(world):
    """What was known stays expected."""
    listed = [clue_pb2.Registration(service="exchange", instance="exchange-5", run=1)]
    world.follower.directory("main", clue_pb2.Directory(services=listed, available=True))
    world.follower.directory("main", clue_pb2.Directory(available=False))
    await eventually(lambda: world.follower.snapshot()["missing"] == ["exchange-5"])


async def test_undecodable_bytes_cost_nobody_else(world):
    """Entries that are no protobuf are counted, and the channel is repaired from the log."""
    await world.follower.open("#a")
    world.follower.begin("#a", 0)
    world.clue.commit("#a")
    broken = chat_pb2.ChannelEntries(channel="#a", entries=b"\xff\xff\xff")
    world.links.listener.on_delivery(world.links.links[0], [broken])
    assert world.count("follower.undecodable") == 1
    await eventually(lambda: world.seqs("#a") == [1])


async def test_a_log_that_lost_its_end_is_counted_and_logged(world, caplog):
    """A shard that goes on without its newest entries: the log line says from where to where others may miss lines."""
    await world.follower.open("#a")
    world.follower.begin("#a", 0)
    world.deliver("#a", world.clue.commit("#a", 3))
    world.deliver("#a", [chat_pb2.Entry(seq=9_000, prev=1, publication=b"")])
    assert world.seqs("#a") == [1, 2, 3, 9_000]
    assert world.count("follower.jumps") == 1
    told = next(record for record in caplog.records if record.getMessage() == "log_jumped")
    assert [told.fields[name] for name in ("channel", "after", "seen", "to")] == ["#a", 1, 3, 9_000]


async def test_what_left_the_log_is_counted_and_logged(world, caplog):
    """Readers may miss lines; the log line names the channel and the gap."""
    await world.follower.open("#a")
    world.follower.begin("#a", 0)
    world.clue.commit("#a", 5)
    del world.clue.log["#a"][:3]
    world.deliver("#a", world.clue.commit("#a"))
    await eventually(lambda: world.seqs("#a") == [4, 5, 6])
    assert world.count("follower.losses") == 1
    lost = next(record for record in caplog.records if record.getMessage() == "entries_lost")
    assert (lost.fields["channel"], lost.fields["after"], lost.fields["before"]) == ("#a", 0, 4)


# -- several clusters -----------------------------------------------------------------------------------------------


def listed(*instances):
    services = [clue_pb2.Registration(service="exchange", instance=name, run=1) for name in instances]
    return clue_pb2.Directory(services=services, available=True)


def lives(world, channel, cluster, move="1700000000001-aaaaaaaa"):
    world.homes.correct(channel, clue_pb2.Elsewhere(cluster=cluster, move=move))


async def test_opening_waits_for_the_home_alone(world):
    """Each channel's interest is announced for its home; what is opened together waits for all of theirs."""
    lives(world, "#b", "event")
    await world.follower.open_all(["#a", "#b", "@c"])
    assert world.links.homes == {"#a": "main", "#b": "event", "@c": "main"}


async def test_a_channel_that_moves_is_compared_with_its_new_log(world):
    """What was published there before the links of the new home had confirmed is found in the log."""
    await world.follower.open("#a")
    world.follower.begin("#a", 0)
    world.links.confirming = False
    world.clue.commit("#a")
    lives(world, "#a", "event")
    world.follower.moved("#a")
    assert world.links.homes["#a"] == "event"
    await eventually(lambda: world.seqs("#a") == [1])
    world.clue.commit("#a")
    world.links.confirm()
    await eventually(lambda: world.seqs("#a") == [1, 2])
    assert world.count("follower.rehomed") == 1


async def test_a_move_of_a_channel_that_nobody_follows_is_nothing(world):
    """And one that is no news."""
    lives(world, "#a", "event")
    world.follower.moved("#a")
    await world.follower.open("#b")
    world.follower.homes_changed()
    assert world.count("follower.rehomed") == 0


async def test_only_channels_of_a_degraded_cluster_are_polled(world):
    """The exchange of event is missing: its channel's log is read, that of main is not."""
    world.follower.directory("main", listed("exchange-1"))
    lives(world, "#b", "event")
    for name in ("#a", "#b"):
        await world.follower.open(name)
        world.follower.begin(name, 0)
    world.follower.directory("event", listed("exchange-1"))
    await eventually(lambda: world.follower.missing == ("event-exchange-1",))
    world.clue.asked.clear()
    world.clue.commit("#b")
    await eventually(lambda: world.seqs("#b") == [1])
    world.clue.commit("#b")
    await eventually(lambda: world.seqs("#b") == [1, 2])
    assert {name for names in world.clue.asked for name in names} == {"#b"}
    world.links.links.append(Link("exchange-1", 1, "event"))
    await eventually(lambda: not world.follower.missing)


async def test_links_of_a_cluster_concern_its_channels(world):
    """One that comes up, goes down or drops: only what lives there is compared."""
    lives(world, "#b", "event")
    for name in ("#a", "#b"):
        await world.follower.open(name)
        world.follower.begin(name, 0)
    event = Link("exchange-1", 1, "event")
    listener = world.links.listener
    for happens in (listener.on_up, lambda link: listener.on_dropped(link, 3), listener.on_down):
        compared = world.clue.compared
        happens(event)
        await eventually(lambda compared=compared: world.clue.compared > compared)
    assert {name for names in world.clue.asked for name in names} == {"#b"}


async def test_a_clue_that_hangs_holds_up_its_own_channels_alone(world):
    """Heads of event do not come: those of main are compared and repaired meanwhile."""
    lives(world, "#b", "event")
    for name in ("#a", "#b"):
        await world.follower.open(name)
        world.follower.begin(name, 0)
    world.clue.hanging.add("#b")
    world.links.listener.on_up(Link("exchange-1", 1, "event"))
    await eventually(lambda: ["#b"] in world.clue.asked)
    world.clue.commit("#a")
    world.links.listener.on_up(Link())
    await eventually(lambda: world.seqs("#a") == [1])


async def test_a_cluster_that_never_linked_is_polled(world):
    """This edge has just started, or that cluster is down: its channels are read from their logs."""
    lives(world, "#b", "event")
    await world.follower.open("#b")
    world.follower.begin("#b", 0)
    world.follower.expect_cluster("event")
    await eventually(lambda: world.follower.missing == ("every exchange of event",))
    world.clue.commit("#b")
    await eventually(lambda: world.seqs("#b") == [1])


async def test_a_cluster_that_has_left_is_not_missed(world):
    """It is in the directory no more."""
    world.follower.directory("event", listed("exchange-1"))
    await eventually(lambda: world.follower.missing)
    world.follower.forget_cluster("event")
    assert world.follower.missing == ()

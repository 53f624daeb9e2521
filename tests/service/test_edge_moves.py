"""The edge's calls to the clues of several clusters, over real gRPC: where they go, and what a move does to them."""

import asyncio
import contextlib
import time

import pytest

from common import rpc
from common.clock import SystemClock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2, clue_pb2_grpc
from common.pb.clue_pb2 import Elsewhere, Verdict
from common.sharding import lane
from edge import clues
from edge.clue_client import ClueClient
from edge.homes import Homes
from tests.support.eventually import eventually

RUN = 99
MOVE, LATER = "1700000000001-aaaaaaaa", "1700000000002-aaaaaaaa"


class Clue(clue_pb2_grpc.ClueServicer):
    """One cluster's: `elsewhere` says of channels that they live elsewhere, `texts` has what it accepted."""

    def __init__(self, name):
        self.name = name
        self.elsewhere = {}
        self.prepared = {}  # channel to move: here once that is settled
        self.settles, self.submits, self.texts, self.reports, self.joins = [], [], [], [], []
        self.gate, self.committed = asyncio.Event(), asyncio.Event()  # set: submits are decided, and answered, at once
        self.gate.set()
        self.committed.set()
        self.outcome = Verdict.ALLOWED
        self.lost = 0  # so many submits are committed, and not answered
        self.server = rpc.server()
        clue_pb2_grpc.add_ClueServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def of(self, channel):
        return self.elsewhere.get(channel)

    async def Settle(self, request, context):
        self.settles.append((request.channel, request.move))
        if self.prepared.get(request.channel) == request.move:
            self.elsewhere.pop(request.channel, None)
        return clue_pb2.SettleReply(available=True, elsewhere=self.of(request.channel))

    async def Submit(self, request, context):
        self.submits.append(request)
        await self.gate.wait()
        verdicts = []
        for group in request.channels:
            for submission in group.submissions:
                away = self.of(group.channel)
                if away:
                    verdicts.append(Verdict(outcome=Verdict.MOVED, elsewhere=away))
                    continue
                if self.outcome == Verdict.ALLOWED:
                    self.texts.append((group.channel, submission.text))
                verdicts.append(Verdict(outcome=self.outcome))
        await self.committed.wait()
        if self.lost:
            self.lost -= 1
            raise ConnectionError("committed, and not answered")
        return clue_pb2.SubmitReply(verdicts=verdicts)

    async def Authenticate(self, request, context):
        user = {"login": f"of_{self.name}"}
        return clue_pb2.AuthenticateReply(
            results=[clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.ACCEPTED, user=user) for _ in request.logins]
        )

    async def Join(self, request, context):
        reply = clue_pb2.JoinReply()
        for query in request.joins:
            self.joins.append(query.channel)
            away = self.of(query.channel)
            outcome = clue_pb2.JoinResult.MOVED if away else clue_pb2.JoinResult.ADMITTED
            reply.results.add(outcome=outcome, elsewhere=away, head=7, room={"room_id": 5})
        return reply

    async def Replay(self, request, context):
        away = self.of(request.channel)
        entries = b"" if away else self.name.encode()
        return clue_pb2.ReplayReply(available=True, entries=entries, elsewhere=away)

    async def Heads(self, request, context):
        heads = [
            clue_pb2.Head(channel=name, available=not self.of(name), seq=len(self.name), elsewhere=self.of(name))
            for name in request.channels
        ]
        return clue_pb2.HeadsReply(heads=heads)

    async def Presence(self, request, context):
        self.reports.append(request)
        reply = clue_pb2.PresenceReply()
        for name in request.wanted:
            away = self.of(name)
            reply.chatters.add(channel=name, available=not away, count=0 if away else len(self.name), elsewhere=away)
        return reply


class World:
    def __init__(self, clues, homes, client, metrics):
        self.clues, self.homes, self.client, self.metrics = clues, homes, client, metrics
        self.main, self.event = clues["main"], clues["event"]
        self.moved = []
        client.clues.on_moved = self.moved.append

    def move(self, channel, source, target, move=MOVE):
        """As a finished move leaves the two homes, but for the directory."""
        self.clues[target].elsewhere.pop(channel, None)
        self.clues[source].elsewhere[channel] = Elsewhere(cluster=target, move=move)

    def say(self, channel, *texts):
        return [
            self.client.submit(channel, clue_pb2.Submission(id=f"{channel} {text}", text=text)) for text in texts
        ]


@pytest.fixture
async def world():
    async with contextlib.AsyncExitStack() as stack:
        made = {}
        for name in ("main", "event"):
            made[name] = Clue(name)
            await made[name].server.start()
            stack.push_async_callback(made[name].server.stop, None)
        homes, metrics = Homes("main"), Metrics()
        client = ClueClient(made["main"].address, homes, RUN, metrics, Log(), SystemClock())
        stack.push_async_callback(client.close)
        client.clues.update({"event": made["event"].address})
        yield World(made, homes, client, metrics)
        made["main"].gate.set()
        made["event"].gate.set()


def same_lane(first, count):
    names = (f"#n{number}" for number in range(10_000))
    return [first, *[name for name in names if lane(name) == lane(first)][: count - 1]]


def outcomes(verdicts):
    return [Verdict.Outcome.Name(verdict.outcome) for verdict in verdicts]


# -- where calls go -------------------------------------------------------------------------------------------------


async def test_calls_go_where_the_channel_lives(world):
    """Those of a channel that the directory lists elsewhere, and logins always to the own cluster."""
    world.homes.learn(
        clue_pb2.Directory(homes_version=1, homes=[clue_pb2.Home(channel="#a", cluster="event", move=MOVE)])
    )
    verdicts = await asyncio.gather(*world.say("#a", "1"), *world.say("#b", "2"))
    assert outcomes(verdicts) == ["ALLOWED"] * 2
    assert (world.event.texts, world.main.texts) == ([("#a", "1")], [("#b", "2")])
    assert (await world.client.join("#a", 1, "bob")).outcome == clue_pb2.JoinResult.ADMITTED
    assert (world.event.joins, world.main.joins) == (["#a"], [])
    assert (await world.client.replay("#a", 0)).entries == b"event"
    assert await world.client.heads(["#a", "#b"]) == {"#a": 5, "#b": 4}
    assert (await world.client.chatters("#a")).count == 5
    assert (await world.client.authenticate("bob", "x")).user.login == "of_main"
    assert world.moved == []


async def test_every_question_follows_a_move(world):
    """Whoever answers "elsewhere" is believed: join, log, heads and lists of chatters; later ones go there at once."""
    for number, channel in enumerate(("#a", "#b", "#c", "#d")):
        world.move(channel, "main", "event", f"170000000000{number}-aaaaaaaa")
    result = await world.client.join("#a", 1, "bob")
    assert (result.outcome, result.head) == (clue_pb2.JoinResult.ADMITTED, 7)
    assert (await world.client.replay("#b", 0)).entries == b"event"
    assert await world.client.heads(["#c", "#x"]) == {"#c": 5, "#x": 4}
    assert (await world.client.chatters("#d")).count == 5
    assert world.moved == ["#a", "#b", "#c", "#d"]
    assert len(world.event.settles) == 4
    assert world.main.joins == ["#a"]
    await world.client.join("#a", 2, "eve")
    assert world.main.joins == ["#a"]


async def test_presence_is_told_to_each_channels_home(world):
    """One report a cluster; a list that is elsewhere is asked for there the next time."""
    world.homes.correct("#a", Elsewhere(cluster="event", move=MOVE))
    reports = [clue_pb2.ChannelPresence(channel=name, joined=["bob"]) for name in ("#a", "#b")]
    reply = await world.client.presence(3, reports, ["#a", "#b"])
    assert [[c.channel for c in r.channels] for r in (*world.main.reports, *world.event.reports)] == [["#b"], ["#a"]]
    assert {chatters.channel: chatters.count for chatters in reply.chatters} == {"#a": 5, "#b": 4}
    world.move("#b", "main", "event")
    reply = await world.client.presence(3, [], ["#b"])
    assert list(reply.unknown) == ["#b"]
    assert world.homes.of("#b") == "event"


async def test_a_home_that_does_not_answer_costs_the_other_nothing(world):
    """Presence, heads and messages of channels on main while event is gone, in the same lane."""
    here, there = same_lane("#c", 2)
    world.homes.correct(there, Elsewhere(cluster="event", move=MOVE))
    await world.event.server.stop(None)
    began = time.monotonic()
    lost = world.say(there, "lost")
    reports = [clue_pb2.ChannelPresence(channel=name, joined=["bob"]) for name in (here, there)]
    reply = await world.client.presence(lane(here), reports, [])
    assert list(reply.unknown) == [there]
    assert outcomes(await asyncio.gather(*world.say(here, "1", "2"))) == ["ALLOWED"] * 2
    assert (await world.client.join(here, 1, "bob")).outcome == clue_pb2.JoinResult.ADMITTED
    assert await world.client.heads([here, there]) == {here: 4, there: None}
    assert time.monotonic() - began < clues.DECIDE_S / 2
    assert not lost[0].done()
    assert outcomes(await asyncio.gather(*lost)) == ["UNAVAILABLE"]


async def test_a_cluster_that_nobody_has_named_is_an_answer(world):
    """The channel's home is known, its clue is not."""
    world.homes.correct("#a", Elsewhere(cluster="group", move=MOVE))
    with pytest.raises(RemoteError, match="clue of group: its address is not known"):
        await world.client.replay("#a", 0)
    assert await world.client.heads(["#a"]) == {"#a": None}


async def test_a_new_address_of_a_cluster_is_used(world):
    """Its clue pool has moved to another machine."""
    world.homes.correct("#a", Elsewhere(cluster="event", move=MOVE))
    other = Clue("other event")
    await other.server.start()
    world.client.clues.update({"event": other.address})
    assert (await world.client.replay("#a", 0)).entries == b"other event"
    world.client.clues.update({})
    with pytest.raises(RemoteError):
        await world.client.replay("#a", 0)
    await other.server.stop(None)


async def test_two_homes_that_name_each_other_are_not_asked_for_ever(world):
    """Each says that the channel lives at the other: the caller hears that it is not available."""
    world.main.elsewhere["#a"] = Elsewhere(cluster="event")
    world.event.elsewhere["#a"] = Elsewhere(cluster="main")
    assert (await world.client.join("#a", 1, "bob")).outcome == clue_pb2.JoinResult.MOVED
    assert len(world.main.joins) + len(world.event.joins) <= clues.HOPS + 1
    assert await world.client.heads(["#a"]) == {"#a": None}


# -- submissions and moves ------------------------------------------------------------------------------------------


async def test_a_moved_message_goes_on_under_the_same_number(world):
    """To the new home, once the move is settled there; the sender's verdict comes from there."""
    world.move("#a", "main", "event")
    world.event.elsewhere["#a"] = Elsewhere(cluster="main")
    world.event.prepared["#a"] = MOVE  # the mover died before it settled
    (verdict,) = await asyncio.gather(*world.say("#a", "1"))
    assert verdict.outcome == Verdict.ALLOWED
    assert world.event.settles == [("#a", MOVE)]
    first, second = world.main.submits[0], world.event.submits[0]
    assert (first.batch, first.attempt, second.batch, second.attempt) == (1, 1, 1, 2)
    assert first.channels == second.channels
    assert world.metrics.counters["moves.redirected"] == 1
    assert world.metrics.counters["verdicts.allowed"] == 1


async def test_a_try_without_an_answer_keeps_its_number_over_the_move(world):
    """It may have been committed before the move: only its number tells the new home so."""
    world.main.lost = 1
    world.main.committed.clear()
    (pending,) = world.say("#a", "1")
    await eventually(lambda: world.main.texts)
    world.move("#a", "main", "event")
    world.main.committed.set()
    assert outcomes([await pending]) == ["ALLOWED"]
    assert [(r.batch, r.attempt) for r in (*world.main.submits, *world.event.submits)] == [(1, 1), (1, 2), (1, 3)]


async def test_nothing_of_a_channel_overtakes_what_moves(world):
    """What waited behind the batch, and what comes while it is on its way, is sent after it, in order."""
    world.main.gate.clear()
    world.event.gate.clear()
    pending = world.say("#a", "1")
    await eventually(lambda: world.main.submits)
    pending += world.say("#a", "2", "3")
    world.move("#a", "main", "event")
    world.main.gate.set()
    await eventually(lambda: world.event.submits)
    pending += world.say("#a", "4")
    world.event.gate.set()
    assert outcomes(await asyncio.gather(*pending)) == ["ALLOWED"] * 4
    assert world.event.texts == [("#a", text) for text in "1234"]
    assert [r.batch for r in world.event.submits] == [1, 2]
    assert len(world.main.submits) == 1


async def test_other_channels_of_the_lane_stay(world):
    """The batch is decided for them where they live, at once."""
    stays, moves = same_lane("#c", 2)
    world.event.gate.clear()
    world.move(moves, "main", "event")
    leaving, staying = world.say(moves, "1"), world.say(stays, "2")
    assert outcomes(await asyncio.gather(*staying)) == ["ALLOWED"]
    assert outcomes(await asyncio.gather(*world.say(stays, "3"))) == ["ALLOWED"]
    assert not leaving[0].done()
    world.event.gate.set()
    assert outcomes(await asyncio.gather(*leaving)) == ["ALLOWED"]
    assert world.main.texts == [(stays, "2"), (stays, "3")]


async def test_numbers_of_a_lane_rise_over_all_clusters(world):
    """The new home has those that the old one was given: what comes later must be greater."""
    await asyncio.gather(*world.say("#a", "1"))
    await asyncio.gather(*world.say("#a", "2"))
    world.move("#a", "main", "event")
    await asyncio.gather(*world.say("#a", "3"))
    await asyncio.gather(*world.say("#a", "4"))
    world.move("#a", "event", "main", LATER)
    world.main.elsewhere.clear()
    await asyncio.gather(*world.say("#a", "5"))
    assert [r.batch for r in world.event.submits] == [3, 4, 5]
    assert [r.batch for r in world.main.submits] == [1, 2, 3, 5]


async def test_a_channel_that_moves_on_is_followed(world):
    """There and back before the message has arrived anywhere."""
    world.move("#a", "main", "event")
    world.event.elsewhere["#a"] = Elsewhere(cluster="main", move=LATER)
    world.main.prepared["#a"] = LATER
    (verdict,) = await asyncio.gather(*world.say("#a", "1"))
    assert verdict.outcome == Verdict.ALLOWED
    assert world.main.texts == [("#a", "1")]
    assert world.homes.of("#a") == "main"


async def test_time_runs_out_on_the_way(world, monkeypatch):
    """No home takes it: the sender is told in time, and what waited behind it as well."""
    monkeypatch.setattr(clues, "DECIDE_S", 0.6)
    world.main.elsewhere["#a"] = Elsewhere(cluster="event", move=MOVE)
    world.event.elsewhere["#a"] = Elsewhere(cluster="main")
    began = time.monotonic()
    first = world.say("#a", "1")
    await eventually(lambda: len(world.main.submits) > 1)
    second = world.say("#a", "2")
    assert outcomes(await asyncio.gather(*first)) == ["UNAVAILABLE"]
    assert outcomes(await asyncio.gather(*second))[0] in ("UNAVAILABLE", "DENIED")
    assert time.monotonic() - began < 3.0
    assert not world.event.texts
    assert not world.main.texts


async def test_closing_waits_for_what_moves(world):
    """An edge that stops: every message has its verdict before the way is cut."""
    world.event.gate.clear()
    world.move("#a", "main", "event")
    pending = world.say("#a", "1")
    await eventually(lambda: world.event.submits)
    pending += world.say("#a", "2")
    closing = asyncio.ensure_future(world.client.close())
    world.event.gate.set()
    await asyncio.wait_for(closing, 5)
    assert outcomes(verdict.result() for verdict in pending) == ["ALLOWED"] * 2

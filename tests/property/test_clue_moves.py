"""However messages, bans and moves interleave, a channel has one home, one log, and nothing of it is lost or repeated.

Real Redis, two clusters of two clues and their directory. Edges speak at the same time as a mover moves the channel
back and forth, and dies at any step; batches are sent again, to either home, as edges do that have heard nothing.
"""

import asyncio
import itertools
from contextlib import AsyncExitStack

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from clue import keys, shared
from common.pb import chat_pb2, clue_pb2
from tests.property.test_clue_bans import forbidden
from tests.support.clue import Move, clusters
from tests.support.redis import redis_server, redis_servers

pytestmark = pytest.mark.timeout(300)

MOVED, UNAVAILABLE = clue_pb2.Verdict.MOVED, clue_pb2.Verdict.UNAVAILABLE
AUTHORS = ("ann", "bob", "cat")
STEPS = ("begin", "copy", "changes", "freeze", "last", "switch", "settle", "finish")
FREEZE_MS = 250

_author = st.integers(0, len(AUTHORS) - 1)
_act = st.one_of(
    st.tuples(st.just("say"), _author),
    st.tuples(st.just("say"), _author),
    st.tuples(st.just("say"), _author),
    st.tuples(st.sampled_from(["/ban", "/unban", "/timeout", "/vip", "/unvip"]), _author),
    st.tuples(st.sampled_from(["/uniquechat", "/uniquechatoff", "/clear"]), st.none()),
)
# What one edge sends: batches, each repeated or not, and how long it pauses.
_batch = st.tuples(st.lists(_act, min_size=1, max_size=3), st.booleans(), st.integers(0, 15))
_edges = st.lists(st.lists(_batch, min_size=1, max_size=12), min_size=1, max_size=3)
# Moves: the last step that each mover does ("careless": it forgets the last changes), whether it does each step twice,
# and how long it pauses between steps, and before.
_move = st.tuples(
    st.sampled_from((*STEPS, "finish", "finish", "abort", "careless")),
    st.booleans(),
    st.integers(0, 50),
    st.integers(0, 20),
)
_moves = st.lists(_move, min_size=1, max_size=4)


# What happens depends on the clock, too: a smaller example of a failure is not found by trying.
@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(edges=_edges, moves=_moves, unique=st.booleans())
def test_one_log_wherever_it_lives(edges, moves, unique, house):
    """Every allowed message is in the one log, once, at its seq; no author's follows a ban; all state moves."""
    house.run(edges, moves, unique)


class Edge:
    """One lane of one edge: one batch under way, sent again with its number until it is decided, wherever that is."""

    def __init__(self, house, run, channel):
        self._house = house
        self._run = run
        self._channel = channel
        self._number = 0
        self.home = 0

    async def send(self, said, again):
        """Verdicts by submission id."""
        self._number += 1
        request = self._clue().batch({self._channel: said}, edge_run=self._run, number=self._number)
        verdicts = await self._decided(request)
        if again:
            request.attempt += 1
            repeated = await self._decided(request)
            assert [answer(one) for one in repeated] == [answer(one) for one in verdicts]
        return {one.id: verdict for one, verdict in zip(request.channels[0].submissions, verdicts, strict=True)}

    async def _decided(self, request):
        async with asyncio.timeout(20):
            while True:
                verdicts = list((await self._clue().stub.Submit(request, timeout=2)).verdicts)
                outcomes = {verdict.outcome for verdict in verdicts}
                if MOVED in outcomes:
                    await self._follow(verdicts[0].elsewhere)
                elif UNAVAILABLE not in outcomes:
                    return verdicts
                request.attempt += 1

    async def _follow(self, elsewhere):
        self.home = self._house.names.index(elsewhere.cluster)
        if elsewhere.move:
            await self._clue().stub.Settle(clue_pb2.SettleRequest(channel=self._channel, move=elsewhere.move))

    def _clue(self):
        return self._house.clue(self.home)


def answer(verdict):
    return verdict.outcome, verdict.seq, verdict.denial, [notice.msg_id for notice in verdict.notices]


class House:
    """Two clusters that live as long as the tests; each example has a channel of its own."""

    names = ("main", "event")

    def __init__(self, loop, started):
        self._loop = loop
        self._clusters = started
        self._numbers = itertools.count(1)
        self._turns = itertools.count()

    def clue(self, cluster):
        """One of its clues, another one each time."""
        return self._clusters[cluster].clues[next(self._turns) % 2]

    def run(self, edges, moves, unique):
        self._loop.run_until_complete(self._example(edges, moves, unique))

    async def _example(self, edges, moves, unique):
        number = next(self._numbers)
        owner, *authors = [f"{name}{number}" for name in ("owner", *AUTHORS)]
        ids = await self._clusters[0].clue.login(owner, *authors)
        users = dict(zip((owner, *authors), ids, strict=True))
        channel, texts, sent = f"#{owner}", itertools.count(), {}

        async def speak(edge, batches):
            for acts, again, pause_ms in batches:
                said = []
                for what, author in acts:
                    who = authors[author] if author is not None else ""
                    if what == "say":
                        said.append((users[who], who, f"text number {next(texts)}"))
                    else:
                        said.append((users[owner], owner, f"{what} {who}"))
                sent.update(await edge.send(said, again))
                await asyncio.sleep(pause_ms / 1000)

        if unique:
            modes = clue_pb2.SetModesRequest(channel=channel, unique_chat=True)
            await self.clue(0).operate("SetModes", modes)
        speakers = [Edge(self, 10_000 * number + i, channel) for i in range(len(edges) + 1)]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._move(channel, moves))
            for edge, batches in zip(speakers, edges, strict=False):
                group.create_task(speak(edge, batches))
        # An edge that knows nothing finds it, wherever it lives.
        sent.update(await speakers[-1].send([(users[owner], owner, "the last word")], True))
        home = speakers[-1].home
        log = await self._log(home, channel)
        self._check(log, sent)

    async def _move(self, channel, moves):
        home = 0
        for last, twice, pause_ms, before_ms in moves:
            await asyncio.sleep(before_ms / 1000)
            move = self._mover(channel, home)
            while (begun := await move.begin()).HasField("elsewhere"):  # an earlier mover died before it had settled
                home = 1 - home
                if begun.elsewhere.move:
                    settle = clue_pb2.SettleRequest(channel=channel, move=begun.elsewhere.move)
                    await self.clue(home).stub.Settle(settle)
                move = self._mover(channel, home)
            if last in ("abort", "careless"):
                await move.copy()
                await asyncio.sleep(pause_ms / 1000)
                await move.freeze(FREEZE_MS * 20)
                if last == "careless" and await self._switched(move):
                    await move.finish()
                    home = 1 - home
                else:
                    await move.abort()
                continue
            for step in STEPS[1 : STEPS.index(last) + 1]:
                move.old, move.new = self.clue(home), self.clue(1 - home)
                if step == "freeze":
                    await move.freeze(FREEZE_MS * 20)
                elif step in ("changes", "last"):
                    await move.changes()
                    if step == "last":
                        await self._compare(channel, home)
                elif step == "copy":
                    await move.copy()
                else:
                    for _ in range(2 if twice else 1):
                        await getattr(move, step)()
                await asyncio.sleep(pause_ms / 1000)
            if last in ("freeze", "last"):  # it died: its freeze ends
                await move.freeze(1)
            if last in STEPS[STEPS.index("switch") :]:
                home = 1 - home

    def _mover(self, channel, home):
        return Move(channel, self.clue(home), self.clue(1 - home), self.names[home], self.names[1 - home])

    async def _log(self, home, channel):
        found, more, after = [], True, 0
        while more:
            entries, more = await self.clue(home).replay(channel, after)
            found += entries
            after = found[-1].seq if found else 0
        return found

    def _check(self, log, sent):
        assert [entry.prev for entry in log] == [0, *(entry.seq for entry in log[:-1])]
        assert [entry.seq for entry in log] == sorted({entry.seq for entry in log})
        publications = [chat_pb2.Publication.FromString(entry.publication) for entry in log]
        assert forbidden(publications) == []
        lines = [
            (one.id, entry.seq) for one, entry in zip(publications, log, strict=True) if one.HasField("line")
        ]
        allowed = {i: v.seq for i, v in sent.items() if v.outcome == clue_pb2.Verdict.ALLOWED}
        assert len(lines) == len(allowed)
        assert dict(lines) == allowed

    async def _switched(self, move):
        """Whether the old home let it go, though it may have changed since it was read."""
        try:
            await move.switch()
        except grpc.aio.AioRpcError as error:
            if "has changed since it was read" not in (error.details() or ""):
                raise
            return False
        return True

    async def _compare(self, channel, home):
        """While it is frozen, with the last changes stored: the copy is what is there."""
        names = keys.of_channel(channel)
        here, copy = [
            [self._stored(cluster, key) for key in (names.log, *names[2:10])] for cluster in (home, 1 - home)
        ]
        assert copy == here

    def _stored(self, cluster, key):
        for address in self._clusters[cluster].redis:
            client = self.redis[address]
            kind = client.type(key)
            if kind == b"hash":
                return client.hgetall(key)
            if kind == b"stream":
                return client.xrange(key)
        return None


@pytest.fixture(scope="module")
def house():
    loop = asyncio.new_event_loop()
    patched = pytest.MonkeyPatch()
    patched.setattr(shared, "REFRESH_S", 0.2)
    with redis_servers(4, durable=False) as servers, redis_server(options=()) as directory:
        addresses = [server.address for server in servers]
        redis = {"main": addresses[:2], "event": addresses[2:]}
        stack = AsyncExitStack()

        async def start():
            return await stack.enter_async_context(clusters(directory.address, redis, count=2, limits=False))

        try:
            made = House(loop, loop.run_until_complete(start()))
            made.redis = {server.address: server.client() for server in servers}
            yield made
            for client in made.redis.values():
                client.close()
        finally:
            loop.run_until_complete(stack.aclose())
            loop.close()
            patched.undo()

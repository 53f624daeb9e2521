"""Whatever two clues are asked at once, no message in the log follows a ban of its author there.

Real Redis, two clues, and operations that run at the same time in random groups: messages, bans, time-outs, unbans,
modes and roles, each through either clue, some sent again as an edge does that has heard nothing.
"""

import asyncio
import itertools
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.pb import chat_pb2, clue_pb2
from tests.support.clue import clues, decided, exchange
from tests.support.redis import redis_servers

AUTHORS = ("ann", "bob", "cat")

_author = st.integers(0, len(AUTHORS) - 1)
_operation = st.one_of(
    st.tuples(st.just("say"), _author),
    st.tuples(st.just("say"), _author),
    st.tuples(st.sampled_from(["/ban", "/unban", "/timeout", "/vip", "/unvip"]), _author),
    st.tuples(st.sampled_from(["/slow 5", "/slowoff", "/subscribers", "/subscribersoff", "/clear"]), st.none()),
    st.tuples(st.just("control"), _author),
)
_step = st.tuples(st.integers(0, 1), st.booleans(), st.lists(_operation, min_size=1, max_size=4))
_groups = st.lists(st.lists(_step, min_size=1, max_size=5), min_size=1, max_size=5)  # those of a group at once


def forbidden(publications: list[chat_pb2.Publication]) -> list[str]:
    """Messages of users who are banned at that place of the log. A time-out counts until its end."""
    until: dict[int, float] = {}
    found = []
    for publication in publications:
        body = publication.WhichOneof("body")
        if body == "banned":
            until[publication.banned.user_id] = publication.banned.until_ms or float("inf")
        elif body == "unbanned":
            until.pop(publication.unbanned.user_id, None)
        elif body == "line" and publication.ts_ms < until.get(publication.line.author.user_id, 0):
            found.append(publication.line.text)
    return found


def test_forbidden():
    """The check itself sees a message that follows a ban."""
    line = chat_pb2.Publication(ts_ms=5, line=chat_pb2.Line(author=chat_pb2.Chatter(user_id=7), text="x"))
    ban = chat_pb2.Publication(banned=chat_pb2.Banned(user_id=7))
    unban = chat_pb2.Publication(unbanned=chat_pb2.Unbanned(user_id=7))
    assert forbidden([line, ban, unban, line]) == []
    assert forbidden([ban, line]) == ["x"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=_groups)
def test_no_message_follows_a_ban_of_its_author(groups, cluster):
    """And every verdict is one that an edge can pass on; an allowed message is in the log, once, at its seq."""
    cluster.run(groups)


class Cluster:
    """Two clues that live as long as the tests; each example has a channel of its own."""

    def __init__(self, loop, pair):
        self._loop = loop
        self._pair = pair
        self._numbers = itertools.count(1)

    def run(self, groups):
        self._loop.run_until_complete(self._example(groups))

    async def _example(self, groups):
        number = next(self._numbers)
        owner, *authors = [f"{name}{number}" for name in ("owner", *AUTHORS)]
        ids = await self._pair[0].login(owner, *authors)
        users = dict(zip((owner, *authors), ids, strict=True))
        channel, texts = f"#{owner}", itertools.count()
        sent = {}

        async def send(which, again, operations):
            clue, other = self._pair[which], self._pair[1 - which]
            said = []
            for what, author in operations:
                who = authors[author] if author is not None else ""
                if what == "control":
                    await clue.operate("SetBan", clue_pb2.SetBanRequest(channel=channel, login=who, banned=True))
                elif what == "say":
                    said.append((users[who], who, f"text {next(texts)}"))
                else:
                    said.append((users[owner], owner, f"{what} {who}"))
            if not said:
                return
            run = next(self._numbers) + 1000
            request = clue.batch({channel: said}, edge_run=run, number=1)
            if again:
                repeat = clue_pb2.SubmitRequest.FromString(request.SerializeToString())
                repeat.attempt = 2
                first, verdicts = await asyncio.gather(clue.submit(request), decided(other, repeat))
                assert [(v.outcome, v.seq, v.denial) for v in first] == [(v.outcome, v.seq, v.denial) for v in verdicts]
            else:
                verdicts = await decided(clue, request)
            for submission, verdict in zip(request.channels[0].submissions, verdicts, strict=True):
                sent[submission.id] = verdict

        for group in groups:
            await asyncio.gather(*(send(*step) for step in group))
        entries, more = await self._pair[0].replay(channel)
        assert not more
        publications = [chat_pb2.Publication.FromString(entry.publication) for entry in entries]
        assert forbidden(publications) == []
        lines = {p.id: entry.seq for p, entry in zip(publications, entries, strict=True) if p.HasField("line")}
        assert len([p for p in publications if p.HasField("line")]) == len(lines)
        allowed = {i: v.seq for i, v in sent.items() if v.outcome == clue_pb2.Verdict.ALLOWED}
        assert allowed == lines


@pytest.fixture(scope="module")
def cluster():
    loop = asyncio.new_event_loop()
    with redis_servers(2, durable=False) as servers:

        async def start(stack):
            _, address = await stack.enter_async_context(exchange())
            return await stack.enter_async_context(
                clues(2, [server.address for server in servers], address, limits=False)
            )

        stack = AsyncExitStack()
        try:
            yield Cluster(loop, loop.run_until_complete(start(stack)))
        finally:
            loop.run_until_complete(stack.aclose())
            loop.close()

"""Who is in which channel, as clue keeps it in real Redis: reports of edges in, lists over all edges out."""

from __future__ import annotations

import asyncio

import pytest

from clue import presence as module
from common.pb import clue_pb2
from common.sharding import lane
from tests.support.clue import clues, exchange
from tests.support.eventually import eventually
from tests.support.redis import BINARIES, redis_server


@pytest.fixture(scope="module", params=BINARIES, ids=["newer", "older"][: len(BINARIES)])
def server(request):
    with redis_server(binary=request.param, options=()) as running:
        yield running


@pytest.fixture
async def pair(server):
    """Two clues over one empty Redis."""
    with server.client() as client:
        client.flushall()
    async with exchange() as (_, address), clues(2, [server.address], address) as two:
        yield two


@pytest.fixture
def clue(pair):
    return pair[0]


async def report(clue, channel="#c", *, edge=1, wanted=True, **said):
    """One edge's report on one channel; the reply."""
    channels = [clue_pb2.ChannelPresence(channel=channel, **said)] if said else []
    request = clue_pb2.PresenceReport(edge_run=edge, channels=channels, wanted=[channel] if wanted else [])
    return await clue.stub.Presence(request)


async def listed(clue, channel="#c"):
    (chatters,) = (await report(clue, channel)).chatters
    assert chatters.available
    return chatters


async def test_a_list_is_of_all_edges(pair):
    """Whichever clue they report to; a user on two edges is one chatter."""
    one, two = pair
    await report(one, edge=1, joined=["bob", "ann"], full=True)
    await report(two, edge=2, joined=["cat", "ann"], full=True)
    for clue in pair:
        chatters = await listed(clue)
        assert (list(chatters.logins), chatters.count, chatters.complete) == (["ann", "bob", "cat"], 3, True)


async def test_changes_follow_a_full_report(clue):
    """Joined and left, and nothing at all, which keeps the set alive."""
    await report(clue, joined=["ann", "bob"], full=True)
    reply = await report(clue, joined=["cat"], left=["ann"])
    assert list(reply.unknown) == []
    assert list(reply.chatters[0].logins) == ["bob", "cat"]
    reply = await report(clue, joined=[])
    assert list(reply.chatters[0].logins) == ["bob", "cat"]


async def test_a_change_of_what_is_not_known_is_not_taken(clue):
    """The edge is asked for a full report; a half set would be worse than none."""
    reply = await report(clue, joined=["ann"])
    assert list(reply.unknown) == ["#c"]
    assert list(reply.chatters[0].logins) == []
    reply = await report(clue, joined=["ann"], full=True)
    assert list(reply.unknown) == []
    assert list(reply.chatters[0].logins) == ["ann"]


async def test_an_empty_full_report_ends_the_set(clue, server):
    """Nothing stays in Redis."""
    await report(clue, joined=["ann"], full=True)
    await report(clue, joined=[], full=True)
    assert list((await listed(clue)).logins) == []
    with server.client() as client:
        assert client.keys("{#c}:edges") == client.keys("{#c}:chatters:*") == []


async def test_a_report_may_be_repeated(clue):
    """A retry changes nothing."""
    for _ in range(2):
        await report(clue, joined=["ann", "bob"], full=True)
    for _ in range(2):
        await report(clue, joined=["cat"], left=["ann"])
    assert list((await listed(clue)).logins) == ["bob", "cat"]


async def test_a_dead_edges_chatters_vanish(clue, monkeypatch):
    """When its set has ended; the others' stay, since they are reported. Its own next report has to be full."""
    monkeypatch.setattr(module, "TTL_MS", 500)
    await report(clue, edge=1, joined=["ann"], full=True)
    await report(clue, edge=2, joined=["bob"], full=True)
    async with asyncio.timeout(10):
        while list((await report(clue, edge=1, joined=[])).chatters[0].logins) != ["ann"]:
            await asyncio.sleep(0.01)
    assert list((await report(clue, edge=2, joined=["cat"])).unknown) == ["#c"]


async def test_what_is_reported_lives_a_minute(clue, server):
    """Six times as long as edges take between reports."""
    await report(clue, joined=["ann"], full=True)
    with server.client() as client:
        for key in ("{#c}:edges", "{#c}:chatters:1"):
            assert 55_000 < client.pttl(key) <= 60_000


async def test_a_large_channel_lists_those_with_a_role(clue, monkeypatch):
    """Above the bound: the broadcaster, moderators and VIPs who are there."""
    monkeypatch.setattr(module, "LISTED", 5)
    for login, role in (("mod", "mod"), ("vip", "vip"), ("absent", "mod")):
        await clue.operate("SetRole", clue_pb2.SetRoleRequest(channel="#c", login=login, role=role))
    await report(clue, edge=1, joined=["c", "mod", "vip", "u1", "u2"], full=True)
    chatters = await listed(clue)
    assert (chatters.complete, chatters.count) == (True, 5)
    assert (list(chatters.moderators), list(chatters.vips)) == (["mod"], ["vip"])
    await report(clue, edge=2, joined=["u3", "u1"], full=True)
    chatters = await listed(clue)
    assert (chatters.complete, chatters.count, list(chatters.logins)) == (False, 6, ["c", "mod", "vip"])
    assert (list(chatters.moderators), list(chatters.vips)) == (["mod"], ["vip"])


async def test_a_crowd_is_counted_without_joining_sets(clue):
    """30,000 on two edges, in one report each: above twice the bound the counts are added."""
    crowd = [f"user{number}" for number in range(15_000)]
    await report(clue, edge=1, joined=crowd, full=True)
    await report(clue, edge=2, joined=[f"other{number}" for number in range(15_000)], full=True)
    chatters = await listed(clue)
    assert (chatters.complete, chatters.count, list(chatters.logins)) == (False, 30_000, [])
    await report(clue, edge=1, left=crowd[:14_999])
    await report(clue, edge=2, joined=["ann"], full=True)
    assert list((await listed(clue)).logins) == ["ann", "user14999"]


async def test_lists_come_in_the_order_asked(clue):
    """One each, an impossible name too: that one is not available."""
    await report(clue, "#a", joined=["ann"], full=True)
    await report(clue, "#b", joined=["bob"], full=True)
    reply = await clue.stub.Presence(clue_pb2.PresenceReport(edge_run=3, wanted=["#b", "#no-name", "#a", "#empty"]))
    assert [(c.channel, c.available, list(c.logins)) for c in reply.chatters] == [
        ("#b", True, ["bob"]),
        ("#no-name", False, []),
        ("#a", True, ["ann"]),
        ("#empty", True, []),
    ]


async def test_a_shard_that_does_not_answer_is_told(tmp_path):
    """The report is unknown, and so is the list; when it is back, a full report makes all good."""
    with redis_server(options=()) as server:
        async with exchange() as (_, address), clues(1, [server.address], address) as [clue]:
            await report(clue, joined=["ann"], full=True)
            server.stop()
            reply = await report(clue, joined=["bob"])
            assert list(reply.unknown) == ["#c"]
            assert [c.available for c in reply.chatters] == [False]
            server.start()
            await eventually(lambda: clue.metrics.counters["presence.failures"] >= 1)
            async with asyncio.timeout(15):
                while (await report(clue, joined=["ann", "bob"], full=True)).unknown:
                    await asyncio.sleep(0.05)
            assert list((await listed(clue)).logins) == ["ann", "bob"]


def test_the_keys_of_a_channel_share_its_lane():
    """So a report of one lane meets one shard."""
    from clue import keys

    assert {lane(key) for key in (keys.edges_of("#c"), keys.chatters_of("#c") + "1")} == {lane("#c")}

"""Temporary rooms: made once, for everybody or for invited users, and gone when nobody is left."""

import asyncio
import time

import pytest

from clue import keys, temporary
from common.pb import clue_pb2
from tests.support.clue import clues
from tests.support.redis import redis_servers

pytestmark = pytest.mark.timeout(60)

ADMITTED, DENIED = clue_pb2.JoinResult.ADMITTED, clue_pb2.JoinResult.DENIED
ALLOWED = clue_pb2.Verdict.ALLOWED
Reply = clue_pb2.CreateRoomReply


@pytest.fixture(scope="module")
def shards():
    with redis_servers(2, durable=False) as servers:
        yield servers


async def make(clue, user, name="den", **more):
    user_id, login = user
    request = clue_pb2.CreateRoomRequest(name=name, user_id=user_id, login=login, **more)
    return await clue.stub.CreateRoom(request)


async def users_of(clue, *logins):
    return list(zip(await clue.login(*logins), logins, strict=True))


async def test_a_room_is_made_once(pair):
    """Two hundred ask at the same time, over two clues: one has made it, all others are told who; all may join."""
    logins = [f"user{i}" for i in range(200)]
    users = await users_of(pair[0], *logins)
    replies = await asyncio.gather(*(make(pair[i % 2], user) for i, user in enumerate(users)))
    outcomes = [reply.outcome for reply in replies]
    assert (outcomes.count(Reply.CREATED), outcomes.count(Reply.EXISTS)) == (1, 199)
    [maker] = [user[1] for user, reply in zip(users, replies, strict=True) if reply.outcome == Reply.CREATED]
    assert {(reply.channel, reply.owner) for reply in replies} == {("#_den", maker)}
    queries = [clue_pb2.JoinQuery(channel="#_den", user_id=i, login=login) for i, login in users]
    joined = (await pair[1].stub.Join(clue_pb2.JoinRequest(joins=queries))).results
    assert {result.outcome for result in joined} == {ADMITTED}
    assert [login for result, login in zip(joined, logins, strict=True) if result.chatter.mod] == [maker]


async def test_a_room_without_a_name_gets_one(pair):
    """Each another one."""
    [bob] = await users_of(pair[0], "bob")
    first, second = [await make(pair[0], bob, "") for _ in range(2)]
    assert (first.outcome, second.outcome) == (Reply.CREATED, Reply.CREATED)
    assert first.channel.startswith("#_")
    assert first.channel != second.channel


async def test_a_room_that_was_not_made(pair):
    """Nobody joins it or speaks there, and its name is nobody's channel."""
    [bob, own] = await users_of(pair[0], "bob", "_nowhere")
    for user in (bob, own):
        joined = await pair[0].join("#_nowhere", *user)
        assert (joined.outcome, joined.denial) == (DENIED, "no_such_room")
        assert joined.notice == "There is no room _nowhere: it was not made yet, or has ended."
        [verdict] = await pair[0].say("#_nowhere", user, "hello?")
        assert verdict.denial == "msg_channel_suspended"


async def test_the_maker_moderates(pair):
    """And somebody with the login of the room's name does not."""
    [bob, ann, other] = await users_of(pair[0], "bob", "ann", "_den")
    await make(pair[0], bob)
    [banned] = await pair[1].say("#_den", bob, "/ban ann")
    assert banned.notices[0].msg_id == "ban_success"
    [denied] = await pair[0].say("#_den", ann, "hi")
    assert denied.denial == "msg_banned"
    [refused] = await pair[0].say("#_den", other, "/unban ann")
    assert refused.notices[0].msg_id == "no_permission"


async def test_invited_users_only(pair):
    """Others neither join nor speak, nor read; a moderator invites, and then they may, through any clue at once."""
    [bob, ann, cat] = await users_of(pair[0], "bob", "ann", "cat")
    made = await make(pair[0], bob, invite_only=True, invited=["Ann"])
    assert made.outcome == Reply.CREATED
    for user, outcome in ((bob, ADMITTED), (ann, ADMITTED), (cat, DENIED), ((0, ""), DENIED)):
        assert (await pair[0].join("#_den", *user)).outcome == outcome
    assert (await pair[0].join("#_den", *cat)).notice == "The room _den takes invited users only."
    verdicts = [(await clue.say("#_den", cat, "let me in"))[0].denial for clue in pair]
    assert verdicts == ["room_invite_only"] * 2
    request = clue_pb2.InviteRequest(channel="#_den", login="ann", invited=["cat"])
    reply = await pair[0].stub.Invite(request)
    assert (reply.done, reply.notice) == (False, "You don’t have permission to perform that action.")
    request.login = "bob"
    assert (await pair[0].stub.Invite(request)).done
    [verdict] = await pair[1].say("#_den", cat, "thank you")
    assert verdict.outcome == ALLOWED
    entries, _ = await pair[0].replay("#_den")
    assert len(entries) == 1


async def test_what_no_room_is_made_of(pair):
    """A name that none can have, a maker or guests without an account."""
    [bob] = await users_of(pair[0], "bob")
    for request, words in (
        (make(pair[0], bob, "a b"), "no name for a room"),
        (make(pair[0], bob, "x" * 25), "no name for a room"),
        (make(pair[0], (5, "bob")), "has no account"),
        (make(pair[0], (5, "ann")), "has no account"),
        (make(pair[0], bob, invited=["ann"]), "Invalid username: ann"),
    ):
        reply = await request
        assert reply.outcome == Reply.REFUSED
        assert words in reply.notice
    reply = await pair[0].stub.Invite(clue_pb2.InviteRequest(channel="#_den", login="bob", invited=["bob"]))
    assert reply.notice == "There is no room _den."
    reply = await pair[0].stub.Invite(clue_pb2.InviteRequest(channel="#bob", login="bob"))
    assert reply.notice == "#bob is no temporary room."


async def test_a_room_ends_when_nobody_is_left(redis, taking, shards, monkeypatch):
    """Not while somebody is there; then nothing of it is left, and the name is free."""
    monkeypatch.setattr(temporary, "SWEEP_S", 0.05)
    async with clues(2, redis, taking.address, room_empty_ms=700, limits=False) as (clue, other):
        [bob, ann] = await users_of(clue, "bob", "ann")
        await make(clue, bob)
        await clue.say("#_den", bob, "hello")
        there = clue_pb2.ChannelPresence(channel="#_den", joined=["bob"], full=True)
        await clue.stub.Presence(clue_pb2.PresenceReport(edge_run=7, channels=[there]))
        await asyncio.sleep(1.2)  # longer than a room may be empty
        assert (await clue.join("#_den", *ann)).outcome == ADMITTED
        gone = clue_pb2.ChannelPresence(channel="#_den", left=["bob"])
        await clue.stub.Presence(clue_pb2.PresenceReport(edge_run=7, channels=[gone]))
        left = time.monotonic()
        while (await other.join("#_den", *ann)).outcome == ADMITTED:
            assert time.monotonic() - left < 10
            await asyncio.sleep(0.02)
        assert time.monotonic() - left > 0.5
        [verdict] = await clue.say("#_den", bob, "anybody?")
        assert verdict.denial == "msg_channel_suspended"
        names = keys.of_channel("#_den")
        for server in shards:
            with server.client() as client:
                assert not client.exists(*names, keys.edges_of("#_den"), keys.ROOMS)
        assert (await make(other, ann)).outcome == Reply.CREATED
        assert (await clue.join("#_den", *bob)).chatter.mod is False
        [verdict] = await clue.say("#_den", bob, "hello again")
        assert verdict.outcome == ALLOWED
        entries, _ = await clue.replay("#_den")
        assert len(entries) == 1


async def test_rooms_of_another_cluster(main_and_event):
    """A clue of main passes on what is asked of event, and says where the room lives."""
    main, event = main_and_event
    [bob, _] = await users_of(main.clue, "bob", "ann")
    made = await make(main.clue, bob, invite_only=True)
    assert (made.outcome, made.channel, made.owner) == (Reply.CREATED, "#_den", "bob")
    assert (await make(event.clue, bob)).outcome == Reply.EXISTS
    joined = await main.clue.join("#_den", *bob)
    assert (joined.outcome, joined.elsewhere.cluster) == (clue_pb2.JoinResult.MOVED, "event")
    assert (await event.clue.join("#_den", *bob)).outcome == ADMITTED
    reply = await main.clue.stub.Invite(clue_pb2.InviteRequest(channel="#_den", login="bob", invited=["ann"]))
    assert reply.done

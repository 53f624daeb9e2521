"""Clues of two clusters that share a directory: where channels live, and moving them step by step."""

import asyncio
import contextlib
import time

import grpc
import pytest

from clue import keys
from common.pb import chat_pb2, clue_pb2
from tests.support.clue import Move, clusters, decided, directory_of

pytestmark = pytest.mark.timeout(60)

ALLOWED, MOVED, DENIED = clue_pb2.Verdict.ALLOWED, clue_pb2.Verdict.MOVED, clue_pb2.Verdict.DENIED
UNAVAILABLE = clue_pb2.Verdict.UNAVAILABLE
STEPS = ("begin", "copy", "changes", "freeze", "last")
CHANNEL = "#chan"


def publications(entries):
    return [chat_pb2.Publication.FromString(entry.publication) for entry in entries]


def texts(entries):
    """Of the lines among them."""
    return [publication.line.text for publication in publications(entries) if publication.HasField("line")]


async def whole(clue, channel=CHANNEL):
    """Its log, which must be without a hole from its first entry on."""
    found, more, after = [], True, 0
    while more:
        entries, more = await clue.replay(channel, after)
        found += entries
        after = found[-1].seq if found else 0
    assert [entry.prev for entry in found[1:]] == [entry.seq for entry in found[:-1]]
    return found


def holder(servers, key):
    """The server that has it."""
    for server in servers:
        with server.client() as redis:
            if redis.exists(key):
                return server
    raise AssertionError(f"no server has {key}")


@contextlib.contextmanager
def refused(code, words):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert caught.value.code() == code
    assert words in caught.value.details()


@pytest.fixture
async def pair(main_and_event):
    """Main's clue, event's clue, and one who speaks."""
    main, event = main_and_event
    [bob] = await main.clue.login("bob")
    return main.clue, event.clue, (bob, "bob")


def move_of(pair, **more):
    return Move(CHANNEL, pair[0], pair[1], "main", "event", **more)


def back_of(pair):
    return Move(CHANNEL, pair[1], pair[0], "event", "main")


async def homes_of(clue, user):
    """Whether the clue takes a message for the channel; where it says that it lives if not."""
    [verdict] = await clue.say(CHANNEL, user, f"probe {time.monotonic()}")
    return verdict.elsewhere.cluster if verdict.outcome == MOVED else verdict.outcome


async def test_a_channel_moves(pair):
    """What was said there is in its log at the new home, numbers go on, and the old home says where it is."""
    main, event, bob = pair
    [first] = await main.say(CHANNEL, bob, "one")
    move = move_of(pair)
    await move.all()
    [away] = await main.say(CHANNEL, bob, "two")
    assert (away.outcome, away.elsewhere.cluster, away.elsewhere.move) == (MOVED, "event", move.token)
    [second] = await event.say(CHANNEL, bob, "two")
    assert (first.outcome, second.outcome) == (ALLOWED, ALLOWED)
    entries = await whole(event)
    assert texts(entries) == ["one", "two"]
    [moved] = [publication for publication in publications(entries) if publication.HasField("moved")]
    assert (moved.moved.cluster, moved.moved.redirect) == ("event", "none")


async def test_ten_moves_back_and_forth(pair):
    """Each time all goes on where it was."""
    main, event, bob = pair
    for number in range(10):
        here = event if number % 2 else main
        [verdict] = await here.say(CHANNEL, bob, f"{number}")
        assert verdict.outcome == ALLOWED
        await (move_of(pair) if here is main else back_of(pair)).all()
        assert await homes_of(here, bob) == ("event" if here is main else "main")
    assert [text for text in texts(await whole(main)) if text.isdecimal()] == [str(i) for i in range(10)]


async def test_the_other_cluster_says_where_a_channel_lives(pair):
    """Submit, Join, Replay, Heads and lists of chatters, of a channel that was never moved."""
    _, event, bob = pair
    assert await homes_of(event, bob) == "main"
    joined = await event.join(CHANNEL, *bob)
    assert (joined.outcome, joined.elsewhere.cluster) == (clue_pb2.JoinResult.MOVED, "main")
    replay = await event.stub.Replay(clue_pb2.ReplayRequest(channel=CHANNEL))
    assert (replay.available, replay.elsewhere.cluster, replay.entries) == (True, "main", b"")
    [chan, inbox] = (await event.stub.Heads(clue_pb2.HeadsRequest(channels=[CHANNEL, "@bob"]))).heads
    assert (chan.available, chan.elsewhere.cluster, inbox.elsewhere.cluster) == (True, "main", "")
    report = clue_pb2.PresenceReport(
        edge_run=1, channels=[clue_pb2.ChannelPresence(channel=CHANNEL, joined=["bob"], full=True)], wanted=[CHANNEL]
    )
    presence = await event.stub.Presence(report)
    assert (presence.chatters[0].elsewhere.cluster, list(presence.unknown)) == ("main", [CHANNEL])


async def test_operators_are_told_where_a_channel_lives(pair):
    """Nothing is done elsewhere; the error names the cluster."""
    _, event, _ = pair
    for method, request in (
        ("Execute", clue_pb2.ExecuteRequest(channel=CHANNEL, login="bob", text="hi")),
        ("SetBan", clue_pb2.SetBanRequest(channel=CHANNEL, login="bob", banned=True)),
        ("SetModes", clue_pb2.SetModesRequest(channel=CHANNEL, slow_s=10)),
        ("SetRole", clue_pb2.SetRoleRequest(channel=CHANNEL, login="bob", role="mod")),
        ("GetChannel", clue_pb2.GetChannelRequest(channel=CHANNEL)),
    ):
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "lives on cluster main"):
            await event.operate(method, request)


async def test_all_state_moves(pair, main_and_event):
    """Roles, bans, modes, terms, first messages, unique texts, held messages and who is there."""
    main, event, bob = pair
    owner, ann, cat = await main.login("chan", "ann", "cat")
    await main.join(CHANNEL)
    await main.operate("SetRole", clue_pb2.SetRoleRequest(channel=CHANNEL, login="ann", role="mod"))
    await main.operate("SetBan", clue_pb2.SetBanRequest(channel=CHANNEL, login="cat", banned=True, reason="spam"))
    await main.operate("SetModes", clue_pb2.SetModesRequest(channel=CHANNEL, unique_chat=True))
    held = clue_pb2.Term(term="maybe", action="hold")
    await main.operate("SetWords", clue_pb2.SetWordsRequest(channel=CHANNEL, terms=[held]))
    await main.say(CHANNEL, bob, "something unique", "maybe not")
    joined = clue_pb2.ChannelPresence(channel=CHANNEL, joined=["bob", "ann"], full=True)
    await main.stub.Presence(clue_pb2.PresenceReport(edge_run=77, channels=[joined]))
    before = await main.operate("GetChannel", clue_pb2.GetChannelRequest(channel=CHANNEL))
    assert (len(before.members), len(before.bans), len(before.terms), len(before.held)) == (1, 1, 1, 1)

    await move_of(pair).all()
    assert await event.operate("GetChannel", clue_pb2.GetChannelRequest(channel=CHANNEL)) == before
    [banned] = await event.say(CHANNEL, (cat, "cat"), "let me in")
    [unique, fresh] = await event.say(CHANNEL, bob, "something unique", "something else")
    assert (banned.denial, unique.denial, fresh.outcome) == ("msg_banned", "msg_r9k", ALLOWED)
    last = chat_pb2.Publication.FromString((await whole(event))[-1].publication)
    assert not last.line.first_message
    [freed] = await event.say(CHANNEL, (owner, "chan"), "/unban cat")
    assert freed.notices[0].msg_id == "unban_success"
    change = clue_pb2.ChannelPresence(channel=CHANNEL, joined=["cat"])
    report = clue_pb2.PresenceReport(edge_run=77, channels=[change], wanted=[CHANNEL])
    presence = await event.stub.Presence(report)
    assert (list(presence.chatters[0].logins), list(presence.unknown)) == (["ann", "bob", "cat"], [])
    assert ann


async def test_a_large_channel_moves(pair, four_servers):
    """In many pages; nothing of it is missing, and nothing of an earlier life is left at the new home."""
    main, event, bob = pair
    await main.join(CHANNEL)
    names = keys.of_channel(CHANNEL)
    old = holder(four_servers[:2], names.room)
    with old.client() as redis:
        redis.hset(names.bans, mapping={str(i): f"0 user{i} - 1 {'x' * 400}" for i in range(3000)})
        redis.hset(names.unique, mapping={str(i): b"12345678" * 50 for i in range(1500)})
        redis.sadd(keys.chatters_of(CHANNEL) + "5", *(f"user{i}" for i in range(5000)))
        redis.zadd(keys.edges_of(CHANNEL), {"5": (time.time() + 60) * 1000})
        redis.pexpire(keys.chatters_of(CHANNEL) + "5", 60_000)
    await main.say(CHANNEL, bob, *(f"message {i}" for i in range(900)))
    for server in four_servers[2:]:
        with server.client() as redis:
            redis.hset(names.bans, "bogus", "0 x - 1 ")
            redis.hset(names.head, mapping={"home": "main", "seq": 5})
    move = move_of(pair)
    await move.all()
    assert move.pages > 5
    with holder(four_servers[2:], names.room).client() as redis, old.client() as left:
        assert redis.hgetall(names.bans) == left.hgetall(names.bans)
        assert redis.hgetall(names.unique) == left.hgetall(names.unique)
        assert redis.scard(keys.chatters_of(CHANNEL) + "5") == 5000
        assert 0 < redis.pttl(keys.chatters_of(CHANNEL) + "5") <= 60_000
        assert 0 < left.ttl(names.bans) <= 24 * 3600
        assert left.ttl(names.head) == -1
    assert texts(await whole(event)) == [f"message {i}" for i in range(900)]


async def test_what_happens_during_the_move_comes_along(pair):
    """Messages, bans and unbans between the copy and the last changes."""
    main, event, bob = pair
    ann, cat = await main.login("ann", "cat")
    for who in ("cat", "ann"):
        await main.operate("SetBan", clue_pb2.SetBanRequest(channel=CHANNEL, login=who, banned=True))
    await main.say(CHANNEL, bob, "before")
    move = move_of(pair)
    await move.until("copy")
    await main.say(CHANNEL, bob, "after the copy")
    await main.operate("SetBan", clue_pb2.SetBanRequest(channel=CHANNEL, login="cat", banned=False))
    assert await move.changes() > 1
    await main.say(CHANNEL, bob, "after a round")
    await main.operate("SetModes", clue_pb2.SetModesRequest(channel=CHANNEL, emote_only=True))
    await move.freeze()
    await move.changes()
    await move.switch()
    await move.finish()
    assert texts(await whole(event)) == ["before", "after the copy", "after a round"]
    state = await event.operate("GetChannel", clue_pb2.GetChannelRequest(channel=CHANNEL))
    assert ([ban.login for ban in state.bans], state.room.emote_only) == (["ann"], True)
    assert ann
    assert cat


async def test_a_batch_is_recognized_at_the_new_home(pair):
    """The same batch to the old home before the switch and to the new one after it: it is committed once."""
    main, event, bob = pair
    request = main.batch({CHANNEL: [(*bob, "once")]}, edge_run=5, number=7)
    move = move_of(pair)
    await move.until("copy")
    first = await main.submit(request)
    await move.freeze()
    await move.changes()
    frozen_repeat = await main.submit(request)
    await move.switch()
    request.attempt = 2
    [away] = await main.submit(request)
    await move.settle()
    again = await event.submit(request)
    assert (first[0].outcome, away.outcome) == (ALLOWED, MOVED)
    assert again[0].seq == frozen_repeat[0].seq == first[0].seq
    assert texts(await whole(event)) == ["once"]
    [older] = await event.submit(main.batch({CHANNEL: [(*bob, "older")]}, edge_run=5, number=6, attempt=2))
    assert older.outcome == clue_pb2.Verdict.SUPERSEDED


async def test_messages_wait_while_frozen(pair):
    """Until the channel is where it will be: then they are sent there; or until the freeze is over."""
    main, event, bob = pair
    move = move_of(pair)
    await move.until("freeze")
    waiting = asyncio.create_task(main.say(CHANNEL, bob, "held up"))
    await move.changes()
    assert not waiting.done()
    await move.switch()
    [verdict] = await waiting
    assert verdict.outcome == MOVED
    await move.finish()

    back = back_of(pair)
    await back.until("copy")
    await back.freeze(200)
    started = time.monotonic()
    [verdict] = await event.say(CHANNEL, bob, "after the freeze")
    assert verdict.outcome == ALLOWED
    assert time.monotonic() - started >= 0.1


async def test_a_freeze_longer_than_the_caller_waits(pair):
    """The message is undecided in time; it is committed nowhere, and the same batch is decided later."""
    main, event, bob = pair
    await move_of(pair).until("freeze")
    request = main.batch({CHANNEL: [(*bob, "patience")]})
    verdicts = (await main.stub.Submit(request, timeout=0.6)).verdicts
    assert [verdict.outcome for verdict in verdicts] == [UNAVAILABLE]
    [verdict] = await decided(main, request)
    assert verdict.outcome == ALLOWED
    assert texts(await whole(main)) == ["patience"]
    assert event


async def test_an_operators_change_waits_while_frozen(pair):
    """And is made when the freeze is over."""
    main, _, _ = pair
    move = move_of(pair)
    await move.until("copy")
    await move.freeze(200)
    reply = await main.operate("SetModes", clue_pb2.SetModesRequest(channel=CHANNEL, slow_s=10))
    assert reply.changed


@pytest.mark.parametrize("last", STEPS)
async def test_a_mover_that_dies_before_the_switch_leaves_the_old_home(pair, last):
    """When its freeze is over the channel lives there alone, and another move can take it away."""
    main, event, bob = pair
    await main.say(CHANNEL, bob, "before")
    dead = move_of(pair, age_ms=10)
    if last == "last":
        await dead.until("freeze")
        await dead.changes()
    else:
        await dead.until(last)
    assert await homes_of(event, bob) == "main"
    assert await homes_of(main, bob) == ALLOWED
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "is not frozen" if last in STEPS[3:] else "frozen"):
        await dead.switch()
    await move_of(pair).all()
    assert await homes_of(main, bob) == "event"
    assert await homes_of(event, bob) == ALLOWED
    assert len(texts(await whole(event))) == 3


async def test_a_mover_that_dies_after_the_switch(pair):
    """Whoever hears of the new home settles the channel there; a second mover finishes."""
    main, event, bob = pair
    dead = move_of(pair)
    await dead.until("switch")
    [away] = await main.say(CHANNEL, bob, "where to?")
    assert await homes_of(event, bob) == "main"  # not settled: it says whose copy it is
    settled = await event.stub.Settle(clue_pb2.SettleRequest(channel=CHANNEL, move=away.elsewhere.move))
    assert (settled.available, settled.HasField("elsewhere")) == (True, False)
    assert await homes_of(event, bob) == ALLOWED
    found = await directory_of(main, lambda known: len(known.homes) == 1)
    assert (found.homes[0].channel, found.homes[0].cluster, found.homes[0].move) == (CHANNEL, "event", dead.token)
    second = move_of(pair)
    assert (await second.begin()).elsewhere.cluster == "event"
    reply = await second.finish()
    assert reply.entries == 2


async def test_steps_are_repeatable(pair):
    """Each one twice, pages too."""
    main, event, bob = pair
    await main.say(CHANNEL, bob, "a", "b")
    move = move_of(pair)
    await move.begin()
    await move.begin()
    page = await move.read(changes=False)
    for _ in range(2):
        await move.store(page, first=True)
    await main.say(CHANNEL, bob, "c")
    move.rounds = 1
    for _ in range(2):
        page = await move.read(changes=True)
        await move.store(page)
    await move.freeze()
    await move.freeze()
    move.rounds = 2
    await move.store(await move.read(changes=True))
    await move.switch()
    await move.switch()
    for _ in range(2):
        await move.settle()
        await move.finish()
    entries = await whole(event)
    assert texts(entries) == ["a", "b", "c"]
    assert len(entries) == 4


async def test_a_round_is_read_again_with_the_same_number(pair):
    """A reply that got lost is asked for again: the round brings the same, and the next one does not."""
    main, _, bob = pair
    await main.say(CHANNEL, bob, "a")
    move = move_of(pair)
    await move.until("copy")
    await main.say(CHANNEL, bob, "b")
    move.rounds = 1
    first, again = [await move.read(changes=True) for _ in range(2)]
    keys_of = [sorted(piece.key for piece in page.pieces) for page in (first, again)]
    assert keys_of[0] == keys_of[1] == ["batches", "head", "log"]
    move.rounds = 2
    assert [piece.key for piece in (await move.read(changes=True)).pieces] == ["head"]
    move.rounds = 0
    assert [piece.key for piece in (await move.read(changes=True)).pieces].count("head") == 1


async def test_a_late_page_is_ignored(pair):
    """One whose number is not above the last stored one, as when a caller gave up and its call came through."""
    main, event, _ = pair
    await main.join(CHANNEL)
    move = move_of(pair)
    await move.until("copy")
    newer = clue_pb2.ChannelPage(pieces=[clue_pb2.Piece(key="bans", kind="hash", fields=[b"7", b"0 new - 1 "])])
    older = clue_pb2.ChannelPage(pieces=[clue_pb2.Piece(key="bans", kind="hash", fields=[b"7", b"0 old - 1 "])])
    await move.store(newer, number=9)
    await move.store(older, number=8)
    await move.freeze()
    await move.changes()
    await move.switch()
    await move.settle()
    state = await event.operate("GetChannel", clue_pb2.GetChannelRequest(channel=CHANNEL))
    assert [ban.login for ban in state.bans] == ["new"]


async def test_no_switch_before_all_is_read(pair):
    """Not frozen; frozen, but not read since; and after a freeze that was over in between."""
    main, event, bob = pair
    move = move_of(pair)
    await move.until("copy")
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "not frozen"):
        await move.switch()
    await main.say(CHANNEL, bob, "unread")
    await move.freeze()
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "has changed since it was read"):
        await move.switch()
    await move.freeze(50)
    await move.changes()
    [verdict] = await main.say(CHANNEL, bob, "between two freezes")
    assert verdict.outcome == ALLOWED
    await move.freeze()
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "has changed since it was read"):
        await move.switch()
    await move.changes()
    await move.switch()
    await move.settle()
    assert texts(await whole(event)) == ["unread", "between two freezes"]


async def test_an_aborted_move(pair):
    """All is as it was, also when it was frozen; the copy is gone, and the next move begins anew."""
    main, event, bob = pair
    await main.say(CHANNEL, bob, "a")
    move = move_of(pair, age_ms=20)
    await move.until("freeze")
    await move.freeze(5000)
    await move.abort()
    started = time.monotonic()
    assert await homes_of(main, bob) == ALLOWED
    assert time.monotonic() - started < 3.5  # it did not wait for the frozen time to pass
    dropped = await event.operate("AbortMove", move.step())
    assert dropped.elsewhere.cluster == "main"
    for step in (move.freeze, move.switch):
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "begin it"):
            await step()
    await move_of(pair).all()
    assert len(texts(await whole(event))) == 2


async def test_a_copy_that_is_the_channel_is_not_dropped(pair):
    """An abort at the new home after the switch: the old home is asked, and it is too late."""
    main, event, bob = pair
    await main.say(CHANNEL, bob, "precious")
    move = move_of(pair)
    await move.until("switch")
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "too late"):
        await event.operate("AbortMove", move.step())
    assert (await move.abort()).elsewhere.cluster == "event"
    await move.settle()
    assert texts(await whole(event)) == ["precious"]


async def test_a_newer_move_takes_over(pair):
    """Steps of the older one are refused from then on; a frozen one is left to finish."""
    main, event, bob = pair
    older, newer = move_of(pair, age_ms=50), move_of(pair)
    await older.until("copy")
    await newer.begin()
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "a later move"):
        await older.begin()
    for step in (older.freeze, older.switch, older.changes):
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "move"):
            await step()
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "a later move"):
        await older.abort()
    await newer.copy()
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "another move"):
        await older.store(clue_pb2.ChannelPage())
    await newer.freeze()
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "in its last step"):
        await move_of(pair).begin()
    await newer.changes()
    await newer.switch()
    await newer.finish()
    assert await homes_of(event, bob) == ALLOWED
    assert await homes_of(main, bob) == "event"


async def test_what_cannot_be_moved(pair):
    """To where it is, to the test cluster, to nowhere; inboxes; what lives elsewhere; with a token that is none."""
    main, event, _ = pair

    def step(**more):
        return clue_pb2.MoveStep(**{"channel": CHANNEL, "move": move_of(pair).token, "to": "event", **more})

    for request, words in (
        (step(to="main"), "is this one"),
        (step(to="test"), "shares nothing"),
        (step(to="mars"), "there are event, main"),
        (step(channel="@bob"), "cannot be moved"),
        (step(channel="#_room"), "cannot be moved"),
        (step(move="now"), "no move's token"),
    ):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, words):
            await main.operate("BeginMove", request)
    assert (await event.operate("BeginMove", step(to="main"))).elsewhere.cluster == "main"
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "too long ago"):
        await move_of(pair, age_ms=2 * 3600 * 1000).begin()


async def test_nothing_is_stored_over_a_channel_that_lives_there(pair):
    """A mover that got its homes wrong destroys nothing."""
    main, event, bob = pair
    await main.say(CHANNEL, bob, "precious")
    wrong = Move(CHANNEL, event, main, "event", "main")
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "it lives here"):
        await wrong.store(clue_pb2.ChannelPage(), first=True)
    move = move_of(pair)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "store its first page"):
        await move.store(clue_pb2.ChannelPage())
    await move.all()
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "it lives here"):
        await move.store(clue_pb2.ChannelPage(), first=True)
    assert texts(await whole(event)) == ["precious"]


async def test_figures_before_a_move(pair):
    """Without a token nothing begins."""
    main, _, bob = pair
    await main.say(CHANNEL, bob, "a", "b")
    joined = clue_pb2.ChannelPresence(channel=CHANNEL, joined=["bob"], full=True)
    await main.stub.Presence(clue_pb2.PresenceReport(edge_run=7, channels=[joined]))
    reply = await main.operate("BeginMove", clue_pb2.MoveStep(channel=CHANNEL, to="event"))
    assert (reply.entries, reply.members, reply.moving) == (2, 1, "")
    assert reply.bytes > 100
    assert reply.head == (await whole(main))[-1].seq
    move = move_of(pair)
    reply = await move.begin()
    assert (reply.moving, reply.moving_to) == (move.token, "event")


async def test_limits_come_along(four_servers, directory_server, main_and_event):
    """Who has used up what may be sent has used it up at the new home, too."""
    redis = {name.name: name.redis for name in main_and_event}
    async with clusters(directory_server.address, redis, inbox_home="event") as (main, event):
        [bob] = await main.clue.login("bob")
        user = (bob, "bob")
        await main.clue.operate("SetRole", clue_pb2.SetRoleRequest(channel=CHANNEL, login="bob", role="vip"))
        await main.clue.say(CHANNEL, user, *(f"{i}" for i in range(95)))
        joined = clue_pb2.ChannelPresence(channel=CHANNEL, joined=["bob"], full=True)
        await main.clue.stub.Presence(clue_pb2.PresenceReport(edge_run=7, channels=[joined]))
        move = Move(CHANNEL, main.clue, event.clue, "main", "event")
        await move.until("copy")
        await main.clue.say(CHANNEL, user, "96", "97")  # these come along as their author's, with the log
        await move.freeze()
        await move.changes()
        await move.switch()
        await move.finish()
        verdicts = await event.clue.say(CHANNEL, user, *(f"there {i}" for i in range(5)))
        assert [verdict.denial for verdict in verdicts] == ["", "", "", "msg_ratelimit", "msg_ratelimit"]


async def test_what_is_cached_does_not_outlive_a_move(main_and_event):
    """The other clue of the old home knows nothing of the move, and of what was changed at the new home meanwhile."""
    main, event = main_and_event
    [bob] = await main.clue.login("bob")
    user = (bob, "bob")
    other = main.clues[1]
    request = other.batch({CHANNEL: [(*user, "hello")]})
    await other.submit(request)
    await Move(CHANNEL, main.clue, event.clue, "main", "event").all()
    await event.clue.operate("SetBan", clue_pb2.SetBanRequest(channel=CHANNEL, login="bob", banned=True))
    [away] = await other.say(CHANNEL, user, "still here?")
    assert away.outcome == MOVED
    await Move(CHANNEL, event.clue, main.clue, "event", "main").all()
    [banned] = await other.say(CHANNEL, user, "back again")
    assert banned.denial == "msg_banned"
    await event.clue.login("ann")
    [ann] = await main.clue.login("ann")
    reply = other.batch({CHANNEL: [(ann, "ann", "indeed")]})
    reply.channels[0].submissions[0].reply_parent_id = request.channels[0].submissions[0].id
    assert (await other.submit(reply))[0].outcome == ALLOWED
    last = chat_pb2.Publication.FromString((await whole(main.clue))[-1].publication)
    assert last.line.reply.parent_text == "hello"


async def test_a_new_home_that_lost_all_before_it_settled(pair, four_servers):
    """Its Redis forgot the copy between the switch and Settle: the channel lives there nonetheless, with a new log."""
    main, event, bob = pair
    await main.say(CHANNEL, bob, "lost")
    move = move_of(pair)
    await move.until("switch")
    for server in four_servers[2:]:
        with server.client() as redis:
            redis.delete(*keys.of_channel(CHANNEL))
    await move.settle()
    assert await homes_of(event, bob) == ALLOWED
    assert await homes_of(main, bob) == "event"


async def test_a_home_that_lost_all(pair, four_servers):
    """The directory's list says that the channel lives there: it goes on, and does not send users in circles."""
    main, event, bob = pair
    await move_of(pair).all()
    for clue in (main, event):
        await directory_of(clue, lambda known: len(known.homes) == 1)
    for server in four_servers[2:]:
        with server.client() as redis:
            redis.delete(*keys.of_channel(CHANNEL))
    assert await homes_of(event, bob) == ALLOWED
    assert await homes_of(main, bob) == "event"

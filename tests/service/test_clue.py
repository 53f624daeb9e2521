"""One or two clues over real gRPC, with two real Redis shards and an exchange that keeps what it takes."""

import asyncio

import grpc
import pytest

from common.pb import chat_pb2, clue_pb2
from tests.support.clue import clues, decided
from tests.support.eventually import eventually
from tests.support.redis import redis_servers

ALLOWED, DENIED = clue_pb2.Verdict.ALLOWED, clue_pb2.Verdict.DENIED
UNAVAILABLE, SUPERSEDED = clue_pb2.Verdict.UNAVAILABLE, clue_pb2.Verdict.SUPERSEDED


@pytest.fixture(scope="module")
def shards():
    with redis_servers(2) as servers:
        yield servers


@pytest.fixture
def clue(pair):
    return pair[0]


async def users(clue, *nicks):
    return list(zip(await clue.login(*nicks), nicks, strict=True))


async def test_open_login(clue):
    """In open mode a login is made at first sight, shown as typed, and is the same ever after."""
    reply = await clue.stub.Authenticate(
        clue_pb2.AuthenticateRequest(
            logins=[clue_pb2.Login(nick=nick, token="x") for nick in ("BoB", "bob", "", "a b", "justinfan5", "al")]
        )
    )
    outcomes = [clue_pb2.LoginResult.Outcome.Name(result.outcome) for result in reply.results]
    assert outcomes == ["ACCEPTED", "ACCEPTED", "INVALID_NICK", "INVALID_NICK", "INVALID_NICK", "ACCEPTED"]
    first, again, al = reply.results[0].user, reply.results[1].user, reply.results[5].user
    assert (first.login, first.display_name) == ("bob", "BoB")
    assert first == again
    assert al.user_id not in (0, first.user_id)


async def test_token_login(redis, taking):
    """In token mode only an account's own tokens do, without regard to case; a reserved account has none."""
    async with clues(1, redis, taking.address, auth="token") as [clue]:
        added = await clue.operate("AddUser", clue_pb2.AddUserRequest(login="Bob", token="oauth:SeCret"))
        made = await clue.operate("AddUser", clue_pb2.AddUserRequest(login="bob"))
        await clue.join("#al")
        tries = [("bob", "secret"), ("BOB", "SECRET"), ("bob", made.token), ("bob", "x"), ("al", ""), ("nobody", "x")]
        reply = await clue.stub.Authenticate(
            clue_pb2.AuthenticateRequest(logins=[clue_pb2.Login(nick=nick, token=token) for nick, token in tries])
        )
    outcomes = [clue_pb2.LoginResult.Outcome.Name(result.outcome) for result in reply.results]
    assert outcomes == ["ACCEPTED"] * 3 + ["REFUSED"] * 3
    assert added.user.display_name == "Bob"
    assert added.token == "secret"
    assert made.user.user_id == added.user.user_id


async def test_tokens_are_not_kept(clue, shards):
    """Redis has no token, only its hash."""
    await clue.operate("AddUser", clue_pb2.AddUserRequest(login="bob", token="verysecret"))
    for server in shards:
        with server.client() as client:
            for key in client.scan_iter("*:user"):
                assert b"verysecret" not in repr(client.hgetall(key)).encode()


async def test_message(clue, taking):
    """An accepted message is in the log, at the exchange, and its author is told how readers see it."""
    [bob] = await users(clue, "Bob")
    joined = await clue.join("#al", bob[0], "bob")
    assert joined.outcome == clue_pb2.JoinResult.ADMITTED
    [verdict] = await clue.say("#al", (bob[0], "bob"), "  hello   world ")
    assert (verdict.outcome, verdict.delayed) == (ALLOWED, False)
    assert verdict.chatter == joined.chatter
    [(channel, entry)] = taking.taken
    publication = chat_pb2.Publication.FromString(entry.publication)
    assert (channel, entry.seq, entry.prev) == ("#al", verdict.seq, 0)
    assert (publication.line.text, publication.line.edge_run) == ("hello world", 1)
    assert (publication.room_id, publication.line.author.display_name) == (joined.room.room_id, "Bob")
    assert await clue.replay("#al") == ([entry], False)
    assert (await clue.join("#al")).head == verdict.seq


async def test_lane_metadata(clue, taking):
    """HAProxy is told the lane."""
    [bob] = await users(clue, "bob")
    await clue.say("#tallgrass", bob, "x")
    assert taking.lanes == ["23"]


async def test_room_id(clue):
    """A channel's room id is its owner's user id, whoever was there first."""
    room_id = (await clue.join("#owner")).room.room_id
    assert await clue.login("owner") == [room_id]


async def test_broadcaster(clue):
    """The broadcaster wears the badge and is neither slowed nor asked for new words."""
    [bob] = await users(clue, "bob")
    verdicts = await clue.say("#bob", bob, "a", "a", "a")
    assert [verdict.outcome for verdict in verdicts] == [ALLOWED] * 3
    assert verdicts[0].chatter.badges == "broadcaster/1"


async def test_repeated_batch(pair, taking):
    """The same batch twice, also through another clue: the same verdicts, once in the log, and published again."""
    first, second = pair
    bob, al = await users(first, "bob", "al")
    request = first.batch({"#chan": [(*bob, "a"), (*al, "a"), (*bob, "a")]})
    verdicts = await first.submit(request)
    assert [verdict.outcome for verdict in verdicts] == [ALLOWED, ALLOWED, DENIED]
    request.attempt = 2
    assert await second.submit(request) == verdicts
    entries, _ = await first.replay("#chan")
    assert [entry.seq for entry in entries] == [verdicts[0].seq, verdicts[1].seq]
    assert [entry for _, entry in taking.taken] == entries * 2


async def test_repeat_takes_no_limit(clue):
    """A later try takes nothing from the sender's limit."""
    [bob] = await users(clue, "bob")
    for _ in range(30):
        await clue.submit(clue.batch({"#bob": [(*bob, "a")]}, number=1, attempt=2))
    verdicts = await clue.say("#chan", bob, "b")
    assert verdicts[0].outcome == ALLOWED


async def test_zombie_batch(pair):
    """A try that arrives after the next batch is superseded and leaves nothing."""
    first, second = pair
    [bob] = await users(first, "bob")
    late = first.batch({"#bob": [(*bob, "late")]})
    await second.submit(first.batch({"#bob": [(*bob, "next")]}))
    assert [verdict.outcome for verdict in await first.submit(late)] == [SUPERSEDED]
    entries, _ = await first.replay("#bob")
    assert len(entries) == 1


async def test_denied_retry_fences(pair):
    """A later try that is denied as a whole still keeps an earlier one out."""
    first, second = pair
    [bob] = await users(first, "bob")
    denied = await second.submit(first.batch({"#bob": [(*bob, "/foo")]}, number=7, attempt=2))
    zombie = await first.submit(first.batch({"#bob": [(*bob, "hello")]}, number=7))
    assert [verdict.denial for verdict in (*denied, *zombie)] == ["unrecognized_cmd"] * 2
    assert await first.replay("#bob") == ([], False)


async def test_ban_holds_at_once_everywhere(pair, taking):
    """After a ban through one clue the next message through another is refused, though its facts were cached."""
    first, second = pair
    [bob] = await users(first, "bob")
    assert (await second.say("#chan", bob, "a"))[0].outcome == ALLOWED
    change = await first.operate("SetBan", clue_pb2.SetBanRequest(channel="#Chan", login="Bob", banned=True))
    assert change.changed
    request = second.batch({"#chan": [(*bob, "b")]}, edge_run=2)
    [verdict] = await second.submit(request)
    assert (verdict.denial, verdict.notice) == ("msg_banned", "You are permanently banned from talking in chan.")
    assert second.metrics.counters["stale"] == 1
    joined = await second.join("#chan", bob[0], "bob")
    assert (joined.outcome, joined.denial) == (clue_pb2.JoinResult.DENIED, "msg_banned")
    await eventually(lambda: len(taking.taken) == 2)
    ban = chat_pb2.Publication.FromString(taking.taken[1][1].publication)
    assert (ban.banned.user_id, ban.banned.until_ms) == (bob[0], 0)
    assert (await first.replay("#chan"))[0][-1].seq == change.seq


async def test_timeout_and_unban(pair):
    """A timed out user may join, is told how long, and speaks again when unbanned."""
    first, second = pair
    [bob] = await users(first, "bob")
    await first.operate("SetBan", clue_pb2.SetBanRequest(channel="#chan", login="bob", banned=True, duration_s=600))
    assert (await second.join("#chan", bob[0], "bob")).outcome == clue_pb2.JoinResult.ADMITTED
    [verdict] = await second.say("#chan", bob, "a")
    assert verdict.denial == "msg_timedout"
    assert verdict.notice in (f"You are timed out for {n} more seconds." for n in (598, 599, 600))
    await first.operate("SetBan", clue_pb2.SetBanRequest(channel="#chan", login="bob", banned=False))
    assert (await second.say("#chan", bob, "a"))[0].outcome == ALLOWED


async def test_changes_without_change(clue):
    """Doing again what is so already writes nothing."""
    requests = [
        ("SetBan", clue_pb2.SetBanRequest(channel="#chan", login="bob", banned=True)),
        ("SetRole", clue_pb2.SetRoleRequest(channel="#chan", login="bob", role="vip")),
        ("SetBan", clue_pb2.SetBanRequest(channel="#chan", login="bob", banned=False)),
        ("SetRole", clue_pb2.SetRoleRequest(channel="#chan", login="bob", role="none")),
    ]
    seqs = []
    for method, request in requests:
        seqs.append((await clue.operate(method, request)).seq)
        again = await clue.operate(method, request)
        assert (again.changed, again.seq) == (False, 0)
    assert [entry.seq for entry in (await clue.replay("#chan"))[0]] == seqs


async def test_concurrent_changes(pair):
    """Changes through two clues in the same moment are all made, one after the other."""
    roles = ["mod", "sub", "follower"]
    replies = await asyncio.gather(
        *(
            pair[i % 2].operate("SetRole", clue_pb2.SetRoleRequest(channel="#chan", login=f"user{i}", role=role))
            for i, role in enumerate(roles)
        )
    )
    entries, _ = await pair[0].replay("#chan")
    assert sorted(reply.seq for reply in replies) == [entry.seq for entry in entries]
    assert [entry.prev for entry in entries] == [0, entries[0].seq, entries[1].seq]


async def test_roles(pair):
    """A role shows in the badges, and exempts a mod from the duplicate rule."""
    first, second = pair
    [bob] = await users(first, "bob")
    await second.say("#chan", bob, "a")
    await first.operate("SetRole", clue_pb2.SetRoleRequest(channel="#chan", login="bob", role="mod"))
    verdicts = await second.say("#chan", bob, "a", "a")
    assert [verdict.outcome for verdict in verdicts] == [ALLOWED, ALLOWED]
    assert verdicts[0].chatter.badges == "moderator/1"


async def test_rename_shows(pair):
    """A new display name shows with the next message, through every clue."""
    first, second = pair
    [bob] = await users(first, "bob")
    await second.say("#chan", bob, "a")
    await first.operate("AddUser", clue_pb2.AddUserRequest(login="bob", display_name="BOB"))
    await first.operate("SetRole", clue_pb2.SetRoleRequest(channel="#chan", login="bob", role="mod"))
    assert (await second.say("#chan", bob, "b"))[0].chatter.display_name == "BOB"


async def test_denials(clue):
    """Each refusal has its msg-id and text, and nothing of it is in the log."""
    bob, al = await users(clue, "bob", "al")
    verdicts = await clue.submit(
        clue.batch(
            {
                "#chan": [
                    (*bob, "one"),
                    (*bob, "one"),
                    (*bob, "two"),
                    (*al, "/foo bob"),
                    (*al, "a\x02b"),
                    (*al, "   "),
                    (0, "justinfan1", "hello"),
                    (bob[0] + 1000, "bob", "hello"),
                ],
                "#no channel": [(*al, "x")],
            }
        )
    )
    assert [verdict.denial for verdict in verdicts] == [
        "",
        "msg_duplicate",
        "msg_ratelimit",
        "unrecognized_cmd",
        "msg_bad_characters",
        "msg_bad_characters",
        "msg_suspended",
        "msg_suspended",
        "msg_channel_suspended",
    ]
    assert verdicts[3].notice == "Unrecognized command: /foo"
    assert all(verdict.notice for verdict in verdicts[1:])
    assert len((await clue.replay("#chan"))[0]) == 1
    assert clue.metrics.counters["denied.msg_duplicate"] == 1


async def test_rate_limit_follows_the_role(clue):
    """The 21st message in 30 s passes where its sender has a role, and is refused elsewhere."""
    [bob] = await users(clue, "bob")
    verdicts = await clue.say("#bob", bob, *(f"message {i}" for i in range(21)))
    assert [verdict.outcome for verdict in verdicts] == [ALLOWED] * 21
    [elsewhere] = await clue.say("#chan", bob, "hello")
    assert elsewhere.denial == "msg_ratelimit"
    verdicts = await clue.say("#bob", bob, *(f"more {i}" for i in range(80)))
    assert [verdict.denial for verdict in verdicts] == [""] * 79 + ["msg_ratelimit"]


async def test_limits_off(redis, taking):
    """For benches nothing is limited."""
    async with clues(1, redis, taking.address, limits=False) as [clue]:
        [bob] = await users(clue, "bob")
        verdicts = await clue.say("#chan", bob, *["same"] * 150)
        assert [verdict.outcome for verdict in verdicts] == [ALLOWED] * 150


async def test_group_commit(clue):
    """Batches of many edges at once are all committed, each in its order, with far fewer scripts than batches."""
    names = [f"user{i}" for i in range(20)]
    ids = await clue.login(*names)
    await clue.join("#chan")
    before = clue.metrics.counters["publish.commits"]
    requests = [
        clue.batch({"#chan": [(ids[i], names[i], f"{i}")]}, edge_run=i + 1, number=1) for i in range(len(names))
    ]
    replies = await asyncio.gather(*map(clue.submit, requests))
    seqs = sorted(reply[0].seq for reply in replies)
    assert seqs == list(range(seqs[0], seqs[0] + 20))
    assert clue.metrics.counters["publish.commits"] - before < 20
    entries, _ = await clue.replay("#chan")
    assert [entry.prev for entry in entries[1:]] == [entry.seq for entry in entries[:-1]]


async def test_replay_pages(clue):
    """A replay is bounded, says so, and goes on after its last entry."""
    [bob] = await users(clue, "bob")
    await clue.say("#bob", bob, *"abcde")
    first, more = await clue.replay("#bob", limit=2)
    rest, end = await clue.replay("#bob", after_seq=first[-1].seq, limit=3)
    assert ([len(first), more], [len(rest), end]) == ([2, True], [3, False])
    texts = [chat_pb2.Publication.FromString(entry.publication).line.text for entry in first + rest]
    assert texts == list("abcde")
    assert await clue.replay("#bob", after_seq=rest[-1].seq) == ([], False)


async def test_heads(clue):
    """Heads come in the order asked, over all shards; a channel without a log has 0."""
    [bob] = await users(clue, "bob")
    names = [f"#chan{i}" for i in range(8)]
    seqs = [(await clue.say(name, bob, "x"))[0].seq for name in names[:6]]
    reply = await clue.stub.Heads(clue_pb2.HeadsRequest(channels=names))
    assert [head.channel for head in reply.heads] == names
    assert [head.seq for head in reply.heads] == [*seqs, 0, 0]
    assert all(head.available for head in reply.heads)


async def test_directory(pair):
    """Services register, see each other and the clues, and leave."""
    first, second = pair
    me = clue_pb2.Registration(service="edge", instance="edge-1", run=5, grpc_address="127.0.0.1:1")
    await first.stub.Register(me)
    directory = await second.operate("GetDirectory", clue_pb2.DirectoryRequest())
    assert directory.available
    assert [service.instance for service in directory.services] == ["clue-1", "clue-2", "edge-1"]
    assert directory.services[2].last_seen_ms > 0
    left = await second.stub.Leave(me)
    assert [service.instance for service in left.services] == ["clue-1", "clue-2"]


async def test_stopped_clue_leaves(redis, taking):
    """A clue that stops is out of the directory at once."""
    async with clues(1, redis, taking.address) as [stays]:
        async with clues(1, redis, taking.address, instance="other"):
            pass
        directory = await stays.operate("GetDirectory", clue_pb2.DirectoryRequest())
        assert [service.instance for service in directory.services] == ["clue-1"]


async def test_exchange_away(clue, taking):
    """While no exchange takes anything messages are allowed, marked late, and published when one does."""
    [bob] = await users(clue, "bob")
    taking.refusing = True
    [verdict] = await clue.say("#bob", bob, "late")
    assert (verdict.outcome, verdict.delayed) == (ALLOWED, True)
    taking.refusing = False
    await eventually(lambda: taking.texts() == ["late"])
    [verdict] = await clue.say("#bob", bob, "next")
    assert not verdict.delayed
    assert taking.texts() == ["late", "next"]
    assert clue.metrics.counters["publish.delayed"] == 1


async def test_verdict_within_the_deadline(clue, taking):
    """A caller with less patience than the exchange needs has its verdict in time."""
    [bob] = await users(clue, "bob")
    taking.refusing = True
    reply = await clue.stub.Submit(clue.batch({"#bob": [(*bob, "x")]}), timeout=1.0)
    assert reply.verdicts[0].delayed


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_control_is_guarded(clue, token):
    """Operators' calls need the token."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await clue.operate("GetDirectory", clue_pb2.DirectoryRequest(), token=token)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_control_without_a_token(redis, taking):
    """A clue without a control token serves no operators."""
    async with clues(1, redis, taking.address, control_token="") as [clue]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await clue.operate("GetDirectory", clue_pb2.DirectoryRequest(), token="")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("method", "request_", "says"),
    [
        ("AddUser", clue_pb2.AddUserRequest(login="a b"), "no login"),
        ("AddUser", clue_pb2.AddUserRequest(login="bob", display_name="a b"), "display name"),
        ("AddUser", clue_pb2.AddUserRequest(login="bob", token="a b"), "token"),
        ("SetRole", clue_pb2.SetRoleRequest(channel="chan", login="bob", role="mod"), "no channel"),
        ("SetRole", clue_pb2.SetRoleRequest(channel="#chan", login="bob", role="king"), "mod, vip, sub"),
        ("SetBan", clue_pb2.SetBanRequest(channel="#bob", login="bob", banned=True), "broadcaster"),
        ("SetBan", clue_pb2.SetBanRequest(channel="#c", login="bob", banned=True, duration_s=1_209_601), "1209600"),
    ],
)
async def test_control_refuses(clue, method, request_, says):
    """A request that cannot be carried out is refused with what would do."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await clue.operate(method, request_)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert says in caught.value.details()


async def test_batch_of_an_edge_that_gave_up(clue):
    """A batch repeated after its edge lost the answer is decided once."""
    [bob] = await users(clue, "bob")
    request = clue.batch({"#chan": [(*bob, "x")]})
    call = asyncio.ensure_future(clue.submit(request))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait({call})
    request.attempt = 2
    [verdict] = await decided(clue, request)
    assert verdict.outcome == ALLOWED
    assert len((await clue.replay("#chan"))[0]) == 1


async def test_joins_are_counted_once(redis, taking):
    """Over all clues; a later try takes nothing, and neither does a channel that cannot be; staff may join more."""
    async with clues(2, redis, taking.address) as (first, second):
        [bob, boss] = await first.login("bob", "boss")

        def asked(user_id, login, channels, **more):
            joins = [clue_pb2.JoinQuery(channel=name, user_id=user_id, login=login) for name in channels]
            return clue_pb2.JoinRequest(joins=joins, **more)

        async def denials(clue, request):
            return [result.denial for result in (await clue.stub.Join(request)).results]

        names = [f"#chan{number}" for number in range(12)]
        assert await denials(first, asked(bob, "bob", names)) == [""] * 12
        assert await denials(second, asked(bob, "bob", names, uncounted=True)) == [""] * 12
        no_channel = ["msg_channel_suspended"]
        assert await denials(second, asked(bob, "bob", ["#no-channel", *names[:8]])) == no_channel + [""] * 8
        assert await denials(first, asked(bob, "bob", names[:1])) == ["join_ratelimit"]
        await first.operate("AddUser", clue_pb2.AddUserRequest(login="boss", user_type="staff"))
        assert await denials(first, asked(boss, "boss", [*names, *names])) == [""] * 24

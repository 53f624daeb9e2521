"""Commands through one or two clues over real Redis: once and in order, whoever repeats or interrupts them."""

import asyncio
import uuid

import grpc
import pytest

from clue import gathering, keys, vocabularies
from common import sharding
from common.pb import chat_pb2, clue_pb2
from tests.support.clue import clues, decided
from tests.support.eventually import eventually
from tests.support.redis import BINARIES, redis_servers

ALLOWED, DENIED, COMMAND = clue_pb2.Verdict.ALLOWED, clue_pb2.Verdict.DENIED, clue_pb2.Verdict.COMMAND
UNAVAILABLE = clue_pb2.Verdict.UNAVAILABLE


@pytest.fixture(scope="module", params=BINARIES, ids=["newer", "oldest"][: len(BINARIES)])
def shards(request):
    with redis_servers(2, binary=request.param) as servers:
        yield servers


@pytest.fixture
async def people(pair):
    """Users by login, the channel's owner "al" among them."""
    logins = ("al", "mod", "bob", "eve")
    ids = await pair[0].login(*logins)
    await pair[0].operate("SetRole", clue_pb2.SetRoleRequest(channel="#al", login="mod", role="mod"))
    return dict(zip(logins, zip(ids, logins, strict=True), strict=True))


async def log(clue, channel="#al"):
    entries, _ = await clue.replay(channel)
    return [chat_pb2.Publication.FromString(entry.publication) for entry in entries]


async def bodies(clue, channel="#al"):
    return [publication.WhichOneof("body") for publication in await log(clue, channel)]


def told(verdict):
    outcome = clue_pb2.Verdict.Outcome.Name(verdict.outcome)
    return [notice.msg_id for notice in verdict.notices] or verdict.denial or outcome


async def test_commands_stand_in_the_order_of_the_batch(pair, people):
    """What a command changes holds for what follows it in the batch, and not for what precedes it."""
    said = [
        ("bob", "before"), ("mod", "/ban bob"), ("bob", "after"), ("mod", "/unban bob"), ("mod", "/mods"),
        ("al", "/unmod mod"), ("mod", "/ban bob"), ("al", "/mods"), ("al", "/slow 60"), ("eve", "one"), ("eve", "two"),
    ]  # fmt: skip
    verdicts = await pair[0].submit(pair[0].batch({"#al": [(*people[who], text) for who, text in said]}))
    assert [told(verdict) for verdict in verdicts] == [
        "ALLOWED", ["ban_success"], "msg_banned", ["unban_success"], ["room_mods"],
        ["unmod_success"], ["no_permission"], ["no_mods"], "COMMAND", "ALLOWED", "msg_slowmode",
    ]  # fmt: skip
    assert await bodies(pair[0]) == ["roles", "line", "banned", "unbanned", "roles", "room", "line"]


async def test_repeated_commands(pair, people, taking):
    """A batch repeated through another clue is answered the same and does nothing again, whatever happened since."""
    first, second = pair
    said = [("mod", "/ban bob why"), ("mod", "/ban bob"), ("mod", "/w eve psst"), ("mod", "/color red"), ("mod", "bye")]
    request = first.batch({"#al": [(*people[who], text) for who, text in said]})
    verdicts = await first.submit(request)
    assert [told(verdict) for verdict in verdicts] == [
        ["ban_success"], ["already_banned"], "COMMAND", ["color_changed"], "ALLOWED",
    ]  # fmt: skip
    await second.operate("SetBan", clue_pb2.SetBanRequest(channel="#al", login="bob", banned=False))
    await eventually(lambda: len(taking.taken) == 5)
    request.attempt = 2
    again = await second.submit(request)
    assert [verdict.notices for verdict in again] == [verdict.notices for verdict in verdicts]
    assert [verdict.seq for verdict in again] == [verdict.seq for verdict in verdicts]
    assert await bodies(first) == ["roles", "banned", "line", "unbanned"]
    assert await bodies(first, "@eve") == ["whisper"]
    # Published again: an exchange may not have had it. The inbox's entry was not new.
    assert [name for name, _ in taking.taken[5:]] == ["#al", "#al"]


async def test_a_command_behind_a_zombie(pair, people):
    """A first try that arrives after the second one finds its batch taken."""
    first, second = pair
    request = first.batch({"#al": [(*people["mod"], "/timeout bob 5")]})
    request.attempt = 2
    retried = await second.submit(request)
    await second.operate("SetBan", clue_pb2.SetBanRequest(channel="#al", login="bob", banned=False))
    request.attempt = 1
    assert [verdict.notices for verdict in await first.submit(request)] == [verdict.notices for verdict in retried]
    assert await bodies(first) == ["roles", "banned", "unbanned"]


async def test_stale_facts(pair, people):
    """A command is decided on what holds when it is carried out, though its clue remembers otherwise."""
    first, second = pair
    assert told((await second.say("#al", people["mod"], "/unban bob"))[0]) == ["bad_unban_no_ban"]
    await first.say("#al", people["al"], "/ban bob", "/vip eve")
    verdicts = await second.submit(
        second.batch({"#al": [(*people["mod"], "/unban bob"), (*people["al"], "/vips")]}, edge_run=2)
    )
    assert [told(verdict) for verdict in verdicts] == [["unban_success"], ["vips_success"]]


async def test_no_ops_are_silent(pair, people):
    """What is so already is answered, and writes nothing."""
    await pair[0].say("#al", people["al"], "/slow", "/ban bob", "/vip eve")
    before = await log(pair[0])
    with_others = ["/slow 30", "/ban bob", "/vip eve", "/unmod bob", "/emoteonlyoff", "/unraid", "/untimeout eve"]
    verdicts = await pair[0].say("#al", people["al"], *with_others)
    assert all(verdict.notices for verdict in verdicts)
    assert await log(pair[0]) == before


async def test_whispers_of_several_channels(pair, people):
    """Whispers from many channels in one batch are each delivered once, also when only some channels are repeated."""
    clue = pair[0]
    said = {f"#chan{i}": [(*people["bob"], f"/w eve number {i}")] for i in range(3)}
    request = clue.batch(said)
    await clue.submit(request)
    del request.channels[1:]
    request.attempt = 2
    await pair[1].submit(request)
    texts = sorted(publication.whisper.text for publication in await log(clue, "@eve"))
    assert texts == ["number 0", "number 1", "number 2"]


def placed(channel_shard, user_shard):
    """A login whose channel and whose account lie on these shards."""
    for i in range(1000):
        login = f"user{i}"
        if (
            sharding.shard(keys.of_channel("#" + login).head, 2) == channel_shard
            and sharding.shard(keys.user(login), 2) == user_shard
        ):
            return login
    raise AssertionError("no such login")


async def test_effects_on_a_lost_shard(redis, shards, taking):
    """While a moderator cannot be told of a held message it is undecided; afterwards the moderator is told once."""
    async with clues(1, redis, taking.address) as [clue]:
        owner, bob = placed(0, 1), placed(0, 0)
        ids = dict(zip((owner, bob), await clue.login(owner, bob), strict=True))
        words = clue_pb2.SetWordsRequest(channel=f"#{owner}", terms=[clue_pb2.Term(term="hmm", action="hold")])
        await clue.operate("SetWords", words)
        request = clue.batch({f"#{owner}": [(ids[bob], bob, "hmm")]})
        await asyncio.to_thread(shards[1].stop)
        try:
            [verdict] = await clue.submit(request)
            assert verdict.outcome == UNAVAILABLE
        finally:
            await asyncio.to_thread(shards[1].start)
        for _ in range(2):
            request.attempt += 1
            assert [told(verdict) for verdict in await decided(clue, request)] == ["msg_rejected"]
        assert await bodies(clue, "@" + owner) == ["personal_notice"]


async def test_a_command_about_a_lost_shard(redis, shards, taking):
    """A command about somebody who cannot be looked up is refused, and says so."""
    async with clues(1, redis, taking.address) as [clue]:
        owner, other = placed(0, 0), placed(0, 1)
        ids = dict(zip((owner, other), await clue.login(owner, other), strict=True))
        await clue.join(f"#{owner}")
        await asyncio.to_thread(shards[1].stop)
        try:
            verdicts = await clue.say(f"#{owner}", (ids[owner], owner), f"/ban {other}", f"/raid {other}", "/mods")
        finally:
            await asyncio.to_thread(shards[1].start)
        assert [told(verdict) for verdict in verdicts] == [
            ["command_unavailable"],
            ["raid_error_unexpected"],
            ["no_mods"],
        ]
        assert verdicts[1].notices[0].text == f"There was a problem raiding {other}. Please try again in a minute."


async def test_held_and_approved(pair, people, taking):
    """One of two moderators, at different clues, decides on a held message; shown, it is an ordinary line."""
    first, second = pair
    words = clue_pb2.SetWordsRequest(channel="#al", terms=[clue_pb2.Term(term="hmm*", action="hold")])
    await first.operate("SetWords", words)
    request = second.batch({"#al": [(*people["bob"], "hmmmm")]}, edge_run=9)
    [verdict] = await second.submit(request)
    assert (verdict.outcome, verdict.denial) == (DENIED, "msg_rejected")
    request.attempt = 2
    assert await first.submit(request) == [verdict]
    for inbox in ("@al", "@mod"):
        [notice] = await log(first, inbox)
        assert notice.personal_notice.msg_id == "msg_held"
    message_id = request.channels[0].submissions[0].id
    state = await first.operate("GetChannel", clue_pb2.GetChannelRequest(channel="#al"))
    assert [(held.id, held.line.text) for held in state.held] == [(message_id, "hmmmm")]
    verdicts = await asyncio.gather(
        first.submit(first.batch({"#al": [(*people["mod"], f"/approve {message_id}")]})),
        second.submit(second.batch({"#al": [(*people["al"], f"/deny {message_id}")]}, edge_run=2)),
    )
    answers = sorted(told(verdict)[0] for [verdict] in verdicts)
    assert answers in (["held_approved", "held_gone"], ["held_denied", "held_gone"])
    shown = [publication for publication in await log(first) if publication.id == message_id]
    assert len(shown) == (answers[0] == "held_approved")
    assert all((one.line.text, one.line.edge_run, one.line.session) == ("hmmmm", 0, 0) for one in shown)
    [outcome] = await log(first, "@bob")
    assert outcome.personal_notice.msg_id == ("msg_approved" if shown else "msg_denied")


async def test_a_held_message_expires(pair, people, shards):
    """After its time nobody can show it."""
    clue = pair[0]
    words = clue_pb2.SetWordsRequest(channel="#al", terms=[clue_pb2.Term(term="hmm", action="hold")])
    await clue.operate("SetWords", words)
    await clue.say("#al", people["bob"], "hmm")
    key = keys.of_channel("#al").held
    for server in shards:
        with server.client() as client:
            for message_id, value in client.hgetall(key).items():
                client.hset(key, message_id, b"1 " + value.partition(b" ")[2])
                found = message_id.decode()
    assert told((await clue.say("#al", people["mod"], f"/approve {found}"))[0]) == ["held_gone"]


async def test_words_of_all_channels(redis, taking, monkeypatch):
    """Terms and emotes of all channels reach another clue soon; a channel's own are added."""
    monkeypatch.setattr(vocabularies, "REFRESH_S", 0.1)
    async with clues(2, redis, taking.address) as [first, second]:
        bob, eve = zip(await first.login("bob", "eve"), ("bob", "eve"), strict=True)
        everywhere = clue_pb2.SetWordsRequest(
            terms=[clue_pb2.Term(term="never", action="deny")], emotes=[clue_pb2.Emote(name="Kappa", id="25")]
        )
        assert (await first.operate("SetWords", everywhere)).changed
        assert not (await first.operate("SetWords", everywhere)).changed
        await first.say("#bob", bob, "Kappa")
        assert (await log(first, "#bob"))[-1].line.emotes == "25:0-4"
        for _ in range(50):
            await second.say("#bob", bob, "Kappa")
            if (await log(second, "#bob"))[-1].line.emotes:
                break
            await asyncio.sleep(0.1)
        assert told((await second.say("#al", eve, "never ever"))[0]) == "msg_rejected_mandatory"


async def test_lockout(redis, taking):
    """Who went over the limit is told so for the length of the lock-out, except where there is privilege."""
    async with clues(1, redis, taking.address, lockout_s=2) as [clue]:
        bob, _ = zip(await clue.login("bob", "al"), ("bob", "al"), strict=True)
        said = [await clue.say(f"#chan{i}", bob, "hello") for i in range(21)]
        assert [told(verdict) for [verdict] in said] == ["ALLOWED"] * 20 + ["msg_ratelimit"]
        assert told((await clue.say("#bob", bob, "at home"))[0]) == "ALLOWED"
        assert told((await clue.say("#chan99", bob, "hello"))[0]) == "msg_ratelimit"


async def test_replies_through_another_clue(pair, people):
    """The parent is found in the log when another clue took it, and not when it has been deleted."""
    first, second = pair
    await first.operate("SetRole", clue_pb2.SetRoleRequest(channel="#chan", login="bob", role="mod"))
    await first.operate("SetRole", clue_pb2.SetRoleRequest(channel="#chan", login="al", role="vip"))
    request = first.batch({"#chan": [(*people["al"], "the parent")]})
    await first.submit(request)
    parent_id = request.channels[0].submissions[0].id
    lines = []
    for number in range(2):
        reply = second.batch({"#chan": [(*people["al"], f"reply {number}")]}, edge_run=5)
        reply.channels[0].submissions[0].reply_parent_id = parent_id
        await second.submit(reply)
        lines.append((await log(first, "#chan"))[-1].line)
        await first.say("#chan", people["bob"], f"/delete {parent_id}")
    assert [(line.text, line.reply.parent_text) for line in lines] == [("@al reply 0", "the parent"), ("reply 1", "")]


async def test_returning_chatter(pair, people, shards):
    """Who said the first thing here some days ago is a returning chatter, for thirty days."""
    clue, bob = pair[0], people["bob"]
    await clue.say("#bob", bob, "first")
    [publication] = await log(clue, "#bob")
    assert (publication.line.first_message, publication.line.returning_chatter) == (True, False)
    key = keys.of_channel("#bob").first
    marks = {}
    for days in (0, 1, 30, 31):
        with shards[sharding.shard(key, 2)].client() as client:
            client.hset(key, bob[0], publication.ts_ms // 86_400_000 - days)
        await clue.say("#bob", bob, f"/slow {days + 5}")  # another version: the clue forgets what it knew
        await clue.say("#bob", bob, "again")
        line = (await log(clue, "#bob"))[-1].line
        assert not line.first_message
        marks[days] = line.returning_chatter
    assert marks == {0: False, 1: True, 30: True, 31: False}


async def test_execute(pair, people):
    """An operator sends as a user, with the user's rights."""
    clue = pair[0]

    async def execute(login, text, **more):
        return await clue.operate("Execute", clue_pb2.ExecuteRequest(channel="#al", login=login, text=text, **more))

    message_id = str(uuid.uuid4())
    assert told(await execute("bob", "hello", id=message_id)) == "ALLOWED"
    assert told(await execute("bob", "/ban eve")) == ["no_permission"]
    assert told(await execute("mod", "/ban eve")) == ["ban_success"]
    assert told(await execute("mod", f"/delete {message_id}")) == ["delete_message_success"]
    assert await bodies(clue) == ["roles", "line", "banned", "deleted"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute("nobody", "hello")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_channel_state(pair, people):
    """An operator sees modes, roles, bans in force, and words."""
    clue = pair[0]
    modes = clue_pb2.SetModesRequest(channel="#al", slow_s=10, followers_only_min=0, emote_only=False)
    assert (await clue.operate("SetModes", modes)).changed
    assert not (await clue.operate("SetModes", modes)).changed
    await clue.say("#al", people["mod"], "/ban bob two words", "/timeout eve 60")
    await clue.operate("SetRole", clue_pb2.SetRoleRequest(channel="#al", login="eve", role="follower"))
    words = clue_pb2.SetWordsRequest(
        channel="#al", terms=[clue_pb2.Term(term="a b", action="deny")], emotes=[clue_pb2.Emote(name="X", id="1")]
    )
    await clue.operate("SetWords", words)
    state = await clue.operate("GetChannel", clue_pb2.GetChannelRequest(channel="#al"))
    assert (state.room.slow_s, state.room.followers_only_min, state.room.room_id) == (10, 0, people["al"][0])
    assert {member.login: list(member.roles) for member in state.members} == {"mod": ["mod"], "eve": ["follower"]}
    assert [member.followed_ms > 0 for member in state.members if member.login == "eve"] == [True]
    bans = {ban.login: (ban.user_id, ban.until_ms > 0, ban.moderator, ban.reason) for ban in state.bans}
    assert bans == {"bob": (people["bob"][0], False, "mod", "two words"), "eve": (people["eve"][0], True, "mod", "")}
    assert (list(state.terms), list(state.emotes)) == (list(words.terms), list(words.emotes))


@pytest.mark.parametrize(
    ("method", "request_", "says"),
    [
        ("SetModes", clue_pb2.SetModesRequest(channel="#al", slow_s=2), "3 to 120"),
        ("SetModes", clue_pb2.SetModesRequest(channel="#al", slow_s=121), "3 to 120"),
        ("SetModes", clue_pb2.SetModesRequest(channel="#al", followers_only_min=129_601), "129600"),
        ("SetModes", clue_pb2.SetModesRequest(channel="#al", followers_only_min=-2), "-1 for off"),
        ("SetWords", clue_pb2.SetWordsRequest(terms=[clue_pb2.Term(term="x", action="y")]), "deny, hold"),
        ("AddUser", clue_pb2.AddUserRequest(login="bob", user_type="king"), "staff, admin"),
    ],
)
async def test_control_refuses(pair, method, request_, says):
    """A request that cannot be carried out is refused with what would do."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pair[0].operate(method, request_)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert says in caught.value.details()


async def test_whispers_a_minute(redis, taking, monkeypatch):
    """The 101st of a minute is refused in the documented words; so is the next, from whatever clue."""
    monkeypatch.setattr(gathering, "WHISPERS_A_S", 1_000)
    async with clues(2, redis, taking.address, limits=False) as (first, second):
        bob, _ = zip(await first.login("bob", "eve"), ("bob", "eve"), strict=True)
        said = await first.say("#bob", bob, *(f"/w eve number {i}" for i in range(101)))
        assert [told(verdict) for verdict in said] == ["COMMAND"] * 100 + [["whisper_limit_per_min"]]
        [again] = await second.say("#bob", bob, "/w eve once more")
        assert again.notices[0].text == "You are sending whispers too fast. Try again in a minute."
        assert len(await log(first, "@eve")) == 100

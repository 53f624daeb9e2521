"""Two real edges and a real exchange around a clue that says what each test wants: what users then see."""

from __future__ import annotations

import aiohttp
import pytest
import pytest_asyncio

from common.pb import chat_pb2, clue_pb2
from tests.support.chat_clue import ALLOWED, edges
from tests.support.eventually import eventually
from tests.support.irc import ALL, CHAT, Client

IRCV3 = (*CHAT, "batch", "draft/chathistory", "message-tags", "server-time")
PRESENCE_S = 0.3

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory):
    async with edges(2, tmp_path_factory.mktemp("edges"), presence_s=PRESENCE_S) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def clue(house):
    yield house.clue
    house.clue.decide = lambda *_: ALLOWED
    house.clue.listed = 1_000


@pytest_asyncio.fixture(loop_scope="module")
async def enter(house):
    """Connects to the edge of that number, over TCP, logs in and joins."""
    clients = []

    async def enter(number, login, *channels, capabilities=CHAT):
        client = await Client.connect(house.tcp[number])
        clients.append(client)
        await client.login(login, capabilities=capabilities)
        if channels:
            await client.join(*channels)
        return client

    yield enter
    for client in clients:
        await client.close()


# -- slash commands -----------------------------------------------------------------------------------------------


async def test_a_command_is_answered_with_its_notices(clue, enter, name, channel):
    """Each with its msg-id and, when it is about users, their ids."""
    client = await enter(0, name(), channel)
    verdict = clue_pb2.Verdict(outcome=clue_pb2.Verdict.COMMAND)
    verdict.notices.add(msg_id="ban_success", text="eve is now banned from this channel.", target_user_ids=["9"])
    verdict.notices.add(msg_id="no_help", text="No help available.")
    clue.decide = lambda *_: verdict
    await client.send(f"PRIVMSG {channel} :/ban eve")
    assert await client.lines(2) == [
        f"@msg-id=ban_success;target-user-id=9 :tmi.twitch.tv NOTICE {channel} :eve is now banned from this channel.",
        f"@msg-id=no_help :tmi.twitch.tv NOTICE {channel} :No help available.",
    ]


async def test_disconnect_closes(clue, enter, name, channel):
    """Of this session alone."""
    client = await enter(0, name(), channel)
    clue.decide = lambda *_: clue_pb2.Verdict(outcome=clue_pb2.Verdict.COMMAND, disconnect=True)
    await client.send(f"PRIVMSG {channel} :/disconnect")
    assert await client.end() == []


# -- bans ---------------------------------------------------------------------------------------------------------


async def test_a_banned_user_sees_the_ban_and_leaves_on_every_edge(clue, enter, name, channel):
    """tmi_protocol.md 6 and 12: after what was said before, CLEARCHAT, then PART; nothing of what is said later."""
    login = name()
    sessions = [await enter(0, login, channel), await enter(0, login, channel), await enter(1, login, channel)]
    stays = await enter(1, name(), channel)
    user = clue.user(login)
    await clue.say(channel, "somebody", "before")
    await clue.publish(channel, banned=chat_pb2.Banned(user_id=user.user_id, login=login))
    for session in sessions:
        lines = [line.untagged for line in [await session.expect("PRIVMSG"), await session.expect("CLEARCHAT")]]
        assert lines[1] == f":tmi.twitch.tv CLEARCHAT {channel} :{login}"
        assert await session.line() == f":{login}!{login}@{login}.tmi.twitch.tv PART {channel}"
    await clue.say(channel, "somebody", "after")
    assert (await stays.expect("after$")).params == [channel, "after"]
    for session in sessions:
        assert await session.fence() == []


async def test_who_is_timed_out_stays(clue, enter, name, channel):
    """It goes on reading."""
    login = name()
    client = await enter(0, login, channel)
    ban = chat_pb2.Banned(user_id=clue.user(login).user_id, login=login, until_ms=2**42, duration_s=60)
    await clue.publish(channel, banned=ban)
    await clue.say(channel, "somebody", "after")
    assert [line.command for line in [await client.expect("."), await client.expect(".")]] == ["CLEARCHAT", "PRIVMSG"]


async def test_who_was_let_in_just_before_the_ban_is_out_too(clue, enter, name, channel):
    """Clue answered the join on the state before the ban; the ban arrived first."""
    login = name()
    witness = await enter(0, name(), channel)
    client = await enter(0, login)
    asked = clue.calls["Join"]
    clue.answers_joins.clear()
    try:
        await client.send(f"JOIN {channel}")
        await eventually(lambda: clue.calls["Join"] > asked)
        await clue.publish(channel, banned=chat_pb2.Banned(user_id=clue.user(login).user_id, login=login))
        await witness.expect("CLEARCHAT")
    finally:
        clue.answers_joins.set()
    await client.expect("ROOMSTATE")
    assert await client.line() == f":{login}!{login}@{login}.tmi.twitch.tv PART {channel}"


# -- inboxes ------------------------------------------------------------------------------------------------------


def whisper(clue, author, to, text):
    return chat_pb2.Whisper(author=clue.user(author), to=to, text=text, thread_id="1_2")


async def test_a_whisper_reaches_every_connection_of_the_user(clue, enter, name):
    """On both edges, once each, with the tags of tmi_protocol.md 8; nobody else sees it."""
    login, author = name(), name()
    sessions = [await enter(0, login), await enter(0, login), await enter(1, login)]
    other = await enter(1, author)
    sent = await clue.publish(f"@{login}", whisper=whisper(clue, author, login, "psst"))
    for session in sessions:
        line = await session.expect("WHISPER")
        assert line.untagged == f":{author}!{author}@{author}.tmi.twitch.tv WHISPER {login} :psst"
        assert line.tags["message-id"] == sent.id
        assert line.tags["thread-id"] == "1_2"
        assert await session.fence() == []
    assert await other.fence() == []


async def test_a_whisper_right_after_the_login_is_not_lost(house, clue, name):
    """The inbox is followed behind the login: what came between is read from its log, and nothing older."""
    login = name()
    await clue.publish(f"@{login}", ts_ms=1, whisper=whisper(clue, "bob", login, "old"))
    client = await Client.connect(house.tcp[0])
    await client.send("CAP REQ :twitch.tv/commands", "PASS oauth:x", f"NICK {login}")
    await client.expect(" 376 ")
    await clue.publish(f"@{login}", whisper=whisper(clue, "bob", login, "new"))
    assert (await client.expect("WHISPER")).params == [login, "new"]
    assert await client.fence() == []
    await client.close()


async def test_an_inbox_is_no_channel(clue, enter, name, house):
    """It takes none of the hundred places, and nobody can join it."""
    client = await enter(0, name())
    await client.send(f"JOIN {','.join(f'#full{number}' for number in range(100))}")
    await client.expect(" 366 .* #full99 ")
    await client.send(f"JOIN @{name()}")
    assert (await client.expect("NOTICE")).tags["msg-id"] == "msg_channel_suspended"


async def test_a_personal_notice_names_its_channel(clue, enter, name):
    """It travels in the inbox, and is a NOTICE of that channel."""
    login = name()
    client = await enter(0, login)
    words = chat_pb2.PersonalNotice(channel="#c", msg_id="msg_rejected", text="Held.")
    await clue.publish(f"@{login}", personal_notice=words)
    assert (await client.expect("NOTICE")).raw == "@msg-id=msg_rejected :tmi.twitch.tv NOTICE #c :Held."


# -- membership ---------------------------------------------------------------------------------------------------


async def test_others_come_and_go_over_all_edges(house, enter, name, channel):
    """JOIN and PART of others, in batches; not one's own, and not for those without the capability."""
    me, login = name(), name()
    reader, quiet = await enter(0, me, channel, capabilities=ALL), await enter(0, name(), channel)
    guest = await enter(1, login, channel)
    host = f"{login}!{login}@{login}.tmi.twitch.tv"
    assert (await reader.expect(f"^:{login}!")).raw == f":{host} JOIN {channel}"
    await guest.send(f"PART {channel}")
    assert (await reader.expect(f"^:{login}!")).raw == f":{host} PART {channel}"
    assert await quiet.fence() == []
    assert sum(line.startswith(f":{me}!") for line in reader.received) == 1


async def test_the_first_names_are_those_already_there(house, enter, name, channel):
    """tmi_protocol.md 6: a 353 of the others before one's own, once readers on this edge know them."""
    first, second, third = name(), name(), name()
    reader = await enter(0, first, channel, capabilities=ALL)
    await enter(1, second, channel)
    await reader.expect(f"^:{second}!.* JOIN ")
    newcomer = await enter(0, third, capabilities=ALL)
    await newcomer.send(f"JOIN {channel}")
    start = f":{third}.tmi.twitch.tv 353 {third} = {channel} :"
    lines = await newcomer.lines(3)
    assert lines[1:] == [f"{start}{' '.join(sorted((first, second)))}", f"{start}{third}"]


async def test_two_connections_of_one_user_come_and_go_as_one(house, clue, enter, name, channel):
    """The PART comes with the last of them."""
    login = name()
    reader = await enter(0, name(), channel, capabilities=ALL)
    one, two = await enter(1, login, channel), await enter(0, login, channel)
    await reader.expect(f"^:{login}!.* JOIN ")
    await one.send(f"PART {channel}")
    await eventually(lambda: sum(login in logins for logins in clue.here[channel].values()) == 1)
    before = clue.calls["Presence"]
    await eventually(lambda: clue.calls["Presence"] > before + 4)
    assert await reader.fence() == []
    await two.send(f"PART {channel}")
    await reader.expect(f"^:{login}!.* PART ")


async def test_moderators_and_the_broadcaster_are_operators(house, clue, enter, name):
    """`:jtv MODE #c +o user`, to those there and to who comes later; -o when the role goes."""
    owner, mod = name(), name()
    channel = f"#{owner}"
    clue.ranks[channel][mod] = "mod"
    reader = await enter(0, name(), channel, capabilities=ALL)
    await enter(1, owner, channel)
    await enter(1, mod, channel)
    lines = {(await reader.expect("^:jtv MODE ")).raw for _ in range(2)}
    assert lines == {f":jtv MODE {channel} +o {owner}", f":jtv MODE {channel} +o {mod}"}
    later = await enter(0, name(), capabilities=ALL)
    await later.send(f"JOIN {channel}")
    assert {(await later.expect("^:jtv MODE ")).raw for _ in range(2)} == lines
    clue.ranks[channel].clear()
    assert (await reader.expect("^:jtv MODE ")).raw == f":jtv MODE {channel} -o {mod}"


async def test_names_asks_clue_when_nobody_here_reads_the_list(house, enter, name, channel):
    """Without the capability the list is not kept; NAMES gets it all the same, oneself last."""
    other, login = name(), name()
    await enter(1, other, channel, capabilities=())
    await house.seen(other, channel)
    client = await enter(0, login, channel, capabilities=())
    await client.send(f"NAMES {channel}")
    names = f":{login}.tmi.twitch.tv 353 {login} = {channel} :"
    assert (await client.lines(3))[:2] == [f"{names}{other}", f"{names}{login}"]


async def test_a_large_channel_has_no_joins_and_lists_its_moderators(house, clue, enter, name, channel):
    """Above the bound (1,000 at a real clue)."""
    clue.listed = 2
    mod, login = name(), name()
    clue.ranks[channel][mod] = "mod"
    await enter(1, mod, channel)
    for _ in range(3):
        await enter(1, name(), channel)
    await eventually(lambda: sum(map(len, clue.here[channel].values())) == 4)
    client = await enter(0, login, channel, capabilities=ALL)
    await house.seen(login, channel)
    before = clue.calls["Presence"]
    await eventually(lambda: clue.calls["Presence"] > before + 4)
    assert await client.fence() == []
    await client.send(f"NAMES {channel}")
    names = f":{login}.tmi.twitch.tv 353 {login} = {channel} :"
    assert await client.lines(2) == [f"{names}{mod}", f"{names}{login}"]


async def test_a_clue_that_has_forgotten_is_told_everything_again(house, clue, enter, name, channel):
    """`unknown` makes the next report a full one."""
    login = name()
    client = await enter(0, login, channel)
    await house.seen(login, channel)
    clue.here[channel].clear()
    await house.seen(login, channel)
    await client.close()
    await eventually(lambda: not any(clue.here[channel].values()))


async def test_what_a_lost_report_said_is_said_again(house, clue, enter, name, channel):
    """Who came, and who went."""
    stays, goes, comes = name(), name(), name()
    await enter(0, stays, channel)
    leaver = await enter(0, goes, channel)
    await house.seen(goes, channel)
    clue.loses_reports = True
    try:
        await leaver.send(f"PART {channel}")
        await enter(0, comes, channel)
        before = clue.calls["Presence"]
        await eventually(lambda: clue.calls["Presence"] > before + 4)
    finally:
        clue.loses_reports = False
    await house.seen(comes, channel)
    assert {login for logins in clue.here[channel].values() for login in logins} == {stays, comes}


async def test_the_list_of_chatters_has_the_shape_that_bots_know(house, clue, enter, name):
    """GET /group/user/<channel>/chatters: everybody over all edges, by rank."""
    owner, mod, vip, viewer = name(), name(), name(), name()
    channel = f"#{owner}"
    clue.ranks[channel] = {mod: "mod", vip: "vip"}
    for number, login in enumerate((owner, mod, vip, viewer)):
        await enter(number % 2, login, channel)
        await house.seen(login, channel)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{house.http(1)}/group/user/{owner.upper()}/chatters") as response:
            assert response.status == 200
            assert await response.json() == {
                "_links": {},
                "chatter_count": 4,
                "chatters": {
                    "broadcaster": [owner],
                    "vips": [vip],
                    "moderators": [mod],
                    "staff": [],
                    "admins": [],
                    "global_mods": [],
                    "viewers": [viewer],
                },
            }
        async with http.get(f"{house.http(1)}/group/user/b-d/chatters") as response:
            assert (response.status, (await response.json())["error"]) == (400, "Bad Request")


async def test_a_list_that_cannot_be_had_is_an_error(house, clue, name):
    """503 with words, not an empty list."""
    clue.available = False
    try:
        url = f"{house.http(0)}/group/user/{name()}/chatters"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            assert (response.status, (await response.json())["status"]) == (503, 503)
    finally:
        clue.available = True


# -- catching up --------------------------------------------------------------------------------------------------


async def batch(client):
    """The lines of the next batch; that they belong to it."""
    opened = await client.expect(r"^:tmi\.twitch\.tv BATCH \+")
    reference, kind, channel = opened.params
    assert kind == "chathistory"
    lines = await client.collect_until(rf"^:tmi\.twitch\.tv BATCH -{reference[1:]}$")
    assert all(line.startswith(f"@batch={reference[1:]};") for line in lines)
    return channel, lines


async def test_a_client_that_comes_back_misses_nothing(clue, enter, name, channel):
    """CHATHISTORY AFTER its last msgid: all that was said since, with the same ids, in a batch; what was deleted, or
    said by somebody who was banned, does not come back.
    """
    login = name()
    client = await enter(0, login, channel, capabilities=IRCV3)
    last = await clue.say(channel, "bob", "seen")
    assert (await client.expect("PRIVMSG")).tags["msgid"] == last.id
    await client.close()
    one = await clue.say(channel, "bob", "one")
    two = await clue.say(channel, "eve", "two")
    three = await clue.say(channel, "bob", "three")
    await clue.say(channel, "mallory", "four")
    five = await clue.say(channel, "bob", "five", ts_ms=1507246572675)
    await clue.publish(channel, deleted=chat_pb2.Deleted(message_id=three.id, login="bob", text="three"))
    mallory = clue.user("mallory")
    await clue.publish(channel, banned=chat_pb2.Banned(user_id=mallory.user_id, login="mallory"))
    back = await enter(1, login, channel, capabilities=IRCV3)
    await back.send(f"CHATHISTORY AFTER {channel} msgid={last.id} 50")
    where, lines = await batch(back)
    assert where == channel
    assert [line.rpartition(":")[2] for line in lines] == ["one", "two", "five"]
    assert [f"msgid={p.id};" in line for p, line in zip((one, two, five), lines, strict=True)] == [True] * 3
    assert "time=2017-10-05T23:36:12.675Z;" in lines[2]


async def test_history_of_a_channel_that_one_is_not_in_is_refused(clue, enter, name, channel):
    """Who may not join may not read."""
    client = await enter(0, name(), capabilities=IRCV3)
    await client.send(f"CHATHISTORY LATEST {channel} * 10")
    assert await client.line() == (
        f":tmi.twitch.tv FAIL CHATHISTORY INVALID_TARGET LATEST {channel} :You are not in that channel"
    )


async def test_a_log_that_cannot_be_read_is_told(clue, enter, name, channel):
    """MESSAGE_ERROR, and the session goes on."""
    client = await enter(0, name(), channel, capabilities=IRCV3)
    clue.available = False
    try:
        await client.send(f"CHATHISTORY LATEST {channel} * 10")
        assert "FAIL CHATHISTORY MESSAGE_ERROR LATEST" in await client.line()
    finally:
        clue.available = True


async def test_many_who_come_back_share_a_reading(clue, enter, name, channel):
    """Those who ask while one is under way: it began too early for them, and the next serves all."""
    first, *others = clients = [await enter(0, name(), channel, capabilities=IRCV3) for _ in range(5)]
    await clue.say(channel, "bob", "hi")
    for client in clients:
        await client.hear(channel)
    before = clue.calls["Replay"]
    clue.answers_replays.clear()
    try:
        await first.send(f"CHATHISTORY LATEST {channel} * 10")
        await eventually(lambda: clue.calls["Replay"] > before)
        for client in others:
            await client.send(f"CHATHISTORY LATEST {channel} * 10")
            await client.fence()
    finally:
        clue.answers_replays.set()
    for client in clients:
        _, lines = await batch(client)
        assert len(lines) == 1
    assert clue.calls["Replay"] == before + 2

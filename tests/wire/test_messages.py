"""PRIVMSG from its sender to its readers (tmi_protocol.md sections 7 to 9; clients.md 23 to 28)."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from tests.wire.conftest import edge_doors

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

# Every test speaks in the speaker's own channel unless it is about limits: a broadcaster has neither the floor of one
# second nor the duplicate rule.


async def test_the_sender_gets_a_userstate_with_the_id_that_others_see(tcp, websocket, connect, new_name):
    """Section 16 item 5, section 7: no echo to the sending connection, but to any other one of the same login."""
    login = new_name()
    channel = f"#{login}"
    sender = await (await (await connect(tcp)).login(login)).join(channel)
    sibling = await (await (await connect(websocket)).login(login)).join(channel)
    state = await sender.say(channel, "hello there")
    heard = await sibling.hear(channel)
    assert state.command == "USERSTATE"
    assert re.fullmatch(UUID, state.tags["id"])
    assert heard.tags["id"] == state.tags["id"]
    await sender.say(channel, "and again")
    await sibling.hear(channel)
    assert [line for line in sender.received if " PRIVMSG " in line] == []


async def test_a_message_carries_every_tag_of_the_dialect(door, connect, new_name):
    """Section 8; clients.md 31 and 32: dank-twitch-irc drops the line for any that is missing."""
    login, channel = new_name(), f"#{new_name()}"
    reader = await (await (await connect(door)).login(new_name())).join(channel)
    speaker = await (await connect(door)).login(login)
    await speaker.say(channel, "hello")
    heard = await reader.hear(channel)
    assert heard.untagged == f":{login}!{login}@{login}.tmi.twitch.tv PRIVMSG {channel} :hello"
    fixed = {
        "badge-info": "", "badges": "", "color": "", "display-name": login, "emotes": "", "flags": "", "mod": "0",
        "returning-chatter": "0", "subscriber": "0", "turbo": "0", "user-type": "",
    }  # fmt: skip
    assert {key: heard.tags.get(key) for key in fixed} == fixed
    assert heard.tags["room-id"].isdecimal()
    assert heard.tags["user-id"].isdecimal()
    assert heard.tags["first-msg"] in ("0", "1")
    assert re.fullmatch(UUID, heard.tags["id"])
    assert abs(int(heard.tags["tmi-sent-ts"]) - time.time() * 1000) < 60_000


async def test_a_reader_without_capabilities_gets_the_bare_line(door, connect, new_name):
    """clients.md 16: bottom cannot read a tagged line at all."""
    login, channel = new_name(), f"#{new_name()}"
    reader = await (await (await connect(door)).login(new_name(), capabilities=())).join(channel)
    await (await (await connect(door)).login(login)).say(channel, "hello")
    assert (await reader.hear(channel)).raw == f":{login}!{login}@{login}.tmi.twitch.tv PRIVMSG {channel} :hello"


async def test_the_anonymous_cannot_speak_and_are_told(door, connect, new_name):
    """Section 16 item 2, section 3."""
    channel = f"#{new_name()}"
    reader = await (await (await connect(door)).login(new_name())).join(channel)
    nobody = await (await (await connect(door)).login("justinfan99")).join(channel)
    answer = await nobody.say(channel, "hello")
    assert (answer.command, answer.params[0]) == ("NOTICE", channel)
    assert answer.tags["msg-id"] == "no_permission"
    speaker = await (await connect(door)).login(new_name())
    await speaker.say(channel, "I may")
    assert (await reader.hear(channel)).params[1] == "I may"


@pytest.mark.parametrize(
    ("sent", "heard"),
    [
        (":some text", "some text"),
        ("word", "word"),
        ("::) text", ":) text"),
        (":  many   spaces  ", "many spaces"),
        (":/me waves", "\x01ACTION waves\x01"),
        (":\x01ACTION waves\x01", "\x01ACTION waves\x01"),
        (":/ /not a command", "/not a command"),
        (":ünïcödé 漢字 👋🏽", "ünïcödé 漢字 👋🏽"),
    ],
)
async def test_the_forms_of_a_text(door, connect, new_name, sent, heard):
    """Section 7; clients.md 23, 27 and 28."""
    login = new_name()
    channel = f"#{login}"
    reader = await (await (await connect(door)).login(new_name())).join(channel)
    speaker = await (await connect(door)).login(login)
    await speaker.send(f"PRIVMSG {channel} {sent}")
    assert (await speaker.answer(channel)).command == "USERSTATE"
    assert (await reader.hear(channel)).raw.endswith(f" PRIVMSG {channel} :{heard}")


@pytest.mark.parametrize("character", ["x", "漢", "😀"], ids=["1 byte", "3 bytes", "2 UTF-16 units"])
@pytest.mark.parametrize("length", [500, 501])
async def test_a_text_is_cut_at_500_characters(door, connect, new_name, character, length):
    """Section 16 item 12, section 7: characters are code points, whatever their size in UTF-8 or UTF-16."""
    login = new_name()
    channel = f"#{login}"
    reader = await (await (await connect(door)).login(new_name())).join(channel)
    speaker = await (await connect(door)).login(login)
    assert (await speaker.say(channel, character * length)).command == "USERSTATE"
    assert (await reader.hear(channel)).params[1] == character * 500


async def test_a_client_nonce_comes_back_to_readers(tcp, connect, new_name):
    """Section 7."""
    login = new_name()
    channel = f"#{login}"
    reader = await (await (await connect(tcp)).login(new_name())).join(channel)
    speaker = await (await connect(tcp)).login(login)
    await speaker.send(f"@client-nonce=0a1b2c PRIVMSG {channel} :hello")
    assert (await reader.hear(channel)).tags["client-nonce"] == "0a1b2c"


@pytest.mark.parametrize("name", ["nonsense", "#", "#no-such*name", f"#{'x' * 26}"])
async def test_a_message_to_a_name_that_no_channel_has_is_refused_aloud(tcp, connect, new_name, name):
    """Section 10a; clients.md 31: a NOTICE goes to "*" or a channel."""
    speaker = await (await connect(tcp)).login(new_name())
    await speaker.send(f"PRIVMSG {name} :hello")
    assert await speaker.fence() == [
        "@msg-id=msg_channel_suspended :tmi.twitch.tv NOTICE * :This channel does not exist or has been suspended."
    ]


@pytest.mark.parametrize(
    ("texts", "msg_id", "notice"),
    [
        (
            ("the same", "the same"),
            "msg_duplicate",
            "Your message was not sent because it is identical to the previous one you sent, less than 30 seconds ago.",
        ),
        (
            ("the  same ", "the same"),
            "msg_duplicate",
            "Your message was not sent because it is identical to the previous one you sent, less than 30 seconds ago.",
        ),
        (("one", "two"), "msg_ratelimit", "Your message was not sent because you are sending messages too quickly."),
        (("/foo somebody",), "unrecognized_cmd", "Unrecognized command: /foo"),
        (
            ("a\x02b",),
            "msg_bad_characters",
            "Your message was not sent because it contained too many unprocessable characters. "
            "If you believe this is an error, please rephrase and try again.",
        ),
    ],
    ids=["duplicate", "duplicate once collapsed", "under a second", "command", "control character"],
)
async def test_a_refusal_is_one_notice_to_the_sender_alone(door, connect, new_name, texts, msg_id, notice):
    """Section 16 items 6 and 8, sections 9 and 10a: in the exact words."""
    channel = f"#{new_name()}"
    reader = await (await (await connect(door)).login(new_name())).join(channel)
    speaker = await (await (await connect(door)).login(new_name())).join(channel)
    for text in texts[:-1]:
        assert (await speaker.say(channel, text)).command == "USERSTATE"
        await reader.hear(channel)
    refusal = await speaker.say(channel, texts[-1])
    assert refusal.raw == f"@msg-id={msg_id} :tmi.twitch.tv NOTICE {channel} :{notice}"
    other = await (await connect(door)).login(new_name())
    await other.say(channel, "the next that is heard")
    assert await reader.collect_until("the next that is heard") == []
    await speaker.expect("the next that is heard")
    assert await speaker.fence() == []


async def test_a_suffix_of_u_e0000_makes_the_same_text_another_one(tcp, connect, new_name):
    """Section 16 item 8, section 9: what chat clients do by themselves."""
    channel = f"#{new_name()}"
    speaker = await (await connect(tcp)).login(new_name())
    assert (await speaker.say(channel, "hello")).command == "USERSTATE"
    async with asyncio.timeout(15):
        # The floor of a second stands between them; a duplicate would be told as one before that.
        while (answer := await speaker.say(channel, "hello \U000e0000")).command == "NOTICE":
            assert answer.tags["msg-id"] == "msg_ratelimit"
            await asyncio.sleep(0.2)
    assert answer.command == "USERSTATE"


async def test_the_21st_message_within_30_seconds_is_refused(tcp, connect, new_name):
    """Section 9: 20 messages, counted over all channels of the account."""
    speaker = await (await connect(tcp)).login(new_name())
    other = new_name()
    answers = [await speaker.say(f"#{other}_{number}", "hello") for number in range(21)]
    assert [answer.command for answer in answers] == ["USERSTATE"] * 20 + ["NOTICE"]
    assert answers[-1].tags["msg-id"] == "msg_ratelimit"


async def test_the_limit_counts_all_connections_of_the_account(tcp, websocket, connect, new_name):
    """Section 9: per account, not per connection."""
    login, other = new_name(), new_name()
    speakers = [await (await connect(door)).login(login) for door in (tcp, websocket)]
    answers = [await speakers[number % 2].say(f"#{other}_{number}", "hello") for number in range(21)]
    assert [answer.command for answer in answers] == ["USERSTATE"] * 20 + ["NOTICE"]


async def test_a_moderators_21st_message_passes_where_he_is_one_and_is_refused_elsewhere(tcp, connect, stack, new_name):
    """Section 16 item 7, section 9."""
    login, owner = new_name(), new_name()
    speaker = await (await connect(tcp)).login(login)
    await (await connect(tcp)).login(owner)
    assert stack.run("role", f"#{owner}", login, "mod").stdout == "done\n"
    answers = [await speaker.say(f"#{owner}", f"message {number}") for number in range(21)]
    assert [answer.command for answer in answers] == ["USERSTATE"] * 21
    assert answers[-1].tags["mod"] == "1"
    assert (await speaker.say(f"#{new_name()}", "elsewhere")).tags.get("msg-id") == "msg_ratelimit"


async def test_readers_on_different_edges_and_protocols_see_one_order(stack, connect, new_name):
    """clients.md 28: two speakers on two edges at once; nobody misses a line, sees one twice, or in another order."""
    over_tcp, over_websocket = edge_doors(stack)
    owner = new_name()
    channel = f"#{owner}"
    await (await connect(over_tcp)).login(owner)
    speakers = []
    for door in (over_tcp, over_websocket):
        login = new_name()
        speakers.append(await (await connect(door)).login(login))
        assert stack.run("role", channel, login, "mod").stdout == "done\n"
    doors = (over_tcp, over_websocket)
    readers = [await (await (await connect(door)).login("justinfan5")).join(channel) for door in doors]

    async def speak(number: int) -> None:
        for line in range(40):
            assert (await speakers[number].say(channel, f"line {line} of {number}")).command == "USERSTATE"

    await asyncio.gather(speak(0), speak(1))
    seen = [[(await reader.hear(channel)).params[1] for _ in range(80)] for reader in readers]
    assert seen[0] == seen[1]
    for number in (0, 1):
        of_one = [text for text in seen[0] if text.endswith(f"of {number}")]
        assert of_one == [f"line {line} of {number}" for line in range(40)]

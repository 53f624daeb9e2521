"""Room modes as people meet them (tmi_protocol sections 10a and 11): the room is told, who is refused is told why."""

from __future__ import annotations

import re
import time

import pytest

from common.pb import clue_pb2
from tests.support.moderation import Room, operate


@pytest.fixture
async def room(stack, door, connect, new_name):
    """The owner and one of each kind."""
    made = await Room(stack, door, connect, new_name).enter("owner", "mod", "vip", "sub", "follower", "user")
    for role in ("mod", "vip", "sub", "follower"):
        await made.role(role, role)
    return made


# typed, ROOMSTATE tag and value, msg-id, text
CHANGES = [
    ("/slow", "slow", "30", "slow_on", "This room is now in slow mode. You may send messages every 30 seconds."),
    ("/slow 3", "slow", "3", "slow_on", "This room is now in slow mode. You may send messages every 3 seconds."),
    ("/slow 2m", "slow", "120", "slow_on", "This room is now in slow mode. You may send messages every 120 seconds."),
    ("/slowoff", "slow", "0", "slow_off", "This room is no longer in slow mode."),
    ("/followers", "followers-only", "0", "followers_on_zero", "This room is now in followers-only mode."),
    ("/followers 30m", "followers-only", "30", "followers_on",
     "This room is now in 30 minutes followers-only mode."),
    ("/followers 1 week", "followers-only", "10080", "followers_on",
     "This room is now in 1 week followers-only mode."),
    ("/followers 3 months", "followers-only", "129600", "followers_on", None),
    ("/followersoff", "followers-only", "-1", "followers_off", "This room is no longer in followers-only mode."),
    ("/subscribers", "subs-only", "1", "subs_on", "This room is now in subscribers-only mode."),
    ("/subscribersoff", "subs-only", "0", "subs_off", "This room is no longer in subscribers-only mode."),
    ("/emoteonly", "emote-only", "1", "emote_only_on", "This room is now in emote-only mode."),
    ("/emoteonlyoff", "emote-only", "0", "emote_only_off", "This room is no longer in emote-only mode."),
    ("/uniquechat", "r9k", "1", "r9k_on", "This room is now in unique-chat mode."),
    ("/r9kbetaoff", "r9k", "0", "r9k_off", "This room is no longer in unique-chat mode."),
]  # fmt: skip


async def test_the_room_is_told(room):
    """Every change: ROOMSTATE with the changed tag and room-id alone, and a NOTICE; a change that is none: nothing."""
    watcher = await room.watch()
    for typed, tag, value, msg_id, text in CHANGES:
        assert (await room.says("mod", typed)).command == "USERSTATE"
        state = await watcher.expect("ROOMSTATE")
        assert (set(state.tags), state.tags[tag]) == ({tag, "room-id"}, value)
        notice = await watcher.expect("NOTICE")
        assert notice.tags["msg-id"] == msg_id
        assert text is None or notice.params == [room.channel, text]
    assert (await room.says("mod", "/slowoff")).tags["msg-id"] == "already_slow_off"
    assert [line for line in await watcher.fence() if "ROOMSTATE" in line or "NOTICE" in line] == []


async def test_subs_only(room):
    """For subscribers, VIPs and moderators."""
    await room.says("owner", "/subscribers")
    for who in ("user", "follower"):
        refused = await room.says(who, "hello")
        assert refused.tags["msg-id"] == "msg_subsonly"
        assert refused.params[1] == (
            "This room is in subscribers only mode. To talk, purchase a channel subscription at "
            f"https://www.twitch.tv/products/{room.names['owner']}/ticket?ref=subscriber_only_mode_chat."
        )
    for who in ("sub", "vip", "mod", "owner"):
        assert (await room.says(who, "hello")).command == "USERSTATE"


async def test_followers_only(room):
    """First for any follower, then for who has followed long enough; subscribers, VIPs and moderators are exempt."""
    owner = room.names["owner"]
    await room.says("owner", "/followers")
    refused = await room.says("user", "hello")
    assert refused.tags["msg-id"] == "msg_followersonly_zero"
    assert refused.params[1] == f"This room is in followers-only mode. Follow {owner} to join the community!"
    assert (await room.says("follower", "hello")).command == "USERSTATE"
    await room.says("owner", "/followers 10m")
    refused = await room.says("user", "hello")
    assert refused.tags["msg-id"] == "msg_followersonly"
    assert refused.params[1] == f"This room is in 10 minutes followers-only mode. Follow {owner} to join the community!"
    refused = await room.says("follower", "hello again")
    assert refused.tags["msg-id"] == "msg_followersonly_followed"
    assert re.fullmatch(
        r"This room is in 10 minutes followers-only mode\. You have been following for (\d+) seconds?\. "
        r"Continue following to chat!",
        refused.params[1],
    )
    for who in ("sub", "vip", "mod", "owner"):
        assert (await room.says(who, "hello")).command == "USERSTATE"


async def test_emote_only(room):
    """Emotes alone, but for moderators; readers get their places."""
    emotes = [clue_pb2.Emote(name="Kappa", id="25"), clue_pb2.Emote(name="<3", id="9")]
    await operate(room.stack, "SetWords", clue_pb2.SetWordsRequest(channel=room.channel, emotes=emotes))
    watcher = await room.watch()
    await room.says("owner", "/emoteonly")
    for who in ("user", "sub", "vip"):
        refused = await room.says(who, "hello Kappa")
        assert refused.tags["msg-id"] == "msg_emoteonly"
        assert refused.params[1] == (
            "This room is in emote-only mode. You can find your currently available emoticons using the smiley in the "
            "chat text area."
        )
    assert (await room.says("user", "Kappa <3 Kappa")).command == "USERSTATE"
    assert (await watcher.hear(room.channel)).tags["emotes"] == "25:0-4,9-13/9:6-7"
    assert (await room.says("sub", "/me <3")).command == "USERSTATE"
    assert (await watcher.hear(room.channel)).tags["emotes"] == "9:0-1"
    assert (await room.says("mod", "\U0001f600 words Kappa")).command == "USERSTATE"
    assert (await watcher.hear(room.channel)).tags["emotes"] == "25:8-12"


async def test_slow(room):
    """The seconds left are told; VIPs and moderators are exempt."""
    await room.says("owner", "/slow 60")
    for who in ("user", "sub"):
        assert (await room.says(who, "one")).command == "USERSTATE"
        refused = await room.says(who, "two")
        assert refused.tags["msg-id"] == "msg_slowmode"
        assert re.fullmatch(
            r"This room is in slow mode and you are sending messages too quickly\. "
            r"You will be able to talk again in (60|5\d) seconds\.",
            refused.params[1],
        )
    for who in ("vip", "mod", "owner"):
        assert [(await room.says(who, text)).command for text in ("one", "two")] == ["USERSTATE"] * 2


async def test_unique_chat(room):
    """Longer messages are said once by each; short ones as often as one likes; moderators are exempt."""
    await room.says("owner", "/uniquechat")
    assert (await room.says("vip", "ten letters")).command == "USERSTATE"
    refused = await room.says("vip", "ten letters")
    assert refused.tags["msg-id"] == "msg_r9k"
    assert refused.params[1] == (
        "This room is in unique-chat mode and the message you attempted to send is not unique."
    )
    assert [(await room.says("vip", "nine char")).command for _ in range(2)] == ["USERSTATE"] * 2
    assert [(await room.says("mod", "ten letters")).command for _ in range(2)] == ["USERSTATE"] * 2


async def test_modes_outlive_everybody(room):
    """Who joins later is shown all of them."""
    for typed in ("/slow 10", "/followers 5", "/subscribers", "/emoteonly", "/uniquechat"):
        await room.says("owner", typed)
    await room.enter("late")
    late = room.clients["late"]
    await late.send(f"JOIN {room.channel}")
    state = await late.expect("ROOMSTATE")
    assert {key: value for key, value in state.tags.items() if key != "room-id"} == {
        "emote-only": "1", "followers-only": "5", "r9k": "1", "slow": "10", "subs-only": "1",
    }  # fmt: skip


async def test_delay(room):
    """Moderators see others' messages at once, everybody else two seconds later; what they delete meanwhile, never."""
    assert (await room.says("owner", "/chatdelay 3")).tags["msg-id"] == "usage_chat_delay_on"
    answer = await room.says("owner", "/chatdelay 2")
    assert (answer.tags["msg-id"], answer.params[1]) == (
        "chat_delay_on", "Moderators now see messages in this room 2 seconds before others do.",
    )  # fmt: skip
    assert (await room.says("owner", "/chatdelay 2")).tags["msg-id"] == "already_chat_delay_on"
    watcher, mod = await room.watch(), room.clients["mod"]
    await mod.join(room.channel)
    await room.says("user", "one to delete")
    seen = await mod.hear(room.channel)
    assert await watcher.fence() == []
    assert (await room.says("mod", f"/delete {seen.tags['id']}")).tags["msg-id"] == "delete_message_success"
    await mod.saw(" CLEARMSG .*one to delete")
    started = time.monotonic()
    await room.says("vip", "one to keep")
    await room.says("mod", "of a moderator")
    assert (await watcher.hear(room.channel)).params[1] == "of a moderator"
    assert (await watcher.hear(room.channel)).params[1] == "one to keep"
    assert time.monotonic() - started > 1.5
    assert not [line for line in watcher.received if "one to delete" in line]
    answer = await room.says("mod", "/chatdelayoff")
    assert answer.tags["msg-id"] == "chat_delay_off"
    assert answer.params[1] == "Messages in this room are no longer delayed."
    assert (await room.says("mod", "/chatdelayoff")).tags["msg-id"] == "already_chat_delay_off"

"""Blocked terms, held messages, replies and first messages, on the wire (tmi_protocol sections 7, 8 and 10a)."""

from __future__ import annotations

import re

import pytest

from common.pb import clue_pb2
from tests.support.moderation import Room, operate

HELD = "Hey! Your message is being checked by mods and has not been sent."


@pytest.fixture
async def room(stack, door, connect, new_name):
    made = await Room(stack, door, connect, new_name).enter("owner", "mod", "user")
    await made.role("mod", "mod")
    return made


async def block(room, **terms):
    words = [clue_pb2.Term(term=term.replace("_", "*"), action=action) for term, action in terms.items()]
    await operate(room.stack, "SetWords", clue_pb2.SetWordsRequest(channel=room.channel, terms=words))


async def test_a_blocked_term(room):
    """The author is told, the room hears nothing, and moderators say what they like."""
    watcher = await room.watch()
    await block(room, cabbage_="deny")
    refused = await room.says("user", "I like CABBAGES, you see")
    assert refused.tags["msg-id"] == "msg_rejected_mandatory"
    assert refused.params[1] == ("Your message wasn’t posted due to conflicts with the channel’s moderation settings.")
    assert (await room.says("mod", "cabbages")).command == "USERSTATE"
    assert (await watcher.hear(room.channel)).params[1] == "cabbages"


@pytest.mark.parametrize(("verb", "msg_id", "answer", "told"), [
    ("approve", "held_approved", "The message from {user} is now shown.", "Mods have accepted your message."),
    ("deny", "held_denied", "The message from {user} will not be shown.", "Mods have removed your message."),
])  # fmt: skip
async def test_a_held_message(room, verb, msg_id, answer, told):
    """Its author is told; a moderator sees it and decides, once; then the author is told what became of it."""
    watcher = await room.watch()
    await block(room, turnip="hold")
    refused = await room.says("user", "a turnip of mine")
    assert (refused.tags["msg-id"], refused.params[1]) == ("msg_rejected", HELD)
    for who in ("mod", "owner"):
        notice = await room.clients[who].expect("msg-id=msg_held")
        found = re.search(
            r'"a turnip of mine" Show it with /approve (\S+) or drop it with /deny (\S+)$', notice.params[1]
        )
        assert notice.params[0] == room.channel
        assert found[1] == found[2]
    done = await room.says("mod", f"/{verb} {found[1]}")
    assert (done.tags["msg-id"], done.params[1]) == (msg_id, room.fill(answer))
    personal = await room.clients["user"].expect("Mods have")
    assert personal.params == [room.channel, told]
    again = await room.says("owner", f"/approve {found[1]}")
    assert again.tags["msg-id"] == "held_gone"
    await room.says("owner", "next")
    heard = await watcher.hear(room.channel)
    if verb == "approve":
        assert (heard.params[1], heard.tags["id"]) == ("a turnip of mine", found[1])
        assert heard.tags["display-name"] == room.names["user"]
    else:
        assert heard.params[1] == "next"


async def test_a_reply(room):
    """Readers get whom it answers, and what; a reply to a reply keeps the thread's root."""
    watcher = await room.watch()
    first = (await room.says("user", "the question")).tags["id"]
    await room.clients["mod"].send(f"@reply-parent-msg-id={first} PRIVMSG {room.channel} :the answer")
    second = (await room.clients["mod"].answer(room.channel)).tags["id"]
    await room.clients["owner"].send(f"@reply-parent-msg-id={second} PRIVMSG {room.channel} :/me agrees")
    await room.clients["owner"].answer(room.channel)
    await watcher.hear(room.channel)
    answer, agreement = await watcher.hear(room.channel), await watcher.hear(room.channel)
    user, mod = room.names["user"], room.names["mod"]
    assert answer.params[1] == f"@{user} the answer"
    tags = {key: value for key, value in answer.tags.items() if key.startswith("reply-")}
    assert tags["reply-parent-user-id"].isdecimal()
    assert {key: value for key, value in tags.items() if not key.endswith("user-id")} == {
        "reply-parent-msg-id": first,
        "reply-parent-user-login": user,
        "reply-parent-display-name": user,
        "reply-parent-msg-body": "the question",
        "reply-thread-parent-msg-id": first,
        "reply-thread-parent-user-login": user,
    }
    assert agreement.params[1] == f"\x01ACTION @{mod} agrees\x01"
    assert agreement.tags["reply-parent-msg-id"] == second
    assert agreement.tags["reply-thread-parent-msg-id"] == first
    assert agreement.tags["reply-thread-parent-user-login"] == user
    assert agreement.tags["reply-parent-msg-body"] == f"@{user} the answer"


@pytest.mark.parametrize("parent", ["00000000-0000-4000-8000-000000000000", "nonsense"])
async def test_a_reply_to_nothing(room, parent):
    """It is an ordinary message."""
    watcher = await room.watch()
    await room.clients["user"].send(f"@reply-parent-msg-id={parent} PRIVMSG {room.channel} :anyway")
    await room.clients["user"].answer(room.channel)
    heard = await watcher.hear(room.channel)
    assert heard.params[1] == "anyway"
    assert [key for key in heard.tags if key.startswith("reply-")] == []


async def test_first_message(room):
    """The first one in a channel is marked, the second is not, and one in another channel is again."""
    watcher = await room.watch()
    for text in ("one", "two"):
        await room.says("mod", text)
    marks = [(await watcher.hear(room.channel)).tags["first-msg"] for _ in range(2)]
    assert marks == ["1", "0"]
    await watcher.join(f"#{room.names['mod']}")
    await room.clients["mod"].say(f"#{room.names['mod']}", "home")
    assert (await watcher.hear(f"#{room.names['mod']}")).tags["first-msg"] == "1"


async def test_a_channel_that_cannot_be(room):
    """The name is anonymous: nobody can own it."""
    answer = await room.clients["user"].say("#justinfan5", "hello")
    assert answer.tags["msg-id"] == "msg_channel_suspended"
    assert answer.params[1] == "This channel does not exist or has been suspended."

"""Publications as lines; tmi_protocol.md 8, clients.md 27 to 32."""

from __future__ import annotations

import pytest

from common.pb.chat_pb2 import (
    Banned,
    Chatter,
    Line,
    Publication,
    Reply,
    RolesChanged,
    RoomChanged,
    RoomState,
    Unbanned,
)
from edge import render as module
from edge.render import Capability, render

ID = "b34ccfc7-4977-403a-8a94-33c6bac34fb8"
NOTHING = Capability(0)
TAGS, COMMANDS, MEMBERSHIP = Capability.TAGS, Capability.COMMANDS, Capability.MEMBERSHIP


def publication(**body):
    return Publication(id=ID, ts_ms=1507246572675, room_id=77, **body)


def line(text="hi there", *, author=None, **fields):
    author = author or Chatter(user_id=5, login="bob", display_name="Bob")
    return publication(line=Line(author=author, text=text, **fields))


PLAIN = (
    "@badge-info=;badges=;color=;display-name=Bob;emotes=;first-msg=0;flags=;id=" + ID + ";mod=0;returning-chatter=0;"
    "room-id=77;subscriber=0;tmi-sent-ts=1507246572675;turbo=0;user-id=5;user-type="
    " :bob!bob@bob.tmi.twitch.tv PRIVMSG #c :hi there\r\n"
)
FULL = (
    r"@badge-info=subscriber/12;badges=moderator/1,subscriber/12;client-nonce=ab\sc;color=#1E90FF;"
    r"display-name=Bob\sthe\\Bob\:;emotes=25:0-4;first-msg=1;flags=0-6:S.7;id=" + ID + ";mod=1;"
    r"reply-parent-display-name=Al\sIce;reply-parent-msg-body=so\s\:)\sback\\slash;reply-parent-msg-id=p1;"
    "reply-parent-user-id=9;reply-parent-user-login=alice;reply-thread-parent-msg-id=t1;"
    "reply-thread-parent-user-login=carol;returning-chatter=1;room-id=77;subscriber=1;tmi-sent-ts=1507246572675;"
    "turbo=1;user-id=5;user-type=mod;vip=1 :bob!bob@bob.tmi.twitch.tv PRIVMSG #c :Kappa\r\n"
)


def full():
    return line(
        "Kappa",
        author=Chatter(
            user_id=5,
            login="bob",
            display_name="Bob the\\Bob;",
            color="#1E90FF",
            badges="moderator/1,subscriber/12",
            badge_info="subscriber/12",
            user_type="mod",
            mod=True,
            subscriber=True,
            vip=True,
            turbo=True,
        ),
        client_nonce="ab c",
        reply=Reply(
            parent_id="p1",
            parent_user_id=9,
            parent_login="alice",
            parent_display_name="Al Ice",
            parent_text="so ;) back\\slash",
            thread_id="t1",
            thread_login="carol",
        ),
        emotes="25:0-4",
        flags="0-6:S.7",
        first_message=True,
        returning_chatter=True,
    )


@pytest.mark.parametrize(
    ("publication", "capabilities", "rendered"),
    [
        (line(), NOTHING, ":bob!bob@bob.tmi.twitch.tv PRIVMSG #c :hi there\r\n"),
        (line(), COMMANDS | MEMBERSHIP, ":bob!bob@bob.tmi.twitch.tv PRIVMSG #c :hi there\r\n"),
        (line(), TAGS, PLAIN),
        (line(), TAGS | COMMANDS, PLAIN),
        (full(), TAGS, FULL),
        (full(), NOTHING, ":bob!bob@bob.tmi.twitch.tv PRIVMSG #c :Kappa\r\n"),
        (line("word"), NOTHING, ":bob!bob@bob.tmi.twitch.tv PRIVMSG #c :word\r\n"),
        (line(":) 世界"), NOTHING, ":bob!bob@bob.tmi.twitch.tv PRIVMSG #c ::) 世界\r\n"),
        (line("\x01ACTION waves\x01"), NOTHING, ":bob!bob@bob.tmi.twitch.tv PRIVMSG #c :\x01ACTION waves\x01\r\n"),
    ],
)
def test_a_line_is_a_privmsg(publication, capabilities, rendered):
    """Rules 27 to 32: tags only with tags, each with its "=", the text after a colon."""
    assert render(publication, "#c", capabilities).decode() == rendered


BANNED = publication(banned=Banned(user_id=9, login="eve", until_ms=0, duration_s=0, reason="spam"))
TIMED_OUT = publication(banned=Banned(user_id=9, login="eve", until_ms=1507247172675, duration_s=600))


@pytest.mark.parametrize(
    ("publication", "capabilities", "rendered"),
    [
        (BANNED, NOTHING, ""),
        (BANNED, TAGS | MEMBERSHIP, ""),
        (BANNED, COMMANDS, ":tmi.twitch.tv CLEARCHAT #c :eve\r\n"),
        (
            BANNED,
            COMMANDS | TAGS,
            "@room-id=77;target-user-id=9;tmi-sent-ts=1507246572675 :tmi.twitch.tv CLEARCHAT #c :eve\r\n",
        ),
        (
            TIMED_OUT,
            COMMANDS | TAGS,
            "@ban-duration=600;room-id=77;target-user-id=9;tmi-sent-ts=1507246572675"
            " :tmi.twitch.tv CLEARCHAT #c :eve\r\n",
        ),
    ],
)
def test_a_ban_is_a_clearchat(publication, capabilities, rendered):
    """With commands alone; ban-duration only for a time-out."""
    assert render(publication, "#c", capabilities).decode() == rendered


@pytest.mark.parametrize(
    ("state", "changed", "tag", "msg_id", "text"),
    [
        ({"emote_only": True}, "emote-only", "1", "emote_only_on", "This room is now in emote-only mode."),
        ({}, "emote-only", "0", "emote_only_off", "This room is no longer in emote-only mode."),
        (
            {"followers_only_min": 10},
            "followers-only",
            "10",
            "followers_on",
            "This room is now in 10 minutes followers-only mode.",
        ),
        (
            {"followers_only_min": 1440},
            "followers-only",
            "1440",
            "followers_on",
            "This room is now in 1 day followers-only mode.",
        ),
        ({}, "followers-only", "0", "followers_on_zero", "This room is now in followers-only mode."),
        (
            {"followers_only_min": -1},
            "followers-only",
            "-1",
            "followers_off",
            "This room is no longer in followers-only mode.",
        ),
        ({"unique_chat": True}, "r9k", "1", "r9k_on", "This room is now in unique-chat mode."),
        ({}, "r9k", "0", "r9k_off", "This room is no longer in unique-chat mode."),
        (
            {"slow_s": 30},
            "slow",
            "30",
            "slow_on",
            "This room is now in slow mode. You may send messages every 30 seconds.",
        ),
        ({}, "slow", "0", "slow_off", "This room is no longer in slow mode."),
        ({"subs_only": True}, "subs-only", "1", "subs_on", "This room is now in subscribers-only mode."),
        ({}, "subs-only", "0", "subs_off", "This room is no longer in subscribers-only mode."),
    ],
)
def test_a_room_change_is_its_tag_and_its_notice(state, changed, tag, msg_id, text):
    """ROOMSTATE carries the changed tag and room-id alone (tmi_protocol.md 16.9)."""
    change = publication(room=RoomChanged(state=RoomState(room_id=77, **state), changed=[changed]))
    tags = ";".join(sorted([f"{changed}={tag}", "room-id=77"]))
    assert render(change, "#c", TAGS | COMMANDS).decode() == (
        f"@{tags} :tmi.twitch.tv ROOMSTATE #c\r\n@msg-id={msg_id} :tmi.twitch.tv NOTICE #c :{text}\r\n"
    )
    assert render(change, "#c", COMMANDS).decode() == (
        f":tmi.twitch.tv ROOMSTATE #c\r\n:tmi.twitch.tv NOTICE #c :{text}\r\n"
    )
    assert render(change, "#c", TAGS) == b""


def test_several_changes_share_one_roomstate():
    """One ROOMSTATE, and a NOTICE for each."""
    change = publication(room=RoomChanged(state=RoomState(slow_s=5, subs_only=True), changed=["subs-only", "slow"]))
    lines = render(change, "#c", TAGS | COMMANDS).decode().split("\r\n")
    assert lines[0] == "@room-id=77;slow=5;subs-only=1 :tmi.twitch.tv ROOMSTATE #c"
    assert [line.split(" ")[0] for line in lines[1:]] == ["@msg-id=slow_on", "@msg-id=subs_on", ""]


@pytest.mark.parametrize(
    "body",
    [
        {"roles": RolesChanged(user_id=5, login="bob", roles=["mod"])},
        {"unbanned": Unbanned(user_id=5, login="bob")},
        {"room": RoomChanged(state=RoomState(), changed=[])},
        {},
    ],
)
def test_other_entries_have_no_line(body):
    """Readers are told nothing of roles and unbans."""
    assert render(publication(**body), "#c", TAGS | COMMANDS | MEMBERSHIP) == b""


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(1, "1 minute"), (90, "90 minutes"), (60, "1 hour"), (120, "2 hours"), (2880, "2 days"), (20160, "2 weeks")],
)
def test_durations_are_in_the_largest_unit_that_divides_them(minutes, text):
    """What people read in the NOTICE of followers-only mode."""
    assert module.duration(minutes) == text


def test_emote_sets_are_never_empty():
    """Rule 30: "0" at least."""
    states = [
        module.userstate("#c", Chatter(), TAGS | COMMANDS, ""),
        module.global_userstate(Chatter(), TAGS | COMMANDS),
    ]
    assert all(b";emote-sets=0;" in state for state in states)


def test_tags_of_a_state_are_escaped():
    """A display name may hold a space."""
    state = module.userstate("#c", Chatter(display_name="A B"), TAGS | COMMANDS, "")
    assert rb";display-name=A\sB;" in state


def test_the_lines_of_the_server_itself_are_as_clients_want_them():
    """Rules 33, 36 and 45."""
    assert module.PING == b"PING :tmi.twitch.tv\r\n"
    assert module.PONG_WITHOUT_TOKEN == b"PONG :tmi.twitch.tv\r\n"
    assert module.RECONNECT == b":tmi.twitch.tv RECONNECT\r\n"

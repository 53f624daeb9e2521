"""Publications as lines; tmi_protocol.md 8, clients.md 27 to 32."""

from __future__ import annotations

import pytest

from common.pb.chat_pb2 import (
    Banned,
    Chatter,
    Cleared,
    Deleted,
    Line,
    PersonalNotice,
    Publication,
    Reply,
    RolesChanged,
    RoomChanged,
    RoomState,
    Unbanned,
    UserNotice,
    Whisper,
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


ALICE = Chatter(
    user_id=9, login="alice", display_name="Al Ice", color="#1E90FF", badges="moderator/1", user_type="mod", mod=True
)
CLEARMSG = "CLEARMSG #c :bad words"
ANNOUNCED = {
    "author": ALICE,
    "msg_id": "announcement",
    "params": {"color": "PRIMARY"},
    "text": "hi all",
    "emotes": "25:0-1",
}
RAID = {
    "author": ALICE,
    "msg_id": "raid",
    "system_msg": "15 raiders from Alice have joined!",
    "params": {"viewerCount": "15", "login": "alice", "displayName": "Al Ice"},
}
LOOK = r"@badge-info=;badges=moderator/1;color=#1E90FF;display-name=Al\sIce;"


@pytest.mark.parametrize(
    ("body", "tags", "rest"),
    [
        (
            {"deleted": Deleted(message_id="m1", login="eve", text="bad words")},
            "@login=eve;room-id=77;target-msg-id=m1;tmi-sent-ts=1507246572675",
            ":tmi.twitch.tv CLEARMSG #c :bad words",
        ),
        ({"cleared": Cleared()}, "@room-id=77;tmi-sent-ts=1507246572675", ":tmi.twitch.tv CLEARCHAT #c"),
        (
            {"user_notice": UserNotice(**ANNOUNCED)},
            LOOK + f"emotes=25:0-1;flags=;id={ID};login=alice;mod=1;msg-id=announcement;msg-param-color=PRIMARY;"
            "room-id=77;subscriber=0;system-msg=;tmi-sent-ts=1507246572675;turbo=0;user-id=9;user-type=mod",
            ":tmi.twitch.tv USERNOTICE #c :hi all",
        ),
        (
            {"user_notice": UserNotice(**RAID)},
            LOOK + f"emotes=;flags=;id={ID};login=alice;mod=1;msg-id=raid;"
            r"msg-param-displayName=Al\sIce;msg-param-login=alice;msg-param-viewerCount=15;room-id=77;subscriber=0;"
            r"system-msg=15\sraiders\sfrom\sAlice\shave\sjoined!;tmi-sent-ts=1507246572675;turbo=0;user-id=9;"
            "user-type=mod",
            ":tmi.twitch.tv USERNOTICE #c",
        ),
        (
            {"whisper": Whisper(author=ALICE, to="bob", text="psst", thread_id="5_9", emotes="25:0-3")},
            LOOK.replace("badge-info=;", "") + f"emotes=25:0-3;message-id={ID};thread-id=5_9;turbo=0;user-id=9;"
            "user-type=mod",
            ":alice!alice@alice.tmi.twitch.tv WHISPER bob :psst",
        ),
    ],
    ids=["CLEARMSG", "CLEARCHAT", "announcement", "raid", "WHISPER"],
)
def test_the_lines_that_need_the_commands_capability(body, tags, rest):
    """tmi_protocol.md 2 and 8: with commands alone, their tags only with tags."""
    entry = publication(**body)
    assert render(entry, "#c", TAGS | COMMANDS).decode() == f"{tags} {rest}\r\n"
    assert render(entry, "#c", COMMANDS).decode() == f"{rest}\r\n"
    assert render(entry, "#c", TAGS | MEMBERSHIP) == b""


def test_a_personal_notice_is_for_everybody_and_about_its_channel():
    """A person waits for it: no capability is needed; "*" when it is about none."""
    entry = publication(personal_notice=PersonalNotice(channel="#d", msg_id="msg_rejected", text="Held."))
    assert render(entry, "@bob", TAGS) == b"@msg-id=msg_rejected :tmi.twitch.tv NOTICE #d :Held.\r\n"
    assert render(entry, "@bob", NOTHING) == b":tmi.twitch.tv NOTICE #d :Held.\r\n"
    anywhere = publication(personal_notice=PersonalNotice(msg_id="x", text="Hi."))
    assert render(anywhere, "@bob", NOTHING) == b":tmi.twitch.tv NOTICE * :Hi.\r\n"


MESSAGE_TAGS, SERVER_TIME, BATCH = Capability.MESSAGE_TAGS, Capability.SERVER_TIME, Capability.BATCH
TIME = "time=2017-10-05T23:36:12.675Z"


@pytest.mark.parametrize(
    ("capabilities", "start"),
    [
        (MESSAGE_TAGS, f"@msgid={ID} :bob!"),
        (SERVER_TIME, f"@{TIME} :bob!"),
        (MESSAGE_TAGS | SERVER_TIME, f"@msgid={ID};{TIME} :bob!"),
        (MESSAGE_TAGS | SERVER_TIME | TAGS, f"@msgid={ID};{TIME};badge-info=;"),
        (BATCH | Capability.CHATHISTORY, ":bob!"),
    ],
)
def test_the_tags_of_ircv3_are_for_who_asked_for_each(capabilities, start):
    """Before Twitch's own, of a line that somebody said."""
    assert render(line(), "#c", capabilities).decode().startswith(start)


def test_what_nobody_said_has_no_tags_of_ircv3():
    """A CLEARCHAT has no id to ask for."""
    assert b"msgid" not in render(BANNED, "#c", TAGS | COMMANDS | MESSAGE_TAGS | SERVER_TIME)


def test_history_comes_in_a_batch():
    """IRCv3 "chathistory": each line with its batch, id and time; an empty one when there is nothing."""
    lines = module.history([line("a"), line("b")], "#c", BATCH | MESSAGE_TAGS, "h1").decode().split("\r\n")
    assert lines == [
        ":tmi.twitch.tv BATCH +h1 chathistory #c",
        f"@batch=h1;msgid={ID} :bob!bob@bob.tmi.twitch.tv PRIVMSG #c :a",
        f"@batch=h1;msgid={ID} :bob!bob@bob.tmi.twitch.tv PRIVMSG #c :b",
        ":tmi.twitch.tv BATCH -h1",
        "",
    ]
    assert module.history([], "#c", BATCH, "h2").count(b"BATCH") == 2


def test_history_without_batches_is_plain_lines():
    """For clients that did not ask for them."""
    assert module.history([line("a")], "#c", NOTHING, "h1") == b":bob!bob@bob.tmi.twitch.tv PRIVMSG #c :a\r\n"

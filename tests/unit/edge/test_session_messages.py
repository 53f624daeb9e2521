"""PRIVMSG and its verdicts; rules 23 to 28 of clients.md section 1."""

from __future__ import annotations

import pytest

from common.pb.clue_pb2 import Notice, Verdict
from edge.disconnect import Disconnect
from edge.effects import Close, Submit
from edge.render import Capability
from tests.support.sessions import EVERYTHING, anonymous_session, asked, chatter, member, open_session, sent


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("PRIVMSG #c :some text", "some text"),
        ("PRIVMSG #c word", "word"),
        ("PRIVMSG #c ::) text", ":) text"),
        ("PRIVMSG #C :x", "x"),
        ("privmsg #c :x", "x"),
        (":bob!b@c PRIVMSG #c :x", "x"),
        ("PRIVMSG #c :  two  spaces ", "  two  spaces "),
        ("PRIVMSG #c :/me waves", "/me waves"),
        ("PRIVMSG #c :.me waves", ".me waves"),
        ("PRIVMSG #c :/ /ban bob", "/ /ban bob"),
        ("PRIVMSG #c :\x01ACTION waves\x01", "\x01ACTION waves\x01"),
        ("PRIVMSG #c :" + "😀" * 500, "😀" * 500),
    ],
)
@pytest.mark.parametrize("make", [open_session, lambda: member("#c")])
def test_a_message_is_submitted_as_it_came(make, line, text):
    """Rules 23 and 24: from any connection, joined or not; clue reads what is in it."""
    assert make().feed(line.encode()) == [Submit("#c", text, "", "")]


@pytest.mark.parametrize(
    ("tags", "nonce", "parent"),
    [
        ("client-nonce=0123abcd", "0123abcd", ""),
        ("reply-parent-msg-id=b34ccfc7-4977-403a-8a94-33c6bac34fb8", "", "b34ccfc7-4977-403a-8a94-33c6bac34fb8"),
        ("client-nonce=1;reply-parent-msg-id=2;other=3", "1", "2"),
        (r"client-nonce=a\sb", "a b", ""),
        ("client-nonce=" + "a" * 64, "a" * 64, ""),
        ("client-nonce=" + "a" * 65, "", ""),
        ("reply-parent-msg-id=" + "a" * 65, "", ""),
        ("client-nonce", "", ""),
    ],
)
def test_client_tags_go_along(tags, nonce, parent):
    """Rule 23; a value longer than any real one is left out, for it would go to every reader."""
    assert open_session().feed(f"@{tags} PRIVMSG #c :x".encode()) == [Submit("#c", "x", nonce, parent)]


@pytest.mark.parametrize("line", ["PRIVMSG #c", "PRIVMSG #c :", "PRIVMSG #c :   ", "PRIVMSG #c :\t\u3000"])
def test_a_message_without_text_is_told(line):
    """412 instead of Twitch's silence."""
    assert sent(open_session().feed(line.encode())) == [":tmi.twitch.tv 412 bob :No text to send"]


@pytest.mark.parametrize("target", ["bob", "#a,#b", "#a-b", "*", "&c"])
def test_a_message_to_something_else_than_a_channel_is_told(target):
    """Nobody is reached under that name."""
    assert sent(open_session(EVERYTHING).feed(f"PRIVMSG {target} :x".encode())) == [
        "@msg-id=msg_channel_suspended :tmi.twitch.tv NOTICE * :This channel does not exist or has been suspended."
    ]


def test_the_anonymous_are_told_that_they_cannot_speak():
    """Rule 4: dropped, but not in silence."""
    assert sent(anonymous_session(EVERYTHING).feed(b"PRIVMSG #c :x")) == [
        "@msg-id=no_permission :tmi.twitch.tv NOTICE #c "
        ":Your message was not sent because you are connected anonymously. Log in to chat."
    ]


@pytest.mark.parametrize(
    ("capabilities", "lines"),
    [
        (Capability(0), []),
        (Capability.TAGS, []),
        (Capability.COMMANDS, [":tmi.twitch.tv USERSTATE #c"]),
        (
            EVERYTHING,
            [
                "@badge-info=;badges=moderator/1;color=#00FF7F;display-name=Bob;emote-sets=0,33;"
                "id=b34ccfc7-4977-403a-8a94-33c6bac34fb8;mod=1;subscriber=1;turbo=0;user-type=mod"
                " :tmi.twitch.tv USERSTATE #c"
            ],
        ),
    ],
)
def test_an_accepted_message_is_answered_with_userstate(capabilities, lines):
    """Rule 25: with the id of the message and the roles in that channel; no echo of the text (rule 26)."""
    bob = chatter(
        badges="moderator/1", color="#00FF7F", emote_sets="0,33", mod=True, subscriber=True, user_type="mod"
    )
    verdict = Verdict(outcome=Verdict.ALLOWED, seq=7, chatter=bob)
    session = open_session(capabilities)
    assert sent(session.verdict("#c", verdict, "b34ccfc7-4977-403a-8a94-33c6bac34fb8")) == lines


NOT_SENT = "Your message was not sent because chat is unavailable at the moment. Please try again."
NOT_CONFIRMED = (
    "Your message could not be confirmed because chat is unavailable at the moment. It may or may not have been sent."
)


@pytest.mark.parametrize(
    ("verdict", "msg_id", "text"),
    [
        (Verdict(outcome=Verdict.DENIED, denial="msg_duplicate", notice="Twice."), "msg_duplicate", "Twice."),
        (Verdict(outcome=Verdict.SUPERSEDED), "msg_unavailable", NOT_SENT),
        (Verdict(outcome=Verdict.UNAVAILABLE), "msg_unavailable", NOT_CONFIRMED),
        (Verdict(), "msg_unavailable", NOT_CONFIRMED),
    ],
)
@pytest.mark.parametrize("capabilities", [Capability(0), Capability.COMMANDS, Capability.TAGS])
def test_a_message_that_was_not_accepted_is_told(capabilities, verdict, msg_id, text):
    """One NOTICE to the sender, whatever it asked for; the msg-id only with tags."""
    tag = f"@msg-id={msg_id} " if Capability.TAGS in capabilities else ""
    session = open_session(capabilities)
    assert sent(session.verdict("#c", verdict, "id")) == [f"{tag}:tmi.twitch.tv NOTICE #c :{text}"]


def test_a_verdict_after_the_end_is_not_told():
    """The connection is closing."""
    session = open_session(EVERYTHING)
    session.feed(b"QUIT")
    assert session.verdict("#c", Verdict(outcome=Verdict.ALLOWED), "id") == []


# -- slash commands ---------------------------------------------------------------------------------------------------


def command(*notices, **fields):
    return Verdict(outcome=Verdict.COMMAND, notices=notices, **fields)


def test_a_command_is_answered_with_its_notices():
    """In order; ids of users only with tags."""
    told = command(
        Notice(msg_id="ban_success", text="eve is now banned from this channel.", target_user_ids=["9"]),
        Notice(msg_id="usage_me", text="Usage: ..."),
    )
    assert sent(open_session(EVERYTHING).verdict("#c", told, "")) == [
        "@msg-id=ban_success;target-user-id=9 :tmi.twitch.tv NOTICE #c :eve is now banned from this channel.",
        "@msg-id=usage_me :tmi.twitch.tv NOTICE #c :Usage: ...",
    ]
    assert sent(open_session().verdict("#c", told, ""))[0] == (
        ":tmi.twitch.tv NOTICE #c :eve is now banned from this channel."
    )


def test_a_command_that_changed_the_user_is_followed_by_its_states():
    """/color: NOTICE, GLOBALUSERSTATE with the new color, USERSTATE; the next command shows no new look."""
    session = open_session(EVERYTHING)
    notice = Notice(msg_id="color_changed", text="Your color has been changed.")
    told = command(notice, chatter=chatter(color="#FF0000"))
    lines = sent(session.verdict("#c", told, ""))
    assert [line.split(" ")[2] for line in lines] == ["NOTICE", "GLOBALUSERSTATE", "USERSTATE"]
    assert all(";color=#FF0000;" in line for line in lines[1:])
    assert [line.split(" ")[2] for line in sent(session.verdict("#c", told, ""))] == ["NOTICE", "USERSTATE"]
    assert session.user.color == "#FF0000"


def test_disconnect_ends_the_session():
    """After what there was to say."""
    effects = open_session().verdict("#c", command(Notice(msg_id="x", text="Bye."), disconnect=True), "")
    assert sent(effects) == [":tmi.twitch.tv NOTICE #c :Bye."]
    assert asked(effects) == [Close(Disconnect.QUIT)]

"""CHATHISTORY (IRCv3 "chathistory", a draft)."""

from __future__ import annotations

import pytest

from common.pb.chat_pb2 import Chatter, Line, Publication
from edge.effects import ReadHistory
from edge.handlers.history import MAX_QUERIES
from edge.history import Direction, History, Query, Selector
from edge.render import Capability
from tests.support.sessions import member, sent

ASKS = Capability.CHATHISTORY | Capability.BATCH | Capability.MESSAGE_TAGS
MOMENT = Selector("", 1_392_220_800_123)


def query(direction, limit, first=None, second=None):
    return Query("#c", Direction(direction), limit, first, second)


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("LATEST #c * 50", query("LATEST", 50)),
        ("latest #C * 50", query("LATEST", 50)),
        ("LATEST #c msgid=x 50", query("LATEST", 50, Selector("x"))),
        ("BEFORE #c timestamp=2014-02-12T16:00:00.123Z 50", query("BEFORE", 50, MOMENT)),
        ("AFTER #c msgid=x 1000000", query("AFTER", 200, Selector("x"))),
        ("AROUND #c msgid=x 1", query("AROUND", 1, Selector("x"))),
        (
            "BETWEEN #c msgid=x timestamp=2014-02-12T16:00:00.123Z 5",
            query("BETWEEN", 5, Selector("x"), MOMENT),
        ),
    ],
)
def test_each_form_is_read(line, asked):
    """The limit is cut to ours."""
    assert member("#c", capabilities=ASKS).feed(f"CHATHISTORY {line}".encode()) == [ReadHistory(asked)]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", "INVALID_PARAMS * :Unknown subcommand"),
        ("NEWEST #c * 5", "INVALID_PARAMS NEWEST :Unknown subcommand"),
        ("LATEST #c *", "INVALID_PARAMS LATEST :Insufficient parameters"),
        ("BETWEEN #c msgid=x 5", "INVALID_PARAMS BETWEEN :Insufficient parameters"),
        ("LATEST #other * 5", "INVALID_TARGET LATEST #other :You are not in that channel"),
        ("LATEST bob * 5", "INVALID_TARGET LATEST bob :You are not in that channel"),
        ("LATEST #c * 0", "INVALID_PARAMS LATEST #c :The limit is a number above 0"),
        ("LATEST #c * -5", "INVALID_PARAMS LATEST #c :The limit is a number above 0"),
        ("LATEST #c * ٣", "INVALID_PARAMS LATEST #c :The limit is a number above 0"),
    ],
)
def test_what_cannot_be_read_is_refused(line, answer):
    """With the standard replies of IRCv3."""
    said = sent(member("#c", capabilities=ASKS).feed(f"CHATHISTORY {line}".encode()))
    assert said == [f":tmi.twitch.tv FAIL CHATHISTORY {answer}"]


@pytest.mark.parametrize(
    "selector", ["*", "x", "msgid=", "timestamp=", "timestamp=yesterday", "timestamp=2014-02-12T16:00:00Z", "id=5"]
)
@pytest.mark.parametrize("form", ["BEFORE #c {} 5", "BETWEEN #c msgid=x {} 5", "BETWEEN #c {} msgid=x 5"])
def test_a_selector_is_an_id_or_a_moment(form, selector):
    """The refusal says how they are written."""
    (said,) = sent(member("#c", capabilities=ASKS).feed(f"CHATHISTORY {form.format(selector)}".encode()))
    assert said.endswith(" #c :Give msgid=<id> or timestamp=YYYY-MM-DDThh:mm:ss.sssZ")
    assert "INVALID_PARAMS" in said


def test_without_the_capability_the_command_is_unknown():
    """Twitch's clients see nothing of it."""
    assert sent(member("#c").feed(b"CHATHISTORY LATEST #c * 5")) == [
        ":tmi.twitch.tv 421 bob CHATHISTORY :Unknown command"
    ]


LOG = History([Publication(id=name, line=Line(text=name, author=Chatter(login="al", user_id=1))) for name in "abc"])


def ask(session, line="CHATHISTORY AFTER #c msgid=a 5"):
    (effect,) = session.feed(line.encode())
    return effect.query


def test_the_answer_is_a_batch_of_its_own_name():
    """Two answers are told apart."""
    session = member("#c", capabilities=ASKS)
    lines = sent(session.history(ask(session), LOG))
    assert lines == [
        ":tmi.twitch.tv BATCH +history1 chathistory #c",
        "@batch=history1;msgid=b :al!al@al.tmi.twitch.tv PRIVMSG #c :b",
        "@batch=history1;msgid=c :al!al@al.tmi.twitch.tv PRIVMSG #c :c",
        ":tmi.twitch.tv BATCH -history1",
    ]
    assert sent(session.history(ask(session), LOG))[0] == ":tmi.twitch.tv BATCH +history2 chathistory #c"


def test_a_log_that_could_not_be_read_is_told():
    """Not as an empty answer."""
    session = member("#c", capabilities=ASKS)
    (said,) = sent(session.history(ask(session), None))
    assert said.startswith(":tmi.twitch.tv FAIL CHATHISTORY MESSAGE_ERROR AFTER #c :")


def test_an_id_that_has_left_the_log_is_told():
    """And what to do instead."""
    session = member("#c", capabilities=ASKS)
    (said,) = sent(session.history(ask(session, "CHATHISTORY AFTER #c msgid=gone 5"), LOG))
    assert said == (
        ":tmi.twitch.tv FAIL CHATHISTORY MESSAGE_ERROR AFTER #c :"
        "That message is not in the log, or no longer. Ask by timestamp"
    )


def test_who_left_meanwhile_gets_nothing_of_it():
    """A ban that comes between question and answer holds."""
    session = member("#c", capabilities=ASKS)
    asked = ask(session)
    session.expelled("#c")
    (said,) = sent(session.history(asked, LOG))
    assert "INVALID_TARGET" in said


def test_questions_of_one_session_are_bounded():
    """Each answered one makes room."""
    session = member("#c", capabilities=ASKS)
    asked = [ask(session) for _ in range(MAX_QUERIES)]
    (said,) = sent(session.feed(b"CHATHISTORY LATEST #c * 5"))
    assert "MESSAGE_ERROR" in said
    session.history(asked[0], LOG)
    assert ask(session, "CHATHISTORY LATEST #c * 5").limit == 5

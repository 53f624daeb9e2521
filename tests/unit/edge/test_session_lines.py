"""Lines that are unknown, early, incomplete, garbled or too long: answered, and the session stays."""

from __future__ import annotations

import pytest

from edge.disconnect import Disconnect
from edge.effects import Close
from edge.session import Phase, Session
from tests.support.sessions import EVERYTHING, anonymous_session, asked, member, open_session, sent


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("WHO #c", "421 bob WHO :Unknown command"),
        ("list", "421 bob LIST :Unknown command"),
        ("TOPIC #c :x", "421 bob TOPIC :Unknown command"),
        ("WHISPER a :b", "421 bob WHISPER :Unknown command"),
        ("001 x", "421 bob 001 :Unknown command"),
        ("GET / HTTP/1.1", "421 bob GET :Unknown command"),
        ("JO/IN #c", "421 bob * :Unknown command"),
        (":prefix", "421 bob * :Unknown command"),
        ("@tags=1", "421 bob * :Unknown command"),
        ("JOIN", "461 bob JOIN :Not enough parameters"),
        ("PART", "461 bob PART :Not enough parameters"),
        ("PRIVMSG", "461 bob PRIVMSG :Not enough parameters"),
        ("PASS", "461 bob PASS :Not enough parameters"),
        ("CAP", "461 bob CAP :Not enough parameters"),
        ("WHOIS", "461 bob WHOIS :Not enough parameters"),
    ],
)
def test_what_cannot_be_done_is_answered_with_a_numeric(line, answer):
    """Rule 44: 421 for an unknown command, 461 for one without its parameters; the session stays."""
    session = open_session()
    assert session.feed(line.encode()) == [f":tmi.twitch.tv {answer}\r\n".encode()]
    assert session.phase is Phase.OPEN


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("JOIN :", "451 * JOIN :You have not registered"),
        ("JOIN #c", "451 * JOIN :You have not registered"),
        ("PRIVMSG #c :hi", "451 * PRIVMSG :You have not registered"),
        ("MODE bob +i", "451 * MODE :You have not registered"),
        ("NONSENSE", "421 * NONSENSE :Unknown command"),
        ("JÖIN", "421 * * :Unknown command"),
    ],
)
def test_an_early_command_does_not_close(line, answer):
    """Rule 5: irssi probes with `JOIN :` before NICK. No NOTICE either (rule 6)."""
    session = Session(1)
    assert session.feed(line.encode()) == [f":tmi.twitch.tv {answer}\r\n".encode()]
    assert session.phase is Phase.REGISTERING


@pytest.mark.parametrize("line", [b" ", b"   "])
def test_a_blank_line_is_ignored(line):
    """Nothing was said."""
    assert open_session().feed(line) == []


BAD_CHARACTERS = (
    "@msg-id=msg_bad_characters :tmi.twitch.tv NOTICE #c :Your message was not sent because it contained too many "
    "unprocessable characters. If you believe this is an error, please rephrase and try again."
)


@pytest.mark.parametrize("text", [b"\xff", b"caf\xe9", b"a\0b", b"a\rb", b"\xed\xa0\x80", b"\xf0\x9f\x98"])
def test_a_message_that_is_no_text_is_refused(text):
    """A message never goes out changed: its sender is told, and nothing is submitted."""
    effects = open_session(EVERYTHING).feed(b"PRIVMSG #c :" + text)
    assert sent(effects) == [BAD_CHARACTERS]
    assert asked(effects) == []


def test_the_refusal_comes_without_tags_unless_they_were_asked_for():
    """Rule 16."""
    effects = open_session().feed(b"PRIVMSG #c :\xff")
    assert sent(effects) == [BAD_CHARACTERS.split(" ", 1)[1]]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"PING :\xff", ":tmi.twitch.tv PONG tmi.twitch.tv :\ufffd"),
        (b"JOIN #\xff", ":tmi.twitch.tv NOTICE * :This channel does not exist or has been suspended."),
        (b"PRIVMSG #\xff :a", ":tmi.twitch.tv NOTICE * :This channel does not exist or has been suspended."),
        (b"\xff\xfe", ":tmi.twitch.tv 421 bob * :Unknown command"),
        (b"\0", ":tmi.twitch.tv 421 bob * :Unknown command"),
        (b"CAP REQ :a\0b", ":tmi.twitch.tv CAP * NAK :a\ufffdb"),
    ],
)
def test_any_other_garbled_line_is_read_with_replacement_characters(line, answer):
    """One line suffers, not the session."""
    session = open_session()
    assert sent(session.feed(line)) == [answer]
    assert session.phase is Phase.OPEN


@pytest.mark.parametrize(("make", "name"), [(lambda: Session(1), "*"), (open_session, "bob")])
def test_lines_over_the_limit_are_told_and_the_third_closes(make, name):
    """ARCHITECTURE 6: refused with 417, the session closed when it repeats."""
    session = make()
    told = f":tmi.twitch.tv 417 {name} :Input line was too long\r\n".encode()
    assert session.line_too_long() == [told]
    assert session.line_too_long() == [told]
    assert session.line_too_long() == [told, Close(Disconnect.LINES_TOO_LONG)]
    assert session.line_too_long() == []


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        (
            b"WHOIS bob",
            [":tmi.twitch.tv 401 bob bob :No such nick", ":tmi.twitch.tv 318 bob bob :End of /WHOIS list"],
        ),
        (
            b"WHOIS tmi.twitch.tv Alice",
            [":tmi.twitch.tv 401 bob Alice :No such nick", ":tmi.twitch.tv 318 bob Alice :End of /WHOIS list"],
        ),
        (b"WHOIS ::x y", [":tmi.twitch.tv 401 bob * :No such nick", ":tmi.twitch.tv 318 bob * :End of /WHOIS list"]),
        (b"MODE bob +i", []),
        (b"MODE #c", []),
        (b"MODE", []),
        (b"NAMES", [":bob.tmi.twitch.tv 366 bob * :End of /NAMES list"]),
        (b"NAMES #other", [":bob.tmi.twitch.tv 366 bob #other :End of /NAMES list"]),
    ],
)
def test_questions_of_plain_irc_clients_are_answered(line, answers):
    """Rule 44: WHOIS with 401 and 318, MODE with nothing, NAMES of channels one is not in with nobody."""
    assert sent(member("#c").feed(line)) == answers


def test_the_anonymous_are_answered_under_their_name():
    """A numeric goes to the name one has."""
    assert sent(anonymous_session().feed(b"WHO")) == [":tmi.twitch.tv 421 justinfan1 WHO :Unknown command"]

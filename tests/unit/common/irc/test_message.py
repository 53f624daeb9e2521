"""Lines to messages and back; grammar of RFC 1459 2.3.1 with IRCv3 message tags."""

from __future__ import annotations

import pytest

from common.errors import TallgrassError
from common.irc import message as module
from common.irc.message import (
    BadCommand,
    BadParameter,
    BadPrefix,
    BadTags,
    EmptyLine,
    ForbiddenCharacter,
    InvalidUtf8,
    Message,
    MessageError,
    NoCommand,
    parse,
)

BOTH_WAYS = [
    ("PING", Message("", "", "PING", ())),
    ("PING :", Message("", "", "PING", ("",))),
    ("PING tmi.twitch.tv", Message("", "", "PING", ("tmi.twitch.tv",))),
    ("PRIVMSG #c word", Message("", "", "PRIVMSG", ("#c", "word"))),
    ("PRIVMSG #c :some text", Message("", "", "PRIVMSG", ("#c", "some text"))),
    ("PRIVMSG #c ::) text", Message("", "", "PRIVMSG", ("#c", ":) text"))),
    ("PRIVMSG #c ::)", Message("", "", "PRIVMSG", ("#c", ":)"))),
    ("PRIVMSG #c :a :b", Message("", "", "PRIVMSG", ("#c", "a :b"))),
    ("PRIVMSG #c : two  spaces ", Message("", "", "PRIVMSG", ("#c", " two  spaces "))),
    ("PRIVMSG #c :héllo 世界 😀", Message("", "", "PRIVMSG", ("#c", "héllo 世界 😀"))),
    ("PRIVMSG #c :\x01ACTION waves\x01", Message("", "", "PRIVMSG", ("#c", "\x01ACTION waves\x01"))),
    (":tmi.twitch.tv 001 bob :Welcome, GLHF!", Message("", "tmi.twitch.tv", "001", ("bob", "Welcome, GLHF!"))),
    (
        ":bob!bob@bob.tmi.twitch.tv JOIN #c",
        Message("", "bob!bob@bob.tmi.twitch.tv", "JOIN", ("#c",)),
    ),
    (
        "@id=1;flags= :a!a@a.tmi.twitch.tv PRIVMSG #c :hi there",
        Message("id=1;flags=", "a!a@a.tmi.twitch.tv", "PRIVMSG", ("#c", "hi there")),
    ),
    ("@client-nonce=ab PRIVMSG #c :hi there", Message("client-nonce=ab", "", "PRIVMSG", ("#c", "hi there"))),
]

ONLY_READ = [
    ("privmsg #c hi", Message("", "", "PRIVMSG", ("#c", "hi"))),
    ("  PING  a   b  ", Message("", "", "PING", ("a", "b"))),
    ("PRIVMSG  #c  :text", Message("", "", "PRIVMSG", ("#c", "text"))),
    ("@a=b   :p   PING", Message("a=b", "p", "PING", ())),
    ("@ PING", Message("", "", "PING", ())),
    (": PING", Message("", "", "PING", ())),
    ("PASS :oauth:x", Message("", "", "PASS", ("oauth:x",))),
    ("PING :asd def", Message("", "", "PING", ("asd def",))),
    ("PRIVMSG #c :no\u00a0break\tspace", Message("", "", "PRIVMSG", ("#c", "no\u00a0break\tspace"))),
    ("PING a:b", Message("", "", "PING", ("a:b",))),
]


@pytest.mark.parametrize(("line", "message"), BOTH_WAYS + ONLY_READ)
def test_parse_reads_a_line(line, message):
    """A line is cut into tags, prefix, command and parameters."""
    assert parse(line.encode()) == message


@pytest.mark.parametrize(("line", "message"), BOTH_WAYS)
def test_serialize_writes_the_same_line(line, message):
    """A message in its shortest form is written as it was read, with CRLF."""
    assert message.serialize() == line.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"", EmptyLine),
        (b"   ", EmptyLine),
        (b"\xff\xfe", InvalidUtf8),
        (b"PRIVMSG #c :\xc3", InvalidUtf8),
        (b"PRIVMSG #c :\xed\xa0\x80", InvalidUtf8),
        (b"PING \0", ForbiddenCharacter),
        (b"PING a\rb", ForbiddenCharacter),
        (b"PING a\nb", ForbiddenCharacter),
        (b"@a=b", NoCommand),
        (b"@a=b ", NoCommand),
        (b":prefix", NoCommand),
        (b":prefix ", NoCommand),
        (b"@a=b :prefix", NoCommand),
        (b" :only text", NoCommand),
        (b"JO/IN #c", BadCommand),
        ("JÖIN #c".encode(), BadCommand),
        ("ß #c".encode(), BadCommand),
        (b"\x16\x03\x01", BadCommand),
    ],
)
def test_parse_names_what_is_wrong(line, error):
    """Each way to fail has its own error."""
    with pytest.raises(MessageError) as caught:
        parse(line)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (Message("", "", "", ()), BadCommand),
        (Message("", "", "A B", ()), BadCommand),
        (Message("a= b", "", "PING", ()), BadTags),
        (Message("", "a b", "PING", ()), BadPrefix),
        (Message("", "", "PING", ("a b", "c")), BadParameter),
        (Message("", "", "PING", ("", "c")), BadParameter),
        (Message("", "", "PING", (":a", "c")), BadParameter),
        (Message("", "", "PING", ("a\r\nQUIT",)), ForbiddenCharacter),
        (Message("", "a\0", "PING", ()), ForbiddenCharacter),
        (Message("a=\n", "", "PING", ()), ForbiddenCharacter),
        (Message("", "", "PING", ("\ud800",)), InvalidUtf8),
    ],
)
def test_serialize_refuses_what_would_be_read_as_something_else(message, error):
    """A part that would change the line's meaning, or end it, is not written."""
    with pytest.raises(MessageError) as caught:
        message.serialize()
    assert type(caught.value) is error


def test_all_errors_are_in_our_tree():
    """Every error of the module is a MessageError, which is a TallgrassError."""
    errors = {value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Exception)}
    reading = {EmptyLine, InvalidUtf8, ForbiddenCharacter, NoCommand, BadCommand}
    assert reading | {BadTags, BadPrefix, BadParameter} < errors
    assert all(issubclass(error, MessageError) for error in errors - {TallgrassError})
    assert issubclass(MessageError, TallgrassError)


def test_tags_are_unescaped_when_asked_for():
    """`tags` gives keys and unescaped values; the raw form stays."""
    message = parse(rb"@a=x\sy\:\\;b;c= PING")
    assert message.tags == {"a": "x y;\\", "b": "", "c": ""}
    assert message.raw_tags == r"a=x\sy\:\\;b;c="
    assert parse(b"PING").tags == {}


def test_a_message_cannot_be_changed():
    """Assigning to a part fails."""
    with pytest.raises(AttributeError):
        parse(b"PING").command = "PONG"

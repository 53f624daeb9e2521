"""Properties of the codec that hold for any input."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from common.irc.linebuffer import MAX_REST, MAX_TAGS, TOO_LONG, LineBuffer
from common.irc.message import Message, MessageError, parse
from common.irc.tags import escape, format_tags, parse_tags, unescape

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"))
WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n "), min_size=1)
MIDDLE = WORD.filter(lambda word: not word.startswith(":"))
KEY = st.from_regex(r"\+?([a-z0-9.]+/)?[A-Za-z0-9-]+", fullmatch=True)
TAGS = st.dictionaries(KEY, TEXT)
MESSAGES = st.builds(
    lambda tags, prefix, command, middle, trailing: Message(
        format_tags(tags), prefix, command.upper(), (*middle, *trailing)
    ),
    TAGS,
    st.one_of(st.just(""), WORD),
    st.from_regex(r"[A-Za-z]+|[0-9]{3}", fullmatch=True),
    st.lists(MIDDLE, max_size=6),
    st.one_of(st.just(()), st.tuples(TEXT)),
)


@given(MESSAGES)
def test_a_message_reads_back_as_it_was_written(message):
    """Serialize, then parse: the same message, in one line."""
    line = message.serialize()
    assert line.endswith(b"\r\n")
    assert parse(line[:-2]) == message


@given(TAGS)
def test_tags_read_back_as_they_were_written(tags):
    """Format, then parse: the same tags."""
    assert parse_tags(format_tags(tags)) == tags


@given(st.text(st.characters(exclude_characters="\0")))
def test_an_escaped_value_has_no_character_that_would_end_it(value):
    """Whatever the value, its escaped form is one word, and reads back."""
    escaped = escape(value)
    assert not set(escaped) & set("; \r\n\0")
    assert unescape(escaped) == value


@given(st.binary())
def test_parse_gives_a_message_or_its_own_error(line):
    """Any bytes: a message whose parts hold no line end, or a MessageError."""
    try:
        message = parse(line)
    except MessageError:
        return
    assert not set("".join([*message[:3], *message.params])) & set("\0\r\n")
    assert parse(message.serialize()[:-2]) == message


# Bytes in which ends, blanks and long runs are as likely as they are troublesome.
CHUNKS = st.one_of(
    st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"@", b"PING", b"@a=b "]),
    st.builds(
        lambda byte, count: byte * count,
        st.sampled_from([b"x", b"@", b" ", b"\r"]),
        st.sampled_from([1, MAX_REST - 1, MAX_REST, MAX_REST + 1, MAX_TAGS - 1, MAX_TAGS, MAX_TAGS + MAX_REST]),
    ),
    st.binary(max_size=20),
)
STREAMS = st.lists(CHUNKS, max_size=12).map(b"".join)


@given(STREAMS, st.lists(st.integers(min_value=0, max_value=40_000), max_size=20))
def test_any_cut_of_a_stream_gives_the_same_lines(stream, cuts):
    """The buffer does not care how the bytes arrive."""
    whole = LineBuffer()
    pieces = LineBuffer()
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    lines = [line for start, end in pairwise(edges) for line in pieces.feed(stream[start:end])]
    assert lines == whole.feed(stream)
    assert pieces.feed(b"\nEND\n") == whole.feed(b"\nEND\n")


@given(STREAMS)
def test_lines_are_those_of_a_plain_split(stream):
    """Compared with the definition: split at LF, strip CR, leave out the empty, mark the long."""
    expected = []
    for piece in (stream + b"\n").split(b"\n")[:-1]:
        body = piece[:-1] if piece.endswith(b"\r") else piece
        tags, blank, rest = body.partition(b" ") if body.startswith(b"@") else (b"", b"", body)
        if len(tags + blank) > MAX_TAGS or len(rest) > MAX_REST:
            expected.append(TOO_LONG)
        elif piece.rstrip(b"\r"):
            expected.append(piece.rstrip(b"\r"))
    assert LineBuffer().frame(stream) == expected

"""Bytes to lines: ends, pieces, limits."""

from __future__ import annotations

import tracemalloc

import pytest

from common.irc.linebuffer import MAX_REST, MAX_TAGS, TOO_LONG, LineBuffer

TAGS = b"@" + b"t" * (MAX_TAGS - 2) + b" "

STREAMS = [
    (b"", []),
    (b"PING\r\n", [b"PING"]),
    (b"PING\n", [b"PING"]),
    (b"PING\r\r\n", [b"PING"]),
    (b"A\r\nB\nC\r\n", [b"A", b"B", b"C"]),
    (b"\r\n\n\r\r\nA\r\n\n", [b"A"]),
    (b"A\rB\r\n", [b"A\rB"]),
    (b"A\r\nhalf", [b"A"]),
    (b"x" * MAX_REST + b"\r\n", [b"x" * MAX_REST]),
    (b"x" * MAX_REST + b"\n", [b"x" * MAX_REST]),
    (b"x" * (MAX_REST + 1) + b"\r\nA\r\n", [TOO_LONG, b"A"]),
    (b"x" * MAX_REST + b"\r\r\nA\n", [TOO_LONG, b"A"]),
    (TAGS + b"x" * MAX_REST + b"\r\n", [TAGS + b"x" * MAX_REST]),
    (TAGS + b"x" * (MAX_REST + 1) + b"\r\nA\n", [TOO_LONG, b"A"]),
    (b"@t" + TAGS[1:] + b"A\r\nB\n", [TOO_LONG, b"B"]),
    (b"@" + b"t" * (MAX_TAGS - 1) + b"\n", [b"@" + b"t" * (MAX_TAGS - 1)]),
    (b"@" + b"t" * MAX_TAGS + b"\nA\n", [TOO_LONG, b"A"]),
    (b"@" + b"t" * MAX_REST * 2 + b" PING\n", [b"@" + b"t" * MAX_REST * 2 + b" PING"]),
    (b"x" * 30_000 + b"\n" + b"y" * 30_000 + b"\nA\n", [TOO_LONG, TOO_LONG, b"A"]),
    (b"x" * 30_000, [TOO_LONG]),
]


@pytest.mark.parametrize(("stream", "lines"), STREAMS)
def test_lines_come_out_of_a_whole_stream(stream, lines):
    """Lines end in CRLF or LF, empty ones are left out, those over the limit are reported once."""
    assert LineBuffer().feed(stream) == lines


@pytest.mark.parametrize(("stream", "lines"), STREAMS)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_lines_come_out_of_a_stream_in_pieces(stream, lines, size):
    """However the stream is cut, the lines are the same."""
    buffer = LineBuffer()
    out = [line for at in range(0, len(stream), size) for line in buffer.feed(stream[at : at + size])]
    assert out == lines


def test_a_line_over_the_limit_is_reported_before_its_end_comes():
    """Nobody waits for the end of an endless line."""
    buffer = LineBuffer()
    assert buffer.feed(b"x" * MAX_REST) == []
    assert buffer.feed(b"x") == [TOO_LONG]
    assert buffer.feed(b"x" * 5000) == []
    assert buffer.feed(b"x\nPING\n") == [b"PING"]


def test_a_line_of_ten_megabytes_costs_no_memory():
    """What is over the limit is not kept."""
    buffer, piece = LineBuffer(), b"x" * 65_536
    tracemalloc.start()
    try:
        reported = [line for _ in range(160) for line in buffer.feed(piece)]
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reported == [TOO_LONG]
    assert current < 20_000
    assert peak < 3 * 65_536


@pytest.mark.parametrize(
    ("frame", "lines"),
    [
        (b"PING", [b"PING"]),
        (b"PING\r\n", [b"PING"]),
        (b"PASS x\r\nNICK y", [b"PASS x", b"NICK y"]),
        (b"", []),
        (b"x" * (MAX_REST + 1), [TOO_LONG]),
    ],
)
def test_the_end_of_a_frame_ends_the_line(frame, lines):
    """A frame holds whole lines, with or without a line end (clients.md 41)."""
    buffer = LineBuffer()
    assert buffer.frame(frame) == lines
    assert buffer.frame(b"NEXT") == [b"NEXT"]

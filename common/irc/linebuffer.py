"""Bytes in, complete lines out, with a hard limit. Is fed; reads nothing itself.

Strategy: a piece that waits for its line end holds none by construction, so only new bytes are searched, once. Once
a line is known to be over the limit it is reported (TOO_LONG) and forgotten; what follows of it is thrown away up to
its end. So the buffer never holds more than the limit and each byte is looked at a bounded number of times: a line of
10 MB costs its search and no memory.
"""

from __future__ import annotations

import enum
from typing import Final, Literal

# Bytes from "@" to the space after the tags, both included (IRCv3 message tags, "Size limit").
MAX_TAGS = 8_191
# Bytes of the rest, line end not included: 500 characters of 4 bytes with command and channel (clients.md 23).
MAX_REST = 2_048

_AT = ord("@")


class _Marker(enum.Enum):
    TOO_LONG = enum.auto()


TOO_LONG: Final = _Marker.TOO_LONG
"""Stands in the output where a line was over the limit, once for each such line."""

Line = bytes | Literal[_Marker.TOO_LONG]


class LineBuffer:
    """Lines end in CRLF or LF and come out without; empty ones are left out."""

    __slots__ = ("_pending", "_skipping")

    def __init__(self) -> None:
        self._pending = bytearray()  # the beginning of a line whose end has not come
        self._skipping = False  # the line under way was over the limit

    def feed(self, data: bytes) -> list[Line]:
        """Take more of the stream; returns what is complete now, in order."""
        pieces = data.split(b"\n")
        rest = pieces.pop()
        lines: list[Line] = []
        for piece in pieces:
            if self._skipping:
                self._skipping = False
                continue
            line = piece
            if self._pending:
                line = bytes(self._pending) + piece
                self._pending.clear()
            if len(line) > MAX_REST and _is_too_long(line):
                lines.append(TOO_LONG)
                continue
            line = line.rstrip(b"\r")
            if line:
                lines.append(line)
        if rest and not self._skipping:
            self._pending += rest[: MAX_TAGS + MAX_REST + 2]
            if len(self._pending) > MAX_REST and _is_too_long(self._pending):
                self._pending.clear()
                self._skipping = True
                lines.append(TOO_LONG)
        return lines

    def frame(self, data: bytes) -> list[Line]:
        """Take one message of a transport with frames: the end of a frame ends its last line (clients.md 41)."""
        return self.feed(data + b"\n")


def _is_too_long(line: bytes | bytearray) -> bool:
    """Whether these bytes, whatever follows them, are over the limit. One CR at the end is the line end's."""
    length = len(line) - (line[-1:] == b"\r")
    if line[0] != _AT:
        return length > MAX_REST
    space = line.find(b" ", 0, MAX_TAGS)
    if space == -1:
        return length > MAX_TAGS
    return length - space - 1 > MAX_REST

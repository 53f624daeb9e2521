"""Readers who are not read line by line, and still judged to the byte. Pure: bytes in, findings out.

All readers of a channel who have the same capabilities get the same bytes. So one of them is read line by line, and of
the others a number and a checksum are enough: as many bytes as it got, and those. What is compared lies between two
marks, lines that somebody says when nobody else talks. A reader that came in between is compared from its first line
on, one that was cut off up to its last.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

PING = b"PING :tmi.twitch.tv\r\n"
PONG = b"PONG :tmi.twitch.tv\r\n"
_CHECKPOINT_S = 1.0
_RUN = 300              # lines: the longest run that is looked for, lost or said twice
_AROUND = 65_536        # bytes of the reference, in which it is looked for
_ENTRY = b" 366 "       # the last line of what answers a JOIN

ENTERING, IDLE, LOOKING, COUNTING, ENDED = range(5)


class Tally:
    """One life of one reader. `state` ENTERING: until its join was answered; its bytes do not count before that."""

    __slots__ = (
        "_next_checkpoint", "after", "checkpoints", "closed", "count", "crc", "ended", "first", "kept", "marks",
        "owner", "rest", "state", "whole",
    )  # fmt: skip

    def __init__(self, marks: Marks, owner: str, *, keep: bool = False) -> None:
        self.marks = marks
        self.owner = owner
        self.kept = bytearray() if keep else None   # all that is counted, of a reader who is read line by line
        self.rest = b""                             # an unfinished line: counts when its end is here
        self.state = ENTERING
        self._forget()

    def look(self) -> None:
        """For the next begin mark; what was is forgotten."""
        self._forget()
        if self.state != ENTERING:
            self.state = LOOKING

    def _forget(self) -> None:
        self.count = self.crc = self.after = 0
        self.first = b""                            # the first line, of one who came in later
        self.whole = self.ended = self.closed = False
        self.checkpoints = array("Q")               # count and checksum, about once a second
        self._next_checkpoint = 0.0
        if self.kept is not None:
            self.kept = bytearray()

    def feed(self, data: bytes, now: float) -> int:
        """Gives the number of PINGs in it, which count for nothing."""
        if self.rest:
            data = self.rest + data
            self.rest = b""
        if not data.endswith(b"\n"):
            end = data.rfind(b"\n") + 1
            self.rest, data = data[end:], data[:end]
        pings = 0
        if PING in data:
            lines = data.splitlines(keepends=True)
            others = [line for line in lines if line != PING]
            pings = len(lines) - len(others)
            data = b"".join(others)
        if self.state == COUNTING and not self.marks.end:
            self._add(data, now)
        elif data:
            self._step(data, now)
        return pings

    def _step(self, data: bytes, now: float) -> None:
        marks = self.marks
        if self.state == ENTERING:
            if _ENTRY not in data:
                return
            data = _behind(data, _ENTRY)
            self.state = COUNTING if marks.counting else LOOKING if marks.begin else IDLE
        if self.state == LOOKING and marks.begin in data:
            data = _behind(data, marks.begin)
            self.whole, self.state = True, COUNTING
        if self.state == COUNTING:
            if marks.end and marks.end in data:
                after = _behind(data, marks.end)
                end_line = data.rfind(b"\n", 0, data.index(marks.end)) + 1
                self._add(data[:end_line], now)
                self.ended, self.state = True, ENDED
                data = after
            else:
                self._add(data, now)
                return
        if self.state == ENDED:
            self.after += len(data)

    def _add(self, data: bytes, now: float) -> None:
        if not data:
            return
        if now >= self._next_checkpoint:
            self._next_checkpoint = now + _CHECKPOINT_S
            self.checkpoints.append(self.count)
            self.checkpoints.append(self.crc)
        if not self.whole and not self.first:
            self.first = data[: data.index(b"\n") + 1]
        self.crc = crc32(data, self.crc)
        self.count += len(data)
        if self.kept is not None:
            self.kept += data


@dataclass
class Marks:
    """What all readers of a process look for now. `counting`: the begin mark has been said."""

    begin: bytes = b""
    end: bytes = b""
    counting: bool = False


def _behind(data: bytes, found: bytes) -> bytes:
    """What follows the line that has `found`."""
    return data[data.index(b"\n", data.index(found)) + 1 :]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was wrong at one reader. Counts of lines; where they cannot be told, 1 for what is certain."""

    owner: str
    missing: int = 0
    repeated: int = 0
    out_of_order: int = 0
    foreign: int = 0
    bytes_off: int = 0   # more than the reference has; negative: fewer
    where: str = ""


class Judge:
    """Compares with one reader's bytes, which somebody else has to find right."""

    def __init__(self, reference: bytes) -> None:
        self.explains = True    # looks for what exactly happened: up to a second for each finding
        self._reference = reference
        self._sums: dict[tuple[int, int], int] = {}   # by start and end

    def find(self, tally: Tally) -> Finding | None:
        """None: it got what it had to get."""
        reference = self._reference
        start = 0
        if not tally.whole:
            if not tally.count:
                return None  # it came too late for anything, or went too soon; the caller knows what it should have had
            start = reference.find(tally.first)
            if start < 0:
                return Finding(tally.owner, foreign=1, where=f"its first line is nobody's: {tally.first[:300]!r}")
        end = start + tally.count
        to_the_end = tally.closed or (tally.ended and end == len(reference))
        if to_the_end and end <= len(reference) and self._sum(start, end) == tally.crc:
            if tally.after:
                return Finding(tally.owner, repeated=1, bytes_off=tally.after, where="behind the end mark")
            return None
        return self._explain(tally, start)

    def lines(self, tally: Tally) -> int:
        """How many it got, if nothing is wrong."""
        start = 0 if tally.whole else self._reference.find(tally.first)
        return self._reference.count(b"\n", start, start + tally.count)

    def _sum(self, start: int, end: int) -> int:
        found = self._sums.get((start, end))
        if found is None:
            found = self._sums[start, end] = crc32(self._reference[start:end])
        return found

    def _explain(self, tally: Tally, start: int) -> Finding:
        reference = self._reference
        owed = len(reference) if not tally.closed else min(len(reference), start + tally.count)
        off = tally.count - (owed - start)
        good, good_crc = 0, 0
        for count, crc in _pairs(tally):
            if start + count > len(reference) or self._sum(start, start + count) != crc:
                break
            good, good_crc = count, crc
        else:
            # All that came is right: then it is the end that is missing.
            lost = reference.count(b"\n", start + tally.count)
            what = "the end mark never came" if not tally.ended else "all is right up to there"
            return Finding(tally.owner, missing=max(1, lost), bytes_off=off, where=f"after byte {tally.count}: {what}")
        place = start + good
        around = reference.rfind(b"\n", 0, max(0, place - _AROUND)) + 1
        text = reference[around : place + count - good + _AROUND]
        words = f"between byte {good} and {count} of {tally.count}"
        for missing, repeated, moved, odd in () if not self.explains else _guesses(
            text, place - around, count - good, good_crc, crc
        ):
            where = f"{words}: {odd!r}"
            return Finding(tally.owner, missing, repeated, moved, bytes_off=off, where=where)
        if off < 0:
            return Finding(tally.owner, missing=1, bytes_off=off, where=words)
        if off > 0:
            return Finding(tally.owner, repeated=1, bytes_off=off, where=words)
        return Finding(tally.owner, out_of_order=1, where=words)


def _pairs(tally: Tally) -> Iterator[tuple[int, int]]:
    points = tally.checkpoints
    for at in range(0, len(points), 2):
        yield points[at], points[at + 1]
    yield tally.count, tally.crc


def _guesses(text: bytes, start: int, length: int, before: int, wanted: int) -> Iterator[tuple[int, int, int, bytes]]:
    """What one slip makes of `text`, read from `start` on, the `length` bytes whose checksum, after `before`, is
    `wanted`: a run of lines lost, or said twice, or one line that is late. Gives missing, repeated, out of order, and
    the first line concerned.
    """
    starts = [0, *(found.end() for found in re.finditer(b"\n", text))]
    first = starts.index(start)
    for at in range(first, len(starts)):
        place = starts[at]
        rest = length - (place - start)
        if rest < 0:
            return
        crc = crc32(text[start:place], before)

        def fits(made: bytes, rest: int = rest, crc: int = crc) -> bool:
            return len(made) >= rest and crc32(made[:rest], crc) == wanted

        def line(number: int) -> bytes:
            return text[starts[number] : starts[number + 1]]

        onward = text[place : place + rest]
        for number in range(max(0, at - _RUN), at):
            if fits(text[starts[number] : place] + onward):
                yield 0, at - number, 0, line(number)
            if fits(line(number) + onward):
                yield 0, 1, 0, line(number)
        for number in range(at + 1, min(at + _RUN, len(starts))):
            end = starts[number]
            onward = text[end : end + rest]
            if fits(onward):
                yield number - at, 0, 0, line(at)
            if number > at + 1 and fits(text[starts[at + 1] : end] + line(at) + onward):
                yield 0, 0, 1, line(at)

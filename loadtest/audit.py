"""Did every viewer get everything, once, in order? Two checks that together cover all viewers, not only the sampled.

1. Sampled viewers note the number of each line. Within a process they are compared with the one who saw most (the
   reference), and the references of all processes with the channel's log, by ops/checker.py.
2. Everybody else counts bytes only, from a known place in the channel: the end of a line (or WebSocket frame) whose
   number is known. The reference of the same kind knows how many bytes came after that place, and a viewer who lost or
   repeated a line cannot have received as many. PINGs, which come to each viewer at its own time, are taken out.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.checker import Fate, compare, from_first_seen

PING = b"PING :tmi.twitch.tv"
PING_BYTES = len(PING) + 2
PING_FRAME_BYTES = PING_BYTES + 2
FATES = list(Fate)   # a fate travels between processes as its place here
FIRST = 0  # instead of a number: from before the channel's first line


class Track:
    """What one sampled viewer saw of one channel on one connection."""

    __slots__ = ("complete", "ends", "from_start", "join_end", "numbers", "received")

    def __init__(self, *, from_start: bool, join_end: int) -> None:
        self.numbers = array("Q")   # of each line, in the order of arrival
        self.ends = array("Q")      # position (bytes since the connection began, PINGs left out) after each of them
        self.from_start = from_start  # joined before anybody had spoken
        self.join_end = join_end    # position after the join
        self.received = join_end    # position now
        self.complete = True        # False: the connection ended

    def places(self) -> dict[int, int]:
        """Number to the position after it."""
        found = dict(zip(reversed(self.numbers), reversed(self.ends), strict=True))  # the first time counts
        if self.from_start:
            found[FIRST] = self.join_end
        return found


@dataclass(slots=True)
class Findings:
    """One channel, one process; `add` puts processes together. Counts of viewers or of messages."""

    sampled: int = 0             # viewers who noted numbers
    expected: int = 0            # messages they should have seen
    seen: int = 0
    missing: int = 0
    repeated: int = 0
    out_of_order: int = 0
    counted: int = 0             # viewers who counted bytes
    exact: int = 0               # of those: as many as there should have been
    short: int = 0
    over: int = 0
    unknown: int = 0             # no reference reaches back to where they began
    bytes_short: int = 0
    bytes_over: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def pack(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def faultless(self) -> bool:
        return not (self.missing or self.repeated or self.out_of_order or self.short or self.over)


def reference(tracks: Iterable[Track]) -> Track | None:
    """The one who saw most, of those whose connection held."""
    return max((track for track in tracks if track.complete), key=lambda track: len(track.numbers), default=None)


def compare_tracks(expected: Sequence[int], tracks: Iterable[Track]) -> Findings:
    """Sampled viewers against `expected`, the numbers in the log's order. A viewer answers for what came after the
    first line it saw, and one whose connection ended for nothing after the last."""
    findings = Findings()
    wanted = array("Q", expected)
    for track in tracks:
        findings.sampled += 1
        if not track.numbers:
            if track.from_start and track.complete:
                findings.expected += len(wanted)
                findings.missing += len(wanted)
            continue
        part: Sequence[int] = wanted if track.from_start else from_first_seen(wanted, set(track.numbers))
        if not track.complete:
            part = list(reversed(from_first_seen(part[::-1], set(track.numbers))))
        if array("Q", part) == track.numbers:
            findings.expected += len(part)
            findings.seen += len(part)
            continue
        sight = compare(part, track.numbers)
        findings.expected += sight.expected
        findings.seen += sight.seen
        findings.missing += sight.missing
        findings.repeated += sight.repeated
        findings.out_of_order += sight.out_of_order
    return findings


@dataclass(frozen=True, slots=True)
class Counted:
    """A viewer who counted bytes: from the place after number `after`, `received` bytes; for at most `pings` PINGs."""

    after: int
    received: int
    ping_bytes: int
    pings: int


def compare_bytes(tracks: Iterable[Track], counted: Iterable[Counted]) -> Findings:
    """Viewers of one kind (channel, capabilities, framing) against sampled ones of the same kind."""
    findings = Findings()
    # Whoever reaches furthest back is asked first.
    complete = sorted(
        (track for track in tracks if track.complete), key=lambda track: (not track.from_start, -len(track.numbers))
    )
    places = [(track.received, track.places()) for track in complete[:3]]
    differences: Counter[int] = Counter()
    for viewer in counted:
        findings.counted += 1
        expected = next((total - place[viewer.after] for total, place in places if viewer.after in place), None)
        if expected is None:
            findings.unknown += 1
            continue
        difference = viewer.received - expected
        if difference > 0 and difference % viewer.ping_bytes == 0 and difference // viewer.ping_bytes <= viewer.pings:
            difference = 0
        if difference == 0:
            findings.exact += 1
        elif difference < 0:
            findings.short += 1
            findings.bytes_short -= difference
        else:
            findings.over += 1
            findings.bytes_over += difference
        if difference:
            differences[difference] += 1
    findings.examples = [f"{count} viewers {bytes_:+,} bytes" for bytes_, count in differences.most_common(5)]
    return findings

"""Whether everyone saw what the log holds. Pure: numbered messages in, counts out; `tallgrass verify` and the fault
suite (tests/chaos) feed it.

A message is known by its number, which the checker's user puts into its text. Times are seconds on one clock.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass


@enum.unique
class Fate(enum.Enum):
    """What the sender of a message was told."""

    ALLOWED = "allowed"          # a USERSTATE with the message's id: it is in the log
    DENIED = "denied"            # a NOTICE: it is not in the log, and never will be
    UNCONFIRMED = "unconfirmed"  # a NOTICE saying that the outcome is not known: both may be
    UNANSWERED = "unanswered"    # nothing
    CUT_OFF = "cut off"          # the sender's connection ended before an answer: both may be


@dataclass(frozen=True, slots=True)
class Sight:
    """What one reader saw, against what it should have seen. Counts of messages."""

    expected: int
    seen: int           # different messages of those expected
    missing: int        # expected, never seen
    repeated: int       # seen again
    out_of_order: int   # seen after one that stands later in the log
    foreign: int        # seen, but not expected: not in the log, or not this reader's to see

    @property
    def faultless(self) -> bool:
        return not (self.missing or self.repeated or self.out_of_order or self.foreign)


def compare(expected: Sequence[int], seen: Iterable[int]) -> Sight:
    """`expected` in the log's order, each number once; `seen` in the order of arrival."""
    place = {number: index for index, number in enumerate(expected)}
    found: set[int] = set()
    furthest = -1
    repeated = out_of_order = foreign = 0
    for number in seen:
        index = place.get(number)
        if index is None:
            foreign += 1
        elif number in found:
            repeated += 1
        else:
            found.add(number)
            if index < furthest:
                out_of_order += 1
            else:
                furthest = index
    return Sight(len(expected), len(found), len(expected) - len(found), repeated, out_of_order, foreign)


def from_first_seen(expected: Sequence[int], seen: Container[int]) -> Sequence[int]:
    """The part of `expected` from the first that was seen: for a reader who joined at an unknown moment."""
    for index, number in enumerate(expected):
        if number in seen:
            return expected[index:]
    return []


@dataclass(frozen=True, slots=True)
class Audit:
    """What senders were told, against the log. The last four have to be 0. Counts of messages."""

    allowed: int
    denied: int
    unconfirmed: int
    unconfirmed_logged: int    # of the unconfirmed, those that are in the log all the same
    cut_off: int
    unanswered: int
    allowed_not_logged: int
    denied_logged: int
    logged_twice: int

    @property
    def faultless(self) -> bool:
        return not (self.unanswered or self.allowed_not_logged or self.denied_logged or self.logged_twice)


def audit(fates: Mapping[int, Fate], log: Iterable[int]) -> Audit:
    """`fates` of all messages that were sent; `log` holds their numbers, each as often as it stands there."""
    times = Counter(log)
    told = Counter(fates.values())
    return Audit(
        allowed=told[Fate.ALLOWED],
        denied=told[Fate.DENIED],
        unconfirmed=told[Fate.UNCONFIRMED],
        unconfirmed_logged=sum(1 for n, fate in fates.items() if fate is Fate.UNCONFIRMED and n in times),
        cut_off=told[Fate.CUT_OFF],
        unanswered=told[Fate.UNANSWERED],
        allowed_not_logged=sum(1 for n, fate in fates.items() if fate is Fate.ALLOWED and n not in times),
        denied_logged=sum(1 for n, fate in fates.items() if fate is Fate.DENIED and n in times),
        logged_twice=sum(1 for count in times.values() if count > 1),
    )


@dataclass(slots=True)
class Chain:
    """One channel's log as it is read, piece by piece. Its entries must be linked without a gap."""

    last: int          # seq of the newest entry taken; at first: from where on we read
    gaps: int = 0      # entries whose predecessor is one that was never read
    setbacks: int = 0  # entries with a seq that had been used

    def take(self, seq: int, prev: int) -> bool:
        """One more entry, as Replay gave it. False: its number had been used."""
        if seq <= self.last:
            self.setbacks += 1
            return False
        if prev > self.last:
            self.gaps += 1
        self.last = seq
        return True


def percentile(values: Iterable[float], percent: float) -> float:
    """The least value that `percent` of all are not above (nearest rank); 0 for no values."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]

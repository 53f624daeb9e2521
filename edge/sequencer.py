"""One channel's entries into the log's order, each once. Pure: time is passed in.

Entries come from several exchanges and from replays: out of order, repeated, with holes. The rules (ARCHITECTURE 3.6),
with `last` the seq up to which everything has been given out:

1. seq <= last: a repeat, dropped;
2. prev <= last: nothing is missing before it: ready, and so are held ones that now fit;
3. else there is a hole before it: held, until the hole is filled, by a late delivery or by a replay.

What a replay does not hold although it was asked for after we knew of it has left the log: the sequencer steps over
such a gap and reports it as a `Loss`. Before `begin` everything is held.

A `prev` below `last` says the opposite: we have what the log has no more, since it went on from an earlier state
(a replica was promoted that had not got everything, a server came back without its last second). That is a `Jump`:
who was behind us can never get what lies between.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

HELD = 2_000  # entries; twice what a channel's log keeps


class Entry(Protocol):
    """What tallgrass.chat.Entry has."""

    @property
    def seq(self) -> int: ...
    @property
    def prev(self) -> int: ...
    @property
    def publication(self) -> bytes: ...


class Ready(NamedTuple):
    seq: int
    publication: bytes  # serialized


@dataclass(frozen=True, slots=True)
class Loss:
    """Entries between `after` and `before` (both exclusive) are in the log no more: readers may miss some."""

    after: int
    before: int


@dataclass(frozen=True, slots=True)
class Jump:
    """The log went on at `to`, after `after`; it does not have any longer what it had from there up to `seen`."""

    after: int
    seen: int
    to: int


class Sequencer:
    __slots__ = ("_begun", "_held", "_known", "hole_since", "jumps", "last", "losses", "overflowed", "repeats")

    def __init__(self) -> None:
        self.last = 0  # newest seq given out, or that nobody here needs
        self.hole_since: float | None = None  # when the hole after `last` was first seen; None: there is none
        # For metrics; whoever reads them resets them.
        self.repeats = 0
        self.overflowed = 0
        self.losses: list[Loss] = []
        self.jumps: list[Jump] = []
        self._begun = False
        self._held: dict[int, tuple[int, bytes]] = {}  # seq to (prev, publication)
        self._known = 0  # a seq that the log has had, though its entry may not have come

    @property
    def begun(self) -> bool:
        return self._begun

    @property
    def held(self) -> int:
        return len(self._held)

    def begin(self, head: int, now: float) -> list[Ready]:
        """Nobody here needs anything at or under `head`. Gives what is ready."""
        self._begun = True
        self.last = max(self.last, head)
        self.hole_since = None
        return self._settle(self._drain(), now)

    def feed(self, entries: Iterable[Entry], now: float) -> list[Ready]:
        """Take delivered entries. Gives what is ready, in order."""
        ready: list[Ready] = []
        held, last = self._held, self.last
        begun = self._begun
        for entry in entries:
            seq = entry.seq
            if seq <= last:
                self.repeats += 1
            elif begun and (prev := entry.prev) <= last:
                if prev < last:
                    self.jumps.append(Jump(prev, last, seq))
                ready.append(Ready(seq, entry.publication))
                last = seq
            else:
                self._hold(entry)
        self.last = last
        if held and ready:
            ready += self._drain()
        if held or ready or self._known > self.last:
            self._settle(ready, now)
        return ready

    def head(self, seq: int, now: float) -> bool:
        """The log's head is `seq`. True: we are behind it (for a moment that is normal on a busy channel)."""
        self._known = max(self._known, seq)
        self._settle([], now)
        return self._begun and seq > self.last

    def asking(self) -> int:
        """To be called when a replay after `last` is asked for; its answer is given to `replayed` with this mark:
        the newest seq that we knew of. What is at or under the mark and not in a complete answer is lost.
        """
        return max(self._known, self.last, max(self._held, default=0))

    def replayed(self, entries: Iterable[Entry], mark: int, more: bool, now: float) -> list[Ready]:
        """Take a replay's answer; `more`: the log goes on after its last entry. Gives what is ready; see `losses`."""
        certain = 0  # up to here the answer, with what we hold, is all that there is
        for entry in entries:
            certain = entry.seq
            if entry.seq > self.last:
                self._held[entry.seq] = (entry.prev, entry.publication)
            else:
                self.repeats += 1
        if not more:
            certain = max(certain, mark)
        ready = self._drain(certain)
        if not more and self.last < self._known <= certain:
            self.losses.append(Loss(self.last, self._known + 1))
            self.last = self._known
            ready += self._drain()
            self.hole_since = None
        return self._settle(ready, now)

    def _hold(self, entry: Entry) -> None:
        if entry.seq in self._held:
            self.repeats += 1
        elif len(self._held) < HELD:
            self._held[entry.seq] = (entry.prev, entry.publication)
        else:
            # A replay brings it again.
            self.overflowed += 1
            self._known = max(self._known, entry.seq)

    def _drain(self, certain: int = 0) -> list[Ready]:
        """Take what fits from the held ones; up to `certain`, gaps are losses."""
        held = self._held
        ready: list[Ready] = []
        last = self.last
        for seq in sorted(held):
            prev, publication = held[seq]
            if seq > last:
                if prev > last:
                    if seq > certain:
                        break
                    self.losses.append(Loss(last, seq))
                elif prev < last:
                    self.jumps.append(Jump(prev, last, seq))
                ready.append(Ready(seq, publication))
                last = seq
            else:
                self.repeats += 1
            del held[seq]
        self.last = last
        return ready

    def _settle(self, ready: list[Ready], now: float) -> list[Ready]:
        """A hole is named by the `last` before it: when `last` moved on, what is behind now is a new one."""
        if not self._begun or not (self._held or self._known > self.last):
            self.hole_since = None
        elif ready or self.hole_since is None:
            self.hole_since = now
        return ready

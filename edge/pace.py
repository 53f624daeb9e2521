"""When a line for a large channel goes to clue: with those that are expected soon, or at once. Pure.

Large channels show lines in bundles anyway, and a batch costs the edge 0.9 ms and a pass over a thousand members 8 ms,
however many lines they carry. So a line waits for others; but no longer than until the last that can be expected within
WAIT_S has come, by the mean gap between the latest lines. At 50 lines/s every second one waits 20 ms and the others not
at all; at 200 bundles of eight wait 35 ms; below 25 nobody waits.
"""

from __future__ import annotations

WAIT_S = 0.038  # of a bundle's first line; with 5 ms to clue and back and 10 ms of a pass, its reader has it in 60
_WEIGHT = 0.2   # of the newest gap in the mean
_LONGEST_S = 0.1  # a longer gap ends a rush; the next one is known for one after some lines


class Pace:
    """Of one lane. Times are loop times, in seconds."""

    __slots__ = ("_gap", "_last")

    def __init__(self) -> None:
        self._gap = _LONGEST_S
        self._last = 0.0

    def arrived(self, now: float) -> None:
        gap = now - self._last
        self._gap = _LONGEST_S if gap > _LONGEST_S else self._gap + (gap - self._gap) * _WEIGHT
        self._last = now

    def due(self, first: float) -> float:
        """When a bundle begins whose first line came at `first`."""
        latest = first + WAIT_S
        return self._last if self._last + self._gap > latest else latest

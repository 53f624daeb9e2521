"""Whether it pays to wait for more of what comes again and again. Pure.

Large channels show lines in bundles anyway: a batch to clue costs the edge 0.9 ms and a pass over a thousand members 8
ms, however many lines they carry. So what comes waits for others; but no longer than until the last that can be
expected within the wait has come, by the mean gap between the latest ones. The fewer come the less is saved, so the
wait is shorter by half a gap. With 45 ms and 50 lines/s every second one waits 20 ms and the others not at all; at 200
bundles of nine wait 40 ms; below 33 nobody waits.
"""

from __future__ import annotations

_WEIGHT = 0.2   # of the newest gap in the mean
_LONGEST_S = 0.1  # a longer gap ends a rush; the next one is known for one after some arrivals


class Pace:
    """Of one stream of arrivals. Times are loop times, in seconds."""

    __slots__ = ("_gap", "_last")

    def __init__(self) -> None:
        self._gap = _LONGEST_S
        self._last = 0.0

    def arrived(self, now: float) -> None:
        gap = now - self._last
        self._gap = _LONGEST_S if gap > _LONGEST_S else self._gap + (gap - self._gap) * _WEIGHT
        self._last = now

    def due(self, first: float, wait: float) -> float:
        """When a bundle begins whose first came at `first`; at the latest `wait` after it. After a silence: at once."""
        if self._gap >= _LONGEST_S:
            return self._last
        latest = first + wait - self._gap / 2
        return self._last if self._last + self._gap > latest else latest

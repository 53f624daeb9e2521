"""How loaded this edge is: its weight, for HAProxy's agent-check and for lists of edges; its largest channels. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable

from common.pb.clue_pb2 import ChannelLoad

LARGEST = 20  # channels that an edge tells of
# A loop this late is one that has time; from here on the weight falls as the lateness rises.
CALM_S = 0.02


def weight(sessions: int, max_sessions: int, lag_s: float) -> int:
    """1 to 100: the percentage of places that are free, times CALM_S / `lag_s` when the loop is later than CALM_S.

    Never rises with `sessions` or with `lag_s`. Never 0 while the edge serves: HAProxy takes 0 for "drain".
    """
    free = 1.0 - sessions / max_sessions if max_sessions > 0 else 0.0
    calm = min(1.0, CALM_S / lag_s) if lag_s > 0 else 1.0
    return max(1, min(100, round(100 * free * calm)))


class Loads:
    """How much is said in which channels: for those who decide where a channel should live."""

    __slots__ = ("_publications", "_since")

    def __init__(self, now: float) -> None:
        self._publications: Counter[str] = Counter()
        self._since = now

    def count(self, channel: str, publications: int) -> None:
        self._publications[channel] += publications

    def largest(self, members: Iterable[tuple[str, int]], now: float) -> list[ChannelLoad]:
        """Of (channel, members here) those with most members, and their publications per second since the last call."""
        elapsed, self._since = max(now - self._since, 1e-3), now
        publications, self._publications = self._publications, Counter()
        return [
            ChannelLoad(channel=name, members=count, rate=publications[name] / elapsed)
            for name, count in heapq.nlargest(LARGEST, members, key=lambda channel: channel[1])
        ]

"""How a run unfolds: the number of viewers over time, and what the director says when. Pure, but for the last class.

A run has three parts: the crowd gathers (in tpp while chat goes on already), messages are sent for `seconds`, and
everything settles, so that what is still under way is not taken for lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.plan import RAIDED, Plan

JOIN_PER_S = 2_000           # viewers a second that come in while the crowd gathers
SETTLE_S = 4.0               # so long nobody has got a line: then nothing is under way any more
SETTLE_AT_MOST_S = 90.0
RAID_S = 5.0
GATHER_AT_MOST_S = 180.0

# Twitch Plays Pokémon grew from 5,000 to 20,000 to 50,000 viewers with the same input: shares of the peak, by share
# of the time.
_TPP = ((0.0, 0.1), (0.2, 0.1), (0.3, 0.4), (0.55, 0.4), (0.7, 1.0), (1.0, 1.0))


@dataclass(frozen=True, slots=True)
class Event:
    """Seconds after the first message; `name` is what users listen for."""

    at: float
    name: str
    channel: str = ""
    over_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Timeline:
    gather: float                # share of the viewers who have to be in before anybody speaks
    events: tuple[Event, ...]
    crowd: tuple[tuple[float, float], ...] = ()   # (second, share of the viewers), straight lines between; (): all

    def share(self, second: float) -> float:
        """How much of the crowd should be there, `second` after the first message."""
        if not self.crowd:
            return 1.0
        before = self.crowd[0]
        for point in self.crowd:
            if point[0] > second:
                span = point[0] - before[0]
                part = (second - before[0]) / span if span else 1.0
                return before[1] + (point[1] - before[1]) * max(0.0, part)
            before = point
        return before[1]


def timeline(plan: Plan) -> Timeline:
    seconds = plan.seconds
    if plan.shape == "tpp":
        return Timeline(_TPP[0][1], (), tuple((at * seconds, share) for at, share in _TPP))
    if plan.shape == "raid":
        return Timeline(1.0, (Event(seconds / 3, "move", channel=RAIDED, over_s=RAID_S),))
    if plan.shape == "storm":
        return Timeline(1.0, (Event(seconds / 3, "scatter"),))
    return Timeline(1.0, ())


def herds_at(plan: Plan, share: float) -> int:
    return max(1, round(plan.herds * share))

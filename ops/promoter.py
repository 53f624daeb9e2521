"""Automatic promotion: a channel that stays large or fast goes to the event cluster, and comes back when it is calm.

`Promoter` decides and knows no socket; `ops.promoting` asks it every few seconds and has its decisions carried out, one
at a time. Off unless it is configured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.errors import ConfigError
from common.pb import clue_pb2

_SETTINGS = ("members", "rate", "for", "cool", "to")


@dataclass(frozen=True, slots=True)
class Promotion:
    """When. A channel is hot with so many members or so many publications a second."""

    members: int = 2_000
    rate: float = 50.0
    for_s: float = 30.0     # hot for so long: it goes
    cool_s: float = 600.0   # not hot for so long: it comes back
    to: str = "event"

    def __post_init__(self) -> None:
        if self.members < 1 or self.rate <= 0:
            raise ConfigError("promotion: members is 1 or more, and rate above 0")
        if self.for_s < 0 or self.cool_s < 0:
            raise ConfigError("promotion: for and cool are seconds, 0 or more")


def parse(text: str) -> Promotion:
    """Of --promote: "members=2000,rate=50,for=30s,cool=600s", each of them optional. Raises ConfigError."""
    values: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if name not in _SETTINGS or not equals:
            raise ConfigError(f"--promote {part}: give members=N,rate=N,for=Ns,cool=Ns (each may be left out)")
        values[name] = value
    for name in values.keys() - {"to"}:
        if not re.fullmatch(r"\d+(\.\d+)?s?", values[name]) or (name == "members" and not values[name].isdigit()):
            raise ConfigError(f"--promote {name}={values[name]}: it takes a number")
    default = Promotion()
    return Promotion(
        members=int(values.get("members", default.members)),
        rate=float(values.get("rate", default.rate)),
        for_s=float(values.get("for", f"{default.for_s}").removesuffix("s")),
        cool_s=float(values.get("cool", f"{default.cool_s}").removesuffix("s")),
        to=values.get("to", default.to),
    )


@dataclass(frozen=True, slots=True)
class Heat:
    """Of one channel: members on all edges, publications a second."""

    members: int = 0
    rate: float = 0.0

    def __str__(self) -> str:
        return f"{self.members} members, {self.rate:.1f} messages/s"


@dataclass(frozen=True, slots=True)
class Decision:
    channel: str
    to: str
    why: str    # with its figures


class Promoter:
    """Of one cluster. Times are given: seconds of any clock that only goes forward."""

    def __init__(self, promotion: Promotion, cluster: str, promoted: Iterable[str] = ()) -> None:
        """`promoted`: the channels that it had sent away before a restart. Those that people moved, it leaves alone."""
        self._promotion = promotion
        self._cluster = cluster
        self._hot_since: dict[str, float] = {}
        self._calm_since: dict[str, float] = {}
        self.promoted = set(promoted)

    def decide(self, heats: Mapping[str, Heat], homes: Mapping[str, str], now: float) -> Decision | None:
        """What to move now, or None. `homes`: channel to cluster, for those that do not live where their name says."""
        wanted = self._promotion
        self.promoted = {channel for channel in self.promoted if homes.get(channel) == wanted.to}
        hot = {channel for channel, heat in heats.items() if self._is_hot(heat)}
        here = {channel for channel in hot if homes.get(channel, self._cluster) == self._cluster and _may_move(channel)}
        self._hot_since = {channel: self._hot_since.get(channel, now) for channel in here}
        self._calm_since = {channel: self._calm_since.get(channel, now) for channel in self.promoted - hot}
        ripe = [channel for channel, since in self._hot_since.items() if now - since >= wanted.for_s]
        if ripe:
            channel = max(ripe, key=lambda name: (heats[name].members, heats[name].rate, name))
            bounds = f"from {wanted.members} members or {wanted.rate:g}/s on"
            why = f"{heats[channel]} for {now - self._hot_since[channel]:.0f} s ({bounds})"
            return Decision(channel, wanted.to, why)
        calm = [channel for channel, since in self._calm_since.items() if now - since >= wanted.cool_s]
        if calm:
            channel = min(calm)
            why = f"{heats.get(channel, Heat())}, calm for {now - self._calm_since[channel]:.0f} s"
            return Decision(channel, self._cluster, why)
        return None

    def moved(self, decision: Decision) -> None:
        """It was carried out."""
        self._hot_since.pop(decision.channel, None)
        self._calm_since.pop(decision.channel, None)
        if decision.to == self._cluster:
            self.promoted.discard(decision.channel)
        else:
            self.promoted.add(decision.channel)

    def failed(self, decision: Decision) -> None:
        """It could not be carried out: its time begins again."""
        self._hot_since.pop(decision.channel, None)
        self._calm_since.pop(decision.channel, None)

    def _is_hot(self, heat: Heat) -> bool:
        return heat.members >= self._promotion.members or heat.rate >= self._promotion.rate


def heats(directory: clue_pb2.Directory) -> dict[str, Heat]:
    """By channel: members summed over the edges of all clusters, and the rate, which is the same on each."""
    edges = {
        (registration.cluster or "", registration.instance): registration
        for registration in [
            *(edge for cluster in directory.clusters for edge in cluster.edges),
            *(service for service in directory.services if service.service == "edge"),
        ]
    }
    found: dict[str, Heat] = {}
    for edge in edges.values():
        for load in edge.largest:
            before = found.get(load.channel, Heat())
            found[load.channel] = Heat(before.members + load.members, max(before.rate, load.rate))
    return found


def _may_move(channel: str) -> bool:
    """Temporary rooms and inboxes stay where they are."""
    return channel.startswith("#") and not channel.startswith("#_")

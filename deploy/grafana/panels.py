"""What a dashboard is made of, as values: rows of panels, each with its Graphite targets. Knows nothing of Grafana.

Names in Graphite: tallgrass.<cluster>.<service>.<instance>.<metric>; node 3 is the instance, node 4 the metric's first
part. $cluster is the dashboard's variable.
"""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "tallgrass.$cluster"


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    text: str  # what it shows, and what to think when it rises
    unit: str  # of Grafana: short, ms, s, bytes, percent, ops, bool_on_off, ...
    targets: tuple[str, ...]
    least: float | None = 0


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    text: str
    rows: tuple[Row, ...]


def path(service: str, metric: str, leaf: str = "") -> str:
    return ".".join(part for part in (PREFIX, service, "*", metric, leaf) if part)


def per_second(service: str, metric: str) -> str:
    """A counter's rate, one line an instance."""
    return f"aliasByNode({path(service, metric, 'rate')}, 3)"


def total(service: str, metric: str, name: str) -> str:
    """A counter's rate over all instances, as one line."""
    return f"alias(sumSeries({path(service, metric, 'rate')}), '{name}')"


def totals(service: str, metrics: dict[str, str]) -> tuple[str, ...]:
    """Several counters, each over all instances: metric to the line's name."""
    return tuple(total(service, metric, name) for metric, name in metrics.items())


def by_place(service: str, metric: str, before: str) -> str:
    """A counter with one place (a star), one line for each value of it, over all instances: "BEFORE value"."""
    place = 4 + metric.split(".").index("*")
    return f"aliasSub(groupByNode({path(service, metric, 'rate')}, {place}, 'sum'), '^', '{before} ')"


def gauge(service: str, metric: str) -> str:
    """One line an instance; with places, they are in the line's name."""
    places = "".join(f", {4 + at}" for at, part in enumerate(metric.split(".")) if part == "*")
    return f"aliasByNode({path(service, metric)}, 3{places})"


def summed(service: str, metric: str, name: str) -> str:
    return f"alias(sumSeries({path(service, metric)}), '{name}')"


def mean(service: str, metric: str) -> str:
    return gauge(service, f"{metric}.mean")


def worst(service: str, metric: str) -> str:
    return gauge(service, f"{metric}.max")


def ratio(service: str, of: str, to: str) -> str:
    """A batch size: what went, by the calls it went in, over all instances."""
    above, below = path(service, of, "rate"), path(service, to, "rate")
    return f"alias(divideSeries(sumSeries({above}), sumSeries({below})), '{service}')"


def share(service: str, part: str, whole: str) -> str:
    """Percent, one line an instance."""
    return f"aliasByNode(scale(divideSeriesLists({path(service, part)}, {path(service, whole)}), 100), 3)"

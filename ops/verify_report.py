"""What `tallgrass verify` found: as a value, as text for people, as JSON, and as gauges for statsd."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import statsd

from common.errors import ConfigError
from common.metrics import Metrics
from ops.checker import Audit, Sight


@dataclass(frozen=True, slots=True)
class EdgeReport:
    edge: str
    address: str
    problem: str = ""             # why it could not be read; the rest is then unknown
    sight: Sight | None = None
    p50_ms: float = 0.0           # from posting to reading
    p99_ms: float = 0.0
    max_ms: float = 0.0

    @property
    def faultless(self) -> bool:
        return self.sight is not None and self.sight.faultless and not self.problem


@dataclass(frozen=True, slots=True)
class Report:
    channel: str
    run: str                      # stands in the text of each canary
    status: int                   # the exit status
    summary: str
    posted: int
    logged: int
    audit: Audit
    refusals: dict[str, int] = field(default_factory=dict)  # words of the NOTICEs to their number
    edges: list[EdgeReport] = field(default_factory=list)


def as_json(report: Report) -> str:
    return json.dumps(asdict(report), indent=2)


def as_text(report: Report) -> str:
    """One screen."""
    rows: list[tuple[str, ...]] = [
        ("EDGE", "SEEN", "MISSING", "REPEATED", "OUT OF ORDER", "P50 ms", "P99 ms", "MAX ms")
    ]
    for edge in report.edges:
        if edge.sight is None:
            rows.append((edge.edge, "-", "-", "-", "-", "-", "-", "-"))
            continue
        sight = edge.sight
        counts = (sight.missing, sight.repeated, sight.out_of_order)
        delays = (f"{ms:.1f}" for ms in (edge.p50_ms, edge.p99_ms, edge.max_ms))
        rows.append((edge.edge, f"{sight.seen}/{sight.expected}", *map(str, counts), *delays))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"{edge.edge}: {edge.problem}" for edge in report.edges if edge.problem]
    lines += [
        f"{edge.edge}: {edge.sight.foreign} seen that are not in the log"
        for edge in report.edges
        if edge.sight is not None and edge.sight.foreign
    ]
    found = report.audit
    lines.append(
        f"{report.posted} posted, {report.logged} in the log; senders were told: {found.allowed} allowed, "
        f"{found.denied} denied, {found.unconfirmed} not confirmed ({found.unconfirmed_logged} of them in the log)"
    )
    broken = {
        "without an answer": found.unanswered,
        "allowed but not in the log": found.allowed_not_logged,
        "denied but in the log": found.denied_logged,
        "in the log more than once": found.logged_twice,
    }
    lines += [f"WRONG: {count} {what}" for what, count in broken.items() if count]
    lines += [f"{count} x {words!r}" for words, count in report.refusals.items()]
    lines.append(f"{report.channel}: {report.summary}")
    return "\n".join(lines)


def send(report: Report, address: str, cluster: str) -> None:
    """The result as gauges to statsd at HOST:PORT; an empty address: nowhere. Raises ConfigError for a bad address."""
    if not address:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--statsd {address!r} is no address: give HOST:PORT")
    metrics = Metrics(f"tallgrass.{cluster}.verify.{report.channel.removeprefix('#')}")

    def gauge(name: str, value: float) -> None:
        metrics.gauge(name, lambda: value)

    gauge("status", report.status)
    gauge("allowed_not_logged", report.audit.allowed_not_logged)
    gauge("unanswered", report.audit.unanswered)
    for edge in report.edges:
        gauge(f"{edge.edge}.readable", 0 if edge.problem else 1)
        if edge.sight is not None:
            gauge(f"{edge.edge}.missing", edge.sight.missing)
            gauge(f"{edge.edge}.repeated", edge.sight.repeated)
            gauge(f"{edge.edge}.out_of_order", edge.sight.out_of_order)
            gauge(f"{edge.edge}.delay_p50_ms", edge.p50_ms)
            gauge(f"{edge.edge}.delay_p99_ms", edge.p99_ms)
            gauge(f"{edge.edge}.delay_max_ms", edge.max_ms)
    metrics.flush_to(statsd.StatsClient(host, int(port), prefix=metrics.prefix))

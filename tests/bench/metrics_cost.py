"""What the metrics of a busy edge cost: `python -m tests.bench.metrics_cost`. A second's flush, and one count."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import statsd

from common.metric_catalogue import PLACES, Kind, of
from common.metrics import Metrics
from common.process_metrics import ProcessMetrics
from edge.config import EdgeConfig
from edge.connection import Connection
from edge.door import Door

SESSIONS = 15_000
LINES, PASSES = 5_000, 200  # of a busy edge, a second


def main() -> None:
    metrics = Metrics("tallgrass.main.edge.edge-1")
    ProcessMetrics(metrics)
    services: Any = SimpleNamespace(hub=SimpleNamespace(sessions={}), wheel=SimpleNamespace(now=0.0))
    transport: Any = SimpleNamespace(websocket=False)
    services.hub.sessions.update((number, Connection(number, transport, services)) for number in range(SESSIONS))
    log: Any = None
    Door(EdgeConfig(), services, metrics, log)
    client = statsd.StatsClient("127.0.0.1", 9, prefix=metrics.prefix, maxudpsize=1400)

    def count_everything() -> None:
        for metric in of("edge"):
            if metric.kind is Kind.COUNTER:
                metrics.count(PLACES.sub("x", metric.name))
            elif metric.kind is Kind.TIMING:
                metrics.timing(PLACES.sub("x", metric.name), 1.0)

    def count() -> None:
        metrics.counters["lines"] += 1

    flush_ms = _best(lambda: metrics.flush_to(client), before=count_everything) * 1e3
    count_us = _best(lambda: [count() for _ in range(1_000)]) * 1e3
    timing_us = _best(lambda: [metrics.timing("broadcast.pass_ms", 1.0) for _ in range(1_000)]) * 1e3
    second_ms = flush_ms + (LINES * count_us + PASSES * 2 * timing_us) / 1e3
    client.close()
    print(f"a flush with {SESSIONS:,} sessions: {flush_ms:.2f} ms")
    print(f"one count: {count_us:.3f} µs; one timing: {timing_us:.3f} µs")
    print(f"a second with {LINES:,} lines and {PASSES} passes: {second_ms:.1f} ms, {second_ms / 10:.2f} % of a core")


def _best(call: Callable[[], object], *, before: Callable[[], None] = lambda: None) -> float:
    """Seconds, the least of 50."""
    least = float("inf")
    for _ in range(50):
        before()
        started = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - started)
    return least


if __name__ == "__main__":
    main()

"""Counters, gauges and timings: plain numbers in the process, sent to statsd once a second.

Names on the wire: tallgrass.<cluster>.<service>.<instance>.<metric>. Without a statsd address nothing is sent; the
numbers can still be read with `snapshot`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import statsd

FLUSH_S = 1.0


@dataclass(slots=True)
class Timing:
    """Durations in milliseconds since the last flush."""

    count: int = 0
    total_ms: float = 0.0
    max_ms: float = 0.0

    def add(self, ms: float) -> None:
        self.count += 1
        self.total_ms += ms
        if ms > self.max_ms:
            self.max_ms = ms


class Metrics:
    """One per process. Hot paths do `metrics.counters["name"] += n` or keep an int of their own and set it here."""

    def __init__(self, prefix: str = "tallgrass") -> None:
        self.prefix = prefix
        self.counters: defaultdict[str, int] = defaultdict(int)
        self.timings: defaultdict[str, Timing] = defaultdict(Timing)
        self._gauges: dict[str, Callable[[], float]] = {}
        self._sent: dict[str, int] = {}

    def count(self, name: str, n: int = 1) -> None:
        self.counters[name] += n

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """`read` is called at each flush."""
        self._gauges[name] = read

    def timing(self, name: str, ms: float) -> None:
        self.timings[name].add(ms)

    def snapshot(self) -> dict[str, float]:
        """Counters since the start, and gauges now."""
        return {**self.counters, **{name: read() for name, read in self._gauges.items()}}

    def flush_to(self, client: statsd.StatsClient) -> None:
        """Send what changed since the last flush, in as few datagrams as it takes."""
        with client.pipeline() as pipe:
            for name, total in list(self.counters.items()):
                delta = total - self._sent.get(name, 0)
                if delta:
                    self._sent[name] = total
                    pipe.incr(name, delta)
            for name, read in self._gauges.items():
                pipe.gauge(name, read())
            timings, self.timings = self.timings, defaultdict(Timing)
            for name, timing in timings.items():
                pipe.gauge(f"{name}.mean", timing.total_ms / timing.count)
                pipe.gauge(f"{name}.max", timing.max_ms)
                pipe.incr(f"{name}.count", timing.count)

    async def run(self, address: str) -> None:
        """Flush once a second to HOST:PORT until cancelled; an empty address: never."""
        if not address:
            return
        host, _, port = address.rpartition(":")
        client = statsd.StatsClient(host, int(port), prefix=self.prefix)
        while True:
            await asyncio.sleep(FLUSH_S)
            self.flush_to(client)

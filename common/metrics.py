"""Counters, gauges and timings: plain numbers in the process, sent to statsd once a second.

Names on the wire: tallgrass.<cluster>.<service>.<instance>.<metric>; common/metric_catalogue.py lists them all. Without
a statsd address nothing is sent; the numbers can still be read with `snapshot`. Another way out (a page for Prometheus,
OpenTelemetry) would be a second reader of `snapshot` beside `flush_to`.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import statsd

from common import metric_catalogue
from common.log import Log
from common.metric_catalogue import Kind

FLUSH_S = 1.0
_DECLARE_FLUSHES = 60  # between two declarations: a statsd that was started again has forgotten the first
_DATAGRAM_BYTES = 1_400  # fits an Ethernet frame


@dataclass(slots=True)
class Timing:
    """Durations in milliseconds since the last flush."""

    count: int = 0
    total_ms: float = 0.0
    max_ms: float = 0.0

    def add(self, ms: float) -> None:
        if ms > self.max_ms or not self.count:
            self.max_ms = ms
        self.count += 1
        self.total_ms += ms


class Metrics:
    """One per process. Hot paths do `metrics.counters["name"] += n` or keep an int of their own and set it here."""

    def __init__(self, prefix: str = "tallgrass") -> None:
        self.prefix = prefix
        self.counters: defaultdict[str, int] = defaultdict(int)
        self.timings: defaultdict[str, Timing] = defaultdict(Timing)
        self._gauges: dict[str, Callable[[], float]] = {}
        self._groups: list[Callable[[], Mapping[str, float]]] = []
        self._sent: dict[str, int] = {}

    def count(self, name: str, n: int = 1) -> None:
        self.counters[name] += n

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """`read` is called at each flush."""
        self._gauges[name] = read

    def gauges(self, read: Callable[[], Mapping[str, float]]) -> None:
        """Gauges that are read together, or whose names come and go: `read` is called at each flush."""
        self._groups.append(read)

    def timing(self, name: str, ms: float) -> None:
        self.timings[name].add(ms)

    def snapshot(self) -> dict[str, float]:
        """Counters since the start, and gauges now."""
        return {**self.counters, **self._gauges_now()}

    def flush_to(self, client: statsd.StatsClient) -> None:
        """Send what changed since the last flush, in as few datagrams as it takes."""
        with client.pipeline() as pipe:
            for name, total in list(self.counters.items()):
                delta = total - self._sent.get(name, 0)
                if delta:
                    self._sent[name] = total
                    pipe.incr(name, delta)
            for name, value in self._gauges_now().items():
                pipe.gauge(name, value)
            timings, self.timings = self.timings, defaultdict(Timing)
            for name, timing in timings.items():
                pipe.gauge(f"{name}.mean", round(timing.total_ms / timing.count, 3))
                pipe.gauge(f"{name}.max", round(timing.max_ms, 3))
                pipe.incr(f"{name}.count", timing.count)

    def declare_to(self, client: statsd.StatsClient) -> None:
        """Say of all that this service counts that it exists: what never happened is 0, not unknown."""
        service = self.prefix.split(".")[2]
        with client.pipeline() as pipe:
            for metric in metric_catalogue.of(service):
                if "{" in metric.name or metric.kind is Kind.GAUGE:
                    continue
                if metric.kind is Kind.TIMING:
                    pipe.incr(f"{metric.name}.count", 0)
                else:
                    pipe.incr(metric.name, 0)

    async def run(self, address: str) -> None:
        """Flush once a second to HOST:PORT until cancelled; an empty address: never.

        Metrics are never worth a service: what cannot be sent is lost, and a name that cannot be resolved is asked for
        again at the next flush.
        """
        if not address:
            return
        log = Log(remote=f"statsd@{address}", operation="flush")
        host, _, port = address.rpartition(":")
        client: statsd.StatsClient | None = None
        try:
            for number in itertools.count():
                await asyncio.sleep(FLUSH_S)
                try:
                    if client is None:
                        client = await asyncio.to_thread(
                            statsd.StatsClient, host, int(port), prefix=self.prefix, maxudpsize=_DATAGRAM_BYTES
                        )
                    if number % _DECLARE_FLUSHES == 0:
                        self.declare_to(client)
                    self.flush_to(client)
                except socket.gaierror as error:
                    log.warning("metrics_not_sent", cause=str(error))
                except Exception as error:  # a gauge of ours that cannot be read
                    log.error("metrics_not_sent", trace=True, cause=repr(error))
        finally:
            if client is not None:
                client.close()

    def _gauges_now(self) -> dict[str, float]:
        now = {name: read() for name, read in self._gauges.items()}
        for group in self._groups:
            now.update(group())
        return now

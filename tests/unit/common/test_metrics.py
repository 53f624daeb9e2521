"""common/metrics.py: aggregated in the process, sent as one name per metric."""

import socket

import statsd

from common.metrics import Metrics


def _flush(metrics):
    """What one flush sends, by metric name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        client = statsd.StatsClient(*server.getsockname(), prefix=metrics.prefix)
        metrics.flush_to(client)
        client.close()
        return dict(line.split(":") for line in server.recv(65536).decode().splitlines())


def test_counters_are_sent_as_the_difference():
    """A flush sends what was counted since the last one; the total stays readable."""
    metrics = Metrics("tallgrass.main.edge.edge-1")
    metrics.count("lines", 3)
    assert _flush(metrics) == {"tallgrass.main.edge.edge-1.lines": "3|c"}
    metrics.count("lines")
    assert _flush(metrics) == {"tallgrass.main.edge.edge-1.lines": "1|c"}
    assert metrics.snapshot() == {"lines": 4}


def test_gauges_are_read_at_the_flush():
    """A gauge is asked when it is sent, not when it was made."""
    metrics = Metrics("t")
    sessions = []
    metrics.gauge("sessions", lambda: len(sessions))
    sessions.append(1)
    assert _flush(metrics) == {"t.sessions": "1|g"}


def test_timings_send_count_mean_and_maximum():
    """Durations are aggregated between flushes."""
    metrics = Metrics("t")
    metrics.timing("submit.ms", 2.0)
    metrics.timing("submit.ms", 4.0)
    assert _flush(metrics) == {"t.submit.ms.mean": "3.0|g", "t.submit.ms.max": "4.0|g", "t.submit.ms.count": "2|c"}

"""common/metrics.py: aggregated in the process, sent as one name per metric."""

import asyncio
import socket

import statsd

from common import metrics as metrics_module
from common.metrics import Metrics
from tests.support.eventually import eventually


def _flush(metrics):
    """What one flush sends, by metric name."""
    return _sent(metrics.flush_to, metrics.prefix)


def _sent(send, prefix):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        client = statsd.StatsClient(*server.getsockname(), prefix=prefix, maxudpsize=60_000)
        send(client)
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


def test_groups_of_gauges_come_and_go():
    """A group tells what there is now; names may change from one flush to the next."""
    metrics = Metrics("t")
    links = {"link.a.up": 1}
    metrics.gauges(lambda: links)
    assert _flush(metrics) == {"t.link.a.up": "1|g"}
    links.clear()
    links["link.b.up"] = 0
    assert _flush(metrics) == {"t.link.b.up": "0|g"}


def test_what_never_happened_is_declared_as_zero():
    """Every counter without places that the service may count is told once, so that charts begin at 0."""
    metrics = Metrics("tallgrass.main.exchange.exchange-1")
    told = _sent(metrics.declare_to, metrics.prefix)
    assert told["tallgrass.main.exchange.exchange-1.dropped"] == "0|c"
    assert told["tallgrass.main.exchange.exchange-1.gc.pause_ms.count"] == "0|c"
    assert not any("{" in name for name in told)


async def test_a_statsd_that_is_not_there_disturbs_nothing(monkeypatch, caplog):
    """A name that cannot be resolved, and a gauge that fails, cost that second's metrics and are logged."""
    monkeypatch.setattr(metrics_module, "FLUSH_S", 0.01)
    metrics = Metrics("tallgrass.main.edge.edge-1")
    nowhere = asyncio.create_task(metrics.run("no-such-host.invalid:8125"))
    broken = Metrics("tallgrass.main.edge.edge-1")
    broken.gauge("sessions", lambda: 1 / 0)
    failing = asyncio.create_task(broken.run("127.0.0.1:9"))
    await eventually(lambda: {"statsd@no-such-host.invalid:8125", "statsd@127.0.0.1:9"} <= _remotes(caplog))
    assert not nowhere.done()
    assert not failing.done()
    for task in (nowhere, failing):
        task.cancel()
    await asyncio.gather(nowhere, failing, return_exceptions=True)


def _remotes(caplog):
    return {record.fields["remote"] for record in caplog.records if record.message == "metrics_not_sent"}

"""common/clock_check.py: a wrong clock is measured and told."""

from common.clock_check import ClockCheck
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2


class _Clock:
    def unix_ms(self):
        return 10_000


def _check(seen_ms):
    """What is measured when Redis notes that time."""
    ours = clue_pb2.Registration(service="edge", instance="edge-1", run=7)
    others = clue_pb2.Registration(service="edge", instance="edge-2", run=8, last_seen_ms=1)
    metrics = Metrics("tallgrass.main.edge.edge-1")
    check = ClockCheck(ours, metrics, Log(), _Clock())
    entry = clue_pb2.Registration(service="edge", instance="edge-1", run=7, last_seen_ms=seen_ms)
    check.look(clue_pb2.Directory(available=True, services=[others, entry]))
    return metrics.snapshot()["clock.ahead_s"]


def test_a_clock_that_is_right_is_not_told(caplog):
    """The way to Redis is in the difference; only our own entry counts."""
    assert _check(9_900) == 0.1
    assert not caplog.records


def test_a_wrong_clock_is_told(caplog):
    """Ahead and behind alike, with by how much."""
    assert _check(4_000) == 6.0
    assert _check(15_000) == -5.0
    assert [record.fields["ahead_s"] for record in caplog.records] == [6.0, -5.0]

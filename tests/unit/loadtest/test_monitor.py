import os

import pytest

from loadtest.monitor import Statsd, process


@pytest.fixture
def statsd():
    made = Statsd()
    yield made
    made._socket.close()


def test_counters_of_all_instances_are_added(statsd):
    """A service's rate is the sum over its instances, second by second; other services are left out."""
    statsd.take(b"tallgrass.test.edge.edge-1.submit.batches:3|c\ntallgrass.test.edge.edge-2.submit.batches:4|c", 5)
    statsd.take(b"tallgrass.test.edge.edge-1.submit.batches:1|c\ntallgrass.test.clue.clue-1.submit.batches:9|c", 6)
    assert statsd.rate("edge", "submit.batches") == {5: 7, 6: 1}


def test_a_family_of_counters_is_asked_for_with_a_star(statsd):
    """All reasons of denial are one figure."""
    statsd.take(b"tallgrass.test.clue.c.denied.msg_duplicate:2|c\ntallgrass.test.clue.c.denied.msg_slow:1|c", 5)
    assert statsd.rate("clue", "denied.*") == {5: 3}


def test_gauges_keep_their_last_value(statsd):
    """A gauge is what it was last in a second; what is no number is passed over."""
    statsd.take(b"tallgrass.test.edge.edge-1.loop.lag_ms:3.5|g\ngarbage\ntallgrass.test.edge.edge-1.x:y|c", 5)
    assert statsd.gauges["edge.edge-1.loop.lag_ms"] == {5: 3.5}


def test_a_datagram_arrives():
    """What a service sends to the address is counted."""
    import socket
    import time

    statsd = Statsd()
    statsd.start()
    try:
        host, _, port = statsd.address.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"tallgrass.test.edge.e.passes:1|c", (host, int(port)))
        deadline = time.monotonic() + 5
        while not statsd.rate("edge", "passes") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sum(statsd.rate("edge", "passes").values()) == 1
    finally:
        statsd.stop()


def test_a_process_is_measured():
    """Our own processor time and memory are there; of a process that is not, nothing."""
    found = process(os.getpid())
    assert found is not None
    assert found[0] > 0
    assert found[1] > 1_000_000
    assert process(2**22 + 1) is None

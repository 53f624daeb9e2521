"""The fault suite in its short form (tests/chaos; `make chaos` is the full one): one cluster, some of the faults."""

import secrets

import pytest

from ops import haproxy
from tests.chaos import suite

FORM = suite.Form(
    connections=90, channels=6, rate=30, scale=0.4,
    faults=("kill-clue", "stall-redis", "cut-link", "stop-haproxy", "stop-exchange", "kill-edge"),
)  # fmt: skip


@pytest.mark.skipif(haproxy.find() is None, reason="HAProxy is not installed: nothing can stand in for what is killed")
@pytest.mark.timeout(240)
async def test_everyone_sees_the_log_whatever_breaks(tmp_path):
    """Through every fault each connection that stays sees exactly the log, in order, once; each sender is told."""
    seed = secrets.randbits(31)
    print(f"seed {seed}: repeat with suite.run(FORM, {seed}, ...)")
    result = await suite.run(FORM, seed, tmp_path / "stack", print)
    assert suite.problems(result.outcomes) == []
    assert len(result.outcomes) == len(FORM.faults)
    assert all(outcome.deliveries > 500 for outcome in result.outcomes)

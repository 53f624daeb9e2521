import json

import pytest

from loadtest import limit
from loadtest.report import limit_page
from tests.unit.loadtest.plans import plan

MACHINE = {"processor": "p", "cores": 2, "kernel": "k", "python": "3"}


def outcome(made, p99, status="well"):
    """What a run of this plan found, as far as the search looks at it."""
    return {
        "plan": {"viewers": made.viewers, "rate": made.rate},
        "totals": {"delivered_per_s": round(made.viewers * made.rate), "disconnected": 0},
        "gathered": {"viewers": made.viewers},
        "delays": {"tpp": {"p50": p99 / 2, "p99": p99, "max": p99}},
        "services": {"edge-1": {"cores": 0.5}, "load-1": {"cores": 9.0}},
        "generator": {"cores": 0.1, "lag": {"p99": 1.0}},
        "others": {"cores": 0.0},
        "status": status,
        "summary": "so it was",
        "date": "2026-01-01 00:00:00",
        "machine": MACHINE,
    }


@pytest.fixture
def search(tmp_path, monkeypatch):
    """A search in which `carry_out` answers with the p99 (ms) and status that `law` gives for a plan."""

    def run(law, **options):
        monkeypatch.setattr(limit, "_REST_S", 0.0)
        monkeypatch.setattr(limit, "carry_out", lambda made, *_, **__: outcome(made, *law(made)))
        options = {"viewers": 9_000, "rate": 30.0, "steps": 8, **options}
        return limit.run(lambda viewers, rate: plan(viewers=viewers, rate=rate), tmp_path, None, **options)

    return run


def test_the_load_is_raised_until_the_delay_passes_a_second(search, tmp_path):
    """Both ways end with the first step that is over, and the one before it is what is told."""
    found = search(lambda made: (made.viewers * made.rate / 500, "well"))
    assert [step["rate"] for step in found["legs"]["more messages"]] == [30.0, 45.0, 67.5]
    assert [step["viewers"] for step in found["legs"]["more viewers"]] == [9_000, 12_000, 16_000, 21_333]
    assert found["summary"][0].startswith("More messages: 405,000 deliveries/s (9,000 viewers, 45 messages/s)")
    assert "67.5 messages/s: p99 1,215 ms" in found["summary"][0]
    assert found["status"] == "well"
    assert json.loads((tmp_path / "limit.json").read_text()) == found
    assert (tmp_path / "limit.html").read_text() == limit_page(found)


def test_a_loss_within_the_bound_ends_the_search_and_is_its_status(search):
    """A step that lost something is no step further, and the whole is faulty."""
    found = search(lambda made: (10.0, "faulty" if made.rate > 30 else "well"))
    assert [step["status"] for step in found["legs"]["more messages"]] == ["well", "faulty"]
    assert found["status"] == "faulty"


def test_what_is_lost_beyond_the_bound_is_no_fault(search):
    """Past a second readers may be given up; the search has its answer."""
    assert search(lambda made: (5_000.0, "faulty") if made.rate > 30 else (10.0, "well"))["status"] == "well"


def test_a_search_is_bounded(search):
    """No more steps than asked for, and no more viewers than the edges have descriptors for."""
    found = search(lambda _: (1.0, "well"), viewers=15_000, steps=6)
    assert len(found["legs"]["more messages"]) == 6
    assert [step["viewers"] for step in found["legs"]["more viewers"]] == [15_000, 20_000, 26_666, 35_554]
    assert "did not pass a second" in found["summary"][1]


def test_processes_of_the_load_are_no_part_of_the_stack(search):
    """The stack's cores are those of its services."""
    assert search(lambda _: (5_000.0, "well"))["legs"]["more messages"][0]["stack_cores"] == 0.5

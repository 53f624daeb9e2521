"""edge/pace.py: how long what comes waits for others."""

import random

import pytest

from edge.pace import Pace

WAIT_S = 0.045


def bundles(arrivals):
    """Bundles as the batcher makes them: asked again at each arrival, and when what it was told is due."""
    pace, made, waiting, due = Pace(), [], [], None
    for now in arrivals:
        if waiting and due <= now:
            made.append((due, waiting))
            waiting = []
        waiting = [*waiting, now]
        pace.arrived(now)
        due = pace.due(waiting[0], WAIT_S)
        if due <= now:
            made.append((now, waiting))
            waiting = []
    return made


def steady(rate, seconds=5.0, jitter=0.0):
    rng = random.Random(7)
    return [100.0 + (n + rng.uniform(-jitter, jitter)) / rate for n in range(int(rate * seconds))]


def longest(made):
    return max(at - lines[0] for at, lines in made)


@pytest.mark.parametrize(
    ("rate", "lines", "wait_s"), [(25, 1, 0.0), (32, 1, 0.0), (50, 2, 0.020), (80, 4, 0.0375), (200, 9, 0.040)]
)
def test_a_bundle_ends_with_the_last_line_that_can_be_expected(rate, lines, wait_s):
    made = bundles(steady(rate))[20:]
    assert {len(bundle) for _, bundle in made} == {lines}
    assert longest(made) == pytest.approx(wait_s, abs=1e-6)


@pytest.mark.parametrize("rate", [10, 40, 50, 60, 200, 800, 5_000])
def test_nobody_waits_longer_than_the_bound(rate):
    made = bundles(steady(rate, jitter=0.45))
    assert longest(made) <= WAIT_S + 1e-6


def test_lines_that_do_not_come_evenly_are_bundled_as_well():
    """People do not write by the clock."""
    rng, at, arrivals = random.Random(3), 100.0, []
    for _ in range(500):
        at += rng.expovariate(50.0)
        arrivals.append(at)
    made = bundles(arrivals)
    assert longest(made) <= WAIT_S + 1e-6
    assert 1.7 < sum(len(lines) for _, lines in made) / len(made) < 3.5


def test_the_first_after_a_silence_does_not_wait():
    arrivals = [*steady(200, seconds=1.0), 160.0, 190.0]
    assert [(at, lines) for at, lines in bundles(arrivals) if at >= 160.0] == [(160.0, [160.0]), (190.0, [190.0])]

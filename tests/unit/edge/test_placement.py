"""edge/placement.py: the share of new users that an edge should get, and its largest channels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.placement import LARGEST, Loads, weight

sessions = st.integers(0, 30_000)
lags = st.floats(0.0, 60.0)


@pytest.mark.parametrize(
    ("sessions", "lag_s", "expected"),
    [(0, 0.0, 100), (0, 0.02, 100), (5_000, 0.0, 75), (0, 0.04, 50), (5_000, 0.08, 19), (20_000, 0.0, 1), (0, 60.0, 1)],
)
def test_the_weight_is_free_places_times_calm(sessions, lag_s, expected):
    """Of 20,000 places; a loop twice as late as a calm one halves it."""
    assert weight(sessions, 20_000, lag_s) == expected


def test_an_edge_without_places_still_serves():
    """A descriptor limit below the reserve."""
    assert weight(0, 0, 0.0) == 1


@given(sessions, st.integers(-100, 30_000), lags)
def test_the_weight_is_a_percentage_and_never_zero(now, most, lag_s):
    """HAProxy reads 0 as drain."""
    assert 1 <= weight(now, most, lag_s) <= 100


@given(sessions, sessions, lags, lags)
def test_more_load_is_never_more_weight(few, many, short, long):
    """In sessions as in lateness."""
    few, many = sorted((few, many))
    short, long = sorted((short, long))
    assert weight(many, 20_000, long) <= weight(few, 20_000, short)


def test_the_largest_channels_with_their_rates():
    """By members; the rate counts from the call before."""
    loads = Loads(100.0)
    loads.count("#big", 30)
    loads.count("#big", 10)
    loads.count("#small", 5)
    members = [("#small", 2), ("#big", 9), ("#silent", 5)]
    found = loads.largest(members, 104.0)
    assert [(load.channel, load.members, load.rate) for load in found] == [
        ("#big", 9, 10.0), ("#silent", 5, 0.0), ("#small", 2, 1.25),
    ]  # fmt: skip
    assert {load.rate for load in loads.largest(members, 106.0)} == {0.0}


def test_only_so_many_are_told_of():
    """The small ones are left out."""
    found = Loads(0.0).largest(((f"#c{number}", number) for number in range(100)), 1.0)
    assert [load.members for load in found] == list(range(99, 99 - LARGEST, -1))

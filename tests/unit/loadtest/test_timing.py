import random

import pytest

from loadtest.timing import Histogram, Recorder, Series


@pytest.mark.parametrize("percent", [1, 50, 90, 99])
def test_a_percentile_is_within_two_percent_of_the_true_one(percent):
    """Percentiles of the histogram are those of the values, rounded to its buckets."""
    chance = random.Random(7)
    values = sorted(chance.lognormvariate(3, 1.2) for _ in range(5_000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    true = values[-(-len(values) * percent // 100) - 1]
    assert histogram.percentile(percent) == pytest.approx(true, rel=0.02)


def test_the_maximum_is_exact_and_bounds_all_percentiles():
    """No percentile is above the largest value."""
    histogram = Histogram()
    histogram.add(123.456, times=10)
    assert histogram.max_ms == 123.456
    assert histogram.percentile(99) <= 123.456
    assert histogram.total == 10


def test_an_empty_histogram_has_percentiles_of_zero():
    """Nothing measured is 0, not an error."""
    assert Histogram().summary() == {"p50": 0, "p90": 0, "p99": 0, "max": 0, "count": 0}


def test_merging_equals_adding_all_to_one():
    """Histograms of two processes make the one that a single process would have had, also after a journey."""
    one, other, both = Histogram(), Histogram(), Histogram()
    for number in range(1, 200):
        (one if number % 3 else other).add(number)
        both.add(number)
    one.merge(Histogram.unpack(other.pack()))
    assert one.counts == both.counts
    assert one.max_ms == both.max_ms


def test_what_happens_in_a_second_is_counted_in_that_second():
    """Series puts each process' counts and delays into the seconds in which they happened."""
    now = 10.2
    recorder = Recorder(lambda: now)
    recorder.count("sent tpp", 2)
    recorder.delay("deliver tpp", 5.0, at=11.9)
    now = 12.0
    recorder.count("sent tpp")
    series = Series()
    series.take(recorder.drain())
    assert series.counts[10]["sent tpp"] == 2
    assert series.counts[12]["sent tpp"] == 1
    assert series.delays[11]["deliver tpp"].total == 1
    assert series.total("sent tpp") == 3
    assert series.total("sent tpp", 11, 13) == 1
    assert series.seconds == [10, 11, 12]


def test_nothing_is_handed_over_twice():
    """A second drain holds only what came after the first."""
    recorder = Recorder(lambda: 1.0)
    recorder.count("sent tpp")
    recorder.drain()
    assert recorder.drain() == {"counts": {}, "delays": {}}

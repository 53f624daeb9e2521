"""What a run measures, second by second: counts, and delays as histograms that can be added up across processes.

All times are seconds of CLOCK_MONOTONIC, which the processes of one machine share: a line that one process sent and
another received has a delay without comparing two clocks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Cores that programs outside of the test may take in a second without being told of.
DISTURBED = 0.3

# 32 steps to each doubling: a bucket's middle is within 1.1 % of all that falls in it.
_STEPS = 32
_LEAST_MS = 0.05


def bucket(ms: float) -> int:
    """The number of the histogram bucket that holds `ms`."""
    return 0 if ms <= _LEAST_MS else 1 + int(math.log2(ms / _LEAST_MS) * _STEPS)


def middle_ms(number: int) -> float:
    """The delay that stands for bucket `number`."""
    return _LEAST_MS if number == 0 else float(_LEAST_MS * 2 ** ((number - 0.5) / _STEPS))


class Histogram:
    """Delays in milliseconds; the maximum is exact, percentiles within 1.1 %."""

    __slots__ = ("counts", "max_ms")

    def __init__(self, counts: Mapping[int, int] | None = None, max_ms: float = 0.0) -> None:
        self.counts: Counter[int] = Counter(counts or {})
        self.max_ms = max_ms

    def add(self, ms: float, times: int = 1) -> None:
        self.counts[bucket(ms)] += times
        if ms > self.max_ms:
            self.max_ms = ms

    def merge(self, other: Histogram) -> None:
        self.counts.update(other.counts)
        self.max_ms = max(self.max_ms, other.max_ms)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def percentile(self, percent: float) -> float:
        """Nearest rank, in milliseconds; 0 for an empty histogram."""
        total = self.total
        if not total:
            return 0.0
        rank, seen = max(1, math.ceil(total * percent / 100)), 0
        for number in sorted(self.counts):
            seen += self.counts[number]
            if seen >= rank:
                return min(middle_ms(number), self.max_ms)
        raise AssertionError("the ranks end at the total")

    def summary(self) -> dict[str, float]:
        """p50, p90, p99 and max in milliseconds, and how many there were."""
        named = {f"p{percent}": round(self.percentile(percent), 2) for percent in (50, 90, 99)}
        return {**named, "max": round(self.max_ms, 2), "count": self.total}

    def pack(self) -> list[Any]:
        return [self.max_ms, [[number, count] for number, count in self.counts.items()]]

    @classmethod
    def unpack(cls, packed: list[Any]) -> Histogram:
        return cls({int(number): int(count) for number, count in packed[1]}, float(packed[0]))


class Recorder:
    """Counts and delays of one process, in the second in which they happened. `drain` hands over what is new."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._counts: dict[int, Counter[str]] = defaultdict(Counter)
        self._delays: dict[int, dict[str, Histogram]] = defaultdict(dict)

    def count(self, name: str, n: int = 1) -> None:
        self._counts[int(self.clock())][name] += n

    def delay(self, name: str, ms: float, at: float | None = None, times: int = 1) -> None:
        """`name` took `ms`; it ended at `at` (now)."""
        histograms = self._delays[int(self.clock() if at is None else at)]
        histogram = histograms.get(name)
        if histogram is None:
            histogram = histograms[name] = Histogram()
        histogram.add(ms, times)

    def drain(self) -> dict[str, Any]:
        """Everything since the last call, in types that any serializer takes."""
        counts, self._counts = self._counts, defaultdict(Counter)
        delays, self._delays = self._delays, defaultdict(dict)
        return {
            "counts": {str(second): dict(found) for second, found in counts.items()},
            "delays": {
                str(second): {name: histogram.pack() for name, histogram in found.items()}
                for second, found in delays.items()
            },
        }


class Series:
    """What all processes drained, put together."""

    def __init__(self) -> None:
        self.counts: dict[int, Counter[str]] = defaultdict(Counter)
        self.delays: dict[int, dict[str, Histogram]] = defaultdict(dict)

    def take(self, drained: Mapping[str, Any]) -> None:
        for second, found in drained["counts"].items():
            self.counts[int(second)].update(found)
        for second, packed in drained["delays"].items():
            histograms = self.delays[int(second)]
            for name, one in packed.items():
                histograms.setdefault(name, Histogram()).merge(Histogram.unpack(one))

    @property
    def seconds(self) -> list[int]:
        return sorted({*self.counts, *self.delays})

    def total(self, name: str, begin: float = -math.inf, end: float = math.inf) -> int:
        return sum(found[name] for second, found in self.counts.items() if begin <= second < end)

    def histogram(self, name: str, begin: float = -math.inf, end: float = math.inf) -> Histogram:
        return merged(
            found[name] for second, found in self.delays.items() if begin <= second < end and name in found
        )

    def names(self) -> list[str]:
        return sorted({name for found in self.delays.values() for name in found})


def merged(histograms: Iterable[Histogram]) -> Histogram:
    whole = Histogram()
    for one in histograms:
        whole.merge(one)
    return whole

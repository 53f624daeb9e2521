"""Retry delays as a plain sequence; the caller sleeps, and takes a new sequence after a success."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(first_s: float, max_s: float) -> Iterator[float]:
    """Seconds to wait before each further try, without end: doubling from `first_s` to `max_s`, each drawn from the
    upper half of its range, so that many who lost the same server do not come back in step.
    """
    bound = first_s
    while True:
        yield random.uniform(bound / 2, bound)
        bound = min(bound * 2, max_s)

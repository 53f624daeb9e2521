"""Which process has which users, when those who stay must not share theirs with a storm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping


def places(
    given: Mapping[str, Mapping[str, int]], index: Callable[[str], int], apart: set[str], crowds: int
) -> dict[str, dict[str, int]]:
    """`given` is what locust would do: process to kind of user to how many. The same numbers of each kind, with those
    of `apart` in process `crowds` and the others evenly in those before it; more of a kind moves nobody who is there.
    """
    total: Counter[str] = Counter()
    for kinds in given.values():
        total.update(kinds)
    found: dict[str, dict[str, int]] = {}
    for process in given:
        number = index(process)
        found[process] = {
            kind: (count if number == crowds else 0) if kind in apart
            else (_part(count, number, crowds) if number < crowds else 0)
            for kind, count in total.items()
        }  # fmt: skip
    return found


def _part(count: int, number: int, processes: int) -> int:
    """Of `count` handed out in turn."""
    return (count - number + processes - 1) // processes

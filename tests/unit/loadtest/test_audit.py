from array import array

import pytest

from loadtest.audit import FIRST, PING_BYTES, Counted, Track, compare_bytes, compare_tracks, reference


def track(*numbers, from_start=False, complete=True, line=100, join_end=50):
    """A sampled viewer that saw these numbers, each on a line of `line` bytes."""
    made = Track(from_start=from_start, join_end=join_end)
    made.numbers = array("Q", numbers)
    made.ends = array("Q", [join_end + line * (place + 1) for place in range(len(numbers))])
    made.received = join_end + line * len(numbers)
    made.complete = complete
    return made


def test_a_viewer_who_saw_the_log_is_faultless():
    """The whole log in its order, or all of it from where one came in, is without fault."""
    found = compare_tracks([5, 3, 9], [track(5, 3, 9, from_start=True), track(3, 9)])
    assert found.faultless
    assert (found.sampled, found.expected, found.seen) == (2, 5, 5)


@pytest.mark.parametrize(
    ("seen", "missing", "repeated", "out_of_order"),
    [((1, 3, 4), 1, 0, 0), ((1, 2, 2, 3, 4), 0, 1, 0), ((1, 3, 2, 4), 0, 0, 1), ((1, 2, 3), 1, 0, 0)],
)
def test_each_fault_of_a_sampled_viewer_is_counted(seen, missing, repeated, out_of_order):
    """A line that is missing, comes twice, or comes after a later one."""
    found = compare_tracks([1, 2, 3, 4], [track(*seen, from_start=True)])
    assert (found.missing, found.repeated, found.out_of_order) == (missing, repeated, out_of_order)


def test_who_was_there_from_the_start_answers_for_the_first_line():
    """A viewer who joined before anybody spoke misses what it did not see, even the first lines or all."""
    assert compare_tracks([1, 2, 3], [track(2, 3, from_start=True)]).missing == 1
    assert compare_tracks([1, 2, 3], [track(from_start=True)]).missing == 3
    assert compare_tracks([1, 2, 3], [track()]).missing == 0


def test_who_left_does_not_answer_for_what_came_later():
    """After a connection has ended nothing is missing on it; a hole in what it saw still is."""
    assert compare_tracks([1, 2, 3, 4], [track(1, 2, from_start=True, complete=False)]).missing == 0
    assert compare_tracks([1, 2, 3, 4], [track(1, 3, from_start=True, complete=False)]).missing == 1


def test_the_reference_is_who_saw_most_and_stayed():
    """Viewers whose connection ended are no measure for others."""
    best = track(1, 2)
    assert reference([track(1, 2, 3, complete=False), track(1), best]) is best
    assert reference([]) is None


def test_the_right_number_of_bytes_is_exact():
    """Bytes after a known line are what a sampled viewer had after it; from the start, what it had after its join."""
    sampled = track(7, 8, 9, from_start=True)
    found = compare_bytes([sampled], [Counted(8, 100, PING_BYTES, 1), Counted(FIRST, 300, PING_BYTES, 1)])
    assert (found.counted, found.exact) == (2, 2)


def test_a_lost_or_repeated_line_changes_the_sum():
    """A viewer with fewer or more bytes is found, with how many."""
    sampled = track(7, 8, 9, from_start=True)
    found = compare_bytes([sampled], [Counted(FIRST, 200, PING_BYTES, 1), Counted(FIRST, 400, PING_BYTES, 1)])
    assert (found.short, found.bytes_short, found.over, found.bytes_over) == (1, 100, 1, 100)
    assert not found.faultless


def test_pings_are_no_repeated_lines():
    """As many PINGs as may have come are taken out, and no more."""
    sampled = track(7, 8, from_start=True)
    found = compare_bytes(
        [sampled],
        [Counted(7, 100 + PING_BYTES, PING_BYTES, 1), Counted(7, 100 + 2 * PING_BYTES, PING_BYTES, 1)],
    )
    assert (found.exact, found.over) == (1, 1)


def test_without_a_reference_nothing_is_claimed():
    """Who began where no sampled viewer of its kind reaches back to is counted as unknown."""
    found = compare_bytes([track(8, 9)], [Counted(7, 100, PING_BYTES, 1), Counted(FIRST, 100, PING_BYTES, 1)])
    assert (found.unknown, found.exact, found.short) == (2, 0, 0)
    assert compare_bytes([], [Counted(7, 1, PING_BYTES, 1)]).unknown == 1

"""The checker that judges every other test of delivery: each kind of fault is seen, and only that."""

import pytest

from ops.checker import Chain, Fate, Sight, audit, compare, from_first_seen, percentile

CASES = [
    ("all", [1, 2, 3], [1, 2, 3], Sight(3, 3, 0, 0, 0, 0)),
    ("nothing to see", [], [], Sight(0, 0, 0, 0, 0, 0)),
    ("one missing", [1, 2, 3], [1, 3], Sight(3, 2, 1, 0, 0, 0)),
    ("all missing", [1, 2], [], Sight(2, 0, 2, 0, 0, 0)),
    ("one repeated at once", [1, 2, 3], [1, 1, 2, 3], Sight(3, 3, 0, 1, 0, 0)),
    ("one repeated later is no disorder", [1, 2, 3], [1, 2, 3, 1], Sight(3, 3, 0, 1, 0, 0)),
    ("two changed places", [1, 2, 3], [1, 3, 2], Sight(3, 3, 0, 0, 1, 0)),
    ("one came last", [1, 2, 3, 4], [2, 3, 4, 1], Sight(4, 4, 0, 0, 1, 0)),
    ("backwards", [1, 2, 3], [3, 2, 1], Sight(3, 3, 0, 0, 2, 0)),
    ("one that is not in the log", [1, 2], [1, 9, 2], Sight(2, 2, 0, 0, 0, 1)),
    ("the log's order counts, not the numbers'", [7, 2, 5], [7, 2, 5], Sight(3, 3, 0, 0, 0, 0)),
]


@pytest.mark.parametrize(("expected", "seen", "sight"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_compare_counts(expected, seen, sight):
    """What was missing, repeated, out of order or foreign is counted as such."""
    assert compare(expected, seen) == sight


@pytest.mark.parametrize(("expected", "seen", "sight"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_compare_is_faultless_only_without_any_fault(expected, seen, sight):
    """A reader is faultless exactly when it saw the expected list itself."""
    assert compare(expected, seen).faultless == (list(seen) == list(expected))


def test_a_late_reader_is_judged_from_what_it_first_saw():
    """What stands in the log before the first message seen is not expected of it; what stands after is."""
    assert from_first_seen([4, 5, 6, 7], {6, 7}) == [6, 7]
    assert from_first_seen([4, 5, 6, 7], {5, 7}) == [5, 6, 7]
    assert from_first_seen([4, 5], {9}) == []


def test_audit_of_an_honest_run():
    """Allowed ones in the log once, denied ones not; the unconfirmed may be either."""
    fates = {1: Fate.ALLOWED, 2: Fate.DENIED, 3: Fate.UNCONFIRMED, 4: Fate.UNCONFIRMED, 5: Fate.CUT_OFF}
    found = audit(fates, [1, 4, 5])
    assert found.faultless
    assert (found.allowed, found.denied, found.unconfirmed, found.unconfirmed_logged, found.cut_off) == (1, 1, 2, 1, 1)


@pytest.mark.parametrize(
    ("fates", "log", "field"),
    [
        ({1: Fate.ALLOWED}, [], "allowed_not_logged"),
        ({1: Fate.DENIED}, [1], "denied_logged"),
        ({1: Fate.ALLOWED}, [1, 1], "logged_twice"),
        ({1: Fate.UNCONFIRMED}, [1, 1], "logged_twice"),
        ({1: Fate.UNANSWERED}, [], "unanswered"),
    ],
)
def test_audit_finds_a_broken_promise(fates, log, field):
    """Each broken promise is counted under its own name, and the audit is not faultless."""
    found = audit(fates, log)
    assert getattr(found, field) == 1
    assert not found.faultless


def test_a_chain_without_gaps():
    """Numbers may jump; each entry's prev is one that was read."""
    chain = Chain(last=3)
    assert [chain.take(4, 3), chain.take(900, 4), chain.take(901, 900)] == [True, True, True]
    assert (chain.gaps, chain.setbacks, chain.last) == (0, 0, 901)


def test_a_chain_sees_what_has_left_the_log_unread():
    """An entry whose predecessor was never read is a gap."""
    chain = Chain(last=3)
    chain.take(8, 7)
    assert chain.gaps == 1


def test_a_chain_refuses_a_number_that_was_used():
    """A number that does not rise is counted and not taken."""
    chain = Chain(last=3)
    assert not chain.take(3, 2)
    assert (chain.setbacks, chain.last) == (1, 3)


def test_percentiles_are_values_that_occurred():
    """Nearest rank: no value between two that were measured."""
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert [percentile(values, p) for p in (0, 50, 99, 100)] == [1.0, 3.0, 5.0, 5.0]
    assert percentile([], 50) == 0.0

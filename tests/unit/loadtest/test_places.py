import pytest

from loadtest.places import places

INDEX = {"a": 1, "b": 2, "c": 0}.__getitem__


def total(found, kind):
    return sum(kinds.get(kind, 0) for kinds in found.values())


def test_who_stays_has_a_process_alone():
    """Those who stay are all in the last process, and nobody else is."""
    given = {"a": {"Herd": 4, "Calm": 1}, "b": {"Herd": 3, "Calm": 1}, "c": {"Herd": 3, "Calm": 1}}
    found = places(given, INDEX, {"Calm"}, 2)
    assert found == {"a": {"Herd": 5, "Calm": 0}, "b": {"Herd": 0, "Calm": 3}, "c": {"Herd": 5, "Calm": 0}}


@pytest.mark.parametrize("count", range(12))
def test_more_users_move_nobody(count):
    """With one user more, one process gets it, and all others keep what they have."""
    one, more = (
        places({"a": {"Herd": n}, "b": {}, "c": {}}, INDEX, set(), 3) for n in (count, count + 1)
    )  # fmt: skip
    assert total(one, "Herd") == count
    assert sorted(more[name]["Herd"] - one[name]["Herd"] for name in "abc") == [0, 0, 1]
    assert max(kinds["Herd"] for kinds in more.values()) - min(kinds["Herd"] for kinds in more.values()) <= 1

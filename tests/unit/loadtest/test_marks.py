import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import marks


@given(st.integers(0, 2**44), st.floats(0, 1e7), st.integers(0, 1_000))
def test_a_mark_is_read_back(number, at, seed):
    """Whatever is said, the number comes back exactly and the time to the microsecond."""
    text = marks.stamp(marks.words(random.Random(seed)), "kabc", number, at)
    found = marks.read(text, "kabc")
    assert found is not None
    assert found[0] == number
    assert found[1] == pytest.approx(at, abs=2e-6)


@pytest.mark.parametrize("text", ["", "up", "up kabc.1", "up other.1.1", "up kabc.1.1.1", "up kabc.?.1", "kabc.1.1 up"])
def test_other_lines_are_nobodys(text):
    """Lines without a mark of this run are not taken for one."""
    assert marks.read(text, "kabc") is None


def test_a_text_stays_within_what_the_dialect_takes():
    """Every text with its mark is below 500 characters, so that nothing of the mark is cut off."""
    longest = max((marks.words(random.Random(seed)) for seed in range(500)), key=len)
    assert len(marks.stamp(longest, "kabc", 2**44, 1e7)) < 500

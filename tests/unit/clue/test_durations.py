"""Lengths of time, read and written (tmi_protocol section 12)."""

import pytest

from clue.durations import seconds_of, words_of


@pytest.mark.parametrize(
    ("text", "unit_s", "seconds"),
    [
        ("90", 1, 90),
        ("90", 60, 5400),
        ("1d2h", 1, 93_600),
        ("1D 2H", 1, 93_600),
        ("1w", 1, 604_800),
        ("30m", 1, 1800),
        ("5 days 12 hours", 60, 475_200),
        ("3 months", 60, 7_776_000),
        ("0", 1, 0),
        ("", 1, None),
        ("soon", 1, None),
        ("1 fortnight", 1, None),
        ("-5", 1, None),
        ("1.5h", 1, None),
        ("1h later", 1, None),
        ("9" * 10, 1, None),
        ("\u0661", 1, None),
    ],
)
def test_seconds_of(text, unit_s, seconds):
    """Units combine, a bare number counts in the command's own, and what is no length is told apart."""
    assert seconds_of(text, unit_s) == seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (1, "1 second"), (600, "10 minutes"), (93_600, "1 day 2 hours"), (1_209_600, "2 weeks")],
)
def test_words_of(seconds, words):
    """The largest units first, and none that is zero."""
    assert words_of(seconds) == words

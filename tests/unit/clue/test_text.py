"""tmi_protocol section 7: what readers see of what was typed."""

import pytest

from clue.text import LIMIT, Text, normalise


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("hello", "hello"),
        ("  hello   there  ", "hello there"),
        ("tab\there", "tab here"),
        ("/me waves", "\x01ACTION waves\x01"),
        (".me  waves  twice ", "\x01ACTION waves twice\x01"),
        ("/ME waves", "\x01ACTION waves\x01"),
        ("\x01ACTION waves\x01", "\x01ACTION waves\x01"),
        ("\x01ACTION waves", "\x01ACTION waves\x01"),
        ("/ /not a command", "/not a command"),
        ("/ .ban bob", ".ban bob"),
        (".net is fine", ".net is fine"),
        ("...", "..."),
        ("hello \U000e0000", "hello \U000e0000"),
        ("zero\u200dwidth", "zero\u200dwidth"),
        ("\u00e4\u65e5\U0001f600", "\u00e4\u65e5\U0001f600"),
    ],
)
def test_shown(typed, shown):
    """Spaces are collapsed and trimmed, actions recognized, everything else left as it is."""
    assert normalise(typed) == Text(shown)


@pytest.mark.parametrize("letter", ["a", "\u65e5", "\U0001f600"])
def test_cut(letter):
    """500 characters are kept, whatever their size in bytes or UTF-16."""
    assert normalise(letter * (LIMIT + 1)).shown == letter * LIMIT


def test_cut_before_trim():
    """Cutting comes first: what the cut leaves at the end is trimmed."""
    assert normalise("a" * (LIMIT - 1) + " b").shown == "a" * (LIMIT - 1)


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ("/ban  bob  no  reason ", Text("", "/ban", "bob no reason")),
        ("/Timeout bob 5", Text("", "/Timeout", "bob 5")),
        (".ban bob", Text("", ".ban", "bob")),
        (".uniquechat", Text("", ".uniquechat")),
        ("/", Text("", "/")),
        ("//", Text("", "//")),
        ("/me", Text("", "/me")),
        (".ME   ", Text("", ".ME")),
    ],
)
def test_command(typed, command):
    """Slash commands are not shown to anybody; /me is one when it says nothing."""
    assert normalise(typed) == command


@pytest.mark.parametrize(
    "typed", ["a\x00b", "a\x07", "\x01VERSION\x01", "\x7f", "a\x85b", "/b\x02n", "/ban b\x02b", "\x1b[31m"]
)
def test_bad(typed):
    """Control characters are told apart."""
    assert normalise(typed) == Text("", bad=True)


@pytest.mark.parametrize("typed", ["", "   ", "\x01ACTION\x01", "\x01ACTION  \x01", "/ "])
def test_nothing_left(typed):
    """Nothing to show is empty, not an empty action."""
    assert normalise(typed) == Text("")

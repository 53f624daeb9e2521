"""Emotes and blocked terms: what is found in a text, and what may be stored."""

import time

import pytest

from clue.vocabulary import (
    MAX_EMOTES,
    MAX_TERM,
    MAX_TERMS,
    Edit,
    Vocabulary,
    compiled,
    edited,
    read_emotes,
    read_terms,
)

NO_EDIT = Edit({}, frozenset(), {}, frozenset())


@pytest.mark.parametrize(
    ("term", "text", "met"),
    [
        ("bad", "a BAD one", True),
        ("bad", "bad", True),
        ("bad", "badly", False),
        ("bad*", "badly", True),
        ("*bad", "sobad!", True),
        ("b*d", "a bed", True),
        ("b*d", "b d", False),
        ("two words", "these two words here", True),
        ("c++", "I write C++.", True),
        ("c++", "I write c.", False),
        (".*", "anything", False),
        ("stra\u00dfe", "eine STRA\u00dfE", True),
        ("bad", "\uff42\uff41\uff44 width", True),
        ("bad", "b\u200dad", True),
        ("bad", "ba\U000e0000d", True),
        ("\u0431\u0430\u0434", "\u0411\u0410\u0414", True),
        ("bad", "\u00e9bad", False),
        ("bad", "\ud800", False),
    ],
)
def test_term(term, text, met):
    """Whole words, any case, wildcards, and no way around by look-alikes and invisible letters."""
    assert bool(Vocabulary({}, [("deny", term)]).action(text)) is met


def test_terms_are_linear():
    """What is slow for a backtracking matcher is not slow here."""
    words = Vocabulary({}, [("deny", "a*" * 20 + "b"), *(("hold", f"{i}*x*y") for i in range(900))])
    started = time.process_time()
    assert words.action("a" * 500) == ""
    assert time.process_time() - started < 5  # a backtracking one needs longer than the universe is old


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("hello", ""),
        ("Kappa", "25:0-4"),
        ("kappa", ""),
        ("Kappa, Kappa", "25:7-11"),
        ("\U0001f600 Kappa :) Kappa", "25:2-6,11-15/1:8-9"),
        ("\x01ACTION Kappa \x01", "25:0-4"),
        ("\x01ACTION is Kappa\x01", "25:3-7"),
    ],
)
def test_emote_tag(text, tag):
    """Places are code points, first and last one included, counted after the start of an action."""
    assert Vocabulary({"Kappa": "25", ":)": "1"}, ()).emote_tag(text) == tag


def test_own_and_of_all():
    """A channel's own words are added to those of all, and its emote of a name wins."""
    words = compiled(b"Kappa 25\nA 1", b"A 2", b"deny x", b"hold y")
    assert words.emotes == {"Kappa": "25", "A": "2"}
    assert [words.action(text) for text in ("x", "y", "x y", "z")] == ["deny", "hold", "deny", ""]


def test_edited():
    """Words are added, replaced and removed, and read as they were written."""
    terms, emotes = edited(
        b"deny a\nhold b c", b"Kappa 25", NO_EDIT._replace(terms={"a": "hold", "d": "deny"}, emotes={"X": "9"})
    )
    assert read_terms(terms.encode()) == [("hold", "a"), ("hold", "b c"), ("deny", "d")]
    assert read_emotes(emotes.encode()) == {"Kappa": "25", "X": "9"}
    removed = NO_EDIT._replace(removed_terms=frozenset({"b c", "?"}), removed_emotes=frozenset({"X"}))
    terms, emotes = edited(terms.encode(), emotes.encode(), removed)
    assert (read_terms(terms.encode()), emotes) == ([("hold", "a"), ("deny", "d")], "Kappa 25")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (NO_EDIT._replace(terms={"a": "burn"}), "deny, hold"),
        (NO_EDIT._replace(terms={"": "deny"}), "1 to 100"),
        (NO_EDIT._replace(terms={"x" * (MAX_TERM + 1): "deny"}), "1 to 100"),
        (NO_EDIT._replace(terms={"a\nb": "deny"}), "can be shown"),
        (NO_EDIT._replace(terms={"* *": "deny"}), "not only"),
        (NO_EDIT._replace(terms={"a*b*c*d*e*": "deny"}), "at most 4"),
        (NO_EDIT._replace(emotes={"a b": "1"}), "a word"),
        (NO_EDIT._replace(emotes={"a": "1/2"}), "an id"),
        (NO_EDIT._replace(terms={f"t{i}": "deny" for i in range(MAX_TERMS + 1)}), "at most"),
        (NO_EDIT._replace(emotes={f"t{i}": "1" for i in range(MAX_EMOTES + 1)}), "at most"),
    ],
)
def test_edited_refuses(edit, says):
    """What cannot be stored is refused with what would do."""
    with pytest.raises(ValueError, match=says):
        edited(b"", b"", edit)


def test_most_terms():
    """As many terms as may be stored, as long as they may be, can be matched."""
    terms = {f"{i:04}" + "*x*x*x*" + "y" * (MAX_TERM - 11): "deny" for i in range(MAX_TERMS)}
    stored, _ = edited(b"", b"", NO_EDIT._replace(terms=terms))
    assert compiled(b"", b"", stored.encode(), b"").action("0999abxxx" + "y" * 89) == "deny"

"""The words that mean something in a channel: emotes, and terms that are not said there. Pure.

Each is stored as lines of text: emotes as "<name> <id>", terms as "deny <term>" or "hold <term>". A channel's own stand
in its room (clue/keys.py), those of all channels in one hash of their own.

A term is met as whole words, without regard to case; "*" in it stands for any characters but spaces, none too. Matching
is RE2's, whose time is linear in the text whatever the terms are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import re2

from clue.text import inner

ACTIONS = ("deny", "hold")  # of terms
MAX_TERM = 100  # characters
MAX_WILDCARDS = 4  # in one term
MAX_TERMS = 1_000  # of one channel, or of all
MAX_EMOTES = 1_000

_KEPT = 4_096  # vocabularies compiled
_EMOTE_ID = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII).fullmatch
# Not shown, and so of use for dodging terms only: Unicode's Default_Ignorable_Code_Point.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

_OPTIONS = re2.Options()
_OPTIONS.case_sensitive = False
_OPTIONS.never_capture = True
_OPTIONS.max_mem = 64 << 20  # enough for MAX_TERMS of MAX_TERM
_OPTIONS.log_errors = False


class Vocabulary:
    """`emotes`: name to id."""

    __slots__ = ("_deny", "_hold", "emotes")

    def __init__(self, emotes: dict[str, str], terms: Iterable[tuple[str, str]]) -> None:
        """`terms`: action (of ACTIONS) and term."""
        self.emotes = emotes
        listed = list(terms)
        self._deny = _matcher([term for action, term in listed if action == "deny"])
        self._hold = _matcher([term for action, term in listed if action == "hold"])

    def action(self, text: str) -> str:
        """What the terms say of it: "deny", "hold" or "" (nothing). Deny weighs more."""
        if self._deny is None and self._hold is None:
            return ""
        if not text.isascii():
            text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
        raw = text.encode(errors="replace")
        if self._deny is not None and self._deny.search(raw):
            return "deny"
        return "hold" if self._hold is not None and self._hold.search(raw) else ""

    def emote_tag(self, text: str) -> str:
        """The emotes tag of `text` (as shown): "id:first-last,.../...", in code points after the "\\x01ACTION "."""
        emotes = self.emotes
        if not emotes:
            return ""
        text = inner(text)
        words = text.split(" ")
        if emotes.keys().isdisjoint(words):
            return ""
        places: dict[str, list[str]] = {}  # in the order in which they come first
        first = 0
        for word in words:
            end = first + len(word)
            emote = emotes.get(word)
            if emote is not None:
                places.setdefault(emote, []).append(f"{first}-{end - 1}")
            first = end + 1
        return "/".join([f"{emote}:{','.join(where)}" for emote, where in places.items()])

    def only_emotes(self, text: str) -> bool:
        return self.emotes.keys() >= set(inner(text).split(" "))


@lru_cache(_KEPT)
def compiled(emotes: bytes, own_emotes: bytes, terms: bytes, own_terms: bytes) -> Vocabulary:
    """Of what is stored for all channels and for one. Raises ValueError when the terms together are too much."""
    if not (emotes or own_emotes or terms or own_terms):
        return PLAIN
    return Vocabulary({**read_emotes(emotes), **read_emotes(own_emotes)}, [*read_terms(terms), *read_terms(own_terms)])


def read_emotes(stored: bytes) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in stored.decode().split("\n") if line)


def read_terms(stored: bytes) -> list[tuple[str, str]]:
    """Action and term of each."""
    return [(action, term) for action, _, term in (line.partition(" ") for line in stored.decode().split("\n")) if term]


def stored_emotes(emotes: dict[str, str]) -> str:
    return "\n".join(f"{name} {emote}" for name, emote in emotes.items())


def stored_terms(terms: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{action} {term}" for action, term in terms)


class Edit(NamedTuple):
    """What is added to and removed from the words of a channel, or of all."""

    terms: Mapping[str, str]  # term to action
    removed_terms: frozenset[str]
    emotes: Mapping[str, str]  # name to id
    removed_emotes: frozenset[str]


def edited(terms: bytes, emotes: bytes, edit: Edit) -> tuple[str, str]:
    """What is to be stored for terms and emotes. Raises ValueError, with what would do, when it cannot be."""
    for term, action in edit.terms.items():
        if action not in ACTIONS:
            raise ValueError(f"action {action!r}: one of {', '.join(ACTIONS)}")
        if not 1 <= len(term) <= MAX_TERM or not term.isprintable() or not term.strip("* "):
            raise ValueError(f"term {term!r}: 1 to {MAX_TERM} characters that can be shown, and not only *")
        if term.count("*") > MAX_WILDCARDS:
            raise ValueError(f"term {term!r}: at most {MAX_WILDCARDS} of *")
    for name, emote in edit.emotes.items():
        if not name or not _EMOTE_ID(emote) or len(name) > MAX_TERM or not name.isprintable() or " " in name:
            raise ValueError(f"emote {name!r}: a word, and an id of letters, digits, - and _ (not {emote!r})")
    new_terms = {term: action for action, term in read_terms(terms)} | dict(edit.terms)
    new_emotes = read_emotes(emotes) | dict(edit.emotes)
    kept_terms = [(action, term) for term, action in new_terms.items() if term not in edit.removed_terms]
    kept_emotes = {name: emote for name, emote in new_emotes.items() if name not in edit.removed_emotes}
    if len(kept_terms) > MAX_TERMS or len(kept_emotes) > MAX_EMOTES:
        raise ValueError(f"at most {MAX_TERMS} terms and {MAX_EMOTES} emotes: remove some first")
    stored = stored_terms(kept_terms), stored_emotes(kept_emotes)
    compiled(b"", b"", stored[0].encode(), b"")
    return stored


def _matcher(terms: list[str]) -> Any:
    """None when there are no terms."""
    if not terms:
        return None
    any_of = "|".join(_pattern(term) for term in terms)
    try:
        return re2.compile(rf"(?:^|[^\pL\pM\pN_])(?:{any_of})(?:[^\pL\pM\pN_]|$)", _OPTIONS)
    except re2.error as error:
        raise ValueError(f"these terms cannot be matched: {error}") from None


def _pattern(term: str) -> str:
    return "[^ ]*".join(re2.escape(unicodedata.normalize("NFKC", part)) for part in term.split("*"))


PLAIN = Vocabulary({}, ())

"""Escaping of tag values (IRCv3 message tags, "Escaping values")."""

from __future__ import annotations

import pytest

from common.irc.tags import escape, format_tags, parse_tags, unescape

ESCAPES = [
    ("", ""),
    ("plain", "plain"),
    ("a;b", r"a\:b"),
    ("a b", r"a\sb"),
    ("a\\b", r"a\\b"),
    ("a\rb\nc", r"a\rb\nc"),
    (r"\s", r"\\s"),
    ("héllo 世界", r"héllo\s世界"),
]


@pytest.mark.parametrize(("value", "escaped"), ESCAPES)
def test_escape_and_unescape_are_inverse(value, escaped):
    """A value has one escaped form, which reads back as the value."""
    assert escape(value) == escaped
    assert unescape(escaped) == value


@pytest.mark.parametrize(
    ("escaped", "value"), [(r"\b", "b"), ("a\\", "a"), ("\\", ""), (r"\\\\", "\\\\"), (r"\\:", "\\:"), (r"\é", "é")]
)
def test_unescape_drops_a_backslash_that_means_nothing(escaped, value):
    """An unknown escape is its second character, a backslash at the end is nothing."""
    assert unescape(escaped) == value


def test_escape_leaves_nul_out():
    """NUL may not be in a line and has no escaped form."""
    assert escape("a\0b") == "ab"


@pytest.mark.parametrize(
    ("raw", "tags"),
    [
        ("", {}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ("a=1;a=2", {"a": "2"}),
        ("a=b=c", {"a": "b=c"}),
        (";;a=1;", {"a": "1"}),
        ("=x;a=1", {"a": "1"}),
        (r"vendor/x=a\sb;+y=1", {"vendor/x": "a b", "+y": "1"}),
    ],
)
def test_parse_tags_reads_keys_and_values(raw, tags):
    """The last of equal keys counts, a key alone is empty, tags without key are left out."""
    assert parse_tags(raw) == tags


def test_format_tags_writes_the_equals_sign_always():
    """An empty value keeps its "=": clients drop the line without it (clients.md 29)."""
    assert format_tags({"badges": "", "display-name": "A B"}) == r"badges=;display-name=A\sB"

"""Message tags: values to their escaped form and back, and the part of a line between "@" and its first space.

Source: IRCv3 message tags, "Escaping values". A tag without a value and one with an empty value mean the same; a tag
that comes twice counts as it came last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# NUL has no escaped form and may not be in a line: it is left out.
_ESCAPED = str.maketrans({";": r"\:", " ": r"\s", "\\": r"\\", "\r": r"\r", "\n": r"\n", "\0": None})
_UNESCAPED = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}

_ESCAPE_SEQUENCE = re.compile(r"\\(.?)", re.DOTALL)

needs_escape = re.compile(r"[; \\\r\n\0]").search


def escape(value: str) -> str:
    return value.translate(_ESCAPED) if needs_escape(value) else value


def unescape(value: str) -> str:
    """An escape that is not in the table stands for its second character; a lone backslash at the end for nothing."""
    if "\\" not in value:
        return value
    return _ESCAPE_SEQUENCE.sub(lambda found: _UNESCAPED.get(found[1], found[1]), value)


def parse_tags(raw: str) -> dict[str, str]:
    """Keys to unescaped values from `key=value;key=value` (without the "@")."""
    tags = {}
    for tag in raw.split(";"):
        key, _, value = tag.partition("=")
        if key:
            tags[key] = unescape(value)
    return tags


def format_tags(tags: Mapping[str, str]) -> str:
    """The inverse of `parse_tags`; every tag has its "=", even an empty one (clients.md 29)."""
    return ";".join(f"{key}={escape(value)}" for key, value in tags.items())

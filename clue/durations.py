"""Lengths of time as people write and read them (tmi_protocol section 12). Pure."""

from __future__ import annotations

import re

_PART = re.compile(r"([0-9]{1,9})(?![0-9])\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_NAMES = {
    unit: seconds
    for seconds, units in (
        (1, ("s", "sec", "secs", "second", "seconds")),
        (60, ("m", "min", "mins", "minute", "minutes")),
        (3600, ("h", "hour", "hours")),
        (86_400, ("d", "day", "days")),
        (604_800, ("w", "week", "weeks")),
        (2_592_000, ("mo", "month", "months")),
    )
    for unit in units
}
_SHOWN = (("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def seconds_of(text: str, unit_s: int) -> int | None:
    """Of "90", "1d2h", "5 days 12 hours"; a bare number counts in `unit_s`. None: it is no length of time."""
    total = at = 0
    text = text.strip()
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            return None
        unit = part[2].lower()
        if unit and unit not in _NAMES:
            return None
        total += int(part[1]) * (_NAMES[unit] if unit else unit_s)
        at = part.end()
        while at < len(text) and text[at] == " ":
            at += 1
    return total if text else None


def words_of(seconds: int) -> str:
    """ "1 day 2 hours"."""
    words = []
    for name, size in _SHOWN:
        count, seconds = divmod(seconds, size)
        if count:
            words.append(f"{count} {name}{'s' if count > 1 else ''}")
    return " ".join(words) or "0 seconds"

"""Where one may speak."""

from __future__ import annotations

from clue.facts import Candidate, Facts
from clue.verdict import Denial

_SUSPENDED = Denial("msg_channel_suspended")


def channel_exists(submission: Candidate, facts: Facts) -> Denial | None:
    """A channel's name is "#" and a login that somebody could have."""
    return None if facts.channel_exists else _SUSPENDED

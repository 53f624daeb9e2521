"""The account's rate limit, which allow.lua has checked and taken from."""

from __future__ import annotations

from clue.facts import Candidate, Facts
from clue.verdict import Denial

_LIMITED = Denial("msg_ratelimit")


def limited(submission: Candidate, facts: Facts) -> Denial | None:
    """A message over the limit is refused, whatever it says."""
    return None if facts.allowed else _LIMITED

"""Who may speak at all."""

from __future__ import annotations

from clue.facts import Candidate, Facts
from clue.verdict import Denial

_SUSPENDED = Denial("msg_suspended")
_UNREACHED = Denial("msg_unavailable")


def anonymous(submission: Candidate, facts: Facts) -> Denial | None:
    """justinfan reads, it does not write."""
    return _SUSPENDED if submission.user_id == 0 else None


def known_author(submission: Candidate, facts: Facts) -> Denial | None:
    """The account of that login is (still) the one that logged in."""
    if not facts.reached:
        return _UNREACHED
    if facts.profile is None or facts.profile.user_id != submission.user_id:
        return _SUSPENDED
    return None

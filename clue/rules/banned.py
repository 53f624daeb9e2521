"""Bans and time-outs (tmi_protocol section 12)."""

from __future__ import annotations

from clue.facts import Candidate, Facts
from clue.verdict import Denial

_BANNED = Denial("msg_banned")


def banned(submission: Candidate, facts: Facts) -> Denial | None:
    """Nobody speaks while banned or timed out. A broadcaster cannot be either in the own channel."""
    until = facts.member.banned_until_ms
    if until is None:
        return None
    if until == 0:
        return _BANNED
    left_ms = until - facts.now_ms
    return Denial("msg_timedout", -(-left_ms // 1000)) if left_ms > 0 else None

"""The policy: small checks of one shape, in order. The first denial counts.

A rule is `(submission, facts) -> Denial | None`; it awaits nothing, logs nothing, raises nothing. What must be checked
in the same step as the log is written (slow mode, the 1 s floor, the duplicate rule) is in commit.lua instead.
"""

from __future__ import annotations

from collections.abc import Callable

from clue.facts import Candidate, Facts
from clue.rules.author import anonymous, known_author
from clue.rules.banned import banned
from clue.rules.channel import channel_exists
from clue.rules.limited import limited
from clue.rules.wording import characters, command, wording
from clue.verdict import Denial

Rule = Callable[[Candidate, Facts], Denial | None]

RULES: tuple[Rule, ...] = (
    anonymous,
    channel_exists,
    known_author,
    banned,
    limited,
    command,
    characters,
    wording,
)


def decide(submission: Candidate, facts: Facts) -> Denial | None:
    for rule in RULES:
        denial = rule(submission, facts)
        if denial is not None:
            return denial
    return None

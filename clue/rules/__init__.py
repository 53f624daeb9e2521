"""The policy: small checks of one shape, in order. The first denial counts.

A rule is `(submission, facts) -> Denial | None`; it awaits nothing, logs nothing, raises nothing. What must be checked
in the same step as the log is written is in commit.lua instead, in this order: the duplicate rule, slow mode or the 1 s
floor, unique chat.

The order (tmi_protocol section 7 leaves it open): who may speak at all; the account's rate limit, which a message meets
whatever it says; what it says; the room's modes, from the most general on; blocked terms last of what needs no look
into the log, so that nothing is held for moderators that would not be shown anyway for another reason known here.
"""

from __future__ import annotations

from collections.abc import Callable

from clue.facts import Candidate, Facts
from clue.rules.author import anonymous, known_author
from clue.rules.banned import banned
from clue.rules.channel import channel_exists
from clue.rules.limited import limited
from clue.rules.modes import emote_only, followers_only, subs_only, terms
from clue.rules.wording import characters, unknown_command, wording
from clue.verdict import Denial

Rule = Callable[[Candidate, Facts], Denial | None]

# What commands meet, too.
STANDING: tuple[Rule, ...] = (
    anonymous,
    channel_exists,
    known_author,
    banned,
    limited,
    characters,
    unknown_command,
)

RULES: tuple[Rule, ...] = (
    *STANDING,
    wording,
    subs_only,
    followers_only,
    emote_only,
    terms,
)


def decide(submission: Candidate, facts: Facts, rules: tuple[Rule, ...] = RULES) -> Denial | None:
    for rule in rules:
        denial = rule(submission, facts)
        if denial is not None:
            return denial
    return None

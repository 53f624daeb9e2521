"""Each rule alone, then their order."""

import pytest

from clue.facts import Candidate, Facts, Profile
from clue.rules import RULES, decide
from clue.text import normalise
from clue.verdict import Denial

BOB = Profile(7, "bob", "Bob", "", "1")


def candidate(text="hello", *, user_id=7):
    return Candidate(user_id, "bob", normalise(text))


def facts(**changes):
    usual = {
        "now_ms": 1_000_000,
        "channel_exists": True,
        "profile": BOB,
        "reached": True,
        "banned_until_ms": None,
        "allowed": True,
    }
    return Facts(**{**usual, **changes})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_usual(rule):
    """A known user's plain message in a channel that exists meets no rule."""
    assert rule(candidate(), facts()) is None


@pytest.mark.parametrize(
    ("submission", "known", "denial"),
    [
        (candidate(user_id=0), facts(), Denial("msg_suspended")),
        (candidate(), facts(channel_exists=False), Denial("msg_channel_suspended")),
        (candidate(), facts(profile=None), Denial("msg_suspended")),
        (candidate(user_id=8), facts(), Denial("msg_suspended")),
        (candidate(), facts(profile=None, reached=False), Denial("msg_unavailable")),
        (candidate(), facts(banned_until_ms=0), Denial("msg_banned")),
        (candidate(), facts(banned_until_ms=1_000_001), Denial("msg_timedout", 1)),
        (candidate(), facts(banned_until_ms=1_059_999), Denial("msg_timedout", 60)),
        (candidate(), facts(banned_until_ms=1_000_000), None),
        (candidate(), facts(allowed=False), Denial("msg_ratelimit")),
        (candidate("/ban x"), facts(), Denial("unrecognized_cmd", word="/ban")),
        (candidate("a\x02"), facts(), Denial("msg_bad_characters")),
        (candidate("  "), facts(), Denial("msg_bad_characters")),
        # Order: what weighs more is told.
        (candidate("/ban x"), facts(banned_until_ms=0, allowed=False), Denial("msg_banned")),
        (candidate("/ban x"), facts(allowed=False), Denial("msg_ratelimit")),
        (candidate(user_id=0), facts(channel_exists=False), Denial("msg_suspended")),
    ],
)
def test_decide(submission, known, denial):
    """The first rule that is met decides."""
    assert decide(submission, known) == denial

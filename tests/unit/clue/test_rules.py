"""Each rule alone, then their order."""

import pytest

from clue.facts import Candidate, Facts, Member, Modes, Profile, Roles
from clue.rules import RULES, STANDING, decide
from clue.text import normalise
from clue.verdict import Denial
from clue.vocabulary import Vocabulary

BOB = Profile(7, "bob", "Bob", "", "1")


def candidate(text="hello", *, user_id=7):
    return Candidate(user_id, "bob", normalise(text))


NOW = 1_000_000_000


def member(*roles, until=None, broadcaster=False, followed_ms=0):
    return Member(until, Roles(frozenset(roles), followed_ms), broadcaster)


def facts(*, until=None, **changes):
    usual = {
        "now_ms": NOW,
        "channel_exists": True,
        "profile": BOB,
        "reached": True,
        "allowed": True,
        "member": member(until=until),
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
        (candidate(), facts(until=0), Denial("msg_banned")),
        (candidate(), facts(until=NOW + 1), Denial("msg_timedout", 1)),
        (candidate(), facts(until=NOW + 59_999), Denial("msg_timedout", 60)),
        (candidate(), facts(until=NOW), None),
        (candidate(), facts(allowed=False), Denial("msg_ratelimit")),
        (candidate("/foo x"), facts(), Denial("unrecognized_cmd", word="/foo")),
        (candidate("a\x02"), facts(), Denial("msg_bad_characters")),
        (candidate("  "), facts(), Denial("msg_bad_characters")),
    ],
)
def test_decide(submission, known, denial):
    """Who may not speak at all, or says nothing that can be shown."""
    assert decide(submission, known) == denial


EVERYBODY = {
    "nobody": member(),
    "follower": member("follower", followed_ms=NOW - 3_600_000),
    "subscriber": member("sub"),
    "vip": member("vip"),
    "mod": member("mod"),
    "broadcaster": member(broadcaster=True),
}


@pytest.mark.parametrize(
    ("modes", "denials"),
    [
        (
            Modes(subs_only=True),
            {"nobody": Denial("msg_subsonly"), "follower": Denial("msg_subsonly")},
        ),
        (Modes(followers_only_min=0), {"nobody": Denial("msg_followersonly_zero")}),
        (Modes(followers_only_min=60), {"nobody": Denial("msg_followersonly", word="1 hour")}),
        (
            Modes(followers_only_min=61),
            {
                "nobody": Denial("msg_followersonly", word="1 hour 1 minute"),
                "follower": Denial("msg_followersonly_followed", word="1 hour 1 minute", more="1 hour"),
            },
        ),
        (
            Modes(emote_only=True),
            dict.fromkeys(("nobody", "follower", "subscriber", "vip"), Denial("msg_emoteonly")),
        ),
        (Modes(slow_s=30, unique_chat=True), {}),
    ],
)
def test_modes_and_exemptions(modes, denials):
    """Section 11: each mode for those whom it concerns; slow mode and unique chat are commit.lua's."""
    found = {who: decide(candidate(), facts(member=one, modes=modes)) for who, one in EVERYBODY.items()}
    assert {who: denial for who, denial in found.items() if denial is not None} == denials


def test_emote_only_emotes():
    """Emotes alone are said in emote-only mode, also as an action."""
    emotes = Vocabulary({"Kappa": "25", "PogChamp": "305954156"}, ())
    for text, said in [("Kappa", True), ("Kappa PogChamp", True), ("/me Kappa", True), ("Kappa hi", False)]:
        known = facts(modes=Modes(emote_only=True), vocabulary=emotes)
        assert (decide(candidate(text), known) is None) is said


@pytest.mark.parametrize(
    ("text", "denial"),
    [
        ("a bad word", "msg_rejected_mandatory"),
        ("a doubtful word", "msg_rejected"),
        ("doubtful and bad", "msg_rejected_mandatory"),
    ],
)
def test_terms(text, denial):
    """Terms concern everybody but mods and the broadcaster; what denies weighs more."""
    words = Vocabulary({}, [("hold", "doubtful"), ("deny", "bad")])
    found = {who: decide(candidate(text), facts(member=one, vocabulary=words)) for who, one in EVERYBODY.items()}
    exempt = {"mod", "broadcaster"}
    assert found == {who: None if who in exempt else Denial(denial) for who in EVERYBODY}


ALL_AT_ONCE = {
    "modes": Modes(emote_only=True, followers_only_min=0, subs_only=True),
    "vocabulary": Vocabulary({}, [("hold", "bad")]),
}


@pytest.mark.parametrize(
    ("submission", "known", "denial"),
    [
        (candidate("bad", user_id=0), facts(channel_exists=False), "msg_suspended"),
        (candidate("bad"), facts(channel_exists=False, profile=None, **ALL_AT_ONCE), "msg_channel_suspended"),
        (candidate("bad"), facts(profile=None, until=0, **ALL_AT_ONCE), "msg_suspended"),
        (candidate("bad"), facts(until=0, allowed=False, **ALL_AT_ONCE), "msg_banned"),
        (candidate("/foo"), facts(allowed=False), "msg_ratelimit"),
        (candidate("b\x02d"), facts(allowed=False, **ALL_AT_ONCE), "msg_ratelimit"),
        (candidate("b\x02d"), facts(**ALL_AT_ONCE), "msg_bad_characters"),
        (candidate("  "), facts(**ALL_AT_ONCE), "msg_bad_characters"),
        (candidate("bad"), facts(**ALL_AT_ONCE), "msg_subsonly"),
        (candidate("bad"), facts(**{**ALL_AT_ONCE, "modes": Modes(True, 0)}), "msg_followersonly_zero"),
        (candidate("bad"), facts(**{**ALL_AT_ONCE, "modes": Modes(True)}), "msg_emoteonly"),
        (candidate("bad"), facts(**{**ALL_AT_ONCE, "modes": Modes()}), "msg_rejected"),
    ],
)
def test_order(submission, known, denial):
    """Of several reasons the first in the documented order is told."""
    assert decide(submission, known).msg_id == denial


def test_commands_are_no_messages():
    """What is about messages does not keep commands back."""
    assert decide(candidate("/mods"), facts(**ALL_AT_ONCE), STANDING) is None

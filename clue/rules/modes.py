"""The room's modes that need no look into the log (tmi_protocol section 11). Slow mode and unique chat, which do, are
in commit.lua.
"""

from __future__ import annotations

from clue.durations import words_of
from clue.facts import Candidate, Facts
from clue.verdict import Denial

_MINUTE_MS = 60_000


def subs_only(submission: Candidate, facts: Facts) -> Denial | None:
    """For subscribers, VIPs, mods and the broadcaster."""
    member = facts.member
    if not facts.modes.subs_only or member.subscriber or member.privileged:
        return None
    return Denial("msg_subsonly")


def followers_only(submission: Candidate, facts: Facts) -> Denial | None:
    """For who has followed for so long, and for subscribers, VIPs, mods and the broadcaster."""
    minutes, member = facts.modes.followers_only_min, facts.member
    if minutes < 0 or member.subscriber or member.privileged:
        return None
    if "follower" not in member.roles:
        if minutes == 0:
            return Denial("msg_followersonly_zero")
        return Denial("msg_followersonly", word=words_of(minutes * 60))
    followed_ms = facts.now_ms - member.followed_ms
    if followed_ms >= minutes * _MINUTE_MS:
        return None
    return Denial("msg_followersonly_followed", word=words_of(minutes * 60), more=words_of(followed_ms // 1000))


def emote_only(submission: Candidate, facts: Facts) -> Denial | None:
    """Only emotes, but for mods and the broadcaster."""
    if not facts.modes.emote_only or facts.member.moderator:
        return None
    return None if facts.vocabulary.only_emotes(submission.text.shown) else Denial("msg_emoteonly")


def terms(submission: Candidate, facts: Facts) -> Denial | None:
    """Blocked terms deny a message, or hold it for a moderator (msg_rejected), but for mods and the broadcaster."""
    if facts.member.moderator:
        return None
    action = facts.vocabulary.action(submission.text.shown)
    if not action:
        return None
    return Denial("msg_rejected" if action == "hold" else "msg_rejected_mandatory")

"""Bans and time-outs (tmi_protocol section 12)."""

from __future__ import annotations

from clue.changes import Change, ban_change, is_banned, unban_change
from clue.commands.notices import notice
from clue.commands.shape import Answer, Call, Level, told
from clue.commands.targets import Target, is_anonymous, target
from clue.durations import seconds_of, words_of

MAX_TIMEOUT_S = 1_209_600  # two weeks
MAX_REASON = 500  # characters
_DEFAULT_TIMEOUT_S = 600


# /ban <user> [reason]
def ban(call: Call) -> Answer:
    found = _punishable(call, "ban")
    if isinstance(found, Answer):
        return found
    change = ban_change(
        call.channel, found.profile, found.member, 0, call.rest[:MAX_REASON], call.now_ms, call.author.login
    )
    if change is None:
        return told("already_banned", found.profile.user_id, user=found.shown)
    return _done(change, "ban_success", found)


# /timeout <user> [duration] [reason]
def timeout(call: Call) -> Answer:
    found = _punishable(call, "timeout")
    if isinstance(found, Answer):
        return found
    length, _, reason = call.rest.partition(" ")
    seconds = seconds_of(length, 1) if length else _DEFAULT_TIMEOUT_S
    if not seconds:
        return Answer((call.command.help(),))
    if seconds > MAX_TIMEOUT_S:
        return told("bad_timeout_duration", seconds=f"{MAX_TIMEOUT_S} seconds")
    if found.member.banned_until_ms == 0:
        return told("already_banned", found.profile.user_id, user=found.shown)
    change = ban_change(
        call.channel, found.profile, found.member, seconds, reason[:MAX_REASON], call.now_ms, call.author.login
    )
    return _done(change, "timeout_success", found, duration=words_of(seconds))


# /unban <user>
def unban(call: Call) -> Answer:
    found = target(call)
    if isinstance(found, Answer):
        return found
    change = unban_change(call.channel, found.profile, found.member, call.now_ms)
    if change is None:
        return told("bad_unban_no_ban", found.profile.user_id, user=found.shown)
    return _done(change, "unban_success", found)


# /untimeout <user>
def untimeout(call: Call) -> Answer:
    found = target(call)
    if isinstance(found, Answer):
        return found
    if not is_banned(found.member, call.now_ms):
        return told("timeout_no_timeout", found.profile.user_id, user=found.shown)
    if found.member.banned_until_ms == 0:
        return told("untimeout_banned", found.profile.user_id, user=found.shown)
    change = unban_change(call.channel, found.profile, found.member, call.now_ms)
    return _done(change, "untimeout_success", found)


def _punishable(call: Call, do: str) -> Target | Answer:
    """Whom the command may be used on. `do`: "ban" or "timeout"."""
    if is_anonymous(call.first):
        return told(f"bad_{do}_anon")
    found = target(call)
    if isinstance(found, Answer):
        return found
    profile, member = found
    if profile.user_id == call.author.user_id:
        return told(f"bad_{do}_self", profile.user_id)
    if member.broadcaster:
        return told(f"bad_{do}_broadcaster", profile.user_id)
    if profile.type:
        return told(f"bad_{do}_{profile.type}", profile.user_id, user=found.shown)
    if member.moderator and call.level < Level.BROADCASTER:
        return told(f"bad_{do}_mod", profile.user_id, user=found.shown)
    return found


def _done(change: Change | None, msg_id: str, found: Target, **words: object) -> Answer:
    return Answer((notice(msg_id, found.profile.user_id, user=found.shown, **words),), change)

"""The room's modes (tmi_protocol section 11). That one has changed, the room is told by the entry; the actor hears of
what has not.
"""

from __future__ import annotations

from clue.changes import mode_change
from clue.commands.notices import notice
from clue.commands.shape import Answer, Call, told
from clue.durations import seconds_of, words_of

SLOW_S = (3, 120)
FOLLOWERS_MIN = (0, 129_600)  # three months
DEFAULT_SLOW_S = 30
DELAYS_S = (2, 4, 6)


# /slow [seconds]
def slow(call: Call) -> Answer:
    seconds = seconds_of(call.arguments, 1) if call.arguments else DEFAULT_SLOW_S
    if seconds is None or seconds < SLOW_S[0]:
        return Answer((call.command.help(),))
    if seconds > SLOW_S[1]:
        return told("bad_slow_duration", number=SLOW_S[1])
    return _changed(call, "slow_s", seconds, "already_slow_on", duration=seconds)


# /slowoff
def slowoff(call: Call) -> Answer:
    return _changed(call, "slow_s", 0, "already_slow_off")


# /followers [duration]
def followers(call: Call) -> Answer:
    seconds = seconds_of(call.arguments, 60) if call.arguments else 0
    if seconds is None or seconds // 60 > FOLLOWERS_MIN[1]:
        return Answer((call.command.help(),))
    minutes = seconds // 60
    already = "already_followers_on" if minutes else "already_followers_on_zero"
    return _changed(call, "followers_only_min", minutes, already, duration=words_of(minutes * 60))


# /followersoff
def followersoff(call: Call) -> Answer:
    return _changed(call, "followers_only_min", -1, "already_followers_off")


# /subscribers
def subscribers(call: Call) -> Answer:
    return _changed(call, "subs_only", 1, "already_subs_on")


# /subscribersoff
def subscribersoff(call: Call) -> Answer:
    return _changed(call, "subs_only", 0, "already_subs_off")


# /chatdelay [2, 4 or 6]: ours, of the dashboard on Twitch
def chatdelay(call: Call) -> Answer:
    seconds = seconds_of(call.arguments, 1) if call.arguments else DELAYS_S[0]
    if seconds not in DELAYS_S:
        return Answer((call.command.help(),))
    return _delayed(call, seconds, "chat_delay_on", "already_chat_delay_on")


# /chatdelayoff: ours
def chatdelayoff(call: Call) -> Answer:
    return _delayed(call, 0, "chat_delay_off", "already_chat_delay_off")


# /emoteonly
def emoteonly(call: Call) -> Answer:
    return _changed(call, "emote_only", 1, "already_emote_only_on")


# /emoteonlyoff
def emoteonlyoff(call: Call) -> Answer:
    return _changed(call, "emote_only", 0, "already_emote_only_off")


# /uniquechat
def uniquechat(call: Call) -> Answer:
    return _changed(call, "unique_chat", 1, "already_r9k_on")


# /uniquechatoff
def uniquechatoff(call: Call) -> Answer:
    return _changed(call, "unique_chat", 0, "already_r9k_off")


def _changed(call: Call, mode: str, value: int, already: str, **words: object) -> Answer:
    change = mode_change(call.channel, {mode: value}, call.now_ms)
    return told(already, **words) if change is None else Answer(change=change)


def _delayed(call: Call, seconds: int, done: str, already: str) -> Answer:
    """The room is not told of it, so the actor is."""
    change = mode_change(call.channel, {"delay_s": seconds}, call.now_ms)
    return told(already, number=seconds) if change is None else Answer((notice(done, number=seconds),), change)

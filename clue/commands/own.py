"""What everybody may do for themselves."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from clue.changes import is_banned
from clue.commands.notices import notice
from clue.commands.shape import Answer, Call, Recolor
from clue.commands.targets import target
from clue.durations import words_of

COLORS = {
    "Blue": "#0000FF", "BlueViolet": "#8A2BE2", "CadetBlue": "#5F9EA0", "Chocolate": "#D2691E", "Coral": "#FF7F50",
    "DodgerBlue": "#1E90FF", "Firebrick": "#B22222", "GoldenRod": "#DAA520", "Green": "#008000", "HotPink": "#FF69B4",
    "OrangeRed": "#FF4500", "Red": "#FF0000", "SeaGreen": "#2E8B57", "SpringGreen": "#00FF7F", "YellowGreen": "#9ACD32",
}  # fmt: skip

_BY_NAME = {name.lower(): color for name, color in COLORS.items()}
_HEX = re.compile(r"#[0-9A-Fa-f]{6}", re.ASCII).fullmatch
_MEMBERSHIP = (("mod", "moderator"), ("vip", "VIP"), ("sub", "subscriber"), ("follower", "follower"))


def color_of(text: str) -> str | None:
    """ "#RRGGBB" of a name, with or without underscores, or of a hex color; None: it is neither."""
    return text.upper() if _HEX(text) else _BY_NAME.get(text.replace("_", "").lower())


# /color <name or #RRGGBB>: any color, not for turbo users only
def color(call: Call) -> Answer:
    found = color_of(call.first)
    if found is None:
        return Answer((call.command.help(),))
    return Answer((notice("color_changed"),), effects=(Recolor(call.author.login, found),))


# /disconnect
def disconnect(call: Call) -> Answer:
    return Answer(disconnect=True)


# /me, without a text: with one it is a message
def me(call: Call) -> Answer:
    return Answer((call.command.help(),))


# /user <name>
def user(call: Call) -> Answer:
    found = target(call)
    if isinstance(found, Answer):
        return found
    profile, member = found
    facts = [f"user id {profile.user_id}"]
    if profile.type:
        facts.append(profile.type)
    if member.broadcaster:
        facts.append("broadcaster")
    facts += [word for role, word in _MEMBERSHIP if role in member.roles]
    if member.followed_ms:
        facts.append(f"following since {datetime.fromtimestamp(member.followed_ms / 1000, UTC):%Y-%m-%d}")
    if is_banned(member, call.now_ms):
        until = member.banned_until_ms
        facts.append(f"timed out for {words_of(-(-(until - call.now_ms) // 1000))} more" if until else "banned")
    return Answer((notice("user_info", profile.user_id, user=found.shown, facts=", ".join(facts)),))

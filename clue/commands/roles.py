"""Moderators and VIPs."""

from __future__ import annotations

from clue.changes import is_banned, role_change, role_removal
from clue.commands.notices import notice
from clue.commands.shape import Answer, Call, told
from clue.commands.targets import target

MAX_VIPS = 100


# /mod <user>
def mod(call: Call) -> Answer:
    return _granted(call, "mod", already="bad_mod_mod", banned="bad_mod_banned")


# /unmod <user>
def unmod(call: Call) -> Answer:
    return _taken(call, "mod", "bad_unmod_mod")


# /vip <user>
def vip(call: Call) -> Answer:
    return _granted(call, "vip", already="bad_vip_grantee_already_vip", banned="bad_vip_grantee_banned")


# /unvip <user>
def unvip(call: Call) -> Answer:
    return _taken(call, "vip", "bad_unvip_grantee_not_vip")


# /mods
def mods(call: Call) -> Answer:
    logins = _holders(call, "mod")
    return told("room_mods", users=", ".join(logins)) if logins else told("no_mods")


# /vips
def vips(call: Call) -> Answer:
    logins = _holders(call, "vip")
    return told("vips_success", users=", ".join(logins)) if logins else told("no_vips")


def _granted(call: Call, role: str, *, already: str, banned: str) -> Answer:
    found = target(call)
    if isinstance(found, Answer):
        return found
    profile, member = found
    if is_banned(member, call.now_ms):
        return told(banned, profile.user_id, user=found.shown)
    if role in member.roles or (role == "mod" and member.broadcaster):
        return told(already, profile.user_id, user=found.shown)
    if role == "vip" and len(_holders(call, role)) >= MAX_VIPS:
        return told("bad_vip_max_vips_reached")
    change = role_change(call.channel, profile, member, role, call.now_ms)
    return Answer((notice(f"{role}_success", profile.user_id, user=found.shown),), change)


def _taken(call: Call, role: str, absent: str) -> Answer:
    found = target(call)
    if isinstance(found, Answer):
        return found
    profile, member = found
    change = role_removal(call.channel, profile, member, role, call.now_ms)
    if change is None:
        return told(absent, profile.user_id, user=found.shown)
    return Answer((notice(f"un{role}_success", profile.user_id, user=found.shown),), change)


def _holders(call: Call, role: str) -> list[str]:
    return sorted(roles.login for roles in call.known.roles.values() if role in roles.names)

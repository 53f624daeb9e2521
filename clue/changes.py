"""What changes of a channel's state are: fields of its hashes, and the entries that tell of them. Pure.

A change is decided on facts of one version, and carried out by commit.lua only if the channel still is at it. What
would change nothing is no change (ARCHITECTURE 3.12): these functions then return None.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from clue.facts import Channel, Member, Profile, Roles, is_broadcaster, read_ban, read_roles
from common.pb import chat_pb2

_EXCLUSIVE = {"mod": "vip", "vip": "mod"}  # as on Twitch: a mod is no VIP, and the other way round

# ROOMSTATE tag names by the field of the room that holds the mode; see facts.Modes.
MODE_TAGS = {
    "emote_only": "emote-only",
    "followers_only_min": "followers-only",
    "unique_chat": "r9k",
    "slow_s": "slow",
    "subs_only": "subs-only",
    "delay_s": "non-mod-delay",  # ours: readers are not told of it
}


class Write(NamedTuple):
    """One field of one of the channel's hashes (scripts.COMMIT_KEYS) becomes `value` ("": is deleted).

    `state`: decisions depend on it, so the channel's version rises.
    """

    hash: str
    field: str
    value: str | bytes
    state: bool = True


class Change(NamedTuple):
    writes: tuple[Write, ...] = ()
    publications: tuple[chat_pb2.Publication, ...] = ()


def role_change(room: Channel, profile: Profile, member: Member, role: str, now_ms: int) -> Change | None:
    """Grant `role` (of facts.ROLES), or take all for "none"."""
    held = set() if role == "none" else (member.roles | {role}) - {_EXCLUSIVE.get(role, "")}
    return _roles(room, profile, member, frozenset(held), now_ms)


def role_removal(room: Channel, profile: Profile, member: Member, role: str, now_ms: int) -> Change | None:
    return _roles(room, profile, member, member.roles - {role}, now_ms)


def _roles(room: Channel, profile: Profile, member: Member, held: frozenset[str], now_ms: int) -> Change | None:
    if held == member.roles:
        return None
    roles = Roles(held, member.followed_ms or now_ms if "follower" in held else 0, profile.login)
    publication = _publication(room, now_ms)
    publication.roles.user_id = profile.user_id
    publication.roles.login = profile.login
    publication.roles.roles.extend(name for name in ("mod", "vip", "sub", "follower") if name in held)
    return Change((Write("roles", str(profile.user_id), roles.stored()),), (publication,))


def ban_change(
    room: Channel, profile: Profile, member: Member, duration_s: int, reason: str, now_ms: int, by: str = "-"
) -> Change | None:
    """`duration_s` 0: for ever; who is banned for ever is no mod and no VIP any more. `by`: login of the moderator."""
    if duration_s == 0 and member.banned_until_ms == 0:
        return None
    until = now_ms + duration_s * 1000 if duration_s else 0
    publication = _publication(room, now_ms)
    publication.banned.CopyFrom(
        chat_pb2.Banned(
            user_id=profile.user_id, login=profile.login, until_ms=until, duration_s=duration_s, reason=reason
        )
    )
    change = Change(
        (Write("bans", str(profile.user_id), f"{until} {profile.login} {by} {now_ms} {reason}"),), (publication,)
    )
    demoted = None if duration_s else _roles(room, profile, member, member.roles - {"mod", "vip"}, now_ms)
    return change if demoted is None else both(demoted, change)


def unban_change(room: Channel, profile: Profile, member: Member, now_ms: int) -> Change | None:
    if not is_banned(member, now_ms):
        return None
    publication = _publication(room, now_ms)
    publication.unbanned.CopyFrom(chat_pb2.Unbanned(user_id=profile.user_id, login=profile.login))
    return Change((Write("bans", str(profile.user_id), ""),), (publication,))


def mode_change(room: Channel, modes: dict[str, int], now_ms: int) -> Change | None:
    """`modes`: values by field of facts.Modes (0 and 1 for those that are on or off)."""
    changed = {name: value for name, value in modes.items() if int(getattr(room.modes, name)) != value}
    if not changed:
        return None
    fields = {**room.fields, **{name.encode(): str(value).encode() for name, value in changed.items()}}
    publication = _publication(room, now_ms)
    publication.room.state.CopyFrom(Channel(room.name, room.version, fields).room)
    publication.room.changed.extend(MODE_TAGS[name] for name in changed)
    return Change(tuple(Write("room", name, str(value)) for name, value in changed.items()), (publication,))


def both(first: Change, second: Change) -> Change:
    return Change(first.writes + second.writes, first.publications + second.publications)


def is_banned(member: Member, now_ms: int) -> bool:
    """Or timed out, and it has not ended."""
    until = member.banned_until_ms
    return until is not None and not 0 < until <= now_ms


def may_be_banned(channel: str, login: str) -> bool:
    return not is_broadcaster(login, channel)


def applied(room: Channel, change: Change, roles: dict[int, Roles]) -> None:
    """Make the change in `room`, which is the caller's own copy, and in `roles`, by user id."""
    for write in change.writes:
        value = write.value.encode() if isinstance(write.value, str) else write.value
        if write.hash == "room":
            fields = {**room.fields, write.field.encode(): value}
            if not value:
                del fields[write.field.encode()]
            room.set_fields(fields)
            continue
        user_id = int(write.field) if write.hash in ("bans", "roles") else 0
        member = room.members.get(user_id)
        if write.hash == "roles":
            roles[user_id] = read_roles(value)
            if member is not None:
                room.members[user_id] = Member(
                    member.banned_until_ms, roles[user_id], member.broadcaster, member.first_day
                )
        elif write.hash == "bans" and member is not None:
            held = Roles(member.roles, member.followed_ms)
            room.members[user_id] = Member(read_ban(value), held, member.broadcaster, member.first_day)


def _publication(room: Channel, now_ms: int) -> chat_pb2.Publication:
    return chat_pb2.Publication(id=str(uuid.uuid4()), ts_ms=now_ms, room_id=room.room.room_id)

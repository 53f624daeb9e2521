"""Changes of a channel's state by operators: roles and bans.

What a change does is decided on facts read for it, and carried out only if these still hold (change.lua); else it is
decided again. A change that changes nothing writes nothing (ARCHITECTURE 3.12).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import NamedTuple

from clue import keys, scripts
from clue.facts import ROLES, Channel, Member, Profile, is_broadcaster
from clue.redis_shards import Shards
from clue.rooms import Rooms
from clue.users import Users
from common.clock import Clock
from common.errors import RemoteError
from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2

_TRIES = 8  # each lost to another change of the same channel in the same moment

_EXCLUSIVE = {"mod": "vip", "vip": "mod"}  # as on Twitch: a mod is no VIP, and the other way round


class Change(NamedTuple):
    """One field of one of the channel's hashes becomes `value` ("": is deleted), told as `publication`."""

    state_key: str
    field: str
    value: str
    publication: chat_pb2.Publication


class Changes:
    def __init__(
        self,
        shards: Shards,
        rooms: Rooms,
        users: Users,
        clock: Clock,
        metrics: Metrics,
        publish: Callable[[str, bytes], asyncio.Future[bool]],
    ) -> None:
        self._shards = shards
        self._rooms = rooms
        self._users = users
        self._clock = clock
        self._metrics = metrics
        self._publish = publish

    async def set_role(self, channel: str, login: str, role: str) -> clue_pb2.ChangeReply:
        """Grant `role` (of facts.ROLES), or take all for "none". Raises RemoteError."""

        def decide(room: Channel, profile: Profile, member: Member) -> Change | None:
            return role_change(room, profile, member, role, self._clock.unix_ms())

        return await self._apply(channel, login, decide)

    async def set_ban(
        self, channel: str, login: str, *, banned: bool, duration_s: int, reason: str
    ) -> clue_pb2.ChangeReply:
        """Ban (`duration_s` 0: for ever), time out or unban. Raises RemoteError."""

        def decide(room: Channel, profile: Profile, member: Member) -> Change | None:
            now_ms = self._clock.unix_ms()
            if banned:
                return ban_change(room, profile, member, duration_s, reason, now_ms)
            return unban_change(room, profile, member, now_ms)

        return await self._apply(channel, login, decide)

    async def _apply(
        self, channel: str, login: str, decide: Callable[[Channel, Profile, Member], Change | None]
    ) -> clue_pb2.ChangeReply:
        profile = await self._users.ensure(login)
        for _ in range(_TRIES):
            facts = (await self._rooms.read({channel: ((profile.user_id, login),)}))[channel]
            if isinstance(facts, RemoteError):
                raise facts
            room = facts.channel
            change = decide(room, profile, room.members[profile.user_id])
            if change is None:
                return clue_pb2.ChangeReply(changed=False)
            stored = change.publication.SerializeToString()
            reply = await self._shards.at(change.state_key).call_one(
                scripts.change(channel, room.version, change.state_key, change.field, change.value, stored)
            )
            if reply:
                self._metrics.count("changes")
                seq, prev = int(reply[0]), int(reply[1])
                entry = chat_pb2.Entry(seq=seq, prev=prev, publication=stored)
                # Nobody waits for the exchange here: the change holds already.
                self._publish(channel, chat_pb2.Entries(entry=[entry]).SerializeToString())
                return clue_pb2.ChangeReply(changed=True, seq=seq)
            self._metrics.count("changes.stale")
        raise RemoteError(self._shards.at(keys.of_channel(channel).head).name, "change", f"stale {_TRIES} times")


def role_change(room: Channel, profile: Profile, member: Member, role: str, now_ms: int) -> Change | None:
    held = set() if role == "none" else (member.roles | {role}) - {_EXCLUSIVE.get(role, "")}
    if held == member.roles:
        return None
    ordered = [name for name in ROLES if name in held]
    publication = _publication(room, now_ms)
    publication.roles.CopyFrom(chat_pb2.RolesChanged(user_id=profile.user_id, login=profile.login, roles=ordered))
    return Change(keys.of_channel(room.name).roles, str(profile.user_id), ",".join(ordered), publication)


def ban_change(
    room: Channel, profile: Profile, member: Member, duration_s: int, reason: str, now_ms: int
) -> Change | None:
    if duration_s == 0 and member.banned_until_ms == 0:
        return None
    until = now_ms + duration_s * 1000 if duration_s else 0
    publication = _publication(room, now_ms)
    publication.banned.CopyFrom(
        chat_pb2.Banned(
            user_id=profile.user_id, login=profile.login, until_ms=until, duration_s=duration_s, reason=reason
        )
    )
    return Change(keys.of_channel(room.name).bans, str(profile.user_id), str(until), publication)


def unban_change(room: Channel, profile: Profile, member: Member, now_ms: int) -> Change | None:
    until = member.banned_until_ms
    if until is None or 0 < until <= now_ms:  # not banned, or a time-out that has ended
        return None
    publication = _publication(room, now_ms)
    publication.unbanned.CopyFrom(chat_pb2.Unbanned(user_id=profile.user_id, login=profile.login))
    return Change(keys.of_channel(room.name).bans, str(profile.user_id), "", publication)


def may_be_banned(channel: str, login: str) -> bool:
    return not is_broadcaster(login, channel)


def _publication(room: Channel, now_ms: int) -> chat_pb2.Publication:
    return chat_pb2.Publication(id=str(uuid.uuid4()), ts_ms=now_ms, room_id=room.room.room_id)

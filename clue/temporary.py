"""Temporary rooms "#_name": made once however many ask, open or for invited users, and gone when nobody is left.

They live on one cluster; another one's clue passes the request on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from clue import keys, scripts
from clue.changes import Change, Write
from clue.facts import INVITED, Channel, Member, Profile, Roles
from clue.homes import Homes, failure, is_room
from clue.operations import Operations
from clue.peers import Peers
from clue.redis_shards import Shards
from clue.users import Users, account
from common import names
from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2

SWEEP_S = 5.0
MAX_INVITED = 500  # at once

_Reply = clue_pb2.CreateRoomReply


class TemporaryRooms:
    """`run` ends those that are empty."""

    def __init__(
        self,
        shards: Shards,
        homes: Homes,
        users: Users,
        operations: Operations,
        peers: Peers,
        *,
        clock: Clock,
        metrics: Metrics,
        log: Log,
        empty_ms: int,
    ) -> None:
        """`empty_ms`: so long a room is kept with nobody in it."""
        self._shards = shards
        self._homes = homes
        self._users = users
        self._operations = operations
        self._peers = peers
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._empty_ms = empty_ms

    async def create(self, request: clue_pb2.CreateRoomRequest) -> clue_pb2.CreateRoomReply:
        try:
            if self._homes.inbox_home != self._homes.cluster:
                made: clue_pb2.CreateRoomReply = await self._peers.call(self._homes.inbox_home, "CreateRoom", request)
                return made
            reply = await self._create(request)
        except RemoteError:
            reply = _Reply(outcome=_Reply.UNAVAILABLE)
        self._metrics.count("rooms." + _Reply.Outcome.Name(reply.outcome).lower())
        return reply

    async def invite(self, request: clue_pb2.InviteRequest) -> clue_pb2.InviteReply:
        """Raises RemoteError when a shard, or the rooms' cluster, does not answer."""
        if self._homes.inbox_home != self._homes.cluster:
            passed: clue_pb2.InviteReply = await self._peers.call(self._homes.inbox_home, "Invite", request)
            return passed
        channel = names.fold_channel(request.channel)
        if channel is None or not is_room(channel):
            return clue_pb2.InviteReply(notice=f"{request.channel} is no temporary room.")
        invited, notice = await self._invited(request.invited)
        if notice:
            return clue_pb2.InviteReply(notice=notice)
        member = await self._operations.room(channel, request.login)
        if member is None:
            return clue_pb2.InviteReply(notice=f"There is no room {channel[1:]}.")
        if not member.moderator:
            return clue_pb2.InviteReply(notice="You don’t have permission to perform that action.")
        for profile in invited:
            await self._operations.apply(channel, profile.login, _invitation)
        return clue_pb2.InviteReply(done=True)

    async def run(self) -> None:
        if self._homes.inbox_home != self._homes.cluster:
            return
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.sweep()
            except RemoteError:
                pass  # the shard counts and logs it

    async def sweep(self) -> None:
        """End the rooms that are empty for long enough. Any clue may, and at the same time. Raises RemoteError."""
        listed = await self._shards.at(keys.ROOMS).call_one(("ZRANGE", keys.ROOMS, 0, -1, "WITHSCORES"))
        for room, made in zip(listed[::2], listed[1::2], strict=True):
            channel = room.decode()
            key = keys.of_channel(channel).head
            ended = await self._shards.at(key).call_one(
                scripts.expire_room(channel, self._empty_ms, self._homes.here(channel))
            )
            if failure(channel, ended) is not None or not ended:
                continue
            if await self._shards.at(keys.ROOMS).call_one(scripts.forget_room(channel, made)):
                self._metrics.count("rooms.ended")
                self._log.info("room ended", channel=channel, cause=f"empty for {self._empty_ms // 1000} s")

    async def _create(self, request: clue_pb2.CreateRoomRequest) -> clue_pb2.CreateRoomReply:
        name = request.name or secrets.token_hex(5)
        channel = names.fold_channel(f"#_{name}")
        if channel is None:
            return _refused(f"{request.name} is no name for a room: up to 24 of a-z, 0-9 and _.")
        login = account(request.login)
        owner = (await self._users.find((login,)))[login] if login else None
        if isinstance(owner, RemoteError):
            raise owner
        if owner is None or owner.user_id != request.user_id:
            return _refused(f"{request.login} has no account.")
        invited, notice = await self._invited(request.invited)
        if notice:
            return _refused(notice)
        # Listed before it is made, so that it is never forgotten; and after it, should a sweep have come between.
        await self._listed(channel)
        key = keys.of_channel(channel).head
        command = scripts.create_room(channel, owner, invited, request.invite_only, self._homes.here(channel))
        reply = await self._shards.at(key).call_one(command)
        error = failure(channel, reply)
        if error is not None:
            raise error
        made, by = reply
        if made:
            await self._listed(channel)
            self._log.info("room made", channel=channel, user=owner.login)
        return _Reply(outcome=_Reply.CREATED if made else _Reply.EXISTS, channel=channel, owner=by.decode())

    async def _listed(self, channel: str) -> None:
        await self._shards.at(keys.ROOMS).call_one(("ZADD", keys.ROOMS, self._clock.unix_ms(), channel))

    async def _invited(self, logins: Sequence[str]) -> tuple[list[Profile], str]:
        """Their profiles, or why not."""
        if len(logins) > MAX_INVITED:
            return [], f"You can invite {MAX_INVITED} users at once."
        found = await self._users.find([login for login in map(account, logins) if login is not None])
        profiles = []
        for typed in logins:
            profile = found.get(account(typed) or "")
            if isinstance(profile, RemoteError):
                raise profile
            if profile is None:
                return [], f"Invalid username: {typed}"
            profiles.append(profile)
        return profiles, ""


def _invitation(room: Channel, profile: Profile, member: Member) -> Change | None:
    """Readers are not told: no entry."""
    if member.roles:
        return None
    stored = Roles(frozenset({INVITED}), 0, profile.login).stored()
    return Change((Write("roles", str(profile.user_id), stored),))


def _refused(notice: str) -> clue_pb2.CreateRoomReply:
    return _Reply(outcome=_Reply.REFUSED, notice=notice)

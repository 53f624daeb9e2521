"""Changes of a channel's state by operators: the same changes as commands make, decided on facts read for them.

A change is carried out only if these facts still hold (commit.lua); else it is decided again. A change that changes
nothing writes nothing (ARCHITECTURE 3.12).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from clue import keys
from clue.changes import Change, Write, ban_change, mode_change, role_change, unban_change
from clue.channel_state import Stored
from clue.commits import Action, Commits, Committed, Done, Frozen, Group
from clue.effects import FROZEN_TRIES, FROZEN_WAIT_S
from clue.facts import Channel, Member, Profile
from clue.redis_shards import Shards
from clue.rooms import Rooms
from clue.users import Users, channel_owner
from clue.vocabulary import Edit, edited
from common.clock import Clock
from common.errors import RemoteError
from common.metrics import Metrics
from common.pb import clue_pb2

_TRIES = 8  # each lost to another change of the same channel in the same moment


class Operations:
    """Every call raises RemoteError when a shard does not answer."""

    def __init__(
        self, shards: Shards, rooms: Rooms, users: Users, commits: Commits, clock: Clock, metrics: Metrics
    ) -> None:
        self._shards = shards
        self._rooms = rooms
        self._users = users
        self._commits = commits
        self._clock = clock
        self._metrics = metrics

    async def set_role(self, channel: str, login: str, role: str) -> clue_pb2.ChangeReply:
        """Grant `role` (of facts.ROLES), or take all for "none"."""

        def decide(room: Channel, profile: Profile, member: Member) -> Change | None:
            return role_change(room, profile, member, role, self._clock.unix_ms())

        return await self.apply(channel, login, decide)

    async def set_ban(
        self, channel: str, login: str, *, banned: bool, duration_s: int, reason: str
    ) -> clue_pb2.ChangeReply:
        """Ban (`duration_s` 0: for ever), time out or unban."""

        def decide(room: Channel, profile: Profile, member: Member) -> Change | None:
            now_ms = self._clock.unix_ms()
            if banned:
                return ban_change(room, profile, member, duration_s, reason, now_ms)
            return unban_change(room, profile, member, now_ms)

        return await self.apply(channel, login, decide)

    async def set_modes(self, channel: str, modes: dict[str, int]) -> clue_pb2.ChangeReply:
        """`modes`: values by field of facts.Modes."""

        def decide(room: Channel, profile: Profile, member: Member) -> Change | None:
            return mode_change(room, modes, self._clock.unix_ms())

        return await self.apply(channel, _owner(channel), decide)

    async def set_words(self, channel: str, edit: Edit) -> clue_pb2.ChangeReply:
        """Readers are not told: no entry. Raises ValueError, too, when there would be too many."""

        def decide(room: Channel, profile: Profile, member: Member) -> Change | None:
            before = {name: room.fields.get(name.encode(), b"") for name in ("terms", "emotes")}
            after = dict(zip(before, edited(before["terms"], before["emotes"], edit), strict=True))
            writes = [Write("room", name, after[name]) for name in before if after[name].encode() != before[name]]
            return Change(tuple(writes)) if writes else None

        return await self.apply(channel, _owner(channel), decide)

    async def read(self, channel: str) -> Stored:
        facts = (await self._rooms.read({channel: ()}))[channel]
        if isinstance(facts, RemoteError):
            raise facts
        names = keys.of_channel(channel)
        replies = await self._shards.at(names.head).call(
            [("HGETALL", key) for key in (names.roles, names.bans, names.held)]
        )
        for reply in replies:
            if isinstance(reply, RemoteError):
                raise reply
        roles, bans, held = (dict(zip(flat[::2], flat[1::2], strict=True)) for flat in replies)
        return Stored(facts.channel, roles, bans, held)

    async def room(self, channel: str, login: str) -> Member | None:
        """The user's membership of a temporary room; None: there is no such room, or user."""
        found = (await self._users.find((login,)))[login]
        if isinstance(found, RemoteError):
            raise found
        if found is None:
            return None
        facts = (await self._rooms.read({channel: ((found.user_id, login),)}))[channel]
        if isinstance(facts, RemoteError):
            raise facts
        return facts.channel.members[found.user_id] if facts.channel.room.room_id else None

    async def apply(
        self, channel: str, login: str, decide: Callable[[Channel, Profile, Member], Change | None]
    ) -> clue_pb2.ChangeReply:
        """Make the change that `decide` wants on the channel's and the user's present state; None: nothing is to be
        done.
        """
        profile = await self._users.ensure(login)
        stale = 0
        for _ in range(_TRIES + FROZEN_TRIES):
            facts = (await self._rooms.read({channel: ((profile.user_id, login),)}))[channel]
            if isinstance(facts, RemoteError):
                raise facts
            room = facts.channel
            if not room.room.room_id:
                raise RemoteError(self._shards.at(keys.of_channel(channel).head).name, "change", f"no room {channel}")
            change = decide(room, profile, room.members[profile.user_id])
            if change is None:
                return clue_pb2.ChangeReply(changed=False)
            stored = tuple(publication.SerializeToString() for publication in change.publications)
            group = Group("", 0, room.version, [Action("=", change.writes, stored)])
            outcome = await self._commits.put(channel, group)
            if isinstance(outcome, Committed):
                self._metrics.count("changes")
                self._rooms.cache.drop(channel, room.version)
                [done] = outcome.results
                assert isinstance(done, Done)
                # Nobody waits for the exchange here: the change holds already.
                return clue_pb2.ChangeReply(changed=True, seq=done.last)
            if isinstance(outcome, Frozen):
                await asyncio.sleep(FROZEN_WAIT_S)
                continue
            self._metrics.count("changes.stale")
            stale += 1
            if stale == _TRIES:
                break
        cause = f"stale {stale} times" if stale == _TRIES else f"{channel} is being moved"
        raise RemoteError(self._shards.at(keys.of_channel(channel).head).name, "change", cause)


def _owner(channel: str) -> str:
    owner = channel_owner(channel)
    assert owner is not None, channel
    return owner

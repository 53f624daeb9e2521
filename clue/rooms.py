"""A channel's facts: read when they are missing, kept while their version holds, the channel created at first sight."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from clue import keys, scripts
from clue.facts import Channel, ChannelFacts, FactsCache, Roles, read_channel, read_roles
from clue.homes import Homes, failure, is_room
from clue.redis_shards import Shards
from clue.users import Users, channel_owner
from common.errors import RemoteError

Wanted = Sequence[tuple[int, str]]  # user id and login of members


class Rooms:
    def __init__(self, shards: Shards, homes: Homes, users: Users) -> None:
        self.cache = FactsCache()
        self._shards = shards
        self._homes = homes
        self._users = users

    async def read(self, wanted: Mapping[str, Wanted]) -> dict[str, ChannelFacts | RemoteError]:
        """Facts of channels (valid names) with some members, as they are now; LivesElsewhere of those that are not
        here. One call a channel, all at once. A temporary room that was not made has room_id 0.
        """
        # Of a room that is known the modes, terms and emotes are not sent again while its version holds.
        known = {name: self.cache.get(name) for name in wanted}
        calls = {
            name: self._shards.at(keys.of_channel(name).head).call(
                (
                    scripts.facts(
                        name,
                        (i for i, _ in members),
                        room.version if (room := known[name]) else "",
                        self._homes.here(name),
                    ),
                )
            )
            for name, members in wanted.items()
        }
        found: dict[str, ChannelFacts | RemoteError] = {}
        newcomers = []
        for name, call in calls.items():
            try:
                reply = (await call)[0]
            except RemoteError as error:
                reply = error
            failed = failure(name, reply)
            if failed is not None:
                found[name] = failed
                continue
            facts = read_channel(name, wanted[name], reply, known[name])
            found[name] = facts
            if not facts.channel.room.room_id and not is_room(name):
                newcomers.append(name)
        # Rare: the first visit of a channel ever.
        for name, room_id in zip(newcomers, await asyncio.gather(*map(self._create, newcomers)), strict=True):
            newcomer = found[name]
            if isinstance(room_id, RemoteError):
                found[name] = room_id
            elif isinstance(newcomer, ChannelFacts):
                newcomer.channel.set_fields({**newcomer.channel.fields, b"room_id": b"%d" % room_id})
        for name, facts_or_error in found.items():
            if isinstance(facts_or_error, ChannelFacts) and facts_or_error.channel.room.room_id:
                channel = self.cache.put(facts_or_error.channel)
                found[name] = ChannelFacts(channel, facts_or_error.head)
        return found

    async def roles(self, name: str) -> dict[int, Roles]:
        """Everybody's, by user id. Raises RemoteError."""
        key = keys.of_channel(name).roles
        flat = await self._shards.at(key).call_one(("HGETALL", key))
        return {int(user_id): read_roles(stored) for user_id, stored in zip(flat[::2], flat[1::2], strict=True)}

    async def held(self, name: str, message_ids: Sequence[str]) -> list[bytes | None]:
        """What is kept of held messages. Raises RemoteError."""
        key = keys.of_channel(name).held
        found: list[bytes | None] = await self._shards.at(key).call_one(("HMGET", key, *message_ids))
        return found

    def known(self, name: str, members: Wanted) -> Channel | None:
        """The channel, when it and all these members are known."""
        channel = self.cache.get(name)
        if channel is None:
            return None
        have = channel.members
        for user_id, _ in members:
            if user_id not in have:
                return None
        return channel

    async def _create(self, name: str) -> int | RemoteError:
        """Gives the channel its room id: the id of its owner, whose account is reserved for it."""
        owner = channel_owner(name)
        assert owner is not None, name
        room = keys.of_channel(name).room
        try:
            profile = await self._users.ensure(owner)
            await self._shards.at(room).call_one(("HSETNX", room, "room_id", profile.user_id))
        except RemoteError as error:
            return error
        return profile.user_id

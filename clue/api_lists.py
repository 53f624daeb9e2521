"""One page at a time of a channel's lists: who is there, who is banned, who has a role."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clue import keys
from clue.channel_state import ban_state
from clue.facts import Profile, chatter
from clue.presence import Presence
from clue.redis_shards import Shards
from clue.rooms import Rooms
from clue.users import Users
from common.clock import Clock
from common.errors import RemoteError
from common.pb import api_pb2, clue_pb2

Page = tuple[list[api_pb2.Listed], str]  # and the cursor of the next one, "": there is none


class Lists:
    """Every call raises RemoteError when a shard does not answer, and ValueError for a cursor that is none."""

    def __init__(self, shards: Shards, rooms: Rooms, users: Users, presence: Presence, clock: Clock) -> None:
        self._shards = shards
        self._rooms = rooms
        self._users = users
        self._presence = presence
        self._clock = clock

    async def chatters(self, channel: str, first: int, after: str) -> tuple[list[api_pb2.Listed], str, int]:
        """In the order of their logins; above 1,000 only those with a role (clue/presence.py). The third is the
        number of all.
        """
        reply = await self._presence.report(clue_pb2.PresenceReport(wanted=[channel]))
        [chatters] = reply.chatters
        if not chatters.available:
            raise RemoteError("clue", "presence", "the list of chatters is not available")
        listed, cursor = await self._of(chatters.logins, first, after)
        return listed, cursor, chatters.count

    async def holders(self, channel: str, role: str, user_ids: Sequence[int], first: int, after: str) -> Page:
        """Of a role, in the order of their logins."""
        roles = await self._rooms.roles(channel)
        wanted = roles.keys() & set(user_ids) if user_ids else roles.keys()
        return await self._of((roles[i].login for i in wanted if role in roles[i].names), first, after)

    async def bans(self, channel: str, user_ids: Sequence[int], first: int, after: str) -> Page:
        """In no order; those in force. A page may be shorter than `first` with others behind it."""
        key = keys.of_channel(channel).bans
        shard = self._shards.at(key)
        if user_ids:
            values = await shard.call_one(("HMGET", key, *user_ids))
            stored = {user_id: value for user_id, value in zip(user_ids, values, strict=True) if value}
            cursor = ""
        else:
            # A step of the scan may bring more than a page: the cursor says where in it the page begins.
            scan, skip = _scan_cursor(after)
            next_scan, flat = await shard.call_one(("HSCAN", key, scan, "COUNT", first))
            found = sorted((int(flat[i]), flat[i + 1]) for i in range(0, len(flat), 2))
            stored = dict(found[skip : skip + first])
            if skip + first < len(found):
                cursor = f"{scan}.{skip + first}"
            else:
                cursor = f"{int(next_scan)}.0" if int(next_scan) else ""
        now_ms = self._clock.unix_ms()
        bans = [ban_state(user_id, value) for user_id, value in stored.items()]
        bans = [ban for ban in bans if not 0 < ban.until_ms <= now_ms]
        profiles = await self._profiles({ban.login for ban in bans} | {ban.moderator for ban in bans if ban.moderator})
        listed = []
        for ban in bans:
            one = api_pb2.Listed(ban=ban)
            if ban.login in profiles:
                one.user.CopyFrom(chatter(profiles[ban.login], (), ""))
                if ban.moderator in profiles:
                    one.moderator.CopyFrom(chatter(profiles[ban.moderator], (), ""))
                listed.append(one)
        return listed, cursor

    async def _of(self, logins: Iterable[str], first: int, after: str) -> Page:
        rest = sorted(login for login in logins if login > after)
        page = rest[:first]
        profiles = await self._profiles(page)
        listed = [api_pb2.Listed(user=chatter(profiles[login], (), "")) for login in page if login in profiles]
        return listed, page[-1] if len(rest) > first else ""

    async def _profiles(self, logins: Iterable[str]) -> dict[str, Profile]:
        """Of those that exist."""
        found = await self._users.find(list(logins))
        profiles = {}
        for login, profile in found.items():
            if isinstance(profile, RemoteError):
                raise profile
            if profile is not None:
                profiles[login] = profile
        return profiles


def _scan_cursor(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    scan, _, skip = text.partition(".")
    if not (scan.isdecimal() and skip.isdecimal() and len(text) < 40 and int(scan) < 2**64):
        raise ValueError(text)
    return int(scan), int(skip)

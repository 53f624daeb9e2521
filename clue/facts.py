"""What rules may know, and the cache of a channel's part of it.

A channel's state has a version that every change raises. Facts are kept with the version they were read at; the commit
proves that it still holds and answers stale when not, then they are read again (ARCHITECTURE 3.3). So nothing here is
ever invalidated from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from clue.text import Text
from common.pb import chat_pb2

MEMBERS = (
    200_000  # kept over all channels (about 1 kB each with its Chatter); the channel not used for longest goes first
)
PROFILES = 100_000

ROLES = ("mod", "vip", "sub", "follower")  # in the order in which they are stored


class Profile(NamedTuple):
    """One user, as stored. `version` changes with every change of it."""

    user_id: int
    login: str
    display_name: str
    color: str
    version: str


class Candidate(NamedTuple):
    """One submission on its way through the rules."""

    user_id: int
    login: str
    text: Text


class Facts(NamedTuple):
    """What is known about a submission's author and channel at the moment of the decision."""

    now_ms: int
    channel_exists: bool
    profile: Profile | None  # None: no such user, or not reached
    reached: bool  # False: the author's shard did not answer, and the profile is not known from before
    banned_until_ms: int | None  # 0: for ever; None: not banned
    allowed: bool  # by the account's rate limit; True too when it could not be asked


class Member:
    """One user in one channel. `chatter` is kept for the profile's version it was made of."""

    __slots__ = ("_chatter", "_made_of", "banned_until_ms", "privileged", "roles")

    def __init__(self, banned_until_ms: int | None, roles: frozenset[str], privileged: bool) -> None:
        self.banned_until_ms = banned_until_ms
        self.roles = roles
        self.privileged = privileged
        self._chatter: chat_pb2.Chatter | None = None
        self._made_of = ""

    def chatter(self, profile: Profile, channel: str) -> chat_pb2.Chatter:
        if self._chatter is None or self._made_of != profile.version:
            self._chatter = chatter(profile, self.roles, channel)
            self._made_of = profile.version
        return self._chatter


class Channel:
    """What is known of one channel at one version. A member that is missing here has not been read yet."""

    __slots__ = ("members", "name", "room", "version")

    def __init__(self, name: str, version: str, room: chat_pb2.RoomState) -> None:
        self.name = name
        self.version = version
        self.room = room
        self.members: dict[int, Member] = {}


def chatter(profile: Profile, roles: Iterable[str], channel: str) -> chat_pb2.Chatter:
    """The user as readers of the channel see it ("" for no channel: global badges only).

    Badges stand in Twitch's order. The broadcaster is not a mod in the tags, and needs no role.
    """
    badges = []
    broadcaster = is_broadcaster(profile.login, channel)
    mod = "mod" in roles and not broadcaster
    vip = "vip" in roles and not broadcaster
    subscriber = "sub" in roles
    if broadcaster:
        badges.append("broadcaster/1")
    if mod:
        badges.append("moderator/1")
    if vip:
        badges.append("vip/1")
    if subscriber:
        badges.append("subscriber/0")
    return chat_pb2.Chatter(
        user_id=profile.user_id,
        login=profile.login,
        display_name=profile.display_name,
        color=profile.color,
        badges=",".join(badges),
        badge_info="subscriber/1" if subscriber else "",
        user_type="mod" if mod else "",
        mod=mod,
        subscriber=subscriber,
        vip=vip,
    )


def is_broadcaster(login: str, channel: str) -> bool:
    return channel == "#" + login


def read_profile(fields: Sequence[bytes | None]) -> Profile | None:
    """From id, login, display_name, color, version as Redis has them; None when there is no such user."""
    user_id, login, display_name, color, version = fields
    if not user_id or login is None or display_name is None or version is None:
        return None
    return Profile(int(user_id), login.decode(), display_name.decode(), (color or b"").decode(), version.decode())


class ChannelFacts(NamedTuple):
    """What facts.lua answered: the channel with the members asked for, and the newest seq of its log (0: none)."""

    channel: Channel
    head: int


def read_channel(name: str, members: Sequence[tuple[int, str]], reply: Sequence[Any]) -> ChannelFacts:
    """`members`: user id and login in the order in which facts.lua was asked. Without room_id in the room, it is 0."""
    version, head, room_fields, users = reply
    room = read_room(dict(zip(room_fields[::2], room_fields[1::2], strict=True)))
    channel = Channel(name, version.decode(), room)
    for i, (user_id, login) in enumerate(members):
        channel.members[user_id] = read_member(name, login, users[2 * i], users[2 * i + 1])
    return ChannelFacts(channel, int(head))


def read_member(channel: str, login: str, ban: bytes, roles: bytes) -> Member:
    held = frozenset(roles.decode().split(",")) if roles else frozenset()
    broadcaster = is_broadcaster(login, channel)
    until = int(ban) if ban and not broadcaster else None
    return Member(until, held, broadcaster or "mod" in held or "vip" in held)


def read_room(fields: dict[bytes, bytes]) -> chat_pb2.RoomState:
    return chat_pb2.RoomState(
        room_id=int(fields.get(b"room_id", 0)),
        emote_only=fields.get(b"emote_only") == b"1",
        followers_only_min=int(fields.get(b"followers_only_min", -1)),
        unique_chat=fields.get(b"unique_chat") == b"1",
        slow_s=int(fields.get(b"slow_s", 0)),
        subs_only=fields.get(b"subs_only") == b"1",
    )


class FactsCache:
    """Channels by name, bounded by the members they hold together."""

    def __init__(self, bound: int = MEMBERS) -> None:
        self._bound = bound
        self._channels: dict[str, Channel] = {}  # the one used last stands last
        self._members = 0

    def __len__(self) -> int:
        """Channels kept."""
        return len(self._channels)

    def get(self, name: str) -> Channel | None:
        channel = self._channels.pop(name, None)
        if channel is not None:
            self._channels[name] = channel
        return channel

    def put(self, read: Channel) -> Channel:
        """Add what was read to what is known (another version replaces it); returns what is known now."""
        known = self._channels.pop(read.name, None)
        if known is None or known.version != read.version or not known.room.room_id:
            self._members += len(read.members) + 1 - (len(known.members) + 1 if known else 0)
            known = read
        else:
            self._members -= len(known.members)
            known.members.update(read.members)
            self._members += len(known.members)
        self._channels[read.name] = known
        while self._members > self._bound and len(self._channels) > 1:
            oldest = self._channels.pop(next(iter(self._channels)))
            self._members -= len(oldest.members) + 1
        if self._members > self._bound:  # one channel alone
            # A new value: who decides on the old one at this moment keeps it whole.
            known = self._channels[read.name] = read
            self._members = len(read.members) + 1
        return known

    def drop(self, name: str, version: str) -> None:
        """Forget the channel when it is (still) known at that version."""
        channel = self._channels.get(name)
        if channel is not None and channel.version == version:
            del self._channels[name]
            self._members -= len(channel.members) + 1


class ProfileCache:
    """Profiles by login. allow.lua says when one is old."""

    def __init__(self, bound: int = PROFILES) -> None:
        self._bound = bound
        self._profiles: dict[str, Profile] = {}

    def get(self, login: str) -> Profile | None:
        return self._profiles.get(login)

    def put(self, profile: Profile) -> None:
        self._profiles.pop(profile.login, None)
        self._profiles[profile.login] = profile
        if len(self._profiles) > self._bound:
            del self._profiles[next(iter(self._profiles))]

    def drop(self, login: str) -> None:
        self._profiles.pop(login, None)

"""What rules may know, and the cache of a channel's part of it.

A channel's state has a version that every change raises. Facts are kept with the version they were read at; the commit
proves that it still holds and answers stale when not, then they are read again (ARCHITECTURE 3.3). So nothing here is
ever invalidated from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from clue.homes import is_room
from clue.text import Text
from clue.vocabulary import PLAIN, Vocabulary
from common.pb import chat_pb2

MEMBERS = (
    200_000  # kept over all channels (about 1 kB each with its Chatter); the channel not used for longest goes first
)
PROFILES = 100_000

ROLES = ("mod", "vip", "sub", "follower")  # in the order in which they are stored
INVITED = "invited"  # to a temporary room: stored like a role, and shown to nobody
STAFF = ("staff", "admin")  # types of accounts that may moderate everywhere, and that nobody bans

DAY_MS = 86_400_000
RETURNING_DAYS = 30  # so long after the first message a chatter counts as a returning one


class Profile(NamedTuple):
    """One user, as stored. `version` changes with every change of it. `type`: "" or one of STAFF."""

    user_id: int
    login: str
    display_name: str
    color: str
    version: str
    type: str = ""


class Candidate(NamedTuple):
    """One submission on its way through the rules."""

    user_id: int
    login: str
    text: Text


class Modes(NamedTuple):
    """The room's modes (tmi_protocol section 11). `followers_only_min` -1: off; `slow_s` and
    `delay_s` 0: off."""

    emote_only: bool = False
    followers_only_min: int = -1
    unique_chat: bool = False
    slow_s: int = 0
    subs_only: bool = False
    delay_s: int = 0


class Roles(NamedTuple):
    """A user's roles in a channel, as stored. `followed_ms`: since when, UNIX ms; 0: does not follow, or not known."""

    names: frozenset[str] = frozenset()
    followed_ms: int = 0
    login: str = ""

    def stored(self) -> str:
        """What `read_roles` reads; "" for none."""
        held = [
            f"{name}={self.followed_ms}" if name == "follower" and self.followed_ms else name
            for name in (*ROLES, INVITED)
            if name in self.names
        ]
        return ",".join(held) + " " + self.login if held else ""


class Member:
    """One user in one channel. `chatter` is kept for the profile's version it was made of.

    `banned_until_ms` 0: for ever; None: not banned. `first_day`: UNIX time / DAY_MS of the first message here; None:
    there is none.
    """

    __slots__ = (
        "_chatter", "_made_of", "banned_until_ms", "broadcaster", "first_day", "followed_ms", "moderator", "privileged",
        "roles", "subscriber",
    )  # fmt: skip

    def __init__(
        self, banned_until_ms: int | None, roles: Roles, broadcaster: bool, first_day: int | None = None
    ) -> None:
        self.banned_until_ms = None if broadcaster else banned_until_ms
        self.roles = roles.names
        self.followed_ms = roles.followed_ms
        self.broadcaster = broadcaster
        self.moderator = broadcaster or "mod" in roles.names
        self.privileged = self.moderator or "vip" in roles.names
        self.subscriber = "sub" in roles.names
        self.first_day = first_day
        self._chatter: chat_pb2.Chatter | None = None
        self._made_of = ""

    def chatter(self, profile: Profile, channel: str) -> chat_pb2.Chatter:
        if self._chatter is None or self._made_of != profile.version:
            self._chatter = chatter(profile, self.roles, channel)
            self._made_of = profile.version
        return self._chatter


NOBODY = Member(None, Roles(), False)


class Facts(NamedTuple):
    """What is known about a submission's author and channel at the moment of the decision."""

    now_ms: int
    channel_exists: bool
    profile: Profile | None  # None: no such user, or not reached
    reached: bool  # False: the author's shard did not answer, and the profile is not known from before
    allowed: bool  # by the account's rate limit; True too when it could not be asked
    member: Member = NOBODY
    modes: Modes = Modes()
    vocabulary: Vocabulary = PLAIN


class Channel:
    """What is known of one channel at one version. A member that is missing here has not been read yet.

    `fields` are those of the room's hash; `room` and `modes` are made of them.
    """

    __slots__ = ("fields", "invite_only", "members", "modes", "name", "room", "version")

    def __init__(self, name: str, version: str, fields: dict[bytes, bytes]) -> None:
        self.name = name
        self.version = version
        self.members: dict[int, Member] = {}
        self.set_fields(fields)

    def copy(self, user_ids: Iterable[int]) -> Channel:
        """One's own to change, with these members."""
        made = Channel(self.name, self.version, self.fields)
        made.members = {user_id: self.members[user_id] for user_id in user_ids}
        return made

    def set_fields(self, fields: dict[bytes, bytes]) -> None:
        self.fields = fields
        self.invite_only = fields.get(b"invite_only") == b"1"  # of a temporary room
        self.modes = modes = read_modes(fields)
        self.room = chat_pb2.RoomState(
            room_id=int(fields.get(b"room_id", 0)),
            emote_only=modes.emote_only,
            followers_only_min=modes.followers_only_min,
            unique_chat=modes.unique_chat,
            slow_s=modes.slow_s,
            subs_only=modes.subs_only,
            delay_s=modes.delay_s,
        )


def chatter(profile: Profile, roles: Iterable[str], channel: str) -> chat_pb2.Chatter:
    """The user as readers of the channel see it ("" for no channel: global badges only).

    Badges stand in Twitch's order. The broadcaster is not a mod in the tags, and needs no role.
    """
    badges = []
    broadcaster = is_broadcaster(profile.login, channel)
    mod = "mod" in roles and not broadcaster
    vip = "vip" in roles and not broadcaster
    subscriber = "sub" in roles
    if profile.type:
        badges.append(f"{profile.type}/1")
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
        user_type=profile.type or ("mod" if mod else ""),
        mod=mod,
        subscriber=subscriber,
        vip=vip,
    )


def is_broadcaster(login: str, channel: str) -> bool:
    return channel == "#" + login and not is_room(channel)


def read_profile(fields: Sequence[bytes | None]) -> Profile | None:
    """From id, login, display_name, color, version, type as Redis has them; None when there is no such user."""
    user_id, login, display_name, color, version, kind = fields
    if not user_id or login is None or display_name is None or version is None:
        return None
    return Profile(
        int(user_id), login.decode(), display_name.decode(), (color or b"").decode(), version.decode(),
        (kind or b"").decode(),
    )  # fmt: skip


class ChannelFacts(NamedTuple):
    """What facts.lua answered: the channel with the members asked for, and the newest seq of its log (0: none)."""

    channel: Channel
    head: int


def read_channel(
    name: str, members: Sequence[tuple[int, str]], reply: Sequence[Any], known: Channel | None = None
) -> ChannelFacts:
    """`members`: user id and login in the order in which facts.lua was asked; `known`: the version it was told of.

    Without room_id in the room, it is 0.
    """
    version, head, room_fields, users = reply
    if known is not None and version.decode() == known.version:
        fields = known.fields
    else:
        fields = dict(zip(room_fields[::2], room_fields[1::2], strict=True))
    channel = Channel(name, version.decode(), fields)
    for i, (user_id, login) in enumerate(members):
        ban, roles, first_day = users[3 * i : 3 * i + 3]
        channel.members[user_id] = Member(
            read_ban(ban), read_roles(roles), is_broadcaster(login, name), int(first_day) if first_day else None
        )
    return ChannelFacts(channel, int(head))


def read_ban(stored: bytes) -> int | None:
    """Until when (see clue/keys.py)."""
    return int(stored.partition(b" ")[0]) if stored else None


def read_roles(stored: bytes) -> Roles:
    held, _, login = stored.decode().partition(" ")
    names = set()
    followed_ms = 0
    for part in held.split(",") if held else ():
        name, _, since = part.partition("=")
        names.add(name)
        if since:
            followed_ms = int(since)
    return Roles(frozenset(names), followed_ms, login)


def read_modes(fields: dict[bytes, bytes]) -> Modes:
    return Modes(
        emote_only=fields.get(b"emote_only") == b"1",
        followers_only_min=int(fields.get(b"followers_only_min", -1)),
        unique_chat=fields.get(b"unique_chat") == b"1",
        slow_s=int(fields.get(b"slow_s", 0)),
        subs_only=fields.get(b"subs_only") == b"1",
        delay_s=int(fields.get(b"delay_s", 0)),
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

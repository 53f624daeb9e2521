"""The Lua scripts, one function each: arguments in, the command to send out. What a script returns, its file says.

Commands are plain tuples for `Shard.call`. A server that does not know a script yet is told it by redis_shards.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple, Protocol

from clue import keys

Argument = str | bytes | int
Command = tuple[Argument, ...]

SOURCES: dict[str, str] = {}  # SHA1 -> source of all scripts

# Bounds of a channel's log (ARCHITECTURE 6)
LOG_ENTRIES = 1_000
LOG_TTL_S = 24 * 3600


def _load(name: str, *before: str) -> str:
    """`before`: files that are put in front."""
    folder = files("clue").joinpath("lua")
    source = "\n".join(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in (*before, name))
    digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
    SOURCES[digest] = source
    return digest


_COMMIT = _load("commit", "home")
_FACTS = _load("facts", "home")
_ALLOW = _load("allow")
_ENSURE_USER = _load("ensure_user")
_COPY_USER = _load("copy_user")
_TAKE_USER_IDS = _load("take_user_ids")
_DIRECTORY = _load("directory")
_REPLAY = _load("replay", "home")
_FIND = _load("find")
_SET_VOCABULARY = _load("set_vocabulary")
_PRESENCE = _load("presence", "home")
_MOVE = _load("move", "home")
_TAKE = _load("take", "home")
_STORE = _load("store", "home")
_CREATE_ROOM = _load("create_room", "home")
_EXPIRE_ROOM = _load("expire_room", "home")
_FORGET_ROOM = _load("forget_room")
_RAISE_LIMIT = _load("raise_limit")
_SHARE = _load("share", "home")
_SET_HOME = _load("set_home", "home")

_FIND_STEP = 100  # entries
_ID_FIELD = b"\x0a\x24"  # how a Publication begins: field 1, 36 bytes of id


class Named(Protocol):
    """A user."""

    @property
    def user_id(self) -> int: ...

    @property
    def login(self) -> str: ...


class Here(NamedTuple):
    """What home.lua is told of one channel: this cluster, and where the channel lives if its head does not say ("":
    here).
    """

    cluster: str
    assumed: str


HERE = Here("main", "")  # of a cluster alone, any name will do


def commit(channel: str, now_ms: int, groups: Sequence[Sequence[Argument]], here: Here = HERE) -> Command:
    """`groups`: for each its edge run, batch, version, number of items and the items' arguments, flat."""
    names = keys.of_channel(channel)
    command: list[Argument] = [
        "EVALSHA", _COMMIT, 11, names.head, names.log, names.batches, names.last, names.room, names.bans, names.roles,
        names.held, names.first, names.unique, names.dirty,
    ]  # fmt: skip
    command += (now_ms, LOG_ENTRIES, LOG_TTL_S, here.cluster, here.assumed, len(groups))
    for group in groups:
        command += group
    return tuple(command)


# Where commit.lua has the hashes that operations write to, among its KEYS.
COMMIT_KEYS = {"room": 5, "bans": 6, "roles": 7, "held": 8}


def facts(channel: str, user_ids: Iterable[int], known_version: str = "", here: Here = HERE) -> Command:
    """`known_version`: of the room that the caller has; the room is left out when it still is."""
    names = keys.of_channel(channel)
    return (
        "EVALSHA", _FACTS, 5, names.head, names.room, names.bans, names.roles, names.first,
        *here, known_version, *user_ids,
    )  # fmt: skip


def allow(
    login: str, version: str, letters: str, ordinary: int, privileged: int, window_ms: int, lockout_ms: int = 0,
    *, counter: str = "",
) -> Command:  # fmt: skip
    """`counter`: the key that counts, when it is not messages that are limited."""
    return (
        "EVALSHA", _ALLOW, 3, keys.user(login), counter or keys.limits(login), keys.lockout(login),
        version, letters, ordinary, privileged, window_ms, lockout_ms,
    )  # fmt: skip


def ensure_user(
    login: str, new_id: int | str, display_name: str, now_ms: int, *, token_field: str = "",
    changes: Mapping[str, str] | None = None,
) -> Command:  # fmt: skip
    """`new_id` "": not created. `changes`: values to set, by field."""
    command: list[Argument] = [
        "EVALSHA", _ENSURE_USER, 1, keys.user(login),
        new_id, login, display_name, token_field, now_ms,
    ]  # fmt: skip
    for field, value in (changes or {}).items():
        command += (field, value)
    return tuple(command)


def copy_user(login: str, flat: Sequence[bytes], *, authority: bool) -> Command:
    """`flat`: fields and values of the account on the other side, which may be the authority."""
    stored = dict(zip(flat[::2], flat[1::2], strict=True))
    return (
        "EVALSHA", _COPY_USER, 1, keys.user(login),
        "1" if authority else "", stored[b"id"], stored[b"version"], *flat,
    )  # fmt: skip


def take_user_ids(count: int) -> Command:
    return ("EVALSHA", _TAKE_USER_IDS, 1, keys.USER_IDS, count)


def directory(ttl_ms: int, *action: Argument) -> Command:
    """`action`: "read", or "leave", field, run, or "register", field, run, registration."""
    return ("EVALSHA", _DIRECTORY, 2, keys.DIRECTORY, keys.ORDERS, ttl_ms, *action)


def share(cluster: str, entry: bytes, known_version: int) -> Command:
    return ("EVALSHA", _SHARE, 3, keys.CLUSTERS, keys.HOMES, keys.HOMES_VERSION, cluster, entry, known_version)


def set_home(channel: str, home: str, move: str, *, by_name: bool) -> Command:
    """`by_name`: it lives where its name says."""
    return ("EVALSHA", _SET_HOME, 2, keys.HOMES, keys.HOMES_VERSION, channel, home, move, "1" if by_name else "")


def move(channel: str, step: str, token: str, here: Here, to: str = "", freeze_ms: int = 0) -> Command:
    """`step`: begin, freeze, switch, abort or settle."""
    names = keys.of_channel(channel)
    others = [name for name in names if name not in (names.head, names.log, names.dirty, names.taken)]
    command: list[Argument] = ["EVALSHA", _MOVE, 5 + len(others), names.head, names.log, names.dirty, names.taken]
    command += (*others, keys.edges_of(channel), *here, step, token, to, freeze_ms, LOG_TTL_S)
    return tuple(command)


def take(channel: str, token: str, number: int, here: Here) -> Command:
    names = keys.of_channel(channel)
    return ("EVALSHA", _TAKE, 4, names.head, names.log, names.dirty, names.taken, *here, token, number)


class Stored(NamedTuple):
    """A piece of a page, for store.lua."""

    key: str
    kind: str
    ttl_ms: int
    fields: Sequence[bytes]
    removed: Sequence[bytes]


def store(
    channel: str, token: str, origin: str, here: Here, pieces: Sequence[Stored], *, first: bool, number: int
) -> Command:
    names = keys.of_channel(channel)
    others = names[1:]
    command: list[Argument] = [
        "EVALSHA", _STORE, 3 + len(others) + len(pieces),
        names.head, keys.edges_of(channel), keys.chatters_of(channel), *others,
    ]  # fmt: skip
    command += (piece.key for piece in pieces)
    command += (*here, token, origin, "1" if first else "", number, len(others))
    for piece in pieces:
        command += (piece.kind, piece.ttl_ms, len(piece.fields), *piece.fields, len(piece.removed), *piece.removed)
    return tuple(command)


def raise_limit(login: str, used: int, left_ms: int, lockout_ms: int) -> Command:
    return ("EVALSHA", _RAISE_LIMIT, 2, keys.limits(login), keys.lockout(login), used, left_ms, lockout_ms)


def replay(channel: str, start: str, end: str, count: int, here: Here = HERE) -> Command:
    """`start` and `end` as XRANGE takes them."""
    names = keys.of_channel(channel)
    return ("EVALSHA", _REPLAY, 2, names.log, names.head, *here, start, end, count)


def find(channel: str, message_id: str) -> Command:
    """`message_id`: a UUID."""
    return ("EVALSHA", _FIND, 1, keys.of_channel(channel).log, message_id, _ID_FIELD + message_id.encode(), _FIND_STEP)


def set_vocabulary(terms: bytes, emotes: bytes, new_terms: str, new_emotes: str) -> Command:
    return ("EVALSHA", _SET_VOCABULARY, 1, keys.VOCABULARY, terms, emotes, new_terms, new_emotes)


def presence(
    channel: str, edge_run: int, ttl_ms: int, what: str, bound: int,
    joined: Collection[str], left: Collection[str], ranked: Collection[str], here: Here = HERE,
) -> Command:  # fmt: skip
    """`what`: "full", "change" or "" (no report); `bound`: of the list, 0: none is wanted."""
    names = keys.of_channel(channel)
    return (
        "EVALSHA", _PRESENCE, 4, keys.edges_of(channel), keys.chatters_of(channel), names.head, names.dirty,
        edge_run, ttl_ms, what, bound, *here, len(joined), len(left), len(ranked), *joined, *left, *ranked,
    )  # fmt: skip


def create_room(
    channel: str, owner: Named, invited: Iterable[Named], invite_only: bool, here: Here
) -> Command:
    names = keys.of_channel(channel)
    command: list[Argument] = ["EVALSHA", _CREATE_ROOM, 3, names.head, names.room, names.roles, *here]
    command += (owner.login, owner.user_id, "1" if invite_only else "")
    for user in invited:
        command += (user.login, user.user_id)
    return tuple(command)


def expire_room(channel: str, empty_ms: int, here: Here) -> Command:
    names = keys.of_channel(channel)
    others = [name for name in names if name not in (names.head, names.room)]
    command: list[Argument] = ["EVALSHA", _EXPIRE_ROOM, 4 + len(others), names.head, names.room]
    command += (keys.edges_of(channel), keys.chatters_of(channel), *others, *here, empty_ms)
    return tuple(command)


def forget_room(channel: str, made: bytes) -> Command:
    """`made`: as it was read."""
    return ("EVALSHA", _FORGET_ROOM, 1, keys.ROOMS, channel, made)

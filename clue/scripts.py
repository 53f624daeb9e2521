"""The Lua scripts, one function each: arguments in, the command to send out. What a script returns, its file says.

Commands are plain tuples for `Shard.call`. A server that does not know a script yet is told it by redis_shards.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha1
from importlib.resources import files

from clue import keys

Argument = str | bytes | int
Command = tuple[Argument, ...]

SOURCES: dict[str, str] = {}  # SHA1 -> source of all scripts

# Bounds of a channel's log (ARCHITECTURE 6)
LOG_ENTRIES = 1_000
LOG_TTL_S = 24 * 3600


def _load(name: str) -> str:
    source = files("clue").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
    digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
    SOURCES[digest] = source
    return digest


_COMMIT = _load("commit")
_FACTS = _load("facts")
_ALLOW = _load("allow")
_ENSURE_USER = _load("ensure_user")
_TAKE_USER_IDS = _load("take_user_ids")
_DIRECTORY = _load("directory")
_REPLAY = _load("replay")
_FIND = _load("find")
_SET_VOCABULARY = _load("set_vocabulary")
_PRESENCE = _load("presence")

_FIND_STEP = 100  # entries
_ID_FIELD = b"\x0a\x24"  # how a Publication begins: field 1, 36 bytes of id


def commit(channel: str, now_ms: int, groups: Sequence[Sequence[Argument]]) -> Command:
    """`groups`: for each its edge run, batch, version, number of items and the items' arguments, flat."""
    names = keys.of_channel(channel)
    command: list[Argument] = [
        "EVALSHA", _COMMIT, 10, names.head, names.log, names.batches, names.last, names.room, names.bans, names.roles,
        names.held, names.first, names.unique,
    ]  # fmt: skip
    command += (now_ms, LOG_ENTRIES, LOG_TTL_S, len(groups))
    for group in groups:
        command += group
    return tuple(command)


# Where commit.lua has the hashes that operations write to, among its KEYS.
COMMIT_KEYS = {"room": 5, "bans": 6, "roles": 7, "held": 8}


def facts(channel: str, user_ids: Iterable[int], known_version: str = "") -> Command:
    """`known_version`: of the room that the caller has; the room is left out when it still is."""
    names = keys.of_channel(channel)
    return (
        "EVALSHA", _FACTS, 5, names.head, names.room, names.bans, names.roles, names.first,
        known_version, *user_ids,
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


def take_user_ids(count: int) -> Command:
    return ("EVALSHA", _TAKE_USER_IDS, 1, keys.USER_IDS, count)


def directory(ttl_ms: int, *action: Argument) -> Command:
    """`action`: "read", or "leave", field, run, or "register", field, run, registration."""
    return ("EVALSHA", _DIRECTORY, 1, keys.DIRECTORY, ttl_ms, *action)


def replay(channel: str, start: str, end: str, count: int) -> Command:
    """`start` and `end` as XRANGE takes them."""
    return ("EVALSHA", _REPLAY, 1, keys.of_channel(channel).log, start, end, count)


def find(channel: str, message_id: str) -> Command:
    """`message_id`: a UUID."""
    return ("EVALSHA", _FIND, 1, keys.of_channel(channel).log, message_id, _ID_FIELD + message_id.encode(), _FIND_STEP)


def set_vocabulary(terms: bytes, emotes: bytes, new_terms: str, new_emotes: str) -> Command:
    return ("EVALSHA", _SET_VOCABULARY, 1, keys.VOCABULARY, terms, emotes, new_terms, new_emotes)


def presence(
    channel: str, edge_run: int, ttl_ms: int, what: str, bound: int,
    joined: Collection[str], left: Collection[str], ranked: Collection[str],
) -> Command:  # fmt: skip
    """`what`: "full", "change" or "" (no report); `bound`: of the list, 0: none is wanted."""
    return (
        "EVALSHA", _PRESENCE, 2, keys.edges_of(channel), keys.chatters_of(channel),
        edge_run, ttl_ms, what, bound, len(joined), len(left), len(ranked), *joined, *left, *ranked,
    )  # fmt: skip

"""The Lua scripts, one function each: arguments in, the command to send out. What a script returns, its file says.

Commands are plain tuples for `Shard.call`. A server that does not know a script yet is told it by redis_shards.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
_CHANGE = _load("change")
_FACTS = _load("facts")
_ALLOW = _load("allow")
_ENSURE_USER = _load("ensure_user")
_TAKE_USER_IDS = _load("take_user_ids")
_DIRECTORY = _load("directory")
_REPLAY = _load("replay")


def commit(channel: str, now_ms: int, groups: Sequence[Sequence[Argument]]) -> Command:
    """`groups`: for each its edge run, batch, version, number of items and the items' arguments, flat."""
    names = keys.of_channel(channel)
    command: list[Argument] = ["EVALSHA", _COMMIT, 4, names.head, names.log, names.batches, names.last]
    command += (now_ms, LOG_ENTRIES, LOG_TTL_S, len(groups))
    for group in groups:
        command += group
    return tuple(command)


def change(channel: str, version: str, state_key: str, field: str, value: str, publication: bytes) -> Command:
    """`state_key` is one of the channel's hashes; an empty `value` deletes the field."""
    names = keys.of_channel(channel)
    return (
        "EVALSHA", _CHANGE, 3, names.head, names.log, state_key,
        version, field, value, publication, LOG_ENTRIES, LOG_TTL_S,
    )  # fmt: skip


def facts(channel: str, user_ids: Iterable[int]) -> Command:
    names = keys.of_channel(channel)
    return ("EVALSHA", _FACTS, 4, names.head, names.room, names.bans, names.roles, *user_ids)


def allow(login: str, version: str, letters: str, ordinary: int, privileged: int, window_ms: int) -> Command:
    return (
        "EVALSHA", _ALLOW, 2, keys.user(login), keys.limits(login),
        version, letters, ordinary, privileged, window_ms,
    )  # fmt: skip


def ensure_user(
    login: str, new_id: int, display_name: str, now_ms: int, *, rename: str = "", token_field: str = ""
) -> Command:
    return (
        "EVALSHA", _ENSURE_USER, 1, keys.user(login),
        new_id, login, display_name, rename, token_field, now_ms,
    )  # fmt: skip


def take_user_ids(count: int) -> Command:
    return ("EVALSHA", _TAKE_USER_IDS, 1, keys.USER_IDS, count)


def directory(ttl_ms: int, *action: Argument) -> Command:
    """`action`: "read", or "leave", field, run, or "register", field, run, registration."""
    return ("EVALSHA", _DIRECTORY, 1, keys.DIRECTORY, ttl_ms, *action)


def replay(channel: str, start: str, end: str, count: int) -> Command:
    """`start` and `end` as XRANGE takes them."""
    return ("EVALSHA", _REPLAY, 1, keys.of_channel(channel).log, start, end, count)

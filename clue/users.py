"""Accounts: who a login is, what proves it, and where ids come from.

In open mode a login is created at first sight and any token will do. In token mode one of the account's tokens is
needed; an account that exists only because its channel was visited has none, so nobody can log in as it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from clue import keys, scripts
from clue.facts import Profile, ProfileCache, chatter, read_profile
from clue.redis_shards import Shard, Shards
from common import names
from common.clock import Clock
from common.errors import RemoteError
from common.metrics import Metrics
from common.pb import clue_pb2

ID_BLOCK = 1_000  # ids a clue takes at a time; what is left of a block when it stops is never used

_PROFILE_FIELDS = ("id", "login", "display_name", "color", "version", "type")


def token_field(token: str) -> str:
    """Where a token stands in the user's hash. Only its hash is kept; case does not count (tmi.js lowers it)."""
    return "token:" + sha256(token.lower().encode()).hexdigest()


class UserIds:
    """Ids not used yet, taken from Redis a block at a time. Callers that meet an empty block share one request."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._next = 0
        self._end = 0
        self._lock = asyncio.Lock()

    async def take(self, count: int) -> list[int]:
        """`count` ids. Raises RemoteError when the block is used up and no other is to be had."""
        async with self._lock:
            taken: list[int] = []
            while len(taken) < count:
                if self._next == self._end:
                    block = max(ID_BLOCK, count - len(taken))
                    first = int(await self._shards.at(keys.USER_IDS).call_one(scripts.take_user_ids(block)))
                    self._next, self._end = first, first + block
                end = min(self._end, self._next + count - len(taken))
                taken += range(self._next, end)
                self._next = end
            return taken


class Users:
    """Everything about accounts that clue does in Redis."""

    def __init__(self, shards: Shards, clock: Clock, metrics: Metrics, *, open_mode: bool) -> None:
        self.profiles = ProfileCache()
        self._shards = shards
        self._clock = clock
        self._metrics = metrics
        self._open = open_mode
        self._ids = UserIds(shards)

    async def authenticate(self, logins: Sequence[clue_pb2.Login]) -> list[clue_pb2.LoginResult]:
        """One result for each, in order. A shard that does not answer makes its logins UNAVAILABLE.

        At most three round trips however many log in: read all, take ids, create the new ones.
        """
        self._metrics.count("logins", len(logins))
        named = [(account(login.nick), login) for login in logins]
        known = await self._together(
            {
                name: ("HMGET", keys.user(name), *_PROFILE_FIELDS, *(token_field(t) for t in tokens))
                for name, tokens in _tokens(named).items()
            }
        )
        width = len(_PROFILE_FIELDS)
        profiles = {
            name: reply if isinstance(reply, RemoteError) else self._keep(name, read_profile(reply[:width]))
            for name, reply in known.items()
        }
        if self._open:
            shown = {name: login.nick for name, login in reversed(named) if name and profiles[name] is None}
            profiles.update(await self._create_all(shown))
        proven = {
            (name, token)
            for name, tokens in _tokens(named).items()
            if not isinstance(known[name], RemoteError)
            for token, held in zip(tokens, known[name][width:], strict=True)
            if self._open or held is not None
        }
        results = [
            clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.INVALID_NICK)
            if name is None
            else _login_result(profiles[name], proven=(name, login.token) in proven)
            for name, login in named
        ]
        for result in results:
            self._metrics.count("logins." + clue_pb2.LoginResult.Outcome.Name(result.outcome).lower())
        return results

    async def find(self, logins: Sequence[str]) -> dict[str, Profile | RemoteError | None]:
        """Profiles as they are now; None: no such user; RemoteError: its shard did not answer."""
        replies = await self._together({login: ("HMGET", keys.user(login), *_PROFILE_FIELDS) for login in logins})
        return {
            login: reply if isinstance(reply, RemoteError) else self._keep(login, read_profile(reply))
            for login, reply in replies.items()
        }

    async def ensure(self, login: str, *, display_name: str = "") -> Profile:
        """The account of `login`, created without a token when there is none. Raises RemoteError."""
        found = (await self.find((login,)))[login]
        if isinstance(found, RemoteError):
            raise found
        if found is None:
            found = (await self._create_all({login: display_name or login}))[login]
        if isinstance(found, RemoteError):
            raise found
        return found

    async def add(self, typed: str, login: str, token: str, changes: Mapping[str, str]) -> Profile:
        """Create the account if need be (shown as typed), add a token ("": none), and set `changes`: fields of the
        profile (display_name, color, type).

        Raises RemoteError.
        """
        command = scripts.ensure_user(
            login,
            (await self._ids.take(1))[0],
            changes.get("display_name", typed),
            self._clock.unix_ms(),
            token_field=token_field(token) if token else "",
            changes=changes,
        )
        return self._created(login, await self._shards.at(keys.user(login)).call_one(command))

    async def change(self, login: str, changes: Mapping[str, str]) -> None:
        """Set fields of the profile of an account, if there is one. Raises RemoteError."""
        command = scripts.ensure_user(login, "", "", self._clock.unix_ms(), changes=changes)
        self._keep(login, read_profile(await self._shards.at(keys.user(login)).call_one(command)))

    async def _create_all(self, shown: Mapping[str, str]) -> dict[str, Profile | RemoteError]:
        """Create the accounts of these logins (login to display name) unless somebody was quicker."""
        if not shown:
            return {}
        try:
            ids = await self._ids.take(len(shown))
        except RemoteError as error:
            return dict.fromkeys(shown, error)
        now_ms = self._clock.unix_ms()
        replies = await self._together(
            {
                login: scripts.ensure_user(login, new_id, display_name, now_ms)
                for (login, display_name), new_id in zip(shown.items(), ids, strict=True)
            }
        )
        return {
            login: reply if isinstance(reply, RemoteError) else self._created(login, reply)
            for login, reply in replies.items()
        }

    async def _together(self, commands: Mapping[str, scripts.Command]) -> dict[str, Any]:
        """Send each login's command to its shard, one call a shard; replies by login, a RemoteError where none came."""
        by_shard: dict[Shard, list[str]] = {}
        for login in commands:
            by_shard.setdefault(self._shards.at(keys.user(login)), []).append(login)
        asked = [(logins, shard.call([commands[login] for login in logins])) for shard, logins in by_shard.items()]
        replies: dict[str, Any] = {}
        for logins, future in asked:
            try:
                replies.update(zip(logins, await future, strict=True))
            except RemoteError as error:
                replies.update(dict.fromkeys(logins, error))
        return replies

    def _created(self, login: str, reply: Sequence[bytes | None]) -> Profile:
        profile = self._keep(login, read_profile(reply))
        assert profile is not None, f"{login}: ensure_user.lua made no user"
        return profile

    def _keep(self, login: str, profile: Profile | None) -> Profile | None:
        if profile is None:
            self.profiles.drop(login)
        else:
            self.profiles.put(profile)
        return profile


def _tokens(named: Sequence[tuple[str | None, clue_pb2.Login]]) -> dict[str, list[str]]:
    """The tokens that are tried for each login, each once (the connections of one bot come together)."""
    tokens: dict[str, list[str]] = {}
    for name, login in named:
        if name is not None and login.token not in tokens.setdefault(name, []):
            tokens[name].append(login.token)
    return tokens


def _login_result(profile: Profile | RemoteError | None, *, proven: bool) -> clue_pb2.LoginResult:
    if isinstance(profile, RemoteError):
        return clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.UNAVAILABLE)
    if profile is None or not proven:
        return clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.REFUSED)
    return clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.ACCEPTED, user=chatter(profile, (), ""))


def account(nick: str) -> str | None:
    """The login of an account; None: no account can have that nick."""
    login = names.fold_login(nick)
    return None if login is None or names.is_anonymous(login) else login


def channel_owner(channel: str) -> str | None:
    """The login whose channel this is; None: no channel can have that name (it must be folded)."""
    if names.fold_channel(channel) != channel:
        return None
    return account(channel[1:])

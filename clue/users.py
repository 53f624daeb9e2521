"""Accounts: who a login is, what proves it, and where ids come from.

In open mode a login is created at first sight and any token will do. In token mode one of the account's tokens is
needed; an account that exists only because its channel was visited has none, so nobody can log in as it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256

from clue import keys, scripts
from clue.facts import Profile, ProfileCache, chatter, read_profile
from clue.redis_shards import Shards
from common import names
from common.clock import Clock
from common.errors import RemoteError
from common.metrics import Metrics
from common.pb import clue_pb2

ID_BLOCK = 1_000  # ids a clue takes at a time; what is left of a block when it stops is never used

_PROFILE_FIELDS = ("id", "login", "display_name", "color", "version")


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

    async def take(self) -> int:
        """Raises RemoteError when the block is used up and no other is to be had."""
        async with self._lock:
            if self._next == self._end:
                first = await self._shards.at(keys.USER_IDS).call_one(scripts.take_user_ids(ID_BLOCK))
                self._next, self._end = int(first), int(first) + ID_BLOCK
            self._next += 1
            return self._next - 1


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
        """One result for each, in order. A shard that does not answer makes its logins UNAVAILABLE."""
        self._metrics.count("logins", len(logins))
        folded = [account(login.nick) for login in logins]
        asked = [
            None
            if name is None
            else self._shards.at(keys.user(name)).call(
                (("HMGET", keys.user(name), *_PROFILE_FIELDS, token_field(login.token)),)
            )
            for name, login in zip(folded, logins, strict=True)
        ]
        results = []
        for name, login, future in zip(folded, logins, asked, strict=True):
            if name is None or future is None:
                results.append(clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.INVALID_NICK))
                continue
            try:
                results.append(await self._login(name, login, (await future)[0]))
            except RemoteError:
                results.append(clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.UNAVAILABLE))
        for result in results:
            self._metrics.count("logins." + clue_pb2.LoginResult.Outcome.Name(result.outcome).lower())
        return results

    async def find(self, logins: Sequence[str]) -> dict[str, Profile | RemoteError | None]:
        """Profiles as they are now; None: no such user; RemoteError: its shard did not answer."""
        asked = {
            login: self._shards.at(keys.user(login)).call((("HMGET", keys.user(login), *_PROFILE_FIELDS),))
            for login in logins
        }
        found: dict[str, Profile | RemoteError | None] = {}
        for login, future in asked.items():
            try:
                reply = (await future)[0]
            except RemoteError as error:
                reply = error
            found[login] = reply if isinstance(reply, RemoteError) else self._keep(login, read_profile(reply))
        return found

    async def ensure(self, login: str, *, display_name: str = "") -> Profile:
        """The account of `login`, created without a token when there is none. Raises RemoteError."""
        found = (await self.find((login,)))[login]
        if isinstance(found, RemoteError):
            raise found
        return found or await self._create(login, display_name or login)

    async def add(self, typed: str, login: str, token: str, display_name: str) -> Profile:
        """Create the account if need be (shown as typed), add a token, and rename it when `display_name` is set.

        Raises RemoteError.
        """
        command = scripts.ensure_user(
            login,
            await self._ids.take(),
            display_name or typed,
            self._clock.unix_ms(),
            rename=display_name,
            token_field=token_field(token),
        )
        return self._created(login, await self._shards.at(keys.user(login)).call_one(command))

    async def _login(
        self, name: str, login: clue_pb2.Login, reply: Sequence[bytes | None] | RemoteError
    ) -> clue_pb2.LoginResult:
        if isinstance(reply, RemoteError):
            raise reply
        profile = self._keep(name, read_profile(reply[:-1]))
        if self._open:
            profile = profile or await self._create(name, login.nick)
        elif profile is None or reply[-1] is None:
            return clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.REFUSED)
        return clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.ACCEPTED, user=chatter(profile, (), ""))

    async def _create(self, login: str, display_name: str) -> Profile:
        command = scripts.ensure_user(login, await self._ids.take(), display_name, self._clock.unix_ms())
        return self._created(login, await self._shards.at(keys.user(login)).call_one(command))

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


def account(nick: str) -> str | None:
    """The login of an account; None: no account can have that nick."""
    login = names.fold_login(nick)
    return None if login is None or names.is_anonymous(login) else login


def channel_owner(channel: str) -> str | None:
    """The login whose channel this is; None: no channel can have that name (it must be folded)."""
    if names.fold_channel(channel) != channel:
        return None
    return account(channel[1:])

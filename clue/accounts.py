"""Accounts of clusters that share a directory: the directory's Redis is the authority, and each cluster has copies.

What is not here is brought from there; what is here counts, and is compared again behind the request, now and then. The
newer of both sides wins, so what could only be done here while the directory was gone arrives there later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clue import keys, scripts
from clue.facts import Profile, read_profile
from clue.redis_shards import Shard, Shards
from common.errors import RemoteError
from common.metrics import Metrics

COMPARED_S = 60.0  # so long a copy counts without a look at the directory
_BATCH = 200
_KNOWN = 200_000  # logins whose last look is remembered
_PAUSE_S = 0.5  # after a failure

Found = Profile | RemoteError | None


class NotBrought(RemoteError):
    """The directory did not answer; what is not here cannot be known."""


class SharedAccounts:
    """`run` compares copies behind the requests."""

    def __init__(self, directory: Shards, shards: Shards, metrics: Metrics) -> None:
        self.directory = directory
        self._shards = shards
        self._metrics = metrics
        self._compared: dict[str, float] = {}
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()

    async def bring(self, logins: Sequence[str]) -> dict[str, Found]:
        """Copy these accounts here; None: there is no such account. Two round trips at most."""
        if not logins:
            return {}
        found: dict[str, Found] = {}
        copies: dict[str, scripts.Command] = {}
        try:
            replies = await self._ask([("HGETALL", keys.user(login)) for login in logins])
        except RemoteError as error:
            self._metrics.count("accounts.not_brought", len(logins))
            return dict.fromkeys(logins, error)
        now = time.monotonic()
        for login, flat in zip(logins, replies, strict=True):
            found[login] = None
            if flat:
                copies[login] = scripts.copy_user(login, flat, authority=True)
                self._compared[login] = now
        found.update(await _copied(self._shards, copies))
        self._metrics.count("accounts.brought", len(copies))
        return found

    async def tell(self, commands: Mapping[str, scripts.Command]) -> dict[str, Found]:
        """Carry out commands on accounts at the directory, by login, then copy the accounts here."""
        if not commands:
            return {}
        try:
            await self._ask(list(commands.values()))
        except RemoteError as error:
            return dict.fromkeys(commands, error)
        return await self.bring(list(commands))

    async def ask(self, command: scripts.Command) -> Any:
        """Of the directory. Raises NotBrought."""
        return (await self._ask((command,)))[0]

    def seen(self, logins: Iterable[str]) -> None:
        """They are active here: look whether their copies still are what the directory has, if that was long ago."""
        since = time.monotonic() - COMPARED_S
        compared = self._compared
        for login in logins:
            if compared.get(login, float("-inf")) < since:
                self._waiting[login] = None
                self._wake.set()

    def changed(self, login: str) -> None:
        """It was changed here alone: the directory is to be told."""
        self._compared.pop(login, None)
        self.seen((login,))

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            logins = list(self._waiting)[:_BATCH]
            try:
                await self.compare(logins)
            except RemoteError:
                await asyncio.sleep(_PAUSE_S)  # the shard counts and logs it
                continue
            now = time.monotonic()
            for login in logins:
                self._waiting.pop(login, None)
                self._compared.pop(login, None)
                self._compared[login] = now
            while len(self._compared) > _KNOWN:
                del self._compared[next(iter(self._compared))]
            if not self._waiting:
                self._wake.clear()

    async def compare(self, logins: Sequence[str]) -> None:
        """Make both sides the same. Raises RemoteError."""
        asked = [("HMGET", keys.user(login), "id", "version") for login in logins]
        there = await self._ask(asked)
        here = await together(self._shards, dict(zip(logins, asked, strict=True)))
        older = []
        for login, theirs in zip(logins, there, strict=True):
            ours = here[login]
            if isinstance(ours, RemoteError):
                raise ours
            if ours == theirs:
                continue
            if theirs[0] is None or (theirs[0] == ours[0] and int(ours[1]) > int(theirs[1])):
                await self.push(login)
            else:
                older.append(login)
        await self.bring(older)

    async def push(self, login: str) -> None:
        """Tell the directory of an account that was made or changed here alone. Raises RemoteError."""
        key = keys.user(login)
        flat = await self._shards.at(key).call_one(("HGETALL", key))
        if flat:
            stored = dict(zip(flat[::2], flat[1::2], strict=True))
            user_id = int(stored[b"id"])
            listed = ("HSETNX", keys.logins(user_id), user_id, login)
            owners = [
                ("SETNX", keys.owner(field.decode().removeprefix("token:")), login)
                for field in stored
                if field.startswith(b"token:")
            ]
            await self._ask([scripts.copy_user(login, flat, authority=False), listed, *owners])
            self._metrics.count("accounts.pushed")

    async def _ask(self, commands: Sequence[scripts.Command]) -> list[Any]:
        shard = self.directory.at(keys.USER_IDS)
        try:
            replies = await shard.call(commands)
        except RemoteError as error:
            raise NotBrought(error.remote, error.operation, error.cause) from error
        for reply in replies:
            if isinstance(reply, RemoteError):
                raise NotBrought(reply.remote, reply.operation, reply.cause)
        return replies


async def together(shards: Shards, commands: Mapping[str, scripts.Command]) -> dict[str, Any]:
    """Send each login's command to its shard, one call a shard; replies by login, a RemoteError where none came."""
    by_shard: dict[Shard, list[str]] = {}
    for login in commands:
        by_shard.setdefault(shards.at(keys.user(login)), []).append(login)
    asked = [(logins, shard.call([commands[login] for login in logins])) for shard, logins in by_shard.items()]
    replies: dict[str, Any] = {}
    for logins, future in asked:
        try:
            replies.update(zip(logins, await future, strict=True))
        except RemoteError as error:
            replies.update(dict.fromkeys(logins, error))
    return replies


async def _copied(shards: Shards, copies: Mapping[str, scripts.Command]) -> dict[str, Found]:
    return {
        login: reply if isinstance(reply, RemoteError) else read_profile(reply)
        for login, reply in (await together(shards, copies)).items()
    }

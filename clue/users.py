"""Accounts: who a login is, what proves it, and where ids come from.

In open mode a login is created at first sight and any token will do. In token mode one of the account's tokens is
needed; an account that exists only because its channel was visited has none, so nobody can log in as it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeAlias

from clue import keys, scripts
from clue.accounts import SharedAccounts, together
from clue.facts import Profile, ProfileCache, chatter, read_profile
from clue.limiter import JOINS_WINDOW_MS, Limits
from clue.redis_shards import Shards
from common import names
from common.clock import Clock
from common.errors import RemoteError
from common.metrics import Metrics
from common.pb import clue_pb2

# Who asks to join, and whether each attempt is within the limit (no answers: it could not be asked).
Joining: TypeAlias = tuple[Profile | RemoteError | None, Iterator[bool]]

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

    def __init__(
        self, shards: Shards, clock: Clock, metrics: Metrics, *, open_mode: bool, shared: SharedAccounts | None = None
    ) -> None:
        """`shared`: where accounts are made and changed when clusters share a directory."""
        self.profiles = ProfileCache()
        self._shards = shards
        self._clock = clock
        self._metrics = metrics
        self._open = open_mode
        self._shared = shared
        self._ids = UserIds(shards if shared is None else shared.directory)

    async def authenticate(self, logins: Sequence[clue_pb2.Login]) -> list[clue_pb2.LoginResult]:
        """One result for each, in order. A shard that does not answer makes its logins UNAVAILABLE.

        At most four round trips however many log in: read all, take ids, create the new ones, list their ids.
        """
        self._metrics.count("logins", len(logins))
        named = [(account(login.nick), login) for login in logins]
        tried = _tokens(named)
        asked: dict[str, scripts.Command] = {
            name: ("HMGET", keys.user(name), *_PROFILE_FIELDS, *(token_field(t) for t in tokens))
            for name, tokens in tried.items()
        }
        known = await self._together(asked)
        width = len(_PROFILE_FIELDS)
        undecided = await self._bring_logins(asked, known) if self._shared is not None else ()
        profiles = {
            name: reply if isinstance(reply, RemoteError) else self._keep(name, read_profile(reply[:width]))
            for name, reply in known.items()
        }
        if self._open:
            shown = {name: login.nick for name, login in reversed(named) if name and profiles[name] is None}
            profiles.update(await self._create_all(shown))
        proven = {
            (name, token)
            for name, tokens in tried.items()
            if not isinstance(known[name], RemoteError)
            for token, held in zip(tokens, known[name][width:], strict=True)
            if self._open or held is not None
        }
        results = [
            clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.INVALID_NICK)
            if name is None
            else _login_result(
                profiles[name], proven=(name, login.token) in proven, undecided=name in undecided
            )
            for name, login in named
        ]
        for result in results:
            self._metrics.count("logins." + clue_pb2.LoginResult.Outcome.Name(result.outcome).lower())
        return results

    async def find(self, logins: Sequence[str]) -> dict[str, Profile | RemoteError | None]:
        """Profiles as they are now; None: no such user; RemoteError: its shard did not answer (NotBrought: the shared
        directory did not, and the user is not known here).
        """
        replies = await self._together({login: ("HMGET", keys.user(login), *_PROFILE_FIELDS) for login in logins})
        found = {
            login: reply if isinstance(reply, RemoteError) else self._keep(login, read_profile(reply))
            for login, reply in replies.items()
        }
        found.update(await self._brought(login for login, profile in found.items() if profile is None))
        self.seen(found)
        return found

    async def guests(self, user_ids: Mapping[str, int]) -> dict[str, Profile | None]:
        """Of authors (login to id) who were not here before; None: there is no such user.

        While the directory does not answer, an edge's word counts, and they are shown plainly.
        """
        if self._shared is None:
            return {}
        return {
            login: plain(user_ids[login], login) if isinstance(found, RemoteError) else found
            for login, found in (await self.find(list(user_ids))).items()
        }

    def seen(self, logins: Iterable[str]) -> None:
        """They are active here, and known."""
        if self._shared is not None:
            self._shared.seen(logins)

    async def join(self, attempts: Mapping[str, int], limits: Limits) -> dict[str, Joining]:
        """Take these users' attempts to join from their limits, and find their profiles: one call a user."""
        commands = {}
        for login, count in attempts.items():
            known = self.profiles.get(login)
            letter = "p" if known is not None and known.type else "o"
            commands[login] = scripts.allow(
                login, known.version if known else "", letter * count, limits.joins, limits.verified_joins,
                JOINS_WINDOW_MS, counter=keys.joins(login),
            )  # fmt: skip
        found: dict[str, Joining] = {}
        for login, reply in (await self._together(commands)).items():
            if isinstance(reply, RemoteError):
                found[login] = reply, iter(())
                continue
            if len(reply) > 1:
                self._keep(login, read_profile(reply[1:]))
            found[login] = self.profiles.get(login), iter([answer == ord("1") for answer in reply[0]])
        missing = [login for login, (profile, _) in found.items() if profile is None]
        for login, brought in (await self._brought(missing)).items():
            found[login] = brought, found[login][1]
        self.seen(found)
        return found

    async def find_ids(self, user_ids: Iterable[int]) -> dict[int, Profile | RemoteError | None]:
        """Likewise by id."""
        by_key: dict[str, list[int]] = {}
        for user_id in dict.fromkeys(user_ids):
            by_key.setdefault(keys.logins(user_id), []).append(user_id)
        asked = [(ids, self._shards.at(key).call_one(("HMGET", key, *ids))) for key, ids in by_key.items()]
        replies = await asyncio.gather(*(call for _, call in asked), return_exceptions=True)
        found: dict[int, Profile | RemoteError | None] = {}
        logins: dict[int, str] = {}
        for (ids, _), reply in zip(asked, replies, strict=True):
            if isinstance(reply, RemoteError):
                found.update(dict.fromkeys(ids, reply))
            elif isinstance(reply, BaseException):
                raise reply
            else:
                found.update(dict.fromkeys(ids))
                logins.update((i, login.decode()) for i, login in zip(ids, reply, strict=True) if login)
        if self._shared is not None:
            await self._find_shared_ids(self._shared, found, logins)
        profiles = await self.find(list(logins.values()))
        for user_id, login in logins.items():
            profile = profiles[login]
            # An id can be listed for an account that somebody else had made by then: it is nobody's.
            if isinstance(profile, RemoteError) or (profile is not None and profile.user_id == user_id):
                found[user_id] = profile
        return found

    async def created(self, logins: Sequence[str]) -> dict[str, int]:
        """When the accounts were made, UNIX ms; 0: not known."""
        replies = await self._together({login: ("HGET", keys.user(login), "created") for login in logins})
        return {login: 0 if isinstance(reply, RemoteError) else int(reply or 0) for login, reply in replies.items()}

    async def whose(self, token: str) -> Profile | None:
        """The account that the token was added to; None: there is none. Raises RemoteError."""
        token_hash = token_field(token).removeprefix("token:")
        key = keys.owner(token_hash)
        found = await self._shards.at(key).call_one(("GET", key))
        if not found and self._shared is not None:
            found = await self._shared.ask(("GET", key))
            if found:
                await self._shared.bring((found.decode(),))
                await self._shards.at(key).call_one(("SET", key, found))
        if not found:
            return None
        login = found.decode()
        key = keys.user(login)
        *fields, held = await self._shards.at(key).call_one(("HMGET", key, *_PROFILE_FIELDS, token_field(token)))
        return self._keep(login, read_profile(fields)) if held is not None else None

    @property
    def open(self) -> bool:
        """Any token proves any login."""
        return self._open

    async def list_ids(self, profiles: Iterable[Profile]) -> None:
        """Make these accounts known to `find_ids`. What fails is counted: an account is there without, too."""
        by_key: dict[str, list[int | str]] = {}
        for profile in profiles:
            by_key.setdefault(keys.logins(profile.user_id), []).extend((profile.user_id, profile.login))
        calls = [self._shards.at(key).call_one(("HSET", key, *pairs)) for key, pairs in by_key.items()]
        for reply in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(reply, RemoteError):
                self._metrics.count("users.unlisted")
            elif isinstance(reply, BaseException):
                raise reply

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
        key = keys.owner(token_field(token).removeprefix("token:"))
        if self._shared is not None:
            told = (await self._shared.tell({login: command}))[login]
            if isinstance(told, RemoteError):
                raise told
            assert told is not None, f"{login}: ensure_user.lua made no user"
            profile = told
            self._keep(login, profile)
            await self._shared.ask(("HSET", keys.logins(profile.user_id), profile.user_id, login))
            if token:
                await self._shared.ask(("SET", key, login))
        else:
            profile = self._created(login, await self._shards.at(keys.user(login)).call_one(command))
        await self.list_ids((profile,))
        if token:
            await self._shards.at(key).call_one(("SET", key, login))
        return profile

    async def change(self, login: str, changes: Mapping[str, str]) -> None:
        """Set fields of the profile of an account, if there is one. Raises RemoteError.

        While the shared directory does not answer, it is told later.
        """
        command = scripts.ensure_user(login, "", "", self._clock.unix_ms(), changes=changes)
        if self._shared is not None:
            told = (await self._shared.tell({login: command}))[login]
            if isinstance(told, Profile):
                self._keep(login, told)
                return
            self._shared.changed(login)  # the directory does not answer, or does not know the account yet
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
        commands = {
            login: scripts.ensure_user(login, new_id, display_name, now_ms)
            for (login, display_name), new_id in zip(shown.items(), ids, strict=True)
        }
        created: dict[str, Profile | RemoteError] = {}
        if self._shared is not None:
            for login, told in (await self._shared.tell(commands)).items():
                assert told is not None, f"{login}: ensure_user.lua made no user"
                created[login] = told
                if isinstance(told, Profile):
                    self._keep(login, told)
        else:
            for login, reply in (await self._together(commands)).items():
                created[login] = reply if isinstance(reply, RemoteError) else self._created(login, reply)
        profiles = [profile for profile in created.values() if isinstance(profile, Profile)]
        if self._shared is not None:
            await self._list_shared_ids(self._shared, profiles)
        await self.list_ids(profiles)
        return created

    async def _brought(self, missing: Iterable[str]) -> dict[str, Profile | RemoteError | None]:
        """Accounts that are not here, from the shared directory if there is one."""
        if self._shared is None:
            return {}
        return {
            login: found if isinstance(found, RemoteError) else self._keep(login, found)
            for login, found in (await self._shared.bring(list(missing))).items()
        }

    async def _bring_logins(self, asked: Mapping[str, scripts.Command], known: dict[str, Any]) -> set[str]:
        """Accounts that are not here, and tokens that prove nothing here, may be known to the directory: read those
        accounts again. Returns the known accounts whose tokens could not be looked up.
        """
        assert self._shared is not None
        width = len(_PROFILE_FIELDS)
        absent = {name for name, reply in known.items() if not isinstance(reply, RemoteError) and reply[0] is None}
        doubtful = {
            name
            for name, reply in known.items()
            if not self._open and not isinstance(reply, RemoteError) and name not in absent and None in reply[width:]
        }
        brought = await self._shared.bring([*absent, *doubtful])
        undecided = set()
        for name, found in brought.items():
            if isinstance(found, RemoteError):
                if name in absent:
                    known[name] = found
                else:
                    undecided.add(name)
        again = [name for name, found in brought.items() if isinstance(found, Profile)]
        known.update(await self._together({name: asked[name] for name in again}))
        self._shared.seen(known.keys() - absent)
        return undecided

    async def _find_shared_ids(
        self, shared: SharedAccounts, found: dict[int, Profile | RemoteError | None], logins: dict[int, str]
    ) -> None:
        """Those ids that are not listed here."""
        missing = [user_id for user_id, profile in found.items() if profile is None and user_id not in logins]
        if not missing:
            return
        try:
            replies = [await shared.ask(("HGET", keys.logins(user_id), user_id)) for user_id in missing]
        except RemoteError as error:
            found.update(dict.fromkeys(missing, error))
            return
        logins.update((i, login.decode()) for i, login in zip(missing, replies, strict=True) if login)

    async def _list_shared_ids(self, shared: SharedAccounts, profiles: Iterable[Profile]) -> None:
        for profile in profiles:
            try:
                await shared.ask(("HSET", keys.logins(profile.user_id), profile.user_id, profile.login))
            except RemoteError:
                self._metrics.count("users.unlisted")

    async def _together(self, commands: Mapping[str, scripts.Command]) -> dict[str, Any]:
        """Send each login's command to its shard, one call a shard; replies by login, a RemoteError where none came."""
        return await together(self._shards, commands)

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


def _login_result(
    profile: Profile | RemoteError | None, *, proven: bool, undecided: bool
) -> clue_pb2.LoginResult:
    if isinstance(profile, RemoteError) or (undecided and not proven):
        return clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.UNAVAILABLE)
    if profile is None or not proven:
        return clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.REFUSED)
    return clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.ACCEPTED, user=chatter(profile, (), ""))


def plain(user_id: int, login: str) -> Profile:
    """Of somebody of whom nothing else is known here at the moment."""
    return Profile(user_id, login, login, "", "")


def account(nick: str) -> str | None:
    """The login of an account; None: no account can have that nick."""
    login = names.fold_login(nick)
    return None if login is None or names.is_anonymous(login) else login


def channel_owner(channel: str) -> str | None:
    """The login whose channel this is; None: no channel can have that name (it must be folded)."""
    if names.fold_channel(channel) != channel:
        return None
    return account(channel[1:])

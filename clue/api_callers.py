"""Who asks over the HTTP API, and how much more may be asked.

In token mode the token names its owner. In open mode any token proves any login, so a token that was added for nobody
acts for whom the request names.
"""

from __future__ import annotations

from typing import NamedTuple

from clue import keys
from clue.facts import Profile
from clue.limiter import REQUESTS_A_MIN, Limits
from clue.redis_shards import Shards
from clue.users import Users, token_field
from common.clock import Clock
from common.errors import RemoteError
from common.metrics import Metrics
from common.pb import api_pb2, chat_pb2

_WINDOW_MS = 60_000

Outcome = api_pb2.Standing.Outcome


class Caller(NamedTuple):
    """`profile`: who acts; None: the request was refused, or (in open mode) nobody was named."""

    standing: api_pb2.Standing
    profile: Profile | None

    @property
    def accepted(self) -> bool:
        return self.standing.outcome == api_pb2.Standing.ACCEPTED


class Callers:
    def __init__(self, shards: Shards, users: Users, *, limits: Limits, clock: Clock, metrics: Metrics) -> None:
        self._shards = shards
        self._users = users
        self._limits = limits
        self._clock = clock
        self._metrics = metrics

    async def prove(self, asking: api_pb2.Caller, *, limited: bool = True) -> Caller:
        """Who asks. `limited`: the request is counted."""
        caller = await self._proven(asking)
        if caller.accepted and limited and self._limits.ordinary:
            who = caller.profile.login if caller.profile else token_field(asking.token)
            await self._count(who, caller.standing)
        self._metrics.count("requests." + Outcome.Name(caller.standing.outcome).lower())
        return caller

    async def messages_left(self, standing: api_pb2.Standing, chatter: chat_pb2.Chatter) -> None:
        """How many messages `chatter` may still send, as seen in the channel of the last one; unset when not known."""
        badges = ("broadcaster/", "moderator/", "vip/")
        bound = self._limits.ordinary
        if any(badge.startswith(badges) for badge in chatter.badges.split(",")):
            bound = self._limits.privileged
        key = keys.limits(chatter.login)
        try:
            used, left_ms = await self._shards.at(key).call((("GET", key), ("PTTL", key)))
        except RemoteError:
            return
        if bound and not isinstance(used, RemoteError) and not isinstance(left_ms, RemoteError):
            self._tell(standing, bound, int(used or 0), max(0, left_ms))

    async def _proven(self, asking: api_pb2.Caller) -> Caller:
        if not asking.token:
            return _refused(api_pb2.Standing.NO_TOKEN)
        try:
            profile = await self._users.whose(asking.token)
        except RemoteError:
            return _refused(api_pb2.Standing.UNAVAILABLE)
        if profile is None and not self._users.open:
            return _refused(api_pb2.Standing.NO_TOKEN)
        if profile is not None:
            if asking.user_id not in (0, profile.user_id):
                return _refused(api_pb2.Standing.OTHER_USER)
            return _accepted(profile)
        user_id = asking.user_id or asking.assumed_id
        if not user_id:
            return Caller(api_pb2.Standing(outcome=api_pb2.Standing.ACCEPTED), None)
        named = (await self._users.find_ids((user_id,)))[user_id]
        if isinstance(named, RemoteError):
            return _refused(api_pb2.Standing.UNAVAILABLE)
        return _refused(api_pb2.Standing.OTHER_USER) if named is None else _accepted(named)

    async def _count(self, who: str, standing: api_pb2.Standing) -> None:
        """A window begins with the first request in it, as that of messages does."""
        key = keys.requests(who)
        commands = (("SET", key, 0, "PX", _WINDOW_MS, "NX"), ("INCR", key), ("PTTL", key))
        try:
            _, used, left_ms = await self._shards.at(key).call(commands)
        except RemoteError:
            self._metrics.count("limits.unchecked")
            return
        if isinstance(used, RemoteError) or isinstance(left_ms, RemoteError):
            self._metrics.count("limits.unchecked")
            return
        self._tell(standing, REQUESTS_A_MIN, used, max(0, left_ms))
        if used > REQUESTS_A_MIN:
            standing.outcome = api_pb2.Standing.LIMITED

    def _tell(self, standing: api_pb2.Standing, limit: int, used: int, left_ms: int) -> None:
        standing.limit = limit
        standing.remaining = max(0, limit - used)
        standing.reset_s = -(-(self._clock.unix_ms() + left_ms) // 1000)


def _accepted(profile: Profile) -> Caller:
    user = chat_pb2.Chatter(user_id=profile.user_id, login=profile.login, display_name=profile.display_name)
    return Caller(api_pb2.Standing(outcome=api_pb2.Standing.ACCEPTED, user=user), profile)


def _refused(outcome: api_pb2.Standing.Outcome) -> Caller:
    return Caller(api_pb2.Standing(outcome=outcome), None)

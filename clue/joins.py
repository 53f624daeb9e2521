"""Joins: what an edge must know to let a user into a channel."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from clue import limiter
from clue.accounts import NotBrought
from clue.facts import ChannelFacts, Profile
from clue.homes import LivesElsewhere, elsewhere, is_room
from clue.limiter import Limits
from clue.rooms import Rooms
from clue.users import Joining, Users, channel_owner, plain
from clue.verdict import UNINVITED, Denial
from common.errors import RemoteError
from common.metrics import Metrics
from common.pb import clue_pb2

_SUSPENDED = Denial("msg_suspended")
_LIMITED = Denial("join_ratelimit", limiter.JOINS_WINDOW_MS // 1000)
_NO_CHANNEL = Denial("msg_channel_suspended")
_BANNED = Denial("msg_banned")
_NO_ROOM = Denial("no_such_room")

_NOBODY: Joining = (None, iter(()))


class Joiner:
    def __init__(self, rooms: Rooms, users: Users, *, limits: Limits, metrics: Metrics) -> None:
        self._rooms = rooms
        self._users = users
        self._limits = limits
        self._metrics = metrics

    async def join(self, queries: Sequence[clue_pb2.JoinQuery], *, counted: bool = True) -> list[clue_pb2.JoinResult]:
        """One result for each, in order, on facts as they are now. One call a channel and a user, all at once.

        `counted`: they are taken from their users' limits.
        """
        wanted: dict[str, list[tuple[int, str]]] = {}
        attempts: Counter[str] = Counter()
        for query in queries:
            if channel_owner(query.channel) is None:
                continue
            members = wanted.setdefault(query.channel, [])
            if query.user_id:
                members.append((query.user_id, query.login))
                attempts[query.login] += 1
        limits = self._limits if counted else limiter.OFF
        users, rooms = await asyncio.gather(self._users.join(attempts, limits), self._rooms.read(wanted))
        results = []
        for query in queries:
            profile, allowed = users.get(query.login, _NOBODY)
            if query.channel not in wanted or next(allowed, True):
                results.append(self._result(query, rooms.get(query.channel), profile))
            else:
                self._metrics.count("joins.limited")
                results.append(_denied(_LIMITED, query.channel))
        for result in results:
            self._metrics.count("joins")
            self._metrics.count("joins." + clue_pb2.JoinResult.Outcome.Name(result.outcome).lower())
        return results

    def _result(
        self,
        query: clue_pb2.JoinQuery,
        facts: ChannelFacts | RemoteError | None,
        profile: Profile | RemoteError | None,
    ) -> clue_pb2.JoinResult:
        if facts is None:
            return _denied(_NO_CHANNEL, query.channel)
        if isinstance(facts, LivesElsewhere):
            return clue_pb2.JoinResult(outcome=clue_pb2.JoinResult.MOVED, elsewhere=elsewhere(facts.home))
        if isinstance(profile, NotBrought):
            profile = plain(query.user_id, query.login)  # an edge's word counts while the directory does not answer
        if isinstance(facts, RemoteError) or isinstance(profile, RemoteError):
            return clue_pb2.JoinResult(outcome=clue_pb2.JoinResult.UNAVAILABLE)
        if is_room(query.channel) and (denial := _room_denial(query, facts)):
            return _denied(denial, query.channel)
        admitted = clue_pb2.JoinResult(outcome=clue_pb2.JoinResult.ADMITTED, room=facts.channel.room, head=facts.head)
        if not query.user_id:
            return admitted
        if profile is None or profile.user_id != query.user_id:
            return _denied(_SUSPENDED, query.channel)
        member = facts.channel.members[query.user_id]
        if member.banned_until_ms == 0:
            return _denied(_BANNED, query.channel)
        admitted.chatter.CopyFrom(member.chatter(profile, query.channel))
        return admitted


def _room_denial(query: clue_pb2.JoinQuery, facts: ChannelFacts) -> Denial | None:
    room = facts.channel
    if not room.room.room_id:
        return _NO_ROOM
    if room.invite_only and (not query.user_id or not room.members[query.user_id].roles):
        return UNINVITED
    return None


def _denied(denial: Denial, channel: str) -> clue_pb2.JoinResult:
    return clue_pb2.JoinResult(outcome=clue_pb2.JoinResult.DENIED, denial=denial.msg_id, notice=denial.notice(channel))

"""Joins: what an edge must know to let a user into a channel."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from clue.facts import ChannelFacts, Profile
from clue.rooms import Rooms
from clue.users import Users, channel_owner
from clue.verdict import Denial
from common.errors import RemoteError
from common.metrics import Metrics
from common.pb import clue_pb2

_SUSPENDED = Denial("msg_suspended")
_NO_CHANNEL = Denial("msg_channel_suspended")
_BANNED = Denial("msg_banned")


class Joiner:
    def __init__(self, rooms: Rooms, users: Users, metrics: Metrics) -> None:
        self._rooms = rooms
        self._users = users
        self._metrics = metrics

    async def join(self, queries: Sequence[clue_pb2.JoinQuery]) -> list[clue_pb2.JoinResult]:
        """One result for each, in order, on facts as they are now. One call a channel and a user, all at once."""
        wanted: dict[str, list[tuple[int, str]]] = {}
        logins: dict[str, None] = {}
        for query in queries:
            if channel_owner(query.channel) is None:
                continue
            members = wanted.setdefault(query.channel, [])
            if query.user_id:
                members.append((query.user_id, query.login))
                logins[query.login] = None
        profiles, rooms = await asyncio.gather(self._users.find(list(logins)), self._rooms.read(wanted))
        results = [self._result(query, rooms.get(query.channel), profiles.get(query.login)) for query in queries]
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
        if isinstance(facts, RemoteError) or isinstance(profile, RemoteError):
            return clue_pb2.JoinResult(outcome=clue_pb2.JoinResult.UNAVAILABLE)
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


def _denied(denial: Denial, channel: str) -> clue_pb2.JoinResult:
    return clue_pb2.JoinResult(outcome=clue_pb2.JoinResult.DENIED, denial=denial.msg_id, notice=denial.notice(channel))

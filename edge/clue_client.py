"""The edge's calls to clue: batched by lane and home, retried with the same content, bounded in time.

Logins go to the own cluster, everything about a channel to the cluster where it lives. What a caller gets is an answer,
never an exception, unless it says so (ARCHITECTURE 3.2, 3.9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from common.batcher import Batcher
from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2
from common.sharding import lane
from edge.clues import HOPS, Clues
from edge.homes import Homes
from edge.submissions import Submissions

# A login is a name of its own, so 32 lanes would hold one or two each where two hold a dozen; a call costs about 0.3 ms
# of CPU at each end. So in a rush logins wait for others. Order between users does not matter, and a shard that is down
# answers at once.
_LANES_PER_LOGIN_BATCH = 16
_LOGINS_REST_S = 0.1
# Logins or joins of one call: clue does them in one turn of its loop, 60 us each, and messages wait behind them.
_BATCH = 64

_Batchers = dict[tuple[str, int], Batcher[Any, Any]]  # by cluster and lane
_Send = Callable[[str, int, list[Any]], Awaitable[Sequence[Any]]]


class ClueClient:
    def __init__(self, address: str, homes: Homes, run: int, metrics: Metrics, log: Log, clock: Clock) -> None:
        """`address`: of the own cluster's clue pool."""
        self.clues = Clues(address, homes, metrics, log, clock)
        self._homes = homes
        self._run = run
        self._metrics = metrics
        self._submissions = Submissions(self.clues, run, metrics, log, clock)
        self._logins: _Batchers = {}
        self._joins: _Batchers = {}
        self._chatters: _Batchers = {}
        self._redirected: set[asyncio.Task[None]] = set()

    # -- what the rest of the edge asks -------------------------------------------------------------------------

    def submit(
        self, channel: str, submission: clue_pb2.Submission, *, patience_s: float = 0.0
    ) -> asyncio.Future[clue_pb2.Verdict]:
        """Resolves with a verdict: ALLOWED, DENIED, or UNAVAILABLE when the outcome could not be learned.
        `patience_s`: so long it may wait for others of its lane.
        """
        return self._submissions.put(channel, submission, patience_s=patience_s)

    def authenticate(self, nick: str, token: str) -> asyncio.Future[clue_pb2.LoginResult]:
        """Resolves with a result; UNAVAILABLE when no clue or shard answered in time."""
        number = lane(nick.lower()) // _LANES_PER_LOGIN_BATCH
        login = clue_pb2.Login(nick=nick, token=token)
        batcher = self._batcher(self._logins, self._send_logins, self._homes.own, number, rest_s=_LOGINS_REST_S)
        return batcher.put(login)

    def join(self, channel: str, user_id: int, login: str) -> asyncio.Future[clue_pb2.JoinResult]:
        """Resolves with a result; UNAVAILABLE (or MOVED, without an end) when no clue or shard answered in time."""
        query = clue_pb2.JoinQuery(channel=channel, user_id=user_id, login=login)
        answer: asyncio.Future[clue_pb2.JoinResult] = asyncio.get_running_loop().create_future()
        asked = self._ask_to_join(query, self._homes.of(channel))
        asked.add_done_callback(partial(self._join_answered, query, answer))
        return answer

    async def replay(self, channel: str, after_seq: int, limit: int = 0) -> clue_pb2.ReplayReply:
        """The log after `after_seq`. Raises RemoteError."""
        request = clue_pb2.ReplayRequest(channel=channel, after_seq=after_seq, limit=limit)
        number = lane(channel)

        async def ask(cluster: str) -> clue_pb2.ReplayReply:
            reply: clue_pb2.ReplayReply = await self.clues.call(cluster, "Replay", request, number)
            return reply

        return await self.clues.at_home("Replay", channel, ask)

    async def heads(self, channels: Sequence[str]) -> dict[str, int | None]:
        """Newest seq by channel; None for those whose shard did not answer."""
        heads: dict[str, int | None] = dict.fromkeys(channels)
        homes = {name: self._homes.of(name) for name in channels}
        for _ in range(HOPS):
            groups: dict[str, list[str]] = {}
            for name, cluster in homes.items():
                groups.setdefault(cluster, []).append(name)
            replies = await asyncio.gather(*(self._heads_of(*group) for group in groups.items()))
            homes = {}
            for head in (head for reply in replies for head in reply):
                if head.elsewhere.cluster:
                    homes[head.channel] = await self.clues.redirect("Heads", head.channel, head.elsewhere)
                elif head.available:
                    heads[head.channel] = head.seq
            if not homes:
                break
        return heads

    async def presence(
        self, number: int, channels: Sequence[clue_pb2.ChannelPresence], wanted: Sequence[str]
    ) -> clue_pb2.PresenceReply:
        """One lane's report, to each channel's home. What could not be told to anybody is `unknown`."""
        homes: dict[str, clue_pb2.PresenceReport] = {}
        for report in channels:
            self._report_to(homes, report.channel).channels.append(report)
        for name in wanted:
            self._report_to(homes, name).wanted.append(name)
        told = clue_pb2.PresenceReply()
        for reply in await asyncio.gather(*(self._present(number, *home) for home in homes.items())):
            told.MergeFrom(reply)
        return told

    async def chatters(self, channel: str) -> clue_pb2.Chatters:
        """Who is in the channel over all edges; available=False when that could not be learned."""
        number = lane(channel)

        def ask(cluster: str) -> asyncio.Future[clue_pb2.Chatters]:
            return self._batcher(self._chatters, self._send_wanted, cluster, number).put(channel)

        return await self.clues.at_home("Presence", channel, ask)

    async def close(self) -> None:
        """Wait until what was put has its verdicts, then hang up."""
        await self._submissions.close()
        for batchers in (self._logins, self._joins, self._chatters):
            for batcher in list(batchers.values()):
                await batcher.close()
        for task in self._redirected:
            task.cancel()
        await self.clues.close()

    # -- batches ------------------------------------------------------------------------------------------------

    def _batcher(
        self, batchers: _Batchers, send: _Send, cluster: str, number: int, *, rest_s: float = 0.0
    ) -> Batcher[Any, Any]:
        key = (cluster, number)
        batcher = batchers.get(key)
        if batcher is None:
            batcher = batchers[key] = Batcher(
                partial(send, cluster, number), limit=_BATCH, due=(lambda _, began: began + rest_s) if rest_s else None
            )
        return batcher

    async def _send_logins(self, cluster: str, number: int, logins: list[clue_pb2.Login]) -> list[clue_pb2.LoginResult]:
        request = clue_pb2.AuthenticateRequest(logins=logins)
        results = [clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.UNAVAILABLE)] * len(logins)

        async def attempt(number_of_try: int, timeout: float) -> bool:
            reply = await self.clues.call(cluster, "Authenticate", request, number, number_of_try, timeout)
            results[:] = reply.results
            return all(result.outcome != clue_pb2.LoginResult.UNAVAILABLE for result in results)

        await self.clues.until_decided(attempt, "Authenticate")
        for result in results:
            self._metrics.count(f"logins.{clue_pb2.LoginResult.Outcome.Name(result.outcome).lower()}")
        return results

    # -- joins --------------------------------------------------------------------------------------------------

    def _ask_to_join(self, query: clue_pb2.JoinQuery, cluster: str) -> asyncio.Future[clue_pb2.JoinResult]:
        return self._batcher(self._joins, self._send_joins, cluster, lane(query.channel)).put(query)

    async def _send_joins(
        self, cluster: str, number: int, joins: list[clue_pb2.JoinQuery]
    ) -> list[clue_pb2.JoinResult]:
        request = clue_pb2.JoinRequest(joins=joins)
        results = [clue_pb2.JoinResult(outcome=clue_pb2.JoinResult.UNAVAILABLE)] * len(joins)

        async def attempt(number_of_try: int, timeout: float) -> bool:
            request.uncounted = number_of_try > 1
            results[:] = (await self.clues.call(cluster, "Join", request, number, number_of_try, timeout)).results
            return all(result.outcome != clue_pb2.JoinResult.UNAVAILABLE for result in results)

        await self.clues.until_decided(attempt, "Join")
        for result in results:
            self._metrics.count(f"joins.{clue_pb2.JoinResult.Outcome.Name(result.outcome).lower()}")
        return results

    def _join_answered(
        self,
        query: clue_pb2.JoinQuery,
        answer: asyncio.Future[clue_pb2.JoinResult],
        asked: asyncio.Future[clue_pb2.JoinResult],
    ) -> None:
        if answer.done():
            return
        if asked.cancelled():
            answer.cancel()
        elif (error := asked.exception()) is not None:
            answer.set_exception(error)
        elif asked.result().outcome != clue_pb2.JoinResult.MOVED:
            answer.set_result(asked.result())
        else:
            task = asyncio.get_running_loop().create_task(self._follow_join(query, asked.result(), answer))
            self._redirected.add(task)
            task.add_done_callback(self._redirected.discard)

    async def _follow_join(
        self,
        query: clue_pb2.JoinQuery,
        result: clue_pb2.JoinResult,
        answer: asyncio.Future[clue_pb2.JoinResult],
    ) -> None:
        await self.clues.redirect("Join", query.channel, result.elsewhere)
        result = await self.clues.at_home("Join", query.channel, partial(self._ask_to_join, query))
        if not answer.done():
            answer.set_result(result)

    # -- the others ---------------------------------------------------------------------------------------------

    async def _heads_of(self, cluster: str, names: list[str]) -> Sequence[clue_pb2.Head]:
        """One call, as a head is one read: whichever clue does it."""
        try:
            reply = await self.clues.call(cluster, "Heads", clue_pb2.HeadsRequest(channels=names), lane(names[0]))
        except RemoteError as error:
            self.clues.complain(error)
            return []
        heads: Sequence[clue_pb2.Head] = reply.heads
        return heads

    def _report_to(self, homes: dict[str, clue_pb2.PresenceReport], channel: str) -> clue_pb2.PresenceReport:
        return homes.setdefault(self._homes.of(channel), clue_pb2.PresenceReport(edge_run=self._run))

    async def _present(self, number: int, cluster: str, report: clue_pb2.PresenceReport) -> clue_pb2.PresenceReply:
        try:
            reply: clue_pb2.PresenceReply = await self.clues.call(cluster, "Presence", report, number)
        except RemoteError as error:
            self._metrics.count("presence.failures")
            self.clues.complain(error)
            return clue_pb2.PresenceReply(unknown=[said.channel for said in report.channels])
        self._metrics.count("presence.reports")
        for chatters in reply.chatters:
            if chatters.elsewhere.cluster:
                await self.clues.redirect("Presence", chatters.channel, chatters.elsewhere)
                reply.unknown.append(chatters.channel)  # it is told to the new home, next time
        return reply

    async def _send_wanted(self, cluster: str, number: int, names: list[str]) -> list[clue_pb2.Chatters]:
        report = clue_pb2.PresenceReport(edge_run=self._run, wanted=names)
        try:
            reply = await self.clues.call(cluster, "Presence", report, number)
        except RemoteError as error:
            self.clues.complain(error)
            return [clue_pb2.Chatters(channel=name) for name in names]
        found = {chatters.channel: chatters for chatters in reply.chatters}
        return [found.get(name) or clue_pb2.Chatters(channel=name) for name in names]

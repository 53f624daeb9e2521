"""The edge's calls to clue: batched by lane, retried with the same content, bounded in time (ARCHITECTURE 3.2, 3.6).

Promises for submissions: 1. a user's messages in a channel stay in order; 2. a batch is sent with one number until
all its channels are decided, so clue accepts each submission at most once; 3. every submission gets a verdict: the
future resolves, at the latest some seconds after a shard or clue went away, and never raises.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import tenacity

from common import rpc
from common.batcher import Batcher
from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2, clue_pb2_grpc
from common.sharding import LANES, lane

# One try: a hung clue is given up, and a retry hashes to another, while the sender still waits (ARCHITECTURE says 5 s
# a try; with 5 s one hung clue would use up the 6 s within which a sender must know).
TRY_S = 2.0
DECIDE_S = 4.5  # from the moment a message was put until its sender is told, waiting for the batch before it included
LEAST = 0.2  # of it a batch must have left: with less it is not sent, and its senders know that it was not
# Items of one call. 200 submissions at their largest are 0.5 MB.
MAX_BATCH = 200
WAITING_PER_CHANNEL = 2_000
# A login is a name of its own, so 32 lanes would hold one or two each where four calls hold a dozen; a call costs
# about 0.3 ms of CPU at each end. Order between users does not matter, and a shard that is down answers at once.
_LANES_PER_LOGIN_BATCH = 8
_LANES_PER_HEADS = 8  # likewise: a head is one read, whichever clue does it

_NOT_SENT = "Your message was not sent: chat is temporarily unavailable. Please try again."
_TOO_MANY = "Your message was not sent: too many messages are waiting in this channel. Please try again."

T = TypeVar("T")


@dataclass(slots=True)
class _Waiting:
    channel: str
    submission: clue_pb2.Submission
    put_at: float


class ClueClient:
    def __init__(self, address: str, run: int, metrics: Metrics, log: Log, clock: Clock) -> None:
        self._clue = rpc.Service("clue", address, clue_pb2_grpc.ClueStub)
        self._run = run
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._batches = [0] * LANES
        self._waiting: Counter[str] = Counter()
        self._submits = self._lanes(self._send_submissions)
        self._logins = self._lanes(self._send_logins)
        self._joins = self._lanes(self._send_joins)
        self._chatters = self._lanes(self._send_wanted)
        metrics.gauge("submit.waiting", self._waiting.total)

    # -- what the rest of the edge asks -------------------------------------------------------------------------

    def submit(self, channel: str, submission: clue_pb2.Submission) -> asyncio.Future[clue_pb2.Verdict]:
        """Resolves with a verdict: ALLOWED, DENIED, or UNAVAILABLE when the outcome could not be learned."""
        if self._waiting[channel] >= WAITING_PER_CHANNEL:
            self._metrics.count("submit.refused_waiting")
            refused: asyncio.Future[clue_pb2.Verdict] = asyncio.get_running_loop().create_future()
            refused.set_result(_denied(_TOO_MANY))
            return refused
        self._waiting[channel] += 1
        return self._submits[lane(channel)].put(_Waiting(channel, submission, self._clock.monotonic()))

    def authenticate(self, nick: str, token: str) -> asyncio.Future[clue_pb2.LoginResult]:
        """Resolves with a result; UNAVAILABLE when no clue or shard answered in time."""
        return self._logins[lane(nick.lower()) // _LANES_PER_LOGIN_BATCH].put(clue_pb2.Login(nick=nick, token=token))

    def join(self, channel: str, user_id: int, login: str) -> asyncio.Future[clue_pb2.JoinResult]:
        """Resolves with a result; UNAVAILABLE when no clue or shard answered in time."""
        return self._joins[lane(channel)].put(clue_pb2.JoinQuery(channel=channel, user_id=user_id, login=login))

    async def replay(self, channel: str, after_seq: int, limit: int = 0) -> clue_pb2.ReplayReply:
        """The log after `after_seq`. Raises RemoteError."""
        request = clue_pb2.ReplayRequest(channel=channel, after_seq=after_seq, limit=limit)
        reply: clue_pb2.ReplayReply = await self._call("Replay", request, lane(channel))
        return reply

    async def heads(self, channels: Sequence[str]) -> dict[str, int | None]:
        """Newest seq by channel; None for those whose shard did not answer."""
        by_lane: dict[int, list[str]] = {}
        for name in channels:
            by_lane.setdefault(lane(name) // _LANES_PER_HEADS, []).append(name)
        heads: dict[str, int | None] = dict.fromkeys(channels)
        replies = await asyncio.gather(*(self._heads_of(number, names) for number, names in by_lane.items()))
        for reply in replies:
            heads.update((head.channel, head.seq) for head in reply if head.available)
        return heads

    async def presence(
        self, number: int, channels: Sequence[clue_pb2.ChannelPresence], wanted: Sequence[str]
    ) -> clue_pb2.PresenceReply:
        """One lane's report. Raises RemoteError."""
        report = clue_pb2.PresenceReport(edge_run=self._run, channels=channels, wanted=wanted)
        reply: clue_pb2.PresenceReply = await self._call("Presence", report, number)
        return reply

    def chatters(self, channel: str) -> asyncio.Future[clue_pb2.Chatters]:
        """Resolves with who is in the channel over all edges; available=False when that could not be learned."""
        return self._chatters[lane(channel)].put(channel)

    async def register(self, registration: clue_pb2.Registration) -> clue_pb2.Directory:
        """Raises RemoteError."""
        directory: clue_pb2.Directory = await self._call("Register", registration, 0)
        return directory

    async def leave(self, registration: clue_pb2.Registration) -> None:
        """Raises RemoteError."""
        await self._call("Leave", registration, 0)

    async def close(self) -> None:
        """Wait until what was put has its verdicts, then hang up."""
        for batcher in (*self._submits, *self._logins, *self._joins, *self._chatters):
            await batcher.close()
        await self._clue.close()

    # -- one lane's batches -------------------------------------------------------------------------------------

    def _lanes(self, send: Callable[[int, list[Any]], Awaitable[Sequence[Any]]]) -> list[Batcher[Any, Any]]:
        def bound(number: int) -> Callable[[list[Any]], Awaitable[Sequence[Any]]]:
            return lambda items: send(number, items)

        return [Batcher(bound(number), limit=MAX_BATCH) for number in range(LANES)]

    async def _send_submissions(self, number: int, items: list[_Waiting]) -> list[clue_pb2.Verdict]:
        now = self._clock.monotonic()
        fresh = [item for item in items if now - item.put_at <= DECIDE_S * (1 - LEAST)]
        verdicts = {item.submission.id: _denied(_NOT_SENT) for item in items}
        if len(fresh) < len(items):
            self._metrics.count("submit.expired", len(items) - len(fresh))
        if fresh:
            self._metrics.count("submit.batches")
            self._metrics.count("submit.taken", len(fresh))
            verdicts.update(await self._decide(number, fresh))
            self._metrics.timing("submit.ms", (self._clock.monotonic() - now) * 1e3)
            self._metrics.timing("submit.queued_ms", (now - fresh[0].put_at) * 1e3)
        for verdict in verdicts.values():
            self._metrics.counters[_VERDICTS[verdict.outcome]] += 1
        for item in items:
            self._waiting[item.channel] -= 1
            if not self._waiting[item.channel]:
                del self._waiting[item.channel]
        return [verdicts[item.submission.id] for item in items]

    async def _decide(self, number: int, items: list[_Waiting]) -> dict[str, clue_pb2.Verdict]:
        """Send one batch until every channel in it is decided, or time is up; by submission id."""
        self._batches[number] += 1
        by_channel: dict[str, list[clue_pb2.Submission]] = {}
        for item in items:
            by_channel.setdefault(item.channel, []).append(item.submission)
        verdicts = {item.submission.id: _UNDECIDED for item in items}
        request = clue_pb2.SubmitRequest(
            edge_run=self._run,
            batch=self._batches[number],
            lane=number,
            channels=[
                clue_pb2.ChannelSubmissions(channel=channel, submissions=submissions)
                for channel, submissions in by_channel.items()
            ],
        )

        async def attempt(number_of_try: int, timeout: float) -> bool:
            request.attempt = number_of_try
            reply = await self._call("Submit", request, number, number_of_try, timeout)
            sent = [submission for group in request.channels for submission in group.submissions]
            verdicts.update((s.id, v) for s, v in zip(sent, reply.verdicts, strict=True))
            open_channels = [
                group
                for group in request.channels
                if any(verdicts[s.id].outcome == clue_pb2.Verdict.UNAVAILABLE for s in group.submissions)
            ]
            if open_channels and len(open_channels) < len(request.channels):
                kept = [clue_pb2.ChannelSubmissions.FromString(group.SerializeToString()) for group in open_channels]
                del request.channels[:]
                request.channels.extend(kept)
            return not open_channels

        waited = self._clock.monotonic() - min(item.put_at for item in items)
        await self._until_decided(attempt, "Submit", DECIDE_S - waited)
        return verdicts

    async def _send_logins(self, number: int, logins: list[clue_pb2.Login]) -> list[clue_pb2.LoginResult]:
        request = clue_pb2.AuthenticateRequest(logins=logins)
        results = [clue_pb2.LoginResult(outcome=clue_pb2.LoginResult.UNAVAILABLE)] * len(logins)

        async def attempt(number_of_try: int, timeout: float) -> bool:
            results[:] = (await self._call("Authenticate", request, number, number_of_try, timeout)).results
            return all(result.outcome != clue_pb2.LoginResult.UNAVAILABLE for result in results)

        await self._until_decided(attempt, "Authenticate")
        for result in results:
            self._metrics.count(f"logins.{clue_pb2.LoginResult.Outcome.Name(result.outcome).lower()}")
        return results

    async def _send_joins(self, number: int, joins: list[clue_pb2.JoinQuery]) -> list[clue_pb2.JoinResult]:
        request = clue_pb2.JoinRequest(joins=joins)
        results = [clue_pb2.JoinResult(outcome=clue_pb2.JoinResult.UNAVAILABLE)] * len(joins)

        async def attempt(number_of_try: int, timeout: float) -> bool:
            results[:] = (await self._call("Join", request, number, number_of_try, timeout)).results
            return all(result.outcome != clue_pb2.JoinResult.UNAVAILABLE for result in results)

        await self._until_decided(attempt, "Join")
        for result in results:
            self._metrics.count(f"joins.{clue_pb2.JoinResult.Outcome.Name(result.outcome).lower()}")
        return results

    async def _send_wanted(self, number: int, names: list[str]) -> list[clue_pb2.Chatters]:
        try:
            found = {chatters.channel: chatters for chatters in (await self.presence(number, (), names)).chatters}
        except RemoteError as error:
            self._complain(error, 1)
            found = {}
        return [found.get(name) or clue_pb2.Chatters(channel=name) for name in names]

    async def _heads_of(self, number: int, names: list[str]) -> Sequence[clue_pb2.Head]:
        try:
            heads: Sequence[clue_pb2.Head] = (
                await self._call("Heads", clue_pb2.HeadsRequest(channels=names), number)
            ).heads
            return heads
        except RemoteError as error:
            self._complain(error, 1)
            return []

    # -- one call -----------------------------------------------------------------------------------------------

    async def _until_decided(
        self, attempt: Callable[[int, float], Awaitable[bool]], operation: str, within_s: float = DECIDE_S
    ) -> None:
        """Try until `attempt` (number of the try, seconds it may take) says that all is decided, or time is up."""
        deadline = self._clock.monotonic() + within_s
        tries = tenacity.AsyncRetrying(
            stop=tenacity.stop_before_delay(within_s),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=0.5),
            retry=tenacity.retry_if_result(lambda decided: not decided),
            retry_error_callback=lambda state: None,
        )
        number_of_try = 0

        async def once() -> bool:
            nonlocal number_of_try
            number_of_try += 1
            if number_of_try > 1:
                self._metrics.count(f"clue.retries.{operation}")
            try:
                return await attempt(number_of_try, min(TRY_S, max(0.2, deadline - self._clock.monotonic())))
            except RemoteError as error:
                self._complain(error, number_of_try)
                return False

        await tries(once)

    async def _call(
        self, method: str, request: Any, number: int, number_of_try: int = 1, timeout: float = TRY_S
    ) -> Any:
        started = self._clock.monotonic()
        try:
            metadata = rpc.lane_metadata(number, number_of_try)
            return await self._clue.call(method, request, timeout=timeout, metadata=metadata)
        finally:
            self._metrics.timing(f"clue.ms.{method}", (self._clock.monotonic() - started) * 1e3)

    def _complain(self, error: RemoteError, number_of_try: int) -> None:
        self._metrics.count(f"clue.errors.{error.operation}")
        self._log.warning(
            "call_failed", remote=error.remote, operation=error.operation, attempt=number_of_try, cause=error.cause
        )


_VERDICTS = {number: f"verdicts.{name.lower()}" for name, number in clue_pb2.Verdict.Outcome.items()}
_UNDECIDED = clue_pb2.Verdict(outcome=clue_pb2.Verdict.UNAVAILABLE)


def _denied(notice: str) -> clue_pb2.Verdict:
    """Never sent to clue: certainly not in the log."""
    return clue_pb2.Verdict(outcome=clue_pb2.Verdict.DENIED, denial="msg_unavailable", notice=notice)

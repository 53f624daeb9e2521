"""Submissions on their way to clue: batched by lane, retried with the same content, bounded in time, and sent on to
where their channel lives (ARCHITECTURE 3.2, 3.6, 3.9).

Promises: 1. a user's messages in a channel stay in order, whatever moves; 2. a batch is sent with one number until all
its channels are decided, so clue accepts each submission at most once; 3. every submission gets a verdict: the future
resolves, at the latest some seconds after a shard or clue went away, and never raises.

Each (cluster, lane) has one batch under way. A channel's submissions wait with one cluster as long as any of them is
undecided. When that cluster says that the channel has moved, the channel leaves the lane: its part of the batch goes on
alone, under the same number (an earlier try may have been committed before the move, and what was committed has moved
along), and what waits behind it is held until that is decided. The numbers of a lane count over all clusters: the new
home knows those that it was given by the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from common.batcher import Batcher
from common.clock import Clock
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2
from common.sharding import LANES, lane
from edge import clues
from edge.clues import Clues
from edge.pace import Pace

LEAST = 0.2  # of DECIDE_S a batch must have left: with less it is not sent, and its senders know that it was not
# Items of one call. 200 submissions at their largest are 0.5 MB.
MAX_BATCH = 200
WAITING_PER_CHANNEL = 2_000
_AGAIN_S = 0.02  # between redirects of the same batch: two homes that name each other are not asked without a pause

_NOT_SENT = "Your message was not sent: chat is temporarily unavailable. Please try again."
_TOO_MANY = "Your message was not sent: too many messages are waiting in this channel. Please try again."

Verdict = clue_pb2.Verdict


@dataclass(slots=True, eq=False)
class _Waiting:
    channel: str
    submission: clue_pb2.Submission
    put_at: float
    verdict: asyncio.Future[Verdict]
    patience_s: float
    arrived: float = 0.0  # loop time


class _Lane:
    """What goes to one cluster by one lane. Patient lines wait for others."""

    __slots__ = ("_loop", "_pace", "batcher")

    def __init__(self, send: Callable[[list[_Waiting]], Awaitable[list[None]]]) -> None:
        self.batcher = Batcher(send, limit=MAX_BATCH, due=self._due)
        self._pace = Pace()
        self._loop = asyncio.get_running_loop()

    def put(self, item: _Waiting) -> None:
        item.arrived = self._loop.time()
        self._pace.arrived(item.arrived)
        self.batcher.put(item)

    def _due(self, item: _Waiting, began: float) -> float:
        return self._pace.due(item.arrived, item.patience_s) if item.patience_s else 0.0


class _Channel:
    """A channel with submissions that have no verdict yet."""

    __slots__ = ("cluster", "count", "held")

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster  # where they are sent
        self.count = 0
        self.held: list[_Waiting] | None = None  # it moves: these wait for those before them; None: it does not


class _Group:
    """One channel's part of a batch: sent whole, until it is decided."""

    __slots__ = ("channel", "items", "verdicts")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.items: list[_Waiting] = []
        self.verdicts: list[Verdict] = []  # the last ones

    def has(self, outcome: Verdict.Outcome) -> bool:
        return any(verdict.outcome == outcome for verdict in self.verdicts)


@dataclass(slots=True, eq=False)
class _Batch:
    lane: int
    number: int
    tries: int  # so far
    deadline: float  # monotonic seconds
    groups: list[_Group]  # undecided


class Submissions:
    def __init__(self, clues: Clues, run: int, metrics: Metrics, log: Log, clock: Clock) -> None:
        self._clues = clues
        self._run = run
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._numbers = [0] * LANES  # of the last batch of each lane
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._channels: dict[str, _Channel] = {}
        self._following: set[asyncio.Task[None]] = set()
        metrics.gauge("submit.waiting", lambda: sum(channel.count for channel in self._channels.values()))

    def put(self, name: str, submission: clue_pb2.Submission, *, patience_s: float) -> asyncio.Future[Verdict]:
        """Resolves with a verdict: ALLOWED, DENIED, or UNAVAILABLE when the outcome could not be learned.
        `patience_s`: so long it may wait for others of its lane.
        """
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(self._clues.homes.of(name))
        elif channel.count >= WAITING_PER_CHANNEL:
            self._metrics.count("submit.refused_waiting")
            verdict.set_result(_denied(_TOO_MANY))
            return verdict
        channel.count += 1
        item = _Waiting(name, submission, self._clock.monotonic(), verdict, patience_s)
        if channel.held is not None:
            channel.held.append(item)
        else:
            self._lane(channel.cluster, lane(name)).put(item)
        return verdict

    async def close(self) -> None:
        """Wait until what was put has its verdicts."""
        while self._channels:
            for way in list(self._lanes.values()):
                await way.batcher.close()
            if self._following:
                await asyncio.wait(self._following)

    # -- one lane's batches -------------------------------------------------------------------------------------

    def _lane(self, cluster: str, number: int) -> _Lane:
        key = (cluster, number)
        way = self._lanes.get(key)
        if way is None:
            way = self._lanes[key] = _Lane(partial(self._send, cluster, number))
        return way

    async def _send(self, cluster: str, number: int, items: list[_Waiting]) -> list[None]:
        now = self._clock.monotonic()
        fresh = [item for item in items if now - item.put_at <= clues.DECIDE_S * (1 - LEAST)]
        if len(fresh) < len(items):
            self._metrics.count("submit.expired", len(items) - len(fresh))
            late = [item for item in items if item not in fresh]
            self._tell(late, [_denied(_NOT_SENT)] * len(late))
        if fresh:
            self._metrics.count("submit.batches")
            self._metrics.count("submit.taken", len(fresh))
            groups: dict[str, _Group] = {}
            for item in fresh:
                group = groups.get(item.channel)
                if group is None:
                    group = groups[item.channel] = _Group(item.channel)
                group.items.append(item)
            self._numbers[number] += 1
            deadline = min(item.put_at for item in fresh) + clues.DECIDE_S
            batch = _Batch(number, self._numbers[number], 0, deadline, list(groups.values()))
            await self._decide(cluster, batch, partial(self._leave, cluster, batch))
            self._metrics.timing("submit.ms", (self._clock.monotonic() - now) * 1e3)
            self._metrics.timing("submit.queued_ms", (now - fresh[0].put_at) * 1e3)
        return [None] * len(items)

    async def _decide(
        self, cluster: str, batch: _Batch, moved: Callable[[_Group, clue_pb2.Elsewhere], None]
    ) -> None:
        """Send one batch until every channel in it is decided or has `moved`, or time is up."""
        before = batch.tries

        async def attempt(number_of_try: int, timeout: float) -> bool:
            batch.tries = before + number_of_try
            request = self._request(batch, timeout)
            reply = await self._clues.call(cluster, "Submit", request, batch.lane, batch.tries, timeout)
            self._take(batch, reply, moved)
            return not batch.groups

        try:
            await self._clues.until_decided(attempt, "Submit", batch.deadline - self._clock.monotonic())
        except Exception:
            self._metrics.count("bugs")
            self._log.error("submit_failed", trace=True, operation="Submit")
        for group in batch.groups:
            self._decided(group)

    def _request(self, batch: _Batch, timeout: float) -> clue_pb2.SubmitRequest:
        return clue_pb2.SubmitRequest(
            edge_run=self._run,
            batch=batch.number,
            attempt=batch.tries,
            lane=batch.lane,
            channels=[
                clue_pb2.ChannelSubmissions(
                    channel=group.channel, submissions=[item.submission for item in group.items]
                )
                for group in batch.groups
            ],
            within_ms=int(timeout * 1000),
        )

    def _take(
        self, batch: _Batch, reply: clue_pb2.SubmitReply, moved: Callable[[_Group, clue_pb2.Elsewhere], None]
    ) -> None:
        if len(reply.verdicts) != sum(len(group.items) for group in batch.groups):
            raise AssertionError(f"{len(reply.verdicts)} verdicts for another number of submissions")
        verdicts = iter(reply.verdicts)
        undecided = []
        for group in batch.groups:
            group.verdicts = [next(verdicts) for _ in group.items]
            if group.has(Verdict.MOVED):
                moved(group, next(v.elsewhere for v in group.verdicts if v.outcome == Verdict.MOVED))
            elif group.has(Verdict.UNAVAILABLE):
                undecided.append(group)
            else:
                self._decided(group)
        batch.groups = undecided

    # -- a channel that moves -----------------------------------------------------------------------------------

    def _leave(self, cluster: str, batch: _Batch, group: _Group, elsewhere: clue_pb2.Elsewhere) -> None:
        """The channel has left the lane's cluster; nothing of it may overtake what was in the batch."""
        channel = self._channels[group.channel]
        channel.held = self._lane(cluster, batch.lane).batcher.withdraw(lambda item: item.channel == group.channel)
        own = _Batch(batch.lane, batch.number, batch.tries, batch.deadline, [group])
        task = asyncio.get_running_loop().create_task(self._follow(channel, own, group, elsewhere))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self, channel: _Channel, batch: _Batch, group: _Group, elsewhere: clue_pb2.Elsewhere) -> None:
        self._metrics.count("moves.redirected", len(group.items))
        target: clue_pb2.Elsewhere | None = elsewhere

        def moved(group: _Group, further: clue_pb2.Elsewhere) -> None:
            nonlocal target
            target = further

        try:
            while target is not None:
                channel.cluster = await self._clues.redirect("Submit", group.channel, target)
                if self._clock.monotonic() >= batch.deadline:
                    break
                target = None
                batch.groups = [group]
                await self._decide(channel.cluster, batch, moved)
                if target is not None:
                    await self._clock.sleep(_AGAIN_S)
        finally:
            if target is not None:
                self._decided(group)
            held, channel.held = channel.held or [], None
            for item in held:
                self._lane(channel.cluster, batch.lane).put(item)

    # -- verdicts -----------------------------------------------------------------------------------------------

    def _decided(self, group: _Group) -> None:
        """These are the last words; without any, the outcome is not known."""
        verdicts = [_UNDECIDED if v.outcome == Verdict.MOVED else v for v in group.verdicts]
        self._tell(group.items, verdicts or [_UNDECIDED] * len(group.items))

    def _tell(self, items: Iterable[_Waiting], verdicts: Iterable[Verdict]) -> None:
        counters = self._metrics.counters
        for item, verdict in zip(items, verdicts, strict=True):
            counters[_VERDICTS[verdict.outcome]] += 1
            channel = self._channels[item.channel]
            channel.count -= 1
            if not channel.count:
                del self._channels[item.channel]
            if not item.verdict.done():
                item.verdict.set_result(verdict)


_VERDICTS: dict[Any, str] = {number: f"verdicts.{name.lower()}" for name, number in Verdict.Outcome.items()}
_UNDECIDED = Verdict(outcome=Verdict.UNAVAILABLE)


def _denied(notice: str) -> Verdict:
    """Never sent to clue: certainly not in the log."""
    return Verdict(outcome=Verdict.DENIED, denial="msg_unavailable", notice=notice)

"""Follows channels: interest on every link, entries into the log's order, holes filled from the log.

The guarantee (ARCHITECTURE 3.6): from `begin` on, `deliver` gets each entry of the channel's log once, in order,
whatever links, exchanges and clues do; only what has left the log is missing, and that is counted and logged.

How: deliveries go through the channel's Sequencer. A hole waits a moment (two exchanges overtake each other) and is
then replayed. What no hole shows, the newest entries, is found by comparing heads: when a link comes or goes, when an
exchange falls silent or dropped something, when a confirmation came late, and now and then. While an exchange that
should be linked is not, heads are compared every second (degraded).

Each cluster is looked at by itself: when exchanges or clues of one are gone, channels of others do not notice.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from common import backoff
from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.names import instance_name
from common.pb import chat_pb2, clue_pb2
from common.trace import MARK, is_traced
from edge.exchange_link import ExchangeLink, Listener
from edge.homes import Homes
from edge.sequencer import Ready, Sequencer

Deliver = Callable[[str, list[tuple[int, chat_pb2.Publication]]], None]
_MARK = MARK.encode()
_HEAD = 48  # bytes of a publication that its id is in
# Channel, where from, messages that are followed, the newest seq handed on before they came and now.
OnTraced = Callable[[str, str, Iterable[chat_pb2.Traced], int, int], None]


class Links(Protocol):
    """What ExchangeLinks does."""

    def attach(self, listener: Listener) -> None: ...
    def live(self) -> Collection[ExchangeLink]: ...
    def announce(self, channels: Collection[str], home: str) -> asyncio.Future[Any]: ...
    def withdraw(self, channels: Collection[str]) -> None: ...


class Clue(Protocol):
    """What ClueClient does."""

    async def replay(self, channel: str, after_seq: int, limit: int = 0) -> clue_pb2.ReplayReply:
        """Raises RemoteError."""

    async def heads(self, channels: Sequence[str]) -> dict[str, int | None]:
        """None: not known, ask again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds, unless named otherwise."""

    tick: float = 0.5  # how often the periodic work looks around
    confirm: float = 1.0  # how long `open` waits for the links
    linger: float = 10.0  # interest outlives the last member by this
    overtake: float = 0.05  # a hole younger than this may be two exchanges overtaking each other
    silent: float = 3.0  # an exchange sends at least a heartbeat a second
    poll: float = 1.0  # between comparisons while degraded, or while heads could not be had
    hygiene: float = 30.0  # between comparisons of a channel when all is well
    retry_first: float = 0.1
    retry_max: float = 2.0
    # Channels of one comparison. [Clue works 30 us on each: ten thousand inboxes every 30 s at once kept two clues busy
    # for 0.6 s, and five lines of a quiet channel in a row took 20 ms instead of 7]
    heads: int = 128
    page: int = 500  # entries of one replay
    replays: int = 16  # replays under way at once, of channels of one cluster


class _Followed:
    """One channel. A new object when it is followed again: work for an old one is recognized and dropped."""

    __slots__ = ("compared_at", "confirmed", "home", "name", "released_at", "repair", "sequencer", "settled")

    def __init__(self, name: str, home: str, confirmed: asyncio.Future[Any], now: float) -> None:
        self.name = name
        self.compared_at = now  # for hygiene, or followed since
        self.home = home  # the cluster where it lives, as far as we know
        self.sequencer = Sequencer()
        self.confirmed = confirmed  # by every link from there that there was
        self.settled = False  # confirmed, or waited for long enough
        self.released_at: float | None = None  # no member since then
        self.repair: asyncio.Task[None] | None = None


class Follower:
    """Use: `await open(channel)`, ask clue for the facts, `begin(channel, head)`; when the last member left,
    `release(channel)`. `run` does the periodic work and must be running.
    """

    def __init__(
        self,
        links: Links,
        clue: Clue,
        homes: Homes,
        deliver: Deliver,
        *,
        metrics: Metrics,
        log: Log,
        clock: Clock,
        bounds: Bounds | None = None,
        traced: OnTraced | None = None,
    ) -> None:
        self._links = links
        self._traced = traced
        self._clue = clue
        self._homes = homes
        self._deliver = deliver
        self._metrics = metrics
        self._counters = metrics.counters
        self._log = log
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._channels: dict[str, _Followed] = {}
        self._released: deque[tuple[float, _Followed]] = deque()  # in order of time
        # By cluster: exchanges of its directory, (instance, run); why it is degraded.
        self._expected: dict[str, set[tuple[str, int]]] = {homes.own: set()}
        self._missing: dict[str, tuple[str, ...]] = {}
        self._silent: set[ExchangeLink] = set()
        self._turns: deque[_Followed] = deque()  # for hygiene, in order of `compared_at`; some are followed no more
        self._unsure: set[str] = set()  # channels whose heads are to be compared
        self._comparing: dict[str, asyncio.Task[None]] = {}  # under way, by home
        self._wake = asyncio.Event()
        self._repairs: set[asyncio.Task[None]] = set()
        self._replaying: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(self._bounds.replays)
        )
        links.attach(self)
        metrics.gauge("follower.channels", lambda: len(self._channels))
        metrics.gauge("follower.repairs", lambda: len(self._repairs))
        metrics.gauge("follower.oldest_hole_s", self._oldest_hole_s)
        metrics.gauges(self._by_exchange)
        metrics.gauge("follower.degraded", lambda: 1 if homes.own in self._missing else 0)
        metrics.gauges(self._by_cluster)

    # -- what connections ask -----------------------------------------------------------------------------------

    async def open(self, channel: str) -> None:
        """Announce interest and wait until the links hold it, at most about a second: facts asked for after this and
        what is delivered meet without a gap. A confirmation that comes later is followed by a comparison of heads.
        """
        await self.open_all((channel,))

    async def open_all(self, channels: Collection[str]) -> None:
        """`open` for each, in one announcement."""
        fresh = [channel for channel in channels if channel not in self._channels]
        if fresh:
            homes: dict[str, list[str]] = {}
            for channel in fresh:
                homes.setdefault(self._homes.of(channel), []).append(channel)
            for home, names in homes.items():
                confirmed = self._links.announce(names, home)
                for name in names:
                    self._add(name, home, confirmed)
        opened = [self._channels[channel] for channel in channels]
        for followed in opened:
            followed.released_at = None
        unsettled = [followed for followed in opened if not followed.settled]
        if unsettled:
            await asyncio.wait({followed.confirmed for followed in unsettled}, timeout=self._bounds.confirm)
        for followed in unsettled:
            self._settle(followed)

    def keep(self, channel: str) -> None:
        """Take back a `release`; no-op for a channel that is not followed."""
        followed = self._channels.get(channel)
        if followed is not None:
            followed.released_at = None

    def is_following(self, channel: str) -> bool:
        """`open` would return at once."""
        followed = self._channels.get(channel)
        return followed is not None and followed.settled

    def begin(self, channel: str, head: int) -> None:
        """A member was admitted, and the log stood at `head` when it was asked for. The first member's head is where
        delivery begins; may call `deliver` before it returns. Also takes back a `release`.
        """
        followed = self._follow(channel)
        followed.released_at = None
        if not followed.settled:
            # Interest had lapsed meanwhile: `head` is older than it.
            self._settle(followed)
            self._compare((channel,))
        if not followed.sequencer.begun:
            self._hand_out(followed, followed.sequencer.begin(head, self._clock.monotonic()))

    def release(self, channel: str) -> None:
        """No member is left. Interest lingers, since people come back; no-op for a channel that is not followed."""
        followed = self._channels.get(channel)
        if followed is not None:
            followed.released_at = self._clock.monotonic()
            self._released.append((followed.released_at, followed))

    def directory(self, cluster: str, directory: clue_pb2.Directory) -> None:
        """Which exchanges of a cluster should be linked."""
        if directory.available:
            self._expected[cluster] = {
                (s.instance, s.run) for s in directory.services if s.service == "exchange" and not s.draining
            }

    def expect_cluster(self, cluster: str) -> None:
        """Its exchanges should be linked, whichever they are."""
        self._expected.setdefault(cluster, set())

    def forget_cluster(self, cluster: str) -> None:
        """It is gone on purpose: nobody is missed."""
        self._expected.pop(cluster, None)
        self._missing.pop(cluster, None)

    def moved(self, channel: str) -> None:
        """Its home may be another one now."""
        self._rehome((channel,))

    def homes_changed(self) -> None:
        """Those of many channels may."""
        self._rehome(self._channels)

    def _rehome(self, channels: Collection[str]) -> None:
        """The links from the new home have had our interest all along; once they confirm that, what they did not bring
        is in the log.
        """
        homes: dict[str, list[str]] = {}
        for name in channels:
            followed = self._channels.get(name)
            if followed is not None and (home := self._homes.of(name)) != followed.home:
                followed.home = home
                homes.setdefault(home, []).append(name)
        for home, names in homes.items():
            self._metrics.count("follower.rehomed", len(names))
            self._compare(names)
            self._links.announce(names, home).add_done_callback(partial(self._confirmed, names))

    def _confirmed(self, names: Collection[str], _: asyncio.Future[Any]) -> None:
        self._compare(names)

    @property
    def missing(self) -> tuple[str, ...]:
        """Exchanges that should deliver and do not."""
        return tuple(name for missing in self._missing.values() for name in missing)

    def snapshot(self) -> dict[str, Any]:
        """For `status`, `verify` and people."""
        return {
            "channels": {
                name: {
                    "last": followed.sequencer.last,
                    "held": followed.sequencer.held,
                    "behind": followed.sequencer.hole_since is not None,
                    "released": followed.released_at is not None,
                    "home": followed.home,
                }
                for name, followed in self._channels.items()
            },
            "links": [link.remote for link in self._links.live()],
            "missing": list(self.missing),
        }

    # -- what links bring ---------------------------------------------------------------------------------------

    def on_delivery(self, link: ExchangeLink, channels: Sequence[chat_pb2.ChannelEntries]) -> None:
        now = self._clock.monotonic()
        for piece in channels:
            followed = self._channels.get(piece.channel)
            if followed is None:
                self._counters["follower.strays"] += 1
                continue
            try:
                entries = chat_pb2.Entries.FromString(piece.entries).entry
            except DecodeError:
                self._undecodable(piece.channel, link.remote)
                self._compare((piece.channel,))
                continue
            before = followed.sequencer.last
            self._hand_out(followed, followed.sequencer.feed(entries, now))
            if piece.traced and self._traced is not None:
                self._traced(piece.channel, link.remote, piece.traced, before, followed.sequencer.last)

    def on_up(self, link: ExchangeLink) -> None:
        self._compare(self._living_on(link.cluster))

    def on_down(self, link: ExchangeLink) -> None:
        self._silent.discard(link)
        self._compare(self._living_on(link.cluster))

    def on_dropped(self, link: ExchangeLink, deliveries: int) -> None:
        self._compare(self._living_on(link.cluster))

    # -- periodic work ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        bounds, clock = self._bounds, self._clock
        swept_at = clock.monotonic()
        compared_at: dict[str, float] = {}  # by home
        try:
            while True:
                now = clock.monotonic()
                self._withdraw_lingering(now)
                self._watch(now)
                if now - swept_at >= bounds.tick:
                    self._sweep(now)
                    swept_at = now
                for home in self._missing:
                    if now - compared_at.get(home, 0.0) >= bounds.poll:
                        # Inboxes are as many as users, and hardly ever written to: theirs can wait for the sweep.
                        self._unsure.update(name for name in self._living_on(home) if not name.startswith("@"))
                        compared_at[home] = now
                if self._unsure:
                    self._start_comparisons()
                await self._pause()
        finally:
            tasks = [*self._repairs, *self._comparing.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._bounds.tick):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _sweep(self, now: float) -> None:
        """Compare channels whose turn it is: some at a time, and as many as keep each within `hygiene`."""
        bounds, turns = self._bounds, self._turns
        most = max(bounds.heads, math.ceil(len(turns) * bounds.tick / bounds.hygiene))
        due = now - bounds.hygiene
        for _ in range(most):
            if not turns or turns[0].compared_at > due:
                break
            followed = turns.popleft()
            if self._is_current(followed):
                followed.compared_at = now
                turns.append(followed)
                self._unsure.add(followed.name)

    def _withdraw_lingering(self, now: float) -> None:
        due = now - self._bounds.linger
        gone: list[str] = []
        while self._released and self._released[0][0] <= due:
            released_at, followed = self._released.popleft()
            # A later release has an entry of its own.
            if followed.released_at == released_at and self._is_current(followed):
                del self._channels[followed.name]
                gone.append(followed.name)
        if gone:
            self._links.withdraw(gone)
            self._metrics.count("follower.withdrawn", len(gone))

    def _watch(self, now: float) -> None:
        """Which exchanges do we not hear?"""
        live = self._links.live()
        silent = {link for link in live if now - link.last_heard > self._bounds.silent}
        for link in silent - self._silent:
            self._metrics.count("links.silent")
            self._log.warning("exchange_silent", remote=link.remote, operation="deliver", cause="no heartbeat")
            self._compare(self._living_on(link.cluster))
        self._silent = silent
        heard: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        for link in live:
            if link not in silent:
                heard[link.cluster].add((link.instance, link.run))
        for cluster, expected in self._expected.items():
            self._judge(cluster, expected, heard[cluster])

    def _judge(self, cluster: str, expected: set[tuple[str, int]], heard: set[tuple[str, int]]) -> None:
        """Is this cluster degraded?"""
        missing = tuple(sorted(self._name(cluster, instance) for instance, _ in expected - heard))
        if not missing and not heard:
            missing = ("every exchange" if cluster == self._homes.own else f"every exchange of {cluster}",)
        before = self._missing.pop(cluster, ())
        if missing:
            self._missing[cluster] = missing
            if missing != before:
                self._log.warning("degraded", missing=",".join(missing), operation="deliver", cause="polling instead")
        elif before:
            self._log.info("recovered", heard=",".join(sorted(self._name(cluster, instance) for instance, _ in heard)))
            self._compare(self._living_on(cluster))

    def _name(self, cluster: str, instance: str) -> str:
        return instance_name(instance, cluster, self._homes.own)

    def _living_on(self, cluster: str) -> list[str]:
        return [name for name, followed in self._channels.items() if followed.home == cluster]

    # -- heads --------------------------------------------------------------------------------------------------

    def _compare(self, channels: Collection[str]) -> None:
        """Soon compare what we have of `channels` with the log."""
        self._unsure.update(channels)
        self._wake.set()

    def _settle(self, followed: _Followed) -> None:
        """Nobody waits for the links any longer. What is published before they confirm is found in the log."""
        if followed.settled:
            return
        followed.settled = True
        if not followed.confirmed.done():
            self._metrics.count("follower.unconfirmed")
            followed.confirmed.add_done_callback(lambda _: self._compare((followed.name,)))

    def _start_comparisons(self) -> None:
        """Of all that is unsure: one comparison at a time for the channels of each cluster."""
        homes: dict[str, list[str]] = {}
        for name in self._unsure:
            followed = self._channels.get(name)
            if followed is not None:
                homes.setdefault(followed.home, []).append(name)
        self._unsure = set()
        for home, names in homes.items():
            if home in self._comparing:
                self._unsure.update(names)
            else:
                task = self._comparing[home] = asyncio.get_running_loop().create_task(self._comparison(names))
                task.add_done_callback(partial(self._compared, home))

    async def _comparison(self, names: list[str]) -> None:
        if not await self._compare_heads(names):
            # Heads that could not be had: not at once again.
            await self._clock.sleep(self._bounds.poll * random.uniform(0.5, 1.0))

    def _compared(self, home: str, task: asyncio.Task[None]) -> None:
        del self._comparing[home]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._metrics.count("bugs")
            self._log.error("comparison_failed", operation="Heads", cause=repr(error))
        if self._unsure:
            self._wake.set()

    async def _compare_heads(self, names: list[str]) -> bool:
        """Compare these with the log. False: some heads could not be had; their channels stay unsure."""
        complete = True
        for start in range(0, len(names), self._bounds.heads):
            batch = names[start : start + self._bounds.heads]
            asked = {name: self._channels[name] for name in batch if name in self._channels}
            heads = await self._clue.heads(batch)
            for name, followed in asked.items():
                head = heads.get(name)
                if not self._is_current(followed):
                    continue
                if head is None:
                    complete = False
                    self._unsure.add(name)
                    self._counters["follower.heads_unknown"] += 1
                else:
                    self._head(followed, head)
        return complete

    def _head(self, followed: _Followed, head: int) -> None:
        sequencer = followed.sequencer
        self._counters["follower.heads_compared"] += 1
        if sequencer.head(head, self._clock.monotonic()):
            self._counters["follower.heads_behind"] += 1
            self._check(followed)
        elif head < sequencer.last:
            # Normal on a busy channel; for good, when a shard lost its newest writes: its log then goes on higher.
            self._counters["follower.heads_lower"] += 1

    # -- holes --------------------------------------------------------------------------------------------------

    def _check(self, followed: _Followed) -> None:
        """See to it that a hole is filled: one repair for each channel."""
        if followed.sequencer.hole_since is None or followed.repair is not None:
            return
        self._counters["follower.holes"] += 1
        task = followed.repair = asyncio.get_running_loop().create_task(self._fill(followed))
        self._repairs.add(task)
        task.add_done_callback(lambda done: self._repaired(followed, done))

    async def _fill(self, followed: _Followed) -> None:
        sequencer, clock, bounds = followed.sequencer, self._clock, self._bounds
        delays = backoff.delays(bounds.retry_first, bounds.retry_max)
        while sequencer.hole_since is not None and self._is_current(followed):
            young = sequencer.hole_since + bounds.overtake - clock.monotonic()
            if young > 0:
                await clock.sleep(young)
                continue
            async with self._replaying[followed.home]:
                understood = await self._replay(followed)
            if understood:
                delays = backoff.delays(bounds.retry_first, bounds.retry_max)
            else:
                self._metrics.count("follower.replay_failures")
                await clock.sleep(next(delays))

    async def _replay(self, followed: _Followed) -> bool:
        """One page. False: it could not be had."""
        sequencer, name = followed.sequencer, followed.name
        mark, after = sequencer.asking(), sequencer.last
        try:
            reply = await self._clue.replay(name, after, self._bounds.page)
        except RemoteError as error:
            self._log.warning(
                "replay_failed", remote=error.remote, operation=error.operation, channel=name, cause=error.cause
            )
            return False
        if not self._is_current(followed):
            return True
        try:
            entries = chat_pb2.Entries.FromString(reply.entries).entry
        except DecodeError:
            self._undecodable(name, "clue")
            return False
        if not reply.available or (reply.more and not entries):
            self._log.warning("replay_failed", operation="Replay", channel=name, cause="its shard did not answer")
            return False
        self._counters["follower.replays"] += 1
        self._counters["follower.replayed"] += len(entries)
        self._hand_out(followed, sequencer.replayed(entries, mark, reply.more, self._clock.monotonic()))
        if self._traced is not None:
            self._traced(name, "the log", _traced(entries, after), after, sequencer.last)
        return True

    def _by_exchange(self) -> dict[str, float]:
        """Those that should be linked, and those that are."""
        heard = {link.name for link in self._links.live() if link not in self._silent}
        expected = {
            self._name(cluster, instance) for cluster, known in self._expected.items() for instance, _ in known
        }
        return {f"link.{name}.up": int(name in heard) for name in expected | heard}

    def _by_cluster(self) -> dict[str, float]:
        """Once there is more than one."""
        if len(self._expected) == 1:
            return {}
        return {f"cluster.{cluster}.degraded": int(cluster in self._missing) for cluster in self._expected}

    def _oldest_hole_s(self) -> float:
        if not self._repairs:
            return 0.0
        since = (f.sequencer.hole_since for f in self._channels.values() if f.repair is not None)
        now = self._clock.monotonic()
        return round(max((now - at for at in since if at is not None), default=0.0), 3)

    def _repaired(self, followed: _Followed, task: asyncio.Task[None]) -> None:
        self._repairs.discard(task)
        followed.repair = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._metrics.count("bugs")
            self._log.error("repair_failed", operation="replay", channel=followed.name, cause=repr(error))
            self._compare((followed.name,))

    # -- out ----------------------------------------------------------------------------------------------------

    def _hand_out(self, followed: _Followed, ready: list[Ready]) -> None:
        sequencer = followed.sequencer
        if sequencer.repeats or sequencer.overflowed or sequencer.losses or sequencer.jumps:
            self._account(followed)
        if ready:
            publications = []
            parse = chat_pb2.Publication.FromString
            for seq, raw in ready:
                try:
                    publications.append((seq, parse(raw)))
                except DecodeError:
                    self._undecodable(followed.name, f"seq {seq}")
            self._counters["follower.delivered"] += len(publications)
            if publications:
                try:
                    self._deliver(followed.name, publications)
                except Exception:
                    self._metrics.count("bugs")
                    self._log.error("deliver_failed", trace=True, operation="broadcast", channel=followed.name)
        if sequencer.hole_since is not None:
            self._check(followed)

    def _account(self, followed: _Followed) -> None:
        sequencer = followed.sequencer
        self._counters["follower.repeats"] += sequencer.repeats
        self._counters["follower.overflowed"] += sequencer.overflowed
        sequencer.repeats = sequencer.overflowed = 0
        for loss in sequencer.losses:
            self._counters["follower.losses"] += 1
            self._log.warning(
                "entries_lost",
                operation="replay",
                channel=followed.name,
                after=loss.after,
                before=loss.before,
                cause=f"no longer in the log: readers of {followed.name} may miss lines",
            )
        sequencer.losses.clear()
        for jump in sequencer.jumps:
            self._counters["follower.jumps"] += 1
            self._log.warning(
                "log_jumped",
                operation="deliver",
                channel=followed.name,
                after=jump.after,
                seen=jump.seen,
                to=jump.to,
                cause=f"its shard lost what came after {jump.after}, or the log began anew: readers of "
                f"{followed.name} on other edges may miss lines up to {jump.seen}",
            )
        sequencer.jumps.clear()

    def _undecodable(self, channel: str, source: str) -> None:
        self._counters["follower.undecodable"] += 1
        self._log.warning("undecodable", remote=source, operation="deliver", channel=channel, cause="not a protobuf")

    # -- who is followed ----------------------------------------------------------------------------------------

    def _follow(self, channel: str) -> _Followed:
        followed = self._channels.get(channel)
        if followed is None:
            home = self._homes.of(channel)
            followed = self._add(channel, home, self._links.announce((channel,), home))
        return followed

    def _add(self, channel: str, home: str, confirmed: asyncio.Future[Any]) -> _Followed:
        followed = self._channels[channel] = _Followed(channel, home, confirmed, self._clock.monotonic())
        self._turns.append(followed)
        return followed

    def _is_current(self, followed: _Followed) -> bool:
        return self._channels.get(followed.name) is followed


def _traced(entries: Iterable[chat_pb2.Entry], after: int) -> Iterable[chat_pb2.Traced]:
    """The followed ones among the log's entries, above `after`."""
    for entry in entries:
        if entry.seq > after and _MARK in entry.publication[:_HEAD]:
            try:
                publication = chat_pb2.Publication.FromString(entry.publication)
            except DecodeError:
                continue  # counted where it is handed out
            if is_traced(publication.id):
                yield chat_pb2.Traced(id=publication.id, seq=entry.seq)

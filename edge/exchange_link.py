"""The edge's end of the links: exchanges dial us, we tell them which channels we want, they deliver.

Exchanges of all clusters dial us, and each is told the whole interest: a channel may move to any of them.

Promises: 1. a stream learns the whole interest first; later changes go out as soon as the last report is written, those
made meanwhile as one; 2. `announce` is done when every link of the channels' home confirmed (or broke): what is
published there after that comes; 3. a link counts as up once its exchange confirmed the first interest, so heads
compared after `on_up` miss nothing; 4. a report leaves at least once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

import grpc
import grpc.aio

from common.clock import Clock, SystemClock
from common.log import Log
from common.metrics import Metrics
from common.names import instance_name
from common.pb import chat_pb2, exchange_pb2, exchange_pb2_grpc

HEARTBEAT_S = 1.0
HELLO_S = 5.0


class Listener(Protocol):
    """Who takes what the links bring. All calls are synchronous and must not raise."""

    def on_delivery(self, link: ExchangeLink, channels: Sequence[chat_pb2.ChannelEntries]) -> None: ...

    def on_up(self, link: ExchangeLink) -> None:
        """The exchange holds our whole interest from now on."""

    def on_down(self, link: ExchangeLink) -> None:
        """The link, which was up, is gone."""

    def on_dropped(self, link: ExchangeLink, deliveries: int) -> None:
        """The exchange's queue for us overflowed and lost `deliveries`."""


class ExchangeLink:
    """One stream from one exchange: its unsent interest, and who waits for its confirmation."""

    __slots__ = (
        "_add", "_hello", "_leaving", "_number", "_remove", "_waiting", "_wake",
        "applied", "cluster", "instance", "last_heard", "name", "reader", "remote", "run", "up",
    )  # fmt: skip

    def __init__(
        self, hello: exchange_pb2.ExchangeHello, peer: str, ours: exchange_pb2.EdgeHello, own: str, now: float
    ) -> None:
        self.instance = hello.instance
        self.cluster = hello.cluster or own
        self.run = hello.run
        self.name = instance_name(hello.instance, self.cluster, own)  # in metrics and logs
        self.remote = f"{self.name}@{peer}"
        self.up = False
        self.last_heard = now  # monotonic seconds of the last Delivery
        self.applied = 0
        self.reader: asyncio.Task[str] | None = None
        self._hello: exchange_pb2.EdgeHello | None = ours  # until it is sent
        self._add: set[str] = set()
        self._remove: set[str] = set()
        self._number = 0  # of the last Interest sent
        self._waiting: dict[int, asyncio.Future[None]] = {}  # by the number that brings the confirmation
        self._leaving = False
        self._wake = asyncio.Event()

    def announce(self, channels: Iterable[str]) -> asyncio.Future[None]:
        """Done when the exchange confirmed, or the link broke."""
        self._add.update(channels)
        self._remove.difference_update(channels)
        self._wake.set()
        number = self._number + 1
        future = self._waiting.get(number)
        if future is None:
            future = self._waiting[number] = asyncio.get_running_loop().create_future()
        return future

    def withdraw(self, channels: Iterable[str]) -> None:
        self._remove.update(channels)
        self._add.difference_update(channels)
        self._wake.set()

    def leave(self) -> None:
        self._leaving = True
        self._wake.set()

    def confirm(self, number: int) -> None:
        """Every interest up to `number` holds."""
        for waiting in [n for n in self._waiting if n <= number]:
            self._waiting.pop(waiting).set_result(None)

    def broken(self) -> None:
        """Nobody has to wait for this link any more."""
        for future in self._waiting.values():
            future.set_result(None)
        self._waiting.clear()

    async def report(self, context: Any) -> None:
        """Write reports until cancelled: at once when there is news, a heartbeat when there is none."""
        while True:
            self._wake.clear()
            await context.write(self._next_report())
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _next_report(self) -> exchange_pb2.EdgeReport:
        report = exchange_pb2.EdgeReport(applied=self.applied, leaving=self._leaving)
        first = self._hello is not None
        if self._hello is not None:
            report.hello.CopyFrom(self._hello)
            self._hello = None
        if first or self._add or self._remove:
            self._number += 1
            report.interest.number = self._number
            report.interest.add.extend(self._add)
            report.interest.remove.extend(self._remove)
            self._add.clear()
            self._remove.clear()
        return report


class ExchangeLinks(exchange_pb2_grpc.EdgeLinkServicer):
    """All links, and what this edge wants. `attach` a listener before the server starts."""

    def __init__(
        self, instance: str, cluster: str, run: int, metrics: Metrics, log: Log, clock: Clock | None = None
    ) -> None:
        self._hello = exchange_pb2.EdgeHello(instance=instance, run=run)
        self._cluster = cluster
        self._metrics = metrics
        self._counters = metrics.counters
        self._log = log
        self._clock = clock or SystemClock()
        self._listener: Listener | None = None
        self._wanted: set[str] = set()
        self._links: dict[tuple[str, str, int], ExchangeLink] = {}
        self._leaving = False
        metrics.gauge("links.up", lambda: len(self.live()))
        metrics.gauge("links.interest", lambda: len(self._wanted))
        metrics.gauges(self._by_exchange)

    def attach(self, listener: Listener) -> None:
        self._listener = listener

    def live(self) -> Collection[ExchangeLink]:
        """The links that are up."""
        return [link for link in self._links.values() if link.up]

    def all(self) -> Collection[ExchangeLink]:
        """Those that are not up yet, too."""
        return self._links.values()

    def _by_exchange(self) -> dict[str, float]:
        now = self._clock.monotonic()
        return {f"link.{link.name}.silent_s": round(now - link.last_heard, 3) for link in self._links.values()}

    def announce(self, channels: Collection[str], home: str) -> asyncio.Future[Any]:
        """We want `channels`, which live on cluster `home`, from now on. The future is done when every link of this
        moment from there confirmed or broke; the caller bounds its patience, and a link that comes up later has it in
        its first interest.
        """
        self._wanted.update(channels)
        confirmed = [(link, link.announce(channels)) for link in self._links.values()]
        return asyncio.gather(*(future for link, future in confirmed if link.cluster == home))

    def withdraw(self, channels: Collection[str]) -> None:
        """We want `channels` no more."""
        self._wanted.difference_update(channels)
        for link in self._links.values():
            link.withdraw(channels)

    def leave(self) -> None:
        """The edge stops: every exchange is told to dial it no more, sends what it has, and ends its stream."""
        self._leaving = True
        for link in self._links.values():
            link.leave()

    async def Deliver(self, request_iterator: Any, context: Any) -> None:
        """One stream, for as long as it lives."""
        if self._leaving:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the edge leaves")
        link = await self._greet(context)
        key = (link.cluster, link.instance, link.run)
        before = self._links.pop(key, None)
        self._links[key] = link
        if before is not None and before.reader is not None:
            # The exchange gave the old stream up, although we did not notice.
            self._metrics.count("links.replaced")
            before.reader.cancel()
        self._metrics.count("links.opened")
        link.announce(self._wanted)
        link.reader = asyncio.ensure_future(self._take(link, context))
        writer = asyncio.ensure_future(link.report(context))
        cause = "cancelled by the exchange, or its connection broke"
        try:
            await asyncio.wait({link.reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            cause = _cause(link.reader) or _cause(writer) or "replaced by a newer stream"
        finally:
            link.reader.cancel()
            writer.cancel()
            self._closed(link, cause)
            await asyncio.gather(link.reader, writer, return_exceptions=True)

    async def _greet(self, context: Any) -> ExchangeLink:
        try:
            async with asyncio.timeout(HELLO_S):
                first = await context.read()
        except TimeoutError:
            first = grpc.aio.EOF
        if first is grpc.aio.EOF or not first.HasField("hello"):
            self._metrics.count("links.without_hello")
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a stream begins with a hello")
        now = self._clock.monotonic()
        return ExchangeLink(first.hello, _address(context.peer()), self._hello, self._cluster, now)

    async def _take(self, link: ExchangeLink, context: Any) -> str:
        """Take Deliveries until the exchange ends the stream. Gives the reason."""
        listener, counters = self._listener, self._counters
        assert listener is not None, "attach() first"
        while (delivery := await context.read()) is not grpc.aio.EOF:
            link.last_heard = self._clock.monotonic()
            link.applied += 1
            counters["links.deliveries"] += 1
            if delivery.channels:
                listener.on_delivery(link, delivery.channels)
            if delivery.dropped:
                counters["links.dropped"] += delivery.dropped
                self._log.warning("deliveries_dropped", remote=link.remote, operation="deliver", n=delivery.dropped)
                listener.on_dropped(link, delivery.dropped)
            if delivery.interest_ack:
                link.confirm(delivery.interest_ack)
                if not link.up:
                    link.up = True
                    self._log.info("link_up", remote=link.remote, operation="deliver", channels=len(self._wanted))
                    listener.on_up(link)
        return "ended by the exchange"

    def _closed(self, link: ExchangeLink, cause: str) -> None:
        key = (link.cluster, link.instance, link.run)
        if self._links.get(key) is link:
            del self._links[key]
        link.broken()
        self._metrics.count("links.closed")
        if self._leaving:
            self._log.info("link_closed", remote=link.remote, operation="deliver", cause="the edge leaves")
        else:
            self._log.warning("link_down", remote=link.remote, operation="deliver", cause=cause)
        if link.up:
            link.up = False
            assert self._listener is not None
            self._listener.on_down(link)


def _cause(task: asyncio.Task[Any]) -> str:
    """Why a half of the stream ended; empty: it has not, or was cancelled."""
    if not task.done() or task.cancelled():
        return ""
    error = task.exception()
    return f"{type(error).__name__}: {error}" if error else str(task.result())


def _address(peer: str) -> str:
    """gRPC writes "ipv4:127.0.0.1:4567" (and percent-encodes the brackets of IPv6)."""
    return peer.partition(":")[2].replace("%5B", "[").replace("%5D", "]")

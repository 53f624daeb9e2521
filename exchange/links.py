"""The links to the edges: for each edge one kept-alive stream that we dial, one bounded queue, one writer.

Promises, for one link that is up: pieces are sent in the order they were pushed; a push never waits; the queue is
bounded in bytes, and when it overflows the oldest pieces go, counted, and the edge is told with the next Delivery.
When the stream breaks, its queue and its interest go with it: the edge sends its interest again on the next stream
and compares heads. A link that is slow or dead costs the others nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

import grpc.aio

from common import backoff, rpc
from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.names import instance_name
from common.pb import clue_pb2, exchange_pb2
from exchange.interest import Interest

HEARTBEAT_S = 1.0  # a Delivery with nothing in it, when nothing else was sent; edges call 3 s of silence dead
SILENT_S = 5.0  # an edge reports every second
MESSAGE_BYTES = 1024 * 1024  # aim of one Delivery: large enough to pay for itself, small enough not to stall the edge
REDIAL_FIRST_S = 0.1
REDIAL_MAX_S = 2.0

_SERVICE = exchange_pb2.DESCRIPTOR.services_by_name["EdgeLink"]
_DELIVER = f"/{_SERVICE.full_name}/Deliver"


@dataclass(frozen=True, slots=True)
class LinkSettings:
    instance: str  # of this exchange
    cluster: str
    run: int
    pace_s: float  # least time between two messages of a busy link
    queue_bytes: int


class Links:
    """All links, by the edge's (instance, run). Edges come from the directory; see `update`."""

    def __init__(self, settings: LinkSettings, metrics: Metrics, log: Log, clock: Clock) -> None:
        self.interest: Interest[Link] = Interest()
        self.up = 0  # links that have told their interest
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._links: dict[tuple[str, int], Link] = {}
        self._tasks: dict[Link, asyncio.Task[None]] = {}
        self._left: set[tuple[str, int]] = set()  # edges that said goodbye; the directory may list them a little longer
        self._closing = False
        metrics.gauge("links", lambda: self.up)
        metrics.gauge("edges_known", lambda: len(self._links))
        metrics.gauge("channels", lambda: len(self.interest))
        metrics.gauge("queue_bytes", lambda: sum(link.queued for link in self._links.values()))
        metrics.gauge("queue_bytes_max", lambda: max((link.queued for link in self._links.values()), default=0))
        metrics.gauge("unapplied_max", lambda: max((link.unapplied for link in self._links.values()), default=0))
        metrics.gauges(self._by_edge)

    def _by_edge(self) -> dict[str, float]:
        gauges: dict[str, float] = {}
        for link in self._links.values():
            gauges[f"link.{link.name}.up"] = int(link.is_up)
            gauges[f"link.{link.name}.queue_bytes"] = link.queued
            gauges[f"link.{link.name}.unapplied"] = link.unapplied
        return gauges

    def states(self) -> list[exchange_pb2.LinkState]:
        """As they are now, for people."""
        now = self._clock.monotonic()
        return [
            exchange_pb2.LinkState(
                edge=link.name,
                address=link.address,
                up=link.is_up,
                queue_bytes=link.queued,
                unapplied=link.unapplied,
                silent_ms=int((now - link.heard) * 1e3),
            )
            for link in self._links.values()
        ]

    def update(self, directory: clue_pb2.Directory) -> None:
        """Dial the edges that are new in the directory. One that it no longer lists is given up only once its link
        is down too, and a directory that could not be read changes nothing: chat goes on without it.
        """
        if not directory.available or self._closing:
            return
        listed = {(s.instance, s.run): s for s in directory.services if s.service == "edge"}
        for edge, found in listed.items():
            if edge not in self._links and edge not in self._left and found.grpc_address:
                name = instance_name(found.instance, found.cluster, self._settings.cluster)
                self._dial(edge, name, found.grpc_address)
        for edge, link in list(self._links.items()):
            if edge not in listed and not link.is_up:
                self._log.info("edge_forgotten", remote=link.remote, cause="not in the directory, link down")
                self._forget(link)
        self._left &= listed.keys()

    async def beat(self) -> None:
        """Give quiet links their heartbeat, until cancelled."""
        while True:
            await self._clock.sleep(HEARTBEAT_S)
            for link in self._links.values():
                link.beat()

    async def close(self, within_s: float) -> None:
        """Send what is queued, then end every stream; what is not done after `within_s` seconds is cut off."""
        self._closing = True
        for link, task in self._tasks.items():
            if link.is_up:
                link.finish()
            else:
                task.cancel()
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def came_up(self, link: Link) -> None:
        self.up += 1
        self._metrics.count("links_up")

    def went_down(self, link: Link) -> None:
        self.up -= 1
        self._metrics.count("links_down")

    def _dial(self, edge: tuple[str, int], name: str, address: str) -> None:
        link = Link(edge, name, address, self, self._settings, self._metrics, self._log, self._clock)
        self._links[edge] = link
        task = asyncio.get_running_loop().create_task(link.run())
        self._tasks[link] = task
        task.add_done_callback(lambda _: self._ended(link))

    def _ended(self, link: Link) -> None:
        self._tasks.pop(link, None)
        if self._links.get(link.edge) is link:
            del self._links[link.edge]
        if link.left:
            self._left.add(link.edge)

    def _forget(self, link: Link) -> None:
        del self._links[link.edge]
        self._tasks[link].cancel()


class Link:
    """One edge: dials it, keeps one stream to it, redials when the stream breaks, until the edge leaves."""

    def __init__(
        self,
        edge: tuple[str, int],
        name: str,
        address: str,
        links: Links,
        settings: LinkSettings,
        metrics: Metrics,
        log: Log,
        clock: Clock,
    ) -> None:
        self.edge = edge
        self.name = name  # in metrics and logs: a guest's begins with its cluster
        self.remote = f"{name}@{address}"
        self.is_up = False
        self.left = False
        self.queued = 0  # bytes in the queue
        self.address = address
        self.heard = clock.monotonic()  # the last report
        self._links = links
        self._interest = links.interest
        self._settings = settings
        self._metrics = metrics
        self._log = log.bind(remote=self.remote)
        self._clock = clock
        self._finishing = False
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._ack = 0
        self._dropped = 0
        self._heartbeat = False
        self._quiet = False  # nothing was sent since the last beat
        self._sent = 0  # Deliveries of this stream
        self._applied = 0

    @property
    def unapplied(self) -> int:
        """Deliveries that the edge has not yet taken, as far as it has told."""
        return self._sent - self._applied if self.is_up else 0

    def push(self, piece: bytes) -> None:
        """Queue one piece of a Delivery (its serialized form). Never waits."""
        self._queue.append(piece)
        self.queued += len(piece)
        if self.queued > self._settings.queue_bytes:
            self._shed()
        self._wake.set()

    def beat(self) -> None:
        """To be called every HEARTBEAT_S: asks for a heartbeat when nothing was sent since the last time."""
        if self.is_up and self._quiet:
            self._heartbeat = True
            self._wake.set()
        self._quiet = True

    def finish(self) -> None:
        """Send what is queued, then end the stream and dial no more."""
        self._finishing = True
        self._wake.set()

    async def run(self) -> None:
        delays = backoff.delays(REDIAL_FIRST_S, REDIAL_MAX_S)
        async with rpc.channel(self.address) as grpc_channel:
            dial = grpc_channel.stream_stream(_DELIVER, response_deserializer=exchange_pb2.EdgeReport.FromString)
            while not self._finishing:
                cause = "the exchange stops"
                try:
                    cause = await self._stream(dial)
                finally:
                    was_up = self._reset(cause)
                if was_up:
                    delays = backoff.delays(REDIAL_FIRST_S, REDIAL_MAX_S)
                if not self._finishing:
                    await self._clock.sleep(next(delays))
                    self._metrics.count("redials")

    async def _stream(self, dial: Any) -> str:
        """One stream from its first to its last message. Gives the reason of its end."""
        call = dial()
        cause = ""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(call))
                group.create_task(self._write(call))
        except* RemoteError as errors:
            # When both halves fail it is for one reason, told twice.
            cause = next(error.cause for error in errors.exceptions if isinstance(error, RemoteError))
        except* Exception:
            self._metrics.count("bugs")
            self._log.error("link_failed", trace=True, operation="deliver")
            cause = "a bug of the exchange"
        finally:
            call.cancel()
        return cause or ("the edge leaves" if self.left else "the exchange stops")

    async def _write(self, call: Any) -> None:
        settings = self._settings
        hello = exchange_pb2.ExchangeHello(instance=settings.instance, run=settings.run, cluster=settings.cluster)
        last = -1.0
        try:
            await call.write(exchange_pb2.Delivery(hello=hello).SerializeToString())
            self._sent += 1
            while True:
                if not (self._queue or self._ack or self._dropped or self._heartbeat):
                    if self._finishing:
                        break
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                # A stream message costs the edge about 100 µs however small: a busy link gathers, a quiet one does not.
                pause = last + settings.pace_s - self._clock.monotonic()
                if pause > 0 and self.queued < MESSAGE_BYTES and not self._finishing:
                    await self._clock.sleep(pause)
                message = self._take()
                began = self._clock.monotonic()
                await call.write(message)
                last = self._clock.monotonic()
                self._metrics.timing("deliver.ms", (last - began) * 1e3)
                self._sent += 1
                self._metrics.counters["deliveries"] += 1
                self._metrics.counters["delivered_bytes"] += len(message)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise rpc.remote_error(self.remote, "deliver", error) from None

    async def _read(self, call: Any) -> None:
        """Take the edge's reports until the stream ends. Raises RemoteError unless we or the edge wanted it to end."""
        greeted = False
        while True:
            try:
                async with asyncio.timeout(SILENT_S):
                    report = await call.read()
            except TimeoutError:
                self._metrics.count("heartbeats_lost")
                raise RemoteError(self.remote, "hear", f"no report for {SILENT_S:g} s") from None
            except grpc.aio.AioRpcError as error:
                if self._finishing:
                    return
                raise rpc.remote_error(self.remote, "deliver", error) from None
            if report is grpc.aio.EOF:
                if self._finishing:
                    return
                raise RemoteError(self.remote, "deliver", "the edge ended the stream")
            if not greeted:
                self._greet(report)
                greeted = True
            self._take_report(report)

    def _greet(self, report: exchange_pb2.EdgeReport) -> None:
        """A stale directory can lead to another process on the same port: two links to one edge would fight."""
        found = (report.hello.instance, report.hello.run)
        if found != self.edge:
            raise RemoteError(self.remote, "greet", f"{found[0] or 'nobody'} (another run) answers there")

    def _take_report(self, report: exchange_pb2.EdgeReport) -> None:
        self._applied = max(self._applied, report.applied)
        self.heard = self._clock.monotonic()
        if report.HasField("interest"):
            for channel in report.interest.remove:
                self._interest.remove(channel, self)
            for channel in report.interest.add:
                self._interest.add(channel, self)
            self._ack = report.interest.number
            self._wake.set()
            if not self.is_up:
                self.is_up = True
                self._links.came_up(self)
                self._log.info("link_up", operation="deliver", channels=self._interest.channels(self))
        if report.leaving and not self.left:
            self._log.info("edge_leaving")
            self.left = True
            self.finish()

    def _take(self) -> bytes:
        """The next Delivery, serialized: pieces in order up to about MESSAGE_BYTES, then what else there is to tell."""
        queue = self._queue
        pieces: list[bytes] = []
        size = 0
        while queue and (not pieces or size + len(queue[0]) <= MESSAGE_BYTES):
            piece = queue.popleft()
            size += len(piece)
            pieces.append(piece)
        self.queued -= size
        self._metrics.counters["delivered_pieces"] += len(pieces)
        if self._ack or self._dropped:
            rest = exchange_pb2.Delivery(interest_ack=self._ack, dropped=self._dropped)
            pieces.append(rest.SerializeToString())
            self._ack = self._dropped = 0
        self._heartbeat = self._quiet = False
        return b"".join(pieces)

    def _shed(self) -> None:
        queue = self._queue
        while self.queued > self._settings.queue_bytes:
            self.queued -= len(queue.popleft())
            self._dropped += 1
            self._metrics.counters["dropped"] += 1
        self._log.warning("queue_overflow", operation="deliver", cause="the edge does not keep up")

    def _reset(self, cause: str) -> bool:
        """The stream is over: forget what belonged to it. True: it had been up."""
        was_up = self.is_up
        self.is_up = False
        self._interest.drop(self)
        self._metrics.counters["discarded"] += len(self._queue)
        if was_up:
            self._links.went_down(self)
        if was_up and self._finishing:
            self._log.info("link_closed", operation="deliver", cause=cause, discarded=len(self._queue) or None)
        elif not self._finishing:
            event = "link_down" if was_up else "dial_failed"
            self._log.warning(event, operation="deliver", cause=cause, discarded=len(self._queue) or None)
        self._queue.clear()
        self.queued = self._ack = self._dropped = self._sent = self._applied = 0
        self._heartbeat = False
        return was_up

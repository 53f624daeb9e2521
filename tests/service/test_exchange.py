"""A real exchange and real edges' ends of the links, over real gRPC; clue is a log in memory."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from pathlib import Path

import grpc.aio
import pytest

import exchange.links
from common import rpc
from common.clock import SystemClock
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2, exchange_pb2, exchange_pb2_grpc
from edge.clue_client import ClueClient
from edge.exchange_link import ExchangeLinks
from edge.follower import Bounds, Follower
from edge.homes import Homes
from exchange.config import ExchangeConfig
from exchange.server import Server
from tests.support.eventually import eventually
from tests.support.log_clue import LogClue
from tests.support.relay import Relay

ROOT = Path(__file__).resolve().parents[2]
QUICK = Bounds(tick=0.05, poll=0.1, retry_first=0.02, retry_max=0.1)
UNREPAIRED = Bounds(tick=3600.0, overtake=3600.0)  # nothing but what the links bring


class Edge:
    """What of an edge takes part in distribution. `lines` is what each followed channel's members would see."""

    def __init__(self, clue, instance, bounds, run, cluster):
        self.instance, self.run, self.port = instance, run or hash(instance) & 0xFFFF | 1, 0
        self.cluster = cluster
        self.metrics = Metrics()
        self.clue_log = clue
        homes = Homes("main")
        self.clue = ClueClient(f"127.0.0.1:{clue.port}", homes, self.run, self.metrics, Log(), SystemClock())
        self.links = ExchangeLinks(instance, "main", self.run, self.metrics, Log())
        self.follower = Follower(
            self.links, self.clue, homes, self._deliver,
            metrics=self.metrics, log=Log(), clock=SystemClock(), bounds=bounds,
        )  # fmt: skip
        self.lines: dict[str, list[str]] = {}
        self.server = rpc.server()
        exchange_pb2_grpc.add_EdgeLinkServicer_to_server(self.links, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def _deliver(self, channel, entries):
        self.lines.setdefault(channel, []).extend(publication.line.text for _, publication in entries)

    def listed(self, port=0):
        self.clue_log.list_service(
            clue_pb2.Registration(
                service="edge",
                instance=self.instance,
                run=self.run,
                cluster=self.cluster,
                grpc_address=f"127.0.0.1:{port or self.port}",
            )
        )

    async def join(self, channel):
        await self.follower.open(channel)
        self.follower.begin(channel, self.clue_log.head(channel))


@contextlib.asynccontextmanager
async def running_edge(clue, instance, bounds=QUICK, port=None, run=0, cluster=""):
    edge = Edge(clue, instance, bounds, run, cluster)
    await edge.server.start()
    following = asyncio.create_task(edge.follower.run())
    edge.listed(port or 0)
    try:
        yield edge
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await edge.server.stop(None)
        await edge.clue.close()


@contextlib.asynccontextmanager
async def running_exchange(clue, **settings):
    server = Server(ExchangeConfig(clue_address=f"127.0.0.1:{clue.port}", **settings))
    await server.start()
    run = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await server.stop()


@pytest.fixture
async def clue():
    async with LogClue() as made:
        yield made


@contextlib.asynccontextmanager
async def publisher(server):
    async with rpc.channel(f"127.0.0.1:{server.port}") as grpc_channel:
        stub = exchange_pb2_grpc.ExchangeStub(grpc_channel)

        async def publish(*channels):
            return (await stub.Publish(exchange_pb2.PublishRequest(channels=channels), timeout=5)).edges

        yield publish


async def test_publications_reach_the_interested_edge_once_and_in_order(clue):
    """What is published arrives at the edge that follows the channel, in order; the other edge gets nothing of it."""
    async with (
        running_edge(clue, "edge-1", UNREPAIRED) as one,
        running_edge(clue, "edge-2", UNREPAIRED) as two,
        running_exchange(clue) as server,
        publisher(server) as publish,
    ):
        await eventually(lambda: server.links.up == 2)
        await one.join("#a")
        for i in range(20):
            assert await publish(clue.commit("#a", f"{i}.1", f"{i}.2"), clue.commit("#other", "x")) == 2
        expected = [f"{i}.{k}" for i in range(20) for k in (1, 2)]
        await eventually(lambda: len(one.lines.get("#a", ())) >= len(expected))
        assert one.lines == {"#a": expected}
        assert two.metrics.counters["follower.strays"] == 0
        assert two.lines == {}
        assert clue.calls["Replay"] == 0


async def test_publishing_again_delivers_nothing_twice(clue):
    """A repeated publish, through the same or another exchange, is dropped by the edge."""
    async with (
        running_edge(clue, "edge-1", UNREPAIRED) as edge,
        running_exchange(clue) as first,
        running_exchange(clue, instance="exchange-2") as second,
        publisher(first) as publish,
        publisher(second) as publish_too,
    ):
        await eventually(lambda: len(edge.links.live()) == 2)
        await edge.join("#a")
        entries = clue.commit("#a", "once")
        await publish(entries)
        await publish(entries)
        await publish_too(entries)
        await publish_too(clue.commit("#a", "then"))
        await eventually(lambda: edge.metrics.counters["follower.repeats"] == 2)
        await eventually(lambda: edge.lines["#a"] == ["once", "then"])


async def test_interest_ends_some_time_after_the_last_member_left(clue):
    """After release and the linger the exchange sends nothing more of the channel; opening it again brings it back."""
    async with (
        running_edge(clue, "edge-1", Bounds(tick=0.02, linger=0.05, overtake=3600.0)) as edge,
        running_exchange(clue) as server,
        publisher(server) as publish,
    ):
        await eventually(lambda: edge.links.live())
        await edge.join("#a")
        assert server.links.interest.readers("#a")
        edge.follower.release("#a")
        await eventually(lambda: not server.links.interest.readers("#a"))
        await publish(clue.commit("#a", "unheard"))
        await edge.join("#a")
        await publish(clue.commit("#a", "heard"))
        await eventually(lambda: "#a" in edge.lines)
        assert edge.lines == {"#a": ["heard"]}


async def test_an_overflowing_queue_drops_the_oldest_tells_it_and_the_edge_repairs(clue):
    """Past the queue's bound the oldest go; the edge is told, and fetches them from the log."""
    async with (
        running_edge(clue, "edge-1") as edge,
        running_exchange(clue, queue_bytes=65_536) as server,
        publisher(server) as publish,
    ):
        await eventually(lambda: edge.links.live())
        await edge.join("#a")
        texts = [f"{i:04d}" + "x" * 1_000 for i in range(200)]
        await publish(*(clue.commit("#a", text) for text in texts))
        await eventually(lambda: len(edge.lines.get("#a", ())) >= len(texts))
        assert edge.lines["#a"] == texts
        dropped = server.metrics.counters["dropped"]
        assert dropped > 100
        assert edge.metrics.counters["links.dropped"] == dropped
        assert edge.metrics.counters["follower.losses"] == 0


async def test_a_dropped_tail_is_found_though_nothing_follows_it(clue):
    """When all of a channel was dropped no hole shows; being told makes the edge compare heads."""
    async with (
        running_edge(clue, "edge-1") as edge,
        running_exchange(clue, queue_bytes=65_536) as server,
        publisher(server) as publish,
    ):
        await eventually(lambda: edge.links.live())
        await edge.join("#quiet")
        await edge.join("#loud")
        await publish(clue.commit("#quiet", "last words"), *(clue.commit("#loud", "x" * 1_000) for _ in range(100)))
        await eventually(lambda: edge.lines.get("#quiet") == ["last words"])


async def test_a_cut_stream_is_redialled_and_what_was_missed_comes_from_the_log(clue):
    """After a cut the exchange dials again, the edge sends its interest again, compares heads, and misses nothing."""
    async with running_edge(clue, "edge-1") as edge, Relay(edge.port) as relay:
        edge.listed(relay.port)
        async with running_exchange(clue) as server, publisher(server) as publish:
            await eventually(lambda: edge.links.live())
            await edge.join("#a")
            await publish(clue.commit("#a", "before"))
            await eventually(lambda: edge.lines.get("#a") == ["before"])
            relay.cut(refuse=True)
            await eventually(lambda: server.links.up == 0)
            assert not server.links.interest.readers("#a")
            assert await publish(clue.commit("#a", "while it was cut")) == 0
            relay.mend()
            await eventually(lambda: edge.links.live() and server.links.interest.readers("#a"))
            await publish(clue.commit("#a", "after"))
            await eventually(lambda: len(edge.lines["#a"]) >= 3)
            assert edge.lines["#a"] == ["before", "while it was cut", "after"]
            assert server.metrics.counters["redials"] >= 1


async def test_a_silent_edge_is_redialled(clue, monkeypatch):
    """An edge that does not report any more is given up and dialled again."""
    monkeypatch.setattr(exchange.links, "SILENT_S", 1.5)
    async with running_edge(clue, "edge-1") as edge, Relay(edge.port) as relay:
        edge.listed(relay.port)
        async with running_exchange(clue) as server:
            await eventually(lambda: server.links.up == 1)
            relay.swallow()
            await eventually(lambda: server.links.up == 0)
            assert server.metrics.counters["heartbeats_lost"] >= 1
            # What was swallowed is gone with its connections.
            relay.cut()
            relay.mend()
            await eventually(lambda: server.links.up == 1)


async def test_an_edge_that_hears_no_exchange_polls(clue):
    """While the exchange is silent the edge is degraded and takes new entries from the log by itself."""
    bounds = Bounds(tick=0.05, poll=0.1, silent=2.0, retry_first=0.02)
    async with running_edge(clue, "edge-1", bounds) as edge, Relay(edge.port) as relay:
        edge.listed(relay.port)
        async with running_exchange(clue) as server:
            await eventually(lambda: edge.links.live() and not edge.follower.snapshot()["missing"])
            registration = server._registrar._registration()
            edge.follower.directory("main", await edge.clue.clues.call("main", "Register", registration, 0))
            await edge.join("#a")
            relay.swallow()
            await eventually(lambda: edge.follower.snapshot()["missing"] == ["exchange-1"])
            clue.commit("#a", "polled")
            await eventually(lambda: edge.lines.get("#a") == ["polled"])
            relay.cut()
            relay.mend()
            await eventually(lambda: not edge.follower.snapshot()["missing"])


async def test_a_quiet_link_carries_heartbeats(clue):
    """With nothing to deliver the edge still hears the exchange, and does not call it silent."""
    async with running_edge(clue, "edge-1") as edge, running_exchange(clue) as server:
        await eventually(lambda: edge.links.live())
        delivered = server.metrics.counters["published_channels"]
        (link,) = edge.links.live()
        heard = link.last_heard
        await eventually(lambda: link.last_heard > heard + 2.0)
        assert edge.metrics.counters["links.silent"] == 0
        assert server.metrics.counters["published_channels"] == delivered == 0


async def test_links_outlive_the_directory(clue):
    """A directory that cannot be read, or lists an edge no more, breaks no link."""
    async with (
        running_edge(clue, "edge-1", UNREPAIRED) as edge,
        running_exchange(clue) as server,
        publisher(server) as publish,
    ):
        await eventually(lambda: edge.links.live())
        await edge.join("#a")
        clue.available = False
        server.links.update(clue_pb2.Directory(available=False))
        server.links.update(clue_pb2.Directory(available=True))
        assert await publish(clue.commit("#a", "still here")) == 1
        await eventually(lambda: edge.lines.get("#a") == ["still here"])


async def test_an_unlisted_edge_is_forgotten_once_its_link_is_down(clue):
    """The exchange stops dialling an edge that neither answers nor is in the directory."""
    async with running_edge(clue, "edge-1") as edge, running_exchange(clue) as server:
        await eventually(lambda: server.links.up == 1)
        clue.services.pop((edge.instance, edge.run))
        await edge.server.stop(None)
        await eventually(lambda: server.metrics.snapshot()["edges_known"] == 0)


async def test_an_exchange_is_added_and_removed_while_lines_are_published(clue):
    """A second process registers, is linked to every edge and delivers; then it goes; all lines come once, in order."""
    async with (
        running_edge(clue, "edge-1") as one,
        running_edge(clue, "edge-2") as two,
        running_exchange(clue) as server,
        publisher(server) as publish,
    ):
        edges = (one, two)

        async def linked(count):
            await eventually(lambda: all(len(edge.links.live()) == count for edge in edges))

        await linked(1)
        for edge in edges:
            await edge.join("#a")
        process = await _process(
            TALLGRASS_CLUE_ADDRESS=f"127.0.0.1:{clue.port}", TALLGRASS_INSTANCE="exchange-2", TALLGRASS_GRPC_PORT="0"
        )
        try:
            said = 0
            while any(len(edge.links.live()) < 2 for edge in edges):
                await publish(clue.commit("#a", str(said := said + 1)))
                await asyncio.sleep(0.01)
            [added] = [service for service in clue.services.values() if service.instance == "exchange-2"]
            async with rpc.channel(added.grpc_address) as grpc_channel:
                stub = exchange_pb2_grpc.ExchangeStub(grpc_channel)
                for _ in range(20):
                    entries = clue.commit("#a", str(said := said + 1))
                    assert (await stub.Publish(exchange_pb2.PublishRequest(channels=[entries]), timeout=5)).edges == 2
                process.send_signal(signal.SIGTERM)
                while process.returncode is None:
                    entries = clue.commit("#a", str(said := said + 1))
                    try:
                        await stub.Publish(exchange_pb2.PublishRequest(channels=[entries]), timeout=5)
                    except grpc.aio.AioRpcError:  # as clue does: another exchange
                        await publish(entries)
                    await asyncio.sleep(0.005)
            assert process.returncode == 0
            await linked(1)
            await publish(clue.commit("#a", str(said := said + 1)))
            whole = [str(number) for number in range(1, said + 1)]
            await eventually(lambda: all(len(edge.lines.get("#a", ())) >= said for edge in edges))
            for edge in edges:
                assert edge.lines["#a"] == whole
                assert edge.metrics.counters["follower.losses"] == 0
                await eventually(lambda edge=edge: not edge.follower.snapshot()["missing"])
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_an_edge_that_leaves_is_dialled_no_more(clue):
    """After `leave` the stream ends in order and the exchange does not come back, even while the edge is listed."""
    async with running_edge(clue, "edge-1") as edge, running_exchange(clue) as server:
        await eventually(lambda: server.links.up == 1)
        edge.links.leave()
        await eventually(lambda: server.metrics.snapshot()["edges_known"] == 0)
        seen = clue.calls["Register"]
        await eventually(lambda: clue.calls["Register"] > seen + 1)
        assert server.metrics.snapshot()["edges_known"] == 0
        assert server.metrics.counters["redials"] == 0


async def test_another_process_on_the_edges_address_is_not_taken_for_it(clue):
    """A hello with another run than the directory's breaks the stream: the directory is stale."""
    async with running_edge(clue, "edge-1") as edge:
        clue.services.clear()
        edge.run += 1
        edge.listed()
        async with running_exchange(clue) as server:
            await eventually(lambda: server.metrics.counters["redials"] >= 2)
            assert server.links.up == 0


async def test_a_stopping_exchange_sends_what_is_queued(clue):
    """What was taken over before the stop is delivered, and the exchange leaves the directory."""
    async with running_edge(clue, "edge-1", UNREPAIRED) as edge:
        async with running_exchange(clue, pace_ms=200) as server, publisher(server) as publish:
            await eventually(lambda: edge.links.live())
            await edge.join("#a")
            for i in range(5):
                await publish(clue.commit("#a", str(i)))
        await eventually(lambda: edge.lines["#a"] == ["0", "1", "2", "3", "4"])
        assert [service.service for service in clue.services.values()] == ["edge"]


async def test_a_busy_link_gathers(clue):
    """With a pace, many publishes in a row go out in few messages; the first goes at once."""
    async with (
        running_edge(clue, "edge-1", UNREPAIRED) as edge,
        running_exchange(clue, pace_ms=500) as server,
        publisher(server) as publish,
    ):
        await eventually(lambda: edge.links.live())
        await edge.join("#a")
        before = server.metrics.counters["deliveries"]
        for i in range(50):
            await publish(clue.commit("#a", str(i)))
        await eventually(lambda: len(edge.lines.get("#a", ())) == 50)
        assert server.metrics.counters["deliveries"] - before <= 10


async def _process(*arguments, **environment):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "exchange",
        *arguments,
        env={**os.environ, **environment},
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_the_process_says_when_it_is_ready_and_stops_on_sigterm(clue):
    """`python -m exchange` logs its address, links, and ends with status 0 on SIGTERM."""
    async with running_edge(clue, "edge-1") as edge:
        process = await _process(TALLGRASS_CLUE_ADDRESS=f"127.0.0.1:{clue.port}", TALLGRASS_INSTANCE="exchange-7")
        try:
            line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
            assert re.search(r"exchange/exchange-7@main ready grpc=127\.0\.0\.1:\d+ ", line)
            await eventually(lambda: edge.links.live())
            process.send_signal(signal.SIGTERM)
            rest = (await asyncio.wait_for(process.stderr.read(), 20)).decode()
            assert await process.wait() == 0
            assert "Traceback" not in rest
            assert "edge" in {service.service for service in clue.services.values()}
            assert "exchange" not in {service.service for service in clue.services.values()}
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_taken_port_is_one_clear_line(clue):
    """A port that another process has ends the start with what, where and what to do; no traceback."""
    process = await _process(TALLGRASS_CLUE_ADDRESS="127.0.0.1:1", TALLGRASS_GRPC_PORT=str(clue.port))
    _, text = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    last = text.decode().strip().splitlines()[-1]
    assert last.startswith(f"configuration: cannot listen on 127.0.0.1:{clue.port}: ")
    assert b"Traceback" not in text


async def test_a_stopped_exchange_refuses_publishes(clue):
    """After the stop a publish fails, so that clue takes another exchange."""
    async with running_exchange(clue) as server:
        port = server.port
    async with rpc.channel(f"127.0.0.1:{port}") as grpc_channel:
        stub = exchange_pb2_grpc.ExchangeStub(grpc_channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Publish(exchange_pb2.PublishRequest(), timeout=5)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_guest_with_the_name_of_an_own_edge_is_another(clue):
    """Edges of two clusters may have one name: both are delivered to, and their metrics are two."""
    async with (
        running_edge(clue, "edge-1", UNREPAIRED) as own,
        running_edge(clue, "edge-1", UNREPAIRED, run=77, cluster="event") as guest,
        running_exchange(clue) as server,
        publisher(server) as publish,
    ):
        await eventually(lambda: server.links.up == 2)
        for edge in (own, guest):
            await edge.join("#a")
        await publish(clue.commit("#a", "x"))
        await eventually(lambda: own.lines == guest.lines == {"#a": ["x"]})
        gauges = server.links._by_edge()
        assert gauges["link.edge-1.up"] == gauges["link.event-edge-1.up"] == 1

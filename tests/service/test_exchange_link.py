"""The edge's end of a link over real gRPC, with the exchange's side played by the test."""

import asyncio
import contextlib

import grpc.aio
import pytest

from common import rpc
from common.log import Log
from common.metrics import Metrics
from common.pb import exchange_pb2, exchange_pb2_grpc
from common.pb.chat_pb2 import ChannelEntries
from edge.exchange_link import ExchangeLinks
from tests.support.eventually import eventually


class Recorder:
    def __init__(self):
        self.events = []

    def on_delivery(self, link, channels):
        self.events.append(("delivery", link.instance, [c.channel for c in channels]))

    def on_up(self, link):
        self.events.append(("up", link.instance))

    def on_down(self, link):
        self.events.append(("down", link.instance))

    def on_dropped(self, link, deliveries):
        self.events.append(("dropped", link.instance, deliveries))


@pytest.fixture
async def edge():
    links = ExchangeLinks("edge-1", "main", 5, Metrics(), Log())
    links.recorder = Recorder()
    links.attach(links.recorder)
    server = rpc.server()
    exchange_pb2_grpc.add_EdgeLinkServicer_to_server(links, server)
    links.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield links
    await server.stop(None)


@contextlib.asynccontextmanager
async def dialled(edge, instance="exchange-1", run=1, cluster=""):
    async with rpc.channel(f"127.0.0.1:{edge.port}") as grpc_channel:
        call = exchange_pb2_grpc.EdgeLinkStub(grpc_channel).Deliver()
        hello = exchange_pb2.ExchangeHello(instance=instance, run=run, cluster=cluster)
        await call.write(exchange_pb2.Delivery(hello=hello))
        yield call
        call.cancel()


async def next_interest(call):
    while True:
        report = await asyncio.wait_for(call.read(), 5)
        if report.HasField("interest"):
            return report.interest


async def test_a_link_is_up_when_its_first_interest_is_confirmed(edge):
    """Not before: heads compared on `on_up` would miss what is published until then."""
    edge.announce(["#a", "#b"], "main")
    async with dialled(edge) as call:
        interest = await next_interest(call)
        assert sorted(interest.add) == ["#a", "#b"]
        assert not edge.live()
        await call.write(exchange_pb2.Delivery(interest_ack=interest.number))
        await eventually(lambda: edge.recorder.events == [("up", "exchange-1")])
    await eventually(lambda: edge.recorder.events[-1] == ("down", "exchange-1"))
    assert not edge.live()


async def test_announce_waits_for_every_link(edge):
    """Two links: done only when both confirmed."""
    async with dialled(edge, "exchange-1") as one, dialled(edge, "exchange-2") as two:
        for call in (one, two):
            await call.write(exchange_pb2.Delivery(interest_ack=(await next_interest(call)).number))
        await eventually(lambda: len(edge.live()) == 2)
        waiting = asyncio.ensure_future(edge.announce(["#a"], "main"))
        await one.write(exchange_pb2.Delivery(interest_ack=(await next_interest(one)).number))
        await call_applied(one, edge, "exchange-1")
        assert not waiting.done()
        await two.write(exchange_pb2.Delivery(interest_ack=(await next_interest(two)).number))
        await asyncio.wait_for(waiting, 5)


async def call_applied(call, edge, instance):
    """Wait until the edge took a marker that was sent after everything before."""
    await call.write(exchange_pb2.Delivery(channels=[ChannelEntries(channel="#marker")]))
    await eventually(lambda: ("delivery", instance, ["#marker"]) in edge.recorder.events)


async def test_a_broken_link_ends_the_waiting(edge):
    """An announcement does not wait for an exchange that went away."""
    async with dialled(edge) as call:
        await call.write(exchange_pb2.Delivery(interest_ack=(await next_interest(call)).number))
        await eventually(edge.live)
        waiting = asyncio.ensure_future(edge.announce(["#a"], "main"))
    await asyncio.wait_for(waiting, 5)


async def test_a_newer_stream_of_the_same_exchange_replaces_the_older(edge):
    """One link per exchange process: the older stream ends, the newer gets the whole interest."""
    edge.announce(["#a"], "main")
    async with dialled(edge) as old:
        await old.write(exchange_pb2.Delivery(interest_ack=(await next_interest(old)).number))
        await eventually(edge.live)
        async with dialled(edge) as new:
            interest = await next_interest(new)
            assert list(interest.add) == ["#a"]
            while await asyncio.wait_for(old.read(), 5) is not grpc.aio.EOF:
                pass
            await new.write(exchange_pb2.Delivery(interest_ack=interest.number))
            await eventually(lambda: [event[0] for event in edge.recorder.events] == ["up", "down", "up"])
            assert len(edge.live()) == 1


async def test_two_runs_of_one_instance_are_two_links(edge):
    """A restarted exchange does not fight with what is left of its former self."""
    async with dialled(edge, run=1) as old, dialled(edge, run=2) as new:
        for call in (old, new):
            await call.write(exchange_pb2.Delivery(interest_ack=(await next_interest(call)).number))
        await eventually(lambda: len(edge.live()) == 2)


async def test_drops_and_deliveries_reach_the_listener_in_order(edge):
    """Channels first, then what was dropped."""
    async with dialled(edge) as call:
        await call.write(exchange_pb2.Delivery(channels=[ChannelEntries(channel="#a")], dropped=4))
        await eventually(
            lambda: edge.recorder.events == [("delivery", "exchange-1", ["#a"]), ("dropped", "exchange-1", 4)]
        )


async def test_a_stream_without_a_hello_is_refused(edge):
    """The stream ends with INVALID_ARGUMENT; the listener hears nothing."""
    async with rpc.channel(f"127.0.0.1:{edge.port}") as grpc_channel:
        call = exchange_pb2_grpc.EdgeLinkStub(grpc_channel).Deliver()
        await call.write(exchange_pb2.Delivery(interest_ack=1))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert edge.recorder.events == []


async def test_a_leaving_edge_says_so_and_takes_no_new_stream(edge):
    """Every exchange gets a report with `leaving`; a new stream is refused as UNAVAILABLE."""
    async with dialled(edge) as call:
        await next_interest(call)
        edge.leave()
        while not (await asyncio.wait_for(call.read(), 5)).leaving:
            pass
        async with dialled(edge, "exchange-2") as late:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await late.read()
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_an_announcement_waits_for_links_of_the_home(edge):
    """Exchanges of two clusters: both are told; only those where the channel lives are waited for."""
    async with dialled(edge, cluster="main") as ours, dialled(edge, cluster="event") as theirs:
        for call in (ours, theirs):
            await call.write(exchange_pb2.Delivery(interest_ack=(await next_interest(call)).number))
        await eventually(lambda: len(edge.live()) == 2)
        here = asyncio.ensure_future(edge.announce(["#a"], "main"))
        await ours.write(exchange_pb2.Delivery(interest_ack=(await next_interest(ours)).number))
        await asyncio.wait_for(here, 5)
        assert list((await next_interest(theirs)).add) == ["#a"]
        there = asyncio.ensure_future(edge.announce(["#b"], "event"))
        await ours.write(exchange_pb2.Delivery(interest_ack=(await next_interest(ours)).number))
        await call_applied(ours, edge, "exchange-1")
        assert not there.done()
        await theirs.write(exchange_pb2.Delivery(interest_ack=(await next_interest(theirs)).number))
        await asyncio.wait_for(there, 5)


async def test_exchanges_of_two_clusters_are_told_apart(edge):
    """Of the same name and run: two links, and two names in the metrics."""
    async with dialled(edge, cluster="main") as ours, dialled(edge, cluster="event") as theirs:
        for call in (ours, theirs):
            await call.write(exchange_pb2.Delivery(interest_ack=(await next_interest(call)).number))
        await eventually(lambda: len(edge.live()) == 2)
        assert {link.name for link in edge.live()} == {"exchange-1", "event-exchange-1"}
        assert {link.cluster for link in edge.live()} == {"main", "event"}

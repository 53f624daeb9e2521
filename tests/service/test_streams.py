"""common/streams.py over real gRPC: busy lanes over one stream each, and what becomes of a request when it breaks."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from common import rpc, streams
from common.errors import RemoteError
from common.pb import exchange_pb2, exchange_pb2_grpc
from common.streams import Answering, LaneCalls
from tests.support.eventually import eventually
from tests.support.ports import free_port


class Exchange(exchange_pb2_grpc.ExchangeServicer):
    """Answers with the number of channels; `gate` holds its answers back."""

    def __init__(self):
        self.answering = Answering()
        self.gate = asyncio.Event()
        self.gate.set()
        self.unary, self.opened, self.asked = [], [], []  # lanes, lanes, numbers
        self.ended, self.cancelled = 0, 0  # streams

    async def Publish(self, request, context):
        self.unary.append(dict(context.invocation_metadata())[rpc.LANE_HEADER])
        return await self.answer(request)

    async def PublishStream(self, request_iterator, context):
        self.opened.append(dict(context.invocation_metadata())[rpc.LANE_HEADER])
        try:
            await self.answering.serve(context, self.answer)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.ended += 1

    async def answer(self, request):
        self.asked.append(len(request.channels))
        await self.gate.wait()
        return exchange_pb2.PublishReply(edges=len(request.channels))


class OfBefore(exchange_pb2_grpc.ExchangeServicer):
    """Of a version that knows no streams."""

    def __init__(self):
        self.unary = 0

    async def Publish(self, request, context):
        self.unary += 1
        return exchange_pb2.PublishReply(edges=len(request.channels))


@asynccontextmanager
async def serving(servicer, port=0):
    server = rpc.server()
    exchange_pb2_grpc.add_ExchangeServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port, server
    finally:
        await server.stop(None)


@asynccontextmanager
async def calling(*ports):
    service = rpc.Service("exchange", ",".join(f"127.0.0.1:{port}" for port in ports), exchange_pb2_grpc.ExchangeStub)
    calls = LaneCalls(service, "Publish")
    try:
        yield calls
    finally:
        await calls.close()
        await service.close()


@asynccontextmanager
async def pair():
    exchange = Exchange()
    async with serving(exchange) as (port, _), calling(port) as calls:
        yield exchange, calls


def of(channels):
    return exchange_pb2.PublishRequest(channels=[{} for _ in range(channels)])


async def ask(calls, channels, lane=3, attempt=1, timeout=5.0):
    return (await calls.call(lane, of(channels), attempt=attempt, timeout=timeout)).edges


async def test_a_busy_lane_has_one_stream():
    """The first call is unary, as it may be the only one; those that follow soon share a stream of their lane."""
    async with pair() as (exchange, calls):
        assert [await ask(calls, n) for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
        assert [await ask(calls, n, lane=7) for n in (5, 6)] == [5, 6]
        assert exchange.unary == ["3", "7"]
        assert exchange.opened == ["3", "7"]


async def test_a_lane_that_is_not_busy_stays_without_a_stream(monkeypatch):
    monkeypatch.setattr(streams, "OFTEN_S", 0.0)
    async with pair() as (exchange, calls):
        assert [await ask(calls, n) for n in (1, 2, 3)] == [1, 2, 3]
        assert (exchange.unary, exchange.opened) == (["3"] * 3, [])


async def test_a_later_try_is_a_call_of_its_own():
    """Its lane says which try it is, so that HAProxy can choose another server."""
    async with pair() as (exchange, calls):
        assert [await ask(calls, n) for n in (1, 2)] == [1, 2]
        assert await ask(calls, 9, attempt=2) == 9
        assert exchange.unary == ["3", "3.2"]


async def test_two_calls_of_a_lane_at_once_do_not_share_the_stream():
    async with pair() as (exchange, calls):
        await ask(calls, 1)
        exchange.gate.clear()
        both = asyncio.gather(ask(calls, 2), ask(calls, 3))
        await eventually(lambda: exchange.asked == [1, 2, 3] or exchange.asked == [1, 3, 2])
        exchange.gate.set()
        assert await both == [2, 3]
        assert (exchange.unary, exchange.opened) == (["3", "3"], ["3"])


async def test_an_unused_stream_is_ended_in_order(monkeypatch):
    """Nobody cancels it; the next call is as the first one was."""
    monkeypatch.setattr(streams, "IDLE_S", 0.1)
    monkeypatch.setattr(streams, "OFTEN_S", 0.1)
    async with pair() as (exchange, calls):
        for n in (1, 2, 3):
            await ask(calls, n)
        await eventually(lambda: exchange.ended == 1)
        assert exchange.cancelled == 0
        assert await ask(calls, 4) == 4
        assert exchange.unary == ["3", "3"]


async def test_a_stream_in_use_stays_open_longer_than_an_unused_one(monkeypatch):
    """Also while one answer takes longer than that."""
    monkeypatch.setattr(streams, "IDLE_S", 0.1)
    async with pair() as (exchange, calls):
        await ask(calls, 1)
        exchange.gate.clear()
        slow = asyncio.ensure_future(ask(calls, 2))
        await asyncio.sleep(0.3)
        exchange.gate.set()
        assert await slow == 2
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            assert await ask(calls, 3) == 3
        assert (exchange.opened, exchange.ended) == (["3"], 0)


async def test_an_old_stream_is_replaced_between_two_calls(monkeypatch):
    """So HAProxy chooses again."""
    monkeypatch.setattr(streams, "AGE_S", 0.05)
    async with pair() as (exchange, calls):
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert await ask(calls, 2) == 2
        assert len(exchange.opened) > 2
        await eventually(lambda: exchange.ended >= len(exchange.opened) - 1)
        assert exchange.cancelled == 0
        assert exchange.unary == ["3"]


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one():
    async with pair() as (exchange, calls):
        await ask(calls, 1)
        await ask(calls, 1)
        exchange.gate.clear()
        with pytest.raises(RemoteError) as failed:
            await ask(calls, 2, timeout=0.2)
        assert (failed.value.operation, failed.value.cause) == ("Publish", "timed out")
        await eventually(lambda: exchange.cancelled == 1)  # clue writes nothing more for who has given up
        exchange.gate.set()
        assert await ask(calls, 5) == 5
        assert exchange.opened == ["3", "3"]


async def test_a_cancelled_caller_leaves_no_answer_behind():
    async with pair() as (exchange, calls):
        await ask(calls, 1)
        exchange.gate.clear()
        asked = asyncio.ensure_future(ask(calls, 2))
        await eventually(lambda: exchange.asked == [1, 2])
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        exchange.gate.set()
        assert await ask(calls, 6) == 6


async def test_a_server_of_before_is_called_as_before():
    """It has not seen what went over the stream: this is no failed try. It is not asked for streams again soon."""
    before = OfBefore()
    async with serving(before) as (port, _), calling(port) as calls:
        assert [await ask(calls, n) for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
        assert before.unary == 4
        assert calls._unary_until > asyncio.get_running_loop().time() + 50


async def test_a_lost_server_fails_the_call_and_moves_everybody():
    """The error names who did not answer; the next call goes the other way."""
    one, two = Exchange(), Exchange()
    async with serving(one) as (first, server), serving(two) as (second, _), calling(first, second) as calls:
        await ask(calls, 1)
        one.gate.clear()
        asked = asyncio.ensure_future(ask(calls, 2))
        await eventually(lambda: one.asked == [1, 2])
        await server.stop(None)
        with pytest.raises(RemoteError) as failed:
            await asked
        assert failed.value.remote == f"exchange@127.0.0.1:{first}"
        assert [await ask(calls, n) for n in (3, 4)] == [3, 4]
        assert two.opened == ["3"]


async def test_nobody_listens():
    async with calling(free_port()) as calls:
        for _ in range(2):  # over no stream, then over one
            with pytest.raises(RemoteError, match="UNAVAILABLE"):
                await ask(calls, 1)


async def test_a_server_that_stops_answers_what_it_has_read_and_ends_the_rest_at_once():
    exchange = Exchange()
    async with serving(exchange) as (port, server), calling(port) as calls:
        for lane in (3, 7):
            await ask(calls, 1, lane=lane)
            await ask(calls, 2, lane=lane)
        exchange.gate.clear()
        asked = asyncio.ensure_future(ask(calls, 5, lane=7))
        await eventually(lambda: exchange.asked == [1, 2, 1, 2, 5])
        exchange.answering.end()
        await eventually(lambda: exchange.ended == 1)
        stopped = asyncio.ensure_future(server.stop(30))
        exchange.gate.set()
        assert await asked == 5
        async with asyncio.timeout(10):
            await stopped
        assert (exchange.ended, exchange.cancelled) == (2, 0)


async def test_a_stream_that_its_server_has_ended_is_not_used_again():
    """The server of the same address that comes after it is asked over a new one."""
    exchange = Exchange()
    async with serving(exchange) as (port, _), calling(port) as calls:
        await ask(calls, 1)
        await ask(calls, 2)
        exchange.answering.end()
        await eventually(lambda: exchange.ended == 1)
        exchange.answering = Answering()
        await eventually(lambda: calls._streams[3].call.done())
        assert await ask(calls, 4) == 4
        assert exchange.opened == ["3", "3"]

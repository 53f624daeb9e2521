"""edge/clue_client.py against a clue servicer over real gRPC: every submission gets a verdict, whatever clue does."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from common import rpc
from common.clock import SystemClock
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2, clue_pb2_grpc
from common.sharding import lane
from edge import clues, submissions
from edge.clue_client import ClueClient
from edge.homes import Homes

ALLOWED, UNAVAILABLE = clue_pb2.Verdict.ALLOWED, clue_pb2.Verdict.UNAVAILABLE
RUN = 99


class Clue(clue_pb2_grpc.ClueServicer):
    """Keeps the requests; `decide` answers them."""

    def __init__(self, decide):
        self.requests = []
        self.lanes = []
        self.decide = decide

    async def Submit(self, request, context):
        self.requests.append(request)
        self.lanes.append(dict(context.invocation_metadata())[rpc.LANE_HEADER])
        outcomes = await self.decide(request)
        return clue_pb2.SubmitReply(verdicts=[clue_pb2.Verdict(outcome=outcome) for outcome in outcomes])


@asynccontextmanager
async def clue(decide):
    """A clue that decides with `decide(request) -> outcomes`, and a client of it."""
    servicer = Clue(decide)
    server = rpc.server()
    clue_pb2_grpc.add_ClueServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = ClueClient(f"127.0.0.1:{port}", Homes("main"), RUN, Metrics(), Log(), SystemClock())
    try:
        yield servicer, client
    finally:
        await client.close()
        await server.stop(None)


def submission(number):
    return clue_pb2.Submission(id=f"id-{number}", text=str(number))


def all_of(request, outcome=ALLOWED):
    return [outcome for group in request.channels for _ in group.submissions]


def same_lane(first, count):
    """`count` channels whose lane is that of `first`."""
    names = (f"#n{number}" for number in range(10_000))
    return [first, *[name for name in names if lane(name) == lane(first)][: count - 1]]


async def test_messages_that_wait_for_a_call_are_one_batch():
    """One Submit under way per lane; the next carries all that came meanwhile, in order, with the next number."""
    gate = asyncio.Event()

    async def decide(request):
        await gate.wait()
        return all_of(request)

    async with clue(decide) as (servicer, client):
        first = client.submit("#c", submission(0))
        async with asyncio.timeout(5):
            while not servicer.requests:
                await asyncio.sleep(0.001)
        rest = [client.submit("#c", submission(number)) for number in range(1, 5)]
        gate.set()
        verdicts = await asyncio.gather(first, *rest)
    assert [verdict.outcome for verdict in verdicts] == [ALLOWED] * 5
    assert [request.batch for request in servicer.requests] == [1, 2]
    assert [s.text for s in servicer.requests[1].channels[0].submissions] == ["1", "2", "3", "4"]
    assert servicer.lanes == [str(lane("#c"))] * 2
    assert servicer.requests[0].edge_run == RUN


async def test_a_retry_is_the_same_batch_with_the_same_number():
    """A try without an answer is repeated with its number and content, as attempt 2, hashed elsewhere."""
    calls = 0

    async def decide(request):
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("this try fails")
        return all_of(request)

    async with clue(decide) as (servicer, client):
        verdict = await client.submit("#c", submission(0))
    first, second = servicer.requests
    assert verdict.outcome == ALLOWED
    assert (first.batch, first.attempt, second.batch, second.attempt) == (1, 1, 1, 2)
    assert first.channels == second.channels
    assert servicer.lanes == [str(lane("#c")), f"{lane('#c')}.2"]


async def test_only_undecided_channels_are_asked_again():
    """A shard that did not answer holds up its channels; those that were decided keep their verdict."""
    good, bad = same_lane("#c", 2)

    async def decide(request):
        return [
            UNAVAILABLE if group.channel == bad and request.attempt == 1 else ALLOWED
            for group in request.channels
            for _ in group.submissions
        ]

    async with clue(decide) as (servicer, client):
        verdicts = await asyncio.gather(client.submit(good, submission(0)), client.submit(bad, submission(1)))
    assert [verdict.outcome for verdict in verdicts] == [ALLOWED, ALLOWED]
    retries = [r for r in servicer.requests if r.attempt == 2]
    assert [group.channel for request in retries for group in request.channels] == [bad]


async def test_without_an_answer_the_outcome_is_said_to_be_unknown(monkeypatch):
    """When time is up the verdict is UNAVAILABLE, and the next message gets the next number."""
    monkeypatch.setattr(clues, "DECIDE_S", 0.3)
    monkeypatch.setattr(clues, "TRY_S", 0.1)
    answer = False

    async def decide(request):
        return all_of(request, ALLOWED if answer else UNAVAILABLE)

    async with clue(decide) as (servicer, client):
        assert (await client.submit("#c", submission(0))).outcome == UNAVAILABLE
        answer = True
        assert (await client.submit("#c", submission(1))).outcome == ALLOWED
    assert servicer.requests[-1].batch == 2


async def test_what_waited_too_long_is_never_sent(monkeypatch):
    """Behind a batch that failed, old messages are refused unsent: certainly not in the log."""
    monkeypatch.setattr(clues, "DECIDE_S", 0.3)

    async def decide(request):
        return all_of(request, UNAVAILABLE)

    async with clue(decide) as (servicer, client):
        first = client.submit("#c", submission(0))
        async with asyncio.timeout(5):
            while not servicer.requests:
                await asyncio.sleep(0.001)
        second = client.submit("#c", submission(1))
        monkeypatch.setattr(clues, "DECIDE_S", 0.0)
        verdict = await second
        await first
    assert verdict.outcome == clue_pb2.Verdict.DENIED
    assert verdict.denial == "msg_unavailable"
    assert "was not sent" in verdict.notice
    assert all(s.id == "id-0" for r in servicer.requests for g in r.channels for s in g.submissions)


async def test_the_queue_of_a_channel_is_bounded(monkeypatch):
    """Past the bound the sender is told at once; the others are not touched."""
    monkeypatch.setattr(submissions, "WAITING_PER_CHANNEL", 3)
    gate = asyncio.Event()

    async def decide(request):
        await gate.wait()
        return all_of(request)

    async with clue(decide) as (_, client):
        taken = [client.submit("#c", submission(number)) for number in range(3)]
        refused = await client.submit("#c", submission(3))
        gate.set()
        verdicts = await asyncio.gather(*taken)
        again = await client.submit("#c", submission(4))
    assert refused.outcome == clue_pb2.Verdict.DENIED
    assert [verdict.outcome for verdict in [*verdicts, again]] == [ALLOWED] * 4


@pytest.mark.parametrize("ask", ["submit", "authenticate", "join"])
async def test_a_clue_that_is_not_there_is_an_answer(monkeypatch, ask):
    """Nothing listens: the caller gets UNAVAILABLE instead of an exception or an endless wait."""
    monkeypatch.setattr(clues, "DECIDE_S", 0.2)
    client = ClueClient("127.0.0.1:1", Homes("main"), RUN, Metrics(), Log(), SystemClock())
    arguments = {"submit": ("#c", submission(0)), "authenticate": ("bob", "x"), "join": ("#c", 1, "bob")}
    result = await getattr(client, ask)(*arguments[ask])
    assert type(result).Outcome.Name(result.outcome) == "UNAVAILABLE"
    await client.close()

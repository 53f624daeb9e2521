"""How many accepted messages a second one clue takes over many channels, with every rule on.

A real gRPC server with two real Redis shards and an exchange that only takes. On: rate limits, the 1 s floor, the
duplicate rule, unique chat in every channel, 100 blocked terms and 100 emotes of all channels; with 30 users of its own
for each channel, so that nobody meets a limit. An edge has one batch of a lane under way, as edges have; its batches
hold some messages for each of the lane's channels. Prints messages/s and the clue's CPU a message.

    python -m tests.bench.clue_channels [--seconds 5] [--channels 1000] [--each 4] [--edges 1] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
import uuid

import uvloop

from common import lifecycle, rpc
from common.pb import clue_pb2, clue_pb2_grpc
from common.sharding import lane
from tests.bench import one_clue

USERS = 30  # of a channel
TOGETHER = 100  # calls of the preparation under way


class Channel:
    def __init__(self, number: int) -> None:
        self.name = f"#chan{number}"
        self.logins = [f"user{number}_{i}" for i in range(USERS)]
        self.users: itertools.cycle[tuple[int, str]] = itertools.cycle(())

    def submissions(self, count: int, batch: int) -> clue_pb2.ChannelSubmissions:
        group = clue_pb2.ChannelSubmissions(channel=self.name)
        for i in range(count):
            user_id, login = next(self.users)
            text = f"message {batch} {i} of a chat that is as long as people write, give or take"
            group.submissions.add(id=str(uuid.uuid4()), user_id=user_id, login=login, text=text, session=i)
        return group


async def one_lane(
    stub: clue_pb2_grpc.ClueStub, run: int, number: int, channels: list[Channel], each: int, seconds: float
) -> int:
    """Returns how many it sent. `seconds` 0: until every user has said something."""
    sent = batch = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end if seconds else sent < USERS * len(channels):
        batch += 1
        groups = [channel.submissions(each, batch * 100 + run) for channel in channels]
        request = clue_pb2.SubmitRequest(edge_run=run, batch=batch, attempt=1, lane=number, channels=groups)
        reply = await stub.Submit(request, timeout=10, metadata=rpc.lane_metadata(number))
        wrong = [verdict for verdict in reply.verdicts if verdict.outcome != clue_pb2.Verdict.ALLOWED]
        assert not wrong, wrong[0]
        sent += each * len(channels)
    return sent


async def load(address: str, arguments: argparse.Namespace) -> None:
    channels = [Channel(number) for number in range(arguments.channels)]
    async with rpc.channel(address) as grpc_channel:
        stub = clue_pb2_grpc.ClueStub(grpc_channel)  # type: ignore[no-untyped-call]
        await prepare(grpc_channel, stub, channels)

        async def edges(first_run: int, seconds: float) -> int:
            by_lane: dict[int, list[Channel]] = {}
            for channel in channels:
                by_lane.setdefault(lane(channel.name), []).append(channel)
            sent = await asyncio.gather(
                *(
                    one_lane(stub, first_run + edge, number, of_lane[edge :: arguments.edges], arguments.each, seconds)
                    for edge in range(arguments.edges)
                    for number, of_lane in by_lane.items()
                    if of_lane[edge :: arguments.edges]
                )
            )
            return sum(sent)

        await edges(1, 0.0)
        await asyncio.sleep(1.1)  # so that nobody meets the floor
        print("warm", flush=True)
        started = time.monotonic()
        sent = await edges(1_000, arguments.seconds)
        print(f"sent {sent} {time.monotonic() - started}", flush=True)


async def prepare(grpc_channel: object, stub: clue_pb2_grpc.ClueStub, channels: list[Channel]) -> None:
    """Accounts, unique chat everywhere, terms and emotes of all channels."""
    control = clue_pb2_grpc.ControlStub(grpc_channel)  # type: ignore[no-untyped-call]
    await control.SetWords(one_clue.words(), metadata=one_clue.OPERATOR)
    free = asyncio.Semaphore(TOGETHER)

    async def ready(channel: Channel) -> None:
        async with free:
            logins = [clue_pb2.Login(nick=login, token="x") for login in channel.logins]
            reply = await stub.Authenticate(clue_pb2.AuthenticateRequest(logins=logins))
            channel.users = itertools.cycle([(result.user.user_id, result.user.login) for result in reply.results])
            modes = clue_pb2.SetModesRequest(channel=channel.name, unique_chat=True)
            await control.SetModes(modes, metadata=one_clue.OPERATOR)

    await asyncio.gather(*map(ready, channels))


async def serve(arguments: argparse.Namespace) -> None:
    measured = await one_clue.measure(
        "tests.bench.clue_channels",
        {name: getattr(arguments, name) for name in ("seconds", "channels", "each", "edges")},
        limits=True,
        profiled=arguments.profile,
    )
    print(
        f"{measured.per_s:,.0f} messages/s over {arguments.channels} channels; "
        f"{measured.us_per_message:.0f} µs CPU of clue a message"
    )
    measured.print_top(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--channels", type=int, default=1_000)
    parser.add_argument("--each", type=int, default=4, help="messages of a channel in a batch")
    parser.add_argument("--edges", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="print cProfile's top ten (slows it down by half)")
    parser.add_argument("--load", metavar="ADDRESS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        uvloop.run(load(arguments.load, arguments))
    else:
        lifecycle.run(lambda: serve(arguments))


if __name__ == "__main__":
    main()

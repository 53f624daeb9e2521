"""How many accepted messages a second one clue takes into one hot channel.

A real gRPC server with two real Redis shards and an exchange that only takes; limits off, since the question is the
path, not the policy (the scripts run all the same); or, with --rules, everything on: limits, the floor, duplicates,
unique chat, 100 blocked terms and 100 emotes, with so many users (30,000) that nobody meets a limit. One lane's edge
sends batch after batch, as edges do, over a few edges. Prints messages/s and the clue's CPU a message.

    python -m tests.bench.clue_submit [--seconds 5] [--edges 2] [--batch 100] [--users 2000] [--rules] [--json]
        [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid

import uvloop

from common import lifecycle, rpc
from common.pb import clue_pb2, clue_pb2_grpc
from tests.bench import one_clue

CHANNEL = "#hot"


async def edge(stub: clue_pb2_grpc.ClueStub, run: int, users: list[tuple[int, str]], size: int, end: float) -> int:
    """Returns how many it sent."""
    sent = batch = 0
    while time.monotonic() < end:
        batch += 1
        submissions = [
            clue_pb2.Submission(
                id=str(uuid.uuid4()),
                user_id=users[(sent + i) % len(users)][0],
                login=users[(sent + i) % len(users)][1],
                text=f"message {run} {batch} {i} of a chat that is as long as people write, give or take",
                session=i,
            )
            for i in range(size)
        ]
        request = clue_pb2.SubmitRequest(
            edge_run=run,
            batch=batch,
            attempt=1,
            channels=[clue_pb2.ChannelSubmissions(channel=CHANNEL, submissions=submissions)],
        )
        reply = await stub.Submit(request, timeout=10)
        wrong = [v for v in reply.verdicts if v.outcome != clue_pb2.Verdict.ALLOWED]
        assert not wrong, wrong[0]
        sent += size
    return sent


async def load(address: str, arguments: argparse.Namespace) -> None:
    async with rpc.channel(address) as channel:
        stub = clue_pb2_grpc.ClueStub(channel)
        names = [f"user{i}" for i in range(arguments.users)]
        users = []
        for at in range(0, len(names), 2000):
            logins = [clue_pb2.Login(nick=name, token="x") for name in names[at : at + 2000]]
            reply = await stub.Authenticate(clue_pb2.AuthenticateRequest(logins=logins))
            users += [(result.user.user_id, result.user.login) for result in reply.results]
        parts = [users[i :: arguments.edges] for i in range(arguments.edges)]
        await asyncio.gather(
            *(edge(stub, i + 1, part[::-1], arguments.batch, 0.5 + time.monotonic()) for i, part in enumerate(parts))
        )
        print("warm", flush=True)
        started = time.monotonic()
        end = started + arguments.seconds
        sent = await asyncio.gather(*(edge(stub, i + 100, part, arguments.batch, end) for i, part in enumerate(parts)))
        print(f"sent {sum(sent)} {time.monotonic() - started}", flush=True)


async def rules(address: str) -> None:
    """Unique chat, terms and emotes."""
    words = one_clue.words(CHANNEL)
    modes = clue_pb2.SetModesRequest(channel=CHANNEL, unique_chat=True)
    async with rpc.channel(address) as channel:
        stub = clue_pb2_grpc.ControlStub(channel)
        await stub.SetWords(words, metadata=one_clue.OPERATOR)
        await stub.SetModes(modes, metadata=one_clue.OPERATOR)


async def serve(arguments: argparse.Namespace) -> None:
    measured = await one_clue.measure(
        "tests.bench.clue_submit",
        {name: getattr(arguments, name) for name in ("seconds", "edges", "batch", "users")},
        limits=arguments.rules,
        prepare=rules if arguments.rules else None,
        profiled=arguments.profile,
    )
    if arguments.json:
        print(json.dumps({"per_s": measured.per_s, "us_per_message": measured.us_per_message}), flush=True)
        return
    commits = measured.metrics.counters["publish.commits"]
    print(f"{measured}; {commits} commits")
    for name, timing in measured.metrics.timings.items():
        mean = timing.total_ms / timing.count
        print(f"  {name}: {timing.count} times, mean {mean:.2f}, max {timing.max_ms:.2f}")
    measured.print_top(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--edges", type=int, default=2)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--rules", action="store_true", help="everything on; takes 30,000 users")
    parser.add_argument("--json", action="store_true", help="print messages/s and CPU as JSON alone")
    parser.add_argument("--profile", action="store_true", help="print cProfile's top (slows it down by half)")
    parser.add_argument("--load", metavar="ADDRESS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rules:
        arguments.users = max(arguments.users, 30_000)
    if arguments.load:
        uvloop.run(load(arguments.load, arguments))
    else:
        lifecycle.run(lambda: serve(arguments))


if __name__ == "__main__":
    main()

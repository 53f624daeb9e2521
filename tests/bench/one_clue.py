"""One clue under a load that comes from a process of its own: what the benches of its submit path have in common."""

from __future__ import annotations

import asyncio
import cProfile
import os
import pstats
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import grpc.aio

from clue.config import ClueConfig
from clue.server import running
from common import config, rpc
from common.metrics import Metrics
from common.pb import clue_pb2, exchange_pb2, exchange_pb2_grpc
from tests.support.redis import redis_servers

_TOKEN = "bench"
OPERATOR = ((rpc.CONTROL_TOKEN_HEADER, _TOKEN),)  # metadata of operators' calls


class TakingExchange(exchange_pb2_grpc.ExchangeServicer):
    async def Publish(
        self, request: exchange_pb2.PublishRequest, context: grpc.aio.ServicerContext
    ) -> exchange_pb2.PublishReply:
        return exchange_pb2.PublishReply()


@dataclass(frozen=True)
class Measured:
    sent: int
    seconds: float
    cpu_s: float  # of clue
    metrics: Metrics
    profile: cProfile.Profile | None

    @property
    def per_s(self) -> float:
        return self.sent / self.seconds

    @property
    def us_per_message(self) -> float:
        return self.cpu_s / self.sent * 1e6

    def __str__(self) -> str:
        return f"{self.per_s:,.0f} messages/s; {self.us_per_message:.0f} µs CPU of clue a message"

    def print_top(self, count: int) -> None:
        if self.profile is not None:
            pstats.Stats(self.profile).sort_stats("tottime").print_stats(count)


def words(channel: str = "") -> clue_pb2.SetWordsRequest:
    """100 blocked terms and 100 emotes, one of which every message has; "": of all channels."""
    names = ("chat", *(f"E{i}" for i in range(99)))
    return clue_pb2.SetWordsRequest(
        channel=channel,
        terms=[clue_pb2.Term(term=f"term{i}*", action="deny") for i in range(100)],
        emotes=[clue_pb2.Emote(name=name, id=str(i)) for i, name in enumerate(names)],
    )


async def measure(
    module: str,
    options: Mapping[str, object],
    *,
    limits: bool,
    prepare: Callable[[str], Awaitable[None]] | None = None,
    profiled: bool = False,
) -> Measured:
    """`python -m module --load ADDRESS --option value ...` loads a clue with two Redis shards and an exchange that only
    takes. It prints a line when it is warm, then "sent COUNT SECONDS"; what lies between is measured.

    SIGTERM, which `python -m tests.bench` sends when it is interrupted, cancels it: the servers are stopped.
    """
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    exchange = rpc.server()
    exchange_pb2_grpc.add_ExchangeServicer_to_server(TakingExchange(), exchange)  # type: ignore[no-untyped-call]
    port = exchange.add_insecure_port("127.0.0.1:0")
    await exchange.start()
    try:
        with redis_servers(2, durable=False) as servers:
            settings = ClueConfig(
                grpc_port=0,
                redis_shards=tuple(server.address for server in servers),
                exchange_address=f"127.0.0.1:{port}",
                limits=limits,
                control_token=_TOKEN,
            )
            async with running(settings) as clue:
                address = f"127.0.0.1:{clue.port}"
                if prepare is not None:
                    await prepare(address)
                # The load is another process: a clue has its core for itself.
                command = [sys.executable, "-m", module, "--load", address]
                for name, value in options.items():
                    command += [f"--{name}", str(value)]
                process = await asyncio.create_subprocess_exec(
                    *command, stdout=subprocess.PIPE, env={**os.environ, **config.dump(settings)}
                )
                assert process.stdout is not None
                await process.stdout.readline()  # warm
                profile = cProfile.Profile() if profiled else None
                cpu_s = time.process_time()
                if profile is not None:
                    profile.enable()
                _, sent, seconds = (await process.stdout.readline()).decode().split()
                if profile is not None:
                    profile.disable()
                cpu_s = time.process_time() - cpu_s
                await process.wait()
                return Measured(int(sent), float(seconds), cpu_s, clue.metrics, profile)
    finally:
        await exchange.stop(0)

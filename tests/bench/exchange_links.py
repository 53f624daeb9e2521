"""What one exchange takes in and hands to two edges: a real exchange and the edges' ends of the links alone.

One lane's publisher calls Publish with a batch, waits for the answer and calls again, as clue does; every edge wants
the channel. Prints, for each batch size, one line of JSON: entries published and delivered a second, and the
exchange's CPU an entry and edge.

    python -m tests.bench.exchange_links [--seconds 2]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import uvloop

from common import rpc
from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2, exchange_pb2, exchange_pb2_grpc
from edge.exchange_link import ExchangeLink, ExchangeLinks
from exchange.config import ExchangeConfig
from exchange.server import Server

from .functions import publication
from .machine import LOAD_CORE

CHANNEL = "#hot"
BATCHES = (1, 20, 200)
EDGES = 2
_PATIENCE_S = 10.0


class Counting:
    """An edge that only counts the entries it is given."""

    def __init__(self, links: ExchangeLinks) -> None:
        self.entries = 0
        self.up = asyncio.Event()
        links.attach(self)

    def on_delivery(self, link: ExchangeLink, channels: Sequence[chat_pb2.ChannelEntries]) -> None:
        for channel in channels:
            self.entries += len(chat_pb2.Entries.FromString(channel.entries).entry)

    def on_up(self, link: ExchangeLink) -> None:
        self.up.set()

    def on_down(self, link: ExchangeLink) -> None:
        raise RuntimeError("a link went down during the benchmark")

    def on_dropped(self, link: ExchangeLink, deliveries: int) -> None:
        raise RuntimeError(f"the exchange dropped {deliveries} deliveries: the edges' end does not keep up")


async def load(address: str, seconds: float) -> None:
    """Edges and publisher. Tells its ports, then for each batch size when it begins and what it did."""
    os.sched_setaffinity(0, {LOAD_CORE})
    edges, servers, ports = [], [], []
    for number in range(EDGES):
        links = ExchangeLinks(f"edge-{number}", "main", number + 1, Metrics(), Log())
        edges.append(Counting(links))
        links.announce([CHANNEL], "main")
        server = rpc.server()
        exchange_pb2_grpc.add_EdgeLinkServicer_to_server(links, server)
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        servers.append(server)
    print(*ports, flush=True)
    async with asyncio.timeout(_PATIENCE_S):
        for edge in edges:
            await edge.up.wait()
    data = publication().SerializeToString()
    async with rpc.channel(address) as channel:
        stub = exchange_pb2_grpc.ExchangeStub(channel)
        for size in BATCHES:
            entries = chat_pb2.Entries(entry=[chat_pb2.Entry(seq=n + 1, prev=n, publication=data) for n in range(size)])
            request = exchange_pb2.PublishRequest(
                channels=[chat_pb2.ChannelEntries(channel=CHANNEL, entries=entries.SerializeToString())]
            )
            print(size, flush=True)
            before, sent, started = sum(edge.entries for edge in edges), 0, time.monotonic()
            while time.monotonic() - started < seconds:
                await stub.Publish(request, timeout=_PATIENCE_S)
                sent += size
            async with asyncio.timeout(_PATIENCE_S):
                while sum(edge.entries for edge in edges) - before < sent * EDGES:
                    await asyncio.sleep(0.001)
            print(sent, time.monotonic() - started, flush=True)
    for server in servers:
        await server.stop(0)


async def serve(seconds: float) -> None:
    exchange = Server(ExchangeConfig(clue_address="127.0.0.1:1"))  # nobody is asked: the directory is told below
    await exchange.start()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.exchange_links", "--seconds", str(seconds)),
        *("--load", f"127.0.0.1:{exchange.port}"),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    read = process.stdout.readline
    ports = (await read()).split()
    services = [
        clue_pb2.Registration(
            service="edge", instance=f"edge-{n}", run=n + 1, cluster="main", grpc_address=f"127.0.0.1:{int(port)}"
        )
        for n, port in enumerate(ports)
    ]
    exchange.links.update(clue_pb2.Directory(available=True, services=services))
    while size := (await read()).strip():
        cpu = time.process_time()
        sent, took = (float(word) for word in (await read()).split())
        cpu = time.process_time() - cpu
        print(
            json.dumps(
                {
                    "batch": int(size),
                    "per_s": sent / took,
                    "delivered_per_s": sent * EDGES / took,
                    "us_per_delivery": cpu / sent / EDGES * 1e6,
                }
            ),
            flush=True,
        )
    await process.wait()
    await exchange.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--load", metavar="ADDRESS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    uvloop.run(load(arguments.load, arguments.seconds) if arguments.load else serve(arguments.seconds))


if __name__ == "__main__":
    main()

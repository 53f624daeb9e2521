"""Two whole clusters that share a directory: real Redis, clue, exchange and edge processes, without HAProxy."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio

from clue.config import ClueConfig
from common.pb import clue_pb2
from edge.config import EdgeConfig
from exchange.config import ExchangeConfig
from tests.support.clue import CONTROL_TOKEN, Clue, Move
from tests.support.irc import Client, Door
from tests.support.redis import free_port, redis_server
from tests.support.services import logs_shown, spawn, stop

READY_S = 40.0


@dataclass
class Edge:
    instance: str
    process: subprocess.Popen[bytes]
    registration: clue_pb2.Registration

    @property
    def tcp(self) -> Door:
        return _door("tcp", self.registration.irc_address)

    @property
    def websocket(self) -> Door:
        return _door("websocket", self.registration.http_address)

    @property
    def http(self) -> str:
        return f"http://{self.registration.http_address}"


@dataclass
class Cluster:
    name: str
    clue: Clue
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)  # "clue", "exchange", edges
    edges: list[Edge] = field(default_factory=list)
    starts: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def signal(self, number: signal.Signals, *names: str) -> None:
        for name in names or self.processes:
            self.processes[name].send_signal(number)


@dataclass
class House:
    clusters: dict[str, Cluster]
    folder: Path
    clients: list[Client] = field(default_factory=list)

    @property
    def main(self) -> Cluster:
        return self.clusters["main"]

    @property
    def event(self) -> Cluster:
        return self.clusters["event"]

    async def enter(self, edge: Edge, login: str, *channels: str, **more: Any) -> Client:
        client = await Client.connect(edge.tcp)
        self.clients.append(client)
        await client.login(login, **more)
        if channels:
            await client.join(*channels)
        return client

    def mover(self, channel: str, source: str, target: str) -> Move:
        return Move(channel, self.clusters[source].clue, self.clusters[target].clue, source, target)

    async def answering(self, cluster: str, within_s: float = 20.0) -> None:
        """Wait until its clue serves and knows the others."""
        async with asyncio.timeout(within_s):
            while True:
                try:
                    found = await self.directory(cluster)
                    if len(found.clusters) == len(self.clusters):
                        return
                except grpc.aio.AioRpcError:
                    pass
                await asyncio.sleep(0.1)

    async def directory(self, cluster: str) -> clue_pb2.Directory:
        return await self.clusters[cluster].clue.operate("GetDirectory", clue_pb2.DirectoryRequest())

    def start(self, cluster: Cluster, name: str, module: str, settings: Any) -> None:
        cluster.starts[name] = (module, settings)
        cluster.processes[name] = spawn(module, settings, self.folder / f"{cluster.name}-{name}.log")

    def restart(self, cluster: Cluster, name: str) -> None:
        """With what it was started with; the process before is gone."""
        cluster.processes[name].wait(20)
        self.start(cluster, name, *cluster.starts[name])


@asynccontextmanager
async def house(folder: Path, *, edges: int = 2, inbox_home: str = "event", **settings: Any) -> AsyncIterator[House]:
    """Clusters main (the default home) and event, with `edges` edges each; `settings` are the edges'."""
    made = House({}, folder)
    async with AsyncExitStack() as stack:
        stack.enter_context(logs_shown(folder))
        directory = stack.enter_context(redis_server(options=()))
        try:
            for name in ("main", "event"):
                redis = stack.enter_context(redis_server(options=()))
                clue_port, exchange_port = free_port(), free_port()
                clue_address = f"127.0.0.1:{clue_port}"
                cluster = made.clusters[name] = Cluster(name, Clue(clue_address, None))
                stack.push_async_callback(cluster.clue.grpc_channel.close)
                clue = ClueConfig(
                    cluster=name,
                    grpc_port=clue_port,
                    redis_shards=(redis.address,),
                    directory=directory.address,
                    default_home="main",
                    inbox_home=inbox_home,
                    exchange_address=f"127.0.0.1:{exchange_port}",
                    control_token=CONTROL_TOKEN,
                    limits=False,
                )
                made.start(cluster, "clue", "clue", clue)
                exchange = ExchangeConfig(cluster=name, grpc_port=exchange_port, clue_address=clue_address)
                made.start(cluster, "exchange", "exchange", exchange)
                for number in range(1, edges + 1):
                    instance = f"edge-{number}"
                    edge = EdgeConfig(
                        **{
                            "cluster": name,
                            "instance": instance,
                            "irc_port": 0,
                            "http_port": 0,
                            "clue_address": clue_address,
                            "limits": False,
                            "drain_s": 0.0,
                            "presence_s": 1.0,
                            **settings,
                        }
                    )
                    made.start(cluster, instance, "edge", edge)
            await _complete(made, edges)
            yield made
        finally:
            for client in made.clients:
                await client.close()
            await stop(process for cluster in made.clusters.values() for process in cluster.processes.values())


async def _complete(made: House, edges: int) -> None:
    """Every edge is ready, and linked with the exchanges of both clusters."""
    async with asyncio.timeout(READY_S):
        for cluster in made.clusters.values():
            cluster.edges = await _registered(made, cluster, edges)
        async with aiohttp.ClientSession() as http:
            for cluster in made.clusters.values():
                for edge in cluster.edges:
                    while not await _linked(http, edge, len(made.clusters)):
                        await asyncio.sleep(0.1)


async def _registered(made: House, cluster: Cluster, edges: int) -> list[Edge]:
    while True:
        try:
            directory = await cluster.clue.operate("GetDirectory", clue_pb2.DirectoryRequest())
        except grpc.aio.AioRpcError:  # it is not up yet
            await asyncio.sleep(0.2)
            continue
        own = [s for s in directory.services if s.service == "edge" and s.cluster == cluster.name]
        if len(own) == edges:
            found = sorted(own, key=lambda registration: registration.instance)
            return [Edge(each.instance, cluster.processes[each.instance], each) for each in found]
        await asyncio.sleep(0.1)


async def _linked(http: aiohttp.ClientSession, edge: Edge, links: int) -> bool:
    async with http.get(f"{edge.http}/readyz") as ready, http.get(f"{edge.http}/statusz") as status:
        facts = await status.json()
        return ready.status == 200 and sum(link["up"] for link in facts["links"]) == links


def _door(transport: str, address: str) -> Door:
    host, _, port = address.rpartition(":")
    return Door(transport, host, int(port))

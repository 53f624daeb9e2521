"""`tallgrass up`, with two things that only a fault suite wants. Run as `python -m tests.chaos.up`.

1. The link of one edge goes through a proxy of ours, so that the network between it and one exchange can be cut: that
   edge tells the directory another loopback address (PROXIED_HOST), where the proxy listens on the same ports. SIGUSR1
   freezes what flows between that edge and exchange-1 (no byte passes and no connection is closed, as when a switch
   dies), SIGUSR2 lets it flow again.
2. Edges' bounds for slow readers are small, so that the load of a test reaches them.

All else is the product's own: same plan, same supervisor, same processes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from common import lifecycle
from ops import haproxy
from ops.data_folder import DataFolder
from ops.ports import free_port
from ops.stack import Part, Stack
from ops.topology import Options, Topology, plan

PROXIED_HOST = "127.0.0.3"
CUT_FILE = "cut-connections"
_PIECE = 65_536


class LinkProxy:
    """Passes TCP on from PROXIED_HOST to 127.0.0.1, port by port; one client process can be frozen out."""

    def __init__(self, exchange_pid, told: Path) -> None:
        self._exchange_pid = exchange_pid
        self._told = told  # a file that says how many connections are cut now
        self._cut = False
        self._gates: dict[int, asyncio.Event] = {}  # by the client's port; set: bytes pass

    def cut(self) -> None:
        self._cut = True
        frozen = _ports_of(self._exchange_pid()) & self._gates.keys()
        for port in frozen:
            self._gates[port].clear()
        self._tell(len(frozen))

    def heal(self) -> None:
        self._cut = False
        for gate in self._gates.values():
            gate.set()
        self._tell(0)

    def _tell(self, frozen: int) -> None:
        """All at once: whoever sees the file finds the number in it."""
        written = self._told.with_suffix(".new")
        written.write_text(f"{frozen}\n")
        written.replace(self._told)

    async def listen(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(lambda reader, writer: self._serve(reader, writer, port), PROXIED_HOST, port)

    async def _serve(self, reader, writer, port: int) -> None:
        client = writer.get_extra_info("peername")[1]
        gate = self._gates[client] = asyncio.Event()
        # Who it is takes long to find out (thousands of sockets to read about), so only when it matters.
        if not (self._cut and client in _ports_of(self._exchange_pid())):
            gate.set()
        try:
            await self._pass_on(reader, writer, port, gate)
        finally:
            del self._gates[client]
            writer.close()

    async def _pass_on(self, reader, writer, port: int, gate: asyncio.Event) -> None:
        await gate.wait()
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        pumps = [asyncio.create_task(_pump(reader, back, gate)), asyncio.create_task(_pump(there, writer, gate))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        back.close()


async def _pump(reader, writer, gate) -> None:
    try:
        while piece := await reader.read(_PIECE):
            await gate.wait()
            writer.write(piece)
            await writer.drain()
        await gate.wait()  # the end of a connection does not get through a cut, either
    except OSError:
        return


def _ports_of(pid: int | None) -> set[int]:
    """Local ports of the TCP connections of process `pid`."""
    inodes = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
    except OSError:
        return set()  # it is gone
    # gRPC reaches IPv4 addresses through sockets of IPv6.
    tables = (Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    lines = (line.split() for table in tables for line in table.splitlines()[1:])
    return {int(fields[1].partition(":")[2], 16) for fields in lines if fields[9] in inodes}


def _topology(arguments: argparse.Namespace, folder: DataFolder) -> Topology:
    options = Options(
        edges=arguments.edges,
        clues=arguments.clues,
        exchanges=arguments.exchanges,
        redis_shards=arguments.redis_shards,
        haproxies=arguments.haproxies,
        irc_port=0,
        http_port=0,
        limits=arguments.limits == "on",
    )
    topology = plan(
        options,
        haproxy=True,
        control_token=folder.control_token(),
        inner_port=free_port,
        public_port=lambda port, option: free_port(),
    )
    edges = tuple(
        replace(
            edge,
            write_buffer=arguments.write_buffer,
            slow_s=arguments.slow_s,
            advertise_host=PROXIED_HOST if edge.instance == arguments.proxied else edge.advertise_host,
        )
        for edge in topology.edges
    )
    return replace(topology, edges=edges)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def _run(arguments: argparse.Namespace) -> None:
    folder = DataFolder(Path(arguments.data))
    folder.acquire()
    folder.require_made_for("main", arguments.redis_shards)
    topology = _topology(arguments, folder)
    stack = Stack([Part(topology, folder)], folder, haproxy_path=haproxy.find(), say=_say)
    exchange = stack.clusters[0].exchanges[0]
    proxy = LinkProxy(lambda: exchange.pid, folder.path / CUT_FILE)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, proxy.cut)
    loop.add_signal_handler(signal.SIGUSR2, proxy.heal)
    servers = []
    for edge in topology.edges:
        if edge.instance == arguments.proxied:
            servers = [await proxy.listen(port) for port in (edge.link_port, edge.irc_port, edge.http_port)]
    try:
        await stack.run()
    finally:
        for server in servers:
            server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.up", description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--edges", type=int, default=3)
    parser.add_argument("--clues", type=int, default=2)
    parser.add_argument("--exchanges", type=int, default=2)
    parser.add_argument("--redis-shards", type=int, default=2)
    parser.add_argument("--haproxies", type=int, default=2)
    parser.add_argument("--limits", choices=("on", "off"), default="on")
    parser.add_argument("--proxied", default="edge-2")
    parser.add_argument("--write-buffer", type=int, default=262_144)
    parser.add_argument("--slow-s", type=float, default=5.0)
    arguments = parser.parse_args()
    lifecycle.run(lambda: _run(arguments))


if __name__ == "__main__":
    main()

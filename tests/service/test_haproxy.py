"""The real HAProxy with our configuration, between real gRPC, HTTP and TCP ends."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web

from common import rpc
from common.pb import exchange_pb2, exchange_pb2_grpc
from ops import haproxy
from ops.haproxy import Door, Doors, Server
from tests.support.ports import free_port

ROOT = Path(haproxy.__file__).parent.parent
PROGRAM = haproxy.find()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="haproxy is not installed")


@dataclass
class Site:
    """HAProxy's ports, and those where its servers are expected. Exchanges also stand in for clues: gRPC is gRPC."""

    folder: Path
    doors: Doors

    def port(self, door: Door) -> int:
        return int(door.bind.rpartition(":")[2])

    def server_ports(self, door: Door) -> list[int]:
        return [int(server.address.rpartition(":")[2]) for server in door.servers]

    async def states(self, pool: str) -> dict[str, str]:
        """Server name to UP, DOWN and the like, from the runtime API; "" before its first check."""
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "haproxy.sock"))
        writer.write(b"show stat\n")
        text = (await reader.read()).decode()
        writer.close()
        rows = csv.DictReader(text.lstrip("# ").splitlines())
        return {row["svname"]: row["status"] for row in rows if row["pxname"] == pool and row["check_status"] != "INI"}

    async def until(self, pool: str, server: str, state: str) -> None:
        async with asyncio.timeout(15):
            while not (await self.states(pool)).get(server, "").startswith(state):
                await asyncio.sleep(0.05)


def make_site(folder: Path, *, tls: bool = False) -> Site:
    def door(*names: str) -> Door:
        servers = tuple(Server(name, f"127.0.0.1:{free_port()}") for name in names)
        return Door(f"127.0.0.1:{free_port()}", servers)

    edges = ("edge-1", "edge-2")
    doors = Doors(
        irc=door(*edges),
        http=door(*edges),
        clue=door("clue-1", "clue-2"),
        exchange=door("exchange-1", "exchange-2"),
        ircs=door(*edges) if tls else None,
        https=door(*edges) if tls else None,
    )
    text = haproxy.configuration(doors, maxconn=500, stats_socket=str(folder / "haproxy.sock"))
    (folder / "haproxy.cfg").write_text(text)
    return Site(folder, doors)


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("ha")  # short: the socket's path is bounded
    made = make_site(folder)
    assert PROGRAM is not None
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([PROGRAM, "-db", "-f", "haproxy.cfg"], cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 10
        while not (folder / "haproxy.sock").exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "haproxy has not opened its runtime API"
            time.sleep(0.02)
        yield made
    finally:
        process.terminate()
        process.wait(10)
        print((folder / "log").read_text())


@contextlib.contextmanager
def stand_ins(ports: list[int]) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.grpc_stand_in", str(port), str(number)], cwd=ROOT
        )
        for number, port in enumerate(ports, 1)
    ]
    try:
        for process, port in zip(processes, ports, strict=True):
            wait_until_listening(process, port)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "the stand-in has ended"
            assert time.monotonic() < deadline, "the stand-in does not listen"
            time.sleep(0.05)
        else:
            return


async def publish(link: Any, lane: int, attempt: int = 1, **metadata: str) -> int:
    """The number of the server that answered."""
    stub = exchange_pb2_grpc.ExchangeStub(link)
    pairs = (*rpc.lane_metadata(lane, attempt), *metadata.items())
    reply = await stub.Publish(exchange_pb2.PublishRequest(), metadata=pairs, timeout=20, wait_for_ready=True)
    return int(reply.edges)


async def lanes_of(link: Any, number: int) -> list[int]:
    return [lane for lane in range(32) if await publish(link, lane) == number]


@pytest.mark.parametrize("tls", [False, True])
def test_the_configuration_has_no_warning(tmp_path: Path, tls: bool) -> None:
    """`haproxy -c` under zero-warning accepts it."""
    make_site(tmp_path, tls=tls)
    assert PROGRAM is not None
    done = subprocess.run([PROGRAM, "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize("pool", ["clue", "exchange"])
async def test_a_lane_stays_with_one_server_and_lanes_spread(site: Site, pool: str) -> None:
    door: Door = getattr(site.doors, pool)
    with stand_ins(site.server_ports(door)):
        for server in door.servers:
            await site.until(f"{pool}_pool", server.name, "UP")
        async with rpc.channel(door.bind) as link:
            first = [await publish(link, lane) for lane in range(32)]
            again = [await publish(link, lane) for lane in range(32)]
            retried = [await publish(link, lane, 2) for lane in range(32)]
    assert first == again
    assert set(first) == {1, 2}
    assert retried != first  # a retry can meet another server


async def test_a_stopped_process_leaves_the_pool_and_its_calls_end(site: Site) -> None:
    """SIGSTOP: its port still accepts, but the HTTP/2 check notices; a call under way ends, others go elsewhere."""
    door = site.doors.clue
    with stand_ins(site.server_ports(door)) as processes:
        for server in door.servers:
            await site.until("clue_pool", server.name, "UP")
        async with rpc.channel(door.bind) as link:
            lane = (await lanes_of(link, 1))[0]
            held = asyncio.ensure_future(publish(link, lane, hold="15"))
            processes[0].send_signal(signal.SIGSTOP)
            try:
                await site.until("clue_pool", "clue-1", "DOWN")
                with pytest.raises(grpc.aio.AioRpcError) as told:
                    await held
                assert told.value.code() == grpc.StatusCode.UNAVAILABLE
                assert await publish(link, lane) == 2
            finally:
                processes[0].send_signal(signal.SIGCONT)
            await site.until("clue_pool", "clue-1", "UP")
            assert await publish(link, lane) == 1


async def test_a_server_that_refuses_is_passed_over_at_once(site: Site) -> None:
    """A call meets the other server, also before the check has noticed the death."""
    door = site.doors.exchange
    with stand_ins(site.server_ports(door)) as processes:
        for server in door.servers:
            await site.until("exchange_pool", server.name, "UP")
        async with rpc.channel(door.bind) as link:
            assert {await publish(link, lane) for lane in range(32)} == {1, 2}
            processes[0].kill()
            processes[0].wait()
            assert {await publish(link, lane) for lane in range(32)} == {2}


@contextlib.asynccontextmanager
async def edge_http(port: int, ready: Callable[[], bool]) -> AsyncIterator[None]:
    """An edge's HTTP side: /readyz, an echo over WebSocket, and who asked."""

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=200 if ready() else 503)

    async def anything(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade") != "websocket":
            return web.Response(text=f"{port} {request.headers.get('X-Forwarded-For')}")
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data)
        return websocket

    app = web.Application()
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/{path:.*}", anything)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def test_irc_reaches_an_edge_with_the_users_address(site: Site) -> None:
    """PROXY protocol v1 comes before the first line."""
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def irc(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await seen.put(await reader.readline() + await reader.readline())
        writer.close()

    port = site.server_ports(site.doors.irc)[0]
    async with edge_http(site.server_ports(site.doors.http)[0], lambda: True):
        server = await asyncio.start_server(irc, "127.0.0.1", port)
        await site.until("irc_edges", "edge-1", "UP")
        await site.until("irc_edges", "edge-2", "DOWN")
        _, writer = await asyncio.open_connection("127.0.0.1", site.port(site.doors.irc), local_addr=("127.0.0.9", 0))
        writer.write(b"NICK a\r\n")
        async with asyncio.timeout(10):
            head, line = (await seen.get()).splitlines()
        writer.close()
        server.close()
        await server.wait_closed()
    assert head.startswith(b"PROXY TCP4 127.0.0.9 127.0.0.1 ")
    assert line == b"NICK a"


async def test_http_says_who_asked(site: Site) -> None:
    async with edge_http(site.server_ports(site.doors.http)[0], lambda: True), aiohttp.ClientSession() as session:
        await site.until("http_edges", "edge-1", "UP")
        await site.until("http_edges", "edge-2", "DOWN")
        async with session.get(f"http://{site.doors.http.bind}/") as response:
            assert (await response.text()).endswith(" 127.0.0.1")


async def test_a_draining_edge_keeps_its_sessions_and_gets_no_new_ones(site: Site) -> None:
    """/readyz of 503 takes it out of the pool; a WebSocket through it goes on."""
    first, second = site.server_ports(site.doors.http)
    ready = True
    url = f"http://{site.doors.http.bind}"
    async with edge_http(first, lambda: ready), aiohttp.ClientSession() as session:
        await site.until("http_edges", "edge-1", "UP")
        await site.until("http_edges", "edge-2", "DOWN")
        async with session.ws_connect(f"{url}/") as websocket, edge_http(second, lambda: True):
            await site.until("http_edges", "edge-2", "UP")
            ready = False
            await site.until("http_edges", "edge-1", "DOWN")
            await websocket.send_str("still here")
            assert await websocket.receive_str(timeout=10) == "still here"
            for _ in range(4):
                async with session.get(f"{url}/") as response:
                    assert (await response.text()).startswith(f"{second} ")


def test_the_runtime_api_is_for_its_owner_only(site: Site) -> None:
    assert os.stat(site.folder / "haproxy.sock").st_mode & 0o077 == 0


def test_the_program_is_found_beside_users_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Debian has haproxy in /usr/sbin, which is not on a user's PATH."""
    if not shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin"):
        pytest.skip("haproxy is elsewhere here")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert haproxy.find()

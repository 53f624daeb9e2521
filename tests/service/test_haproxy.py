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
from aiohttp.typedefs import Handler

from common import rpc
from common.pb import exchange_pb2, exchange_pb2_grpc
from ops import doorkeeper, haproxy, haproxy_runtime
from ops.doorkeeper import Edge, Known
from ops.haproxy import Door, Doors, Homes, Server
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
    return configured(folder, doors)


def configured(folder: Path, doors: Doors) -> Site:
    homes = folder / doorkeeper.HOMES_MAP
    homes.touch()
    text = haproxy.configuration(
        doors, maxconn=500, stats_socket=str(folder / "haproxy.sock"), homes_map=str(homes)
    )
    (folder / "haproxy.cfg").write_text(text)
    return Site(folder, doors)


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("ha")  # short: the socket's path is bounded
    yield from running_site(folder, make_site(folder).doors)


def running_site(folder: Path, doors: Doors) -> Iterator[Site]:
    made = configured(folder, doors)
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
    """`haproxy -c` under zero-warning accepts it, for a cluster alone and for one of several."""
    make_site(tmp_path, tls=tls)
    check(tmp_path)
    configured(tmp_path, guest_doors())
    check(tmp_path)


def check(tmp_path: Path) -> None:
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
async def served(port: int, page: Handler, **pages: Handler) -> AsyncIterator[None]:
    """`pages` at /NAME, `page` everywhere else."""
    app = web.Application()
    for name, other in pages.items():
        app.router.add_get(f"/{name}", other)
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def echo(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        await websocket.send_str(message.data)
    return websocket


def edge_http(port: int, ready: Callable[[], bool]) -> contextlib.AbstractAsyncContextManager[None]:
    """An edge's HTTP side: /readyz, an echo over WebSocket, and who asked."""

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=200 if ready() else 503)

    async def anything(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade") != "websocket":
            return web.Response(text=f"{port} {request.headers.get('X-Forwarded-For')}")
        return await echo(request)

    return served(port, anything, readyz=readyz)


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


# -- clusters: agents, servers that come at run time, and the map of homes ---------------------------------------------


@contextlib.asynccontextmanager
async def agent(port: int, answer: Callable[[], str]) -> AsyncIterator[None]:
    """What an edge answers to HAProxy's agent-check."""

    asking: set[asyncio.Task[None]] = set()

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        asking.add(task)
        writer.write(answer().encode() + b"\n")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        asking.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*asking, return_exceptions=True)


@pytest.fixture
def guest_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The HAProxy of main, which shares a directory with event and group; its edges have agents."""
    folder = tmp_path_factory.mktemp("hg")
    yield from running_site(folder, guest_doors())


def guest_doors() -> Doors:
    def door(*names: str) -> Door:
        servers = tuple(Server(name, f"127.0.0.1:{free_port()}", free_port()) for name in names)
        return Door(f"127.0.0.1:{free_port()}", servers)

    irc = door("edge-1", "edge-2")
    http = door("edge-1", "edge-2")
    homes = Homes("main", ("main", "event", "group"), "main", "group")
    return Doors(irc=irc, http=http, clue=door("clue-1"), exchange=door("exchange-1"), homes=homes)


async def keep(site: Site, *edges: Edge, cluster: str = "main", homes: dict[str, str] | None = None) -> None:
    """One round of the doorkeeper, as if the directory said this."""
    socket_path = str(site.folder / "haproxy.sock")
    static = [
        Edge(irc.name, "main", irc.address, http.address, "")
        for irc, http in zip(site.doors.irc.servers, site.doors.http.servers, strict=True)
    ]
    state = await doorkeeper.read_state(socket_path)
    for change in doorkeeper.plan_changes(Known(cluster, (*static, *edges), homes or {}), state):
        answers = await haproxy_runtime.ask(socket_path, change.commands)
        assert all(answer in ("", "New server registered.", "Server deleted.") for answer in answers), answers


async def weights(site: Site, pool: str) -> dict[str, int]:
    (answer,) = await haproxy_runtime.ask(str(site.folder / "haproxy.sock"), ("show stat",))
    rows = csv.DictReader(answer.removeprefix("# ").splitlines())
    return {row["svname"]: int(row["weight"]) for row in rows if row["pxname"] == pool and row["svname"] != "BACKEND"}


async def test_an_edge_says_its_weight_and_whether_it_drains(guest_site: Site) -> None:
    """In both pools; one that drains gets nobody new, and comes back when it says so."""
    said = "up ready 100%"
    http, irc = guest_site.doors.http.servers[0], guest_site.doors.irc.servers[0]
    async with (
        edge_http(guest_site.server_ports(guest_site.doors.http)[0], lambda: True),
        agent(http.agent, lambda: said), agent(irc.agent, lambda: said),
    ):  # fmt: skip
        for pool in ("http_edges", "irc_edges"):
            await guest_site.until(pool, "edge-1", "UP")
        said = "up ready 25%"
        async with asyncio.timeout(15):
            while [(await weights(guest_site, pool))["edge-1"] for pool in ("http_edges", "irc_edges")] != [25, 25]:
                await asyncio.sleep(0.05)
        said = "drain"
        for pool in ("http_edges", "irc_edges"):
            await guest_site.until(pool, "edge-1", "DRAIN")
        said = "up ready 50%"
        for pool in ("http_edges", "irc_edges"):
            await guest_site.until(pool, "edge-1", "UP")


async def test_an_edge_joins_serves_and_leaves_at_run_time(guest_site: Site) -> None:
    """It gets users while its checks are well; when it is gone it gets nobody, and is removed once it is idle."""
    port, agent_port = free_port(), free_port()
    edge = Edge("edge-9", "main", f"127.0.0.1:{free_port()}", f"127.0.0.1:{port}", f"127.0.0.1:{agent_port}")
    name = f"edge-9:127.0.0.1:{port}"
    url = f"http://{guest_site.doors.http.bind}"
    async with (
        edge_http(port, lambda: True), agent(agent_port, lambda: "up ready 80%"), aiohttp.ClientSession() as session,
    ):  # fmt: skip
        await keep(guest_site, edge)
        await keep(guest_site, edge)  # a second time changes nothing
        await guest_site.until("http_edges", name, "UP")
        await guest_site.until("irc_edges", f"edge-9:{edge.irc}", "UP")
        async with asyncio.timeout(15):
            while (await weights(guest_site, "http_edges"))[name] != 80:
                await asyncio.sleep(0.05)
        async with session.ws_connect(f"{url}/") as websocket:
            await keep(guest_site)
            await guest_site.until("http_edges", name, "MAINT")
            async with session.get(f"{url}/") as response:
                assert response.status == 503
            await websocket.send_str("still here")
            assert await websocket.receive_str(timeout=10) == "still here"
    async with asyncio.timeout(15):
        while name in await guest_site.states("http_edges"):
            with contextlib.suppress(AssertionError):  # its last connection has not ended yet
                await keep(guest_site)
            await asyncio.sleep(0.05)


async def test_a_websocket_goes_where_its_channel_lives(guest_site: Site) -> None:
    """By path or query, in any case; own edges serve when the home has none that is up."""
    own, event, group = guest_site.server_ports(guest_site.doors.http)[0], free_port(), free_port()
    guests = [
        Edge(f"{cluster}-edge-1", cluster, f"127.0.0.1:{free_port()}", f"127.0.0.1:{port}", "")
        for cluster, port in (("event", event), ("group", group))
    ]
    url = f"http://{guest_site.doors.http.bind}"

    async def served_by(path: str) -> int:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}{path}") as websocket:
            await websocket.send_str("who?")
            await websocket.receive_str(timeout=10)
            found = [port for port in (own, event, group) if websocket_counts.get(port, 0) > seen.get(port, 0)]
        seen.update(websocket_counts)
        (port,) = found
        return port

    websocket_counts: dict[int, int] = {}
    seen: dict[int, int] = {}
    async with (
        counting_edge(own, websocket_counts), counting_edge(event, websocket_counts),
        contextlib.AsyncExitStack() as group_edge,
    ):  # fmt: skip
        await group_edge.enter_async_context(counting_edge(group, websocket_counts))
        await keep(guest_site, *guests, homes={"tpp": "event"})
        await guest_site.until("http_edges", "edge-1", "UP")
        await guest_site.until("http_event", f"event-edge-1:127.0.0.1:{event}", "UP")
        await guest_site.until("http_group", f"group-edge-1:127.0.0.1:{group}", "UP")
        assert await served_by("/") == own
        assert await served_by("/c/meadow") == own
        assert await served_by("/c/tpp") == event
        assert await served_by("/?channel=TPP") == event
        assert await served_by("/c/_room") == group
        await keep(guest_site, *guests, homes={"tpp": "group"})
        assert await served_by("/c/tpp") == group
        await keep(guest_site, *guests)
        assert await served_by("/c/tpp") == own
        await keep(guest_site, *guests, homes={"tpp": "group"})
        await group_edge.aclose()
        await guest_site.until("http_group", f"group-edge-1:127.0.0.1:{group}", "DOWN")
        assert await served_by("/c/tpp") == own


def counting_edge(port: int, counts: dict[int, int]) -> contextlib.AbstractAsyncContextManager[None]:
    """An edge's HTTP side that counts the WebSockets it got."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade") != "websocket":
            return web.Response(text="ready")
        counts[port] = counts.get(port, 0) + 1
        return await echo(request)

    return served(port, handle)

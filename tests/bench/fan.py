"""Drives `fan`: a load joined to one server once, measured as often as asked."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .machine import LOAD_CORE, SERVER_CORE, BenchError, core_share, core_ticks, cpu_seconds, running
from .servers import Server

TEXT_BYTES = 100
SENDERS = 2
_JOIN_DEADLINE_S = 260
_PATIENCE_S = 15


@dataclass(frozen=True, slots=True)
class Load:
    """Who joins: `fan`'s options by name."""

    members: int
    channels: int = 1
    tags: bool = False
    websocket: bool = False
    join: bool = True
    inflight: int = 64
    base: int = 0
    letter: str = "c"

    def options(self, server: Server) -> list[str]:
        options = [
            f"channels={self.channels}",
            f"tags={int(self.tags)}",
            f"join={int(self.join)}",
            f"inflight={self.inflight}",
            f"base={self.base}",
            f"letter={self.letter}",
            f"patience={_PATIENCE_S}",
            "serve=1",
        ]
        if self.websocket:
            if not server.websocket_port:
                raise BenchError(f"{server.name} has no WebSocket port")
            options.append(f"ws={server.websocket_port}")
        return options


@dataclass(slots=True)
class Fan:
    """A running load. `joined` holds join_s, join_cpu_s and kb_per_connection."""

    server: Server
    load: Load
    process: subprocess.Popen[bytes]
    complaints: Path
    joined: dict[str, Any] = field(default_factory=dict)

    def run(self, rate: float, seconds: float) -> dict[str, Any]:
        """Sends `rate` lines a second to each channel; fan's figures and how busy cores and processes were.

        Raises BenchError when the load broke (the server closed a sender, or the deadline passed).
        """
        self.begin(rate, seconds)
        processes = {self.server.name: self.server.pid, "load": self.process.pid, **self.server.neighbours}
        # Shares are of the middle of the sending: fan drains for a second first, and waits for stragglers at the end.
        time.sleep(1.0 + 0.1 * seconds)
        cpu, ticks, began = {n: cpu_seconds(p) for n, p in processes.items()}, core_ticks(), time.monotonic()
        time.sleep(0.85 * seconds)
        took, after = time.monotonic() - began, core_ticks()
        shares = {n: round((cpu_seconds(p) - cpu[n]) / took, 3) for n, p in processes.items()}
        figures = self.end(seconds)
        figures["server_core"] = round(core_share(ticks, after, SERVER_CORE), 3)
        figures["load_core"] = round(core_share(ticks, after, LOAD_CORE), 3)
        figures["shares"] = shares
        figures["others"] = round(figures["server_core"] + figures["load_core"] - sum(shares.values()), 3)
        return figures

    def begin(self, rate: float, seconds: float) -> None:
        """To be followed by `end`. For a load beside another one."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{rate:g} {seconds:g}\n".encode())
        self.process.stdin.flush()

    def end(self, seconds: float) -> dict[str, Any]:
        return self.answer(seconds + _PATIENCE_S + 30)

    def answer(self, deadline_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], deadline_s)
        line = self.process.stdout.readline() if readable else b""
        if not line:
            said = self.complaints.read_text(errors="replace").strip().splitlines()[-3:]
            raise BenchError(f"load on {self.server.name}: {'; '.join(said) or f'no answer in {deadline_s:g} s'}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def joined(folder: Path, server: Server, load: Load) -> Iterator[Fan]:
    """A load whose members have all joined; they leave at the end. Raises BenchError when they could not join."""
    complaints = folder / f"fan-{time.monotonic_ns()}.err"
    command = [
        str(folder / "fan"),
        "127.0.0.1",
        str(server.irc_port),
        str(load.members),
        str(SENDERS),
        "1",
        "1",
        str(TEXT_BYTES),
        str(server.pid),
        *(["pass"] if server.token else []),
        *load.options(server),
    ]
    with (
        complaints.open("wb") as err,
        running(command, LOAD_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err) as process,
    ):
        fan = Fan(server, load, process, complaints)
        fan.joined = fan.answer(_JOIN_DEADLINE_S)
        yield fan

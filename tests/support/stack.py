"""A whole stack for system tests: `tallgrass up` on free ports, in a folder of its own, stopped by SIGTERM."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
READY_S = 90.0
STOP_S = 60.0


@dataclass
class RunningStack:
    """What the ready line said; addresses are HOST:PORT."""

    process: subprocess.Popen[bytes]
    data: Path
    ready: str
    irc: str = ""
    ws: str = ""
    ircs: str = ""
    wss: str = ""
    edges: dict[str, str] = field(default_factory=dict)
    others: dict[str, dict[str, str]] = field(default_factory=dict)  # cluster: "irc", "ws", of all but the first

    def __post_init__(self) -> None:
        for part in self.ready.split()[1:]:
            key, _, value = part.partition("=")
            if key == "edge":
                name, _, address = value.partition("@")
                self.edges[name] = address
            elif "." in key:
                kind, _, cluster = key.partition(".")
                self.others.setdefault(cluster, {})[kind] = value
            else:
                setattr(self, key, value)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another `tallgrass` command on this stack."""
        return tallgrass(*arguments, "--data", str(self.data))

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    def service(self, name: str) -> dict[str, Any]:
        (found,) = [service for service in self.status()["services"] if service["name"] == name]
        return found

    def stderr(self) -> str:
        return (self.data.parent / f"{self.data.name}.stderr").read_text()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(STOP_S)

    def logs(self, lines: int = 30) -> str:
        """The end of each log, for a failure's report."""
        files = [self.data.parent / f"{self.data.name}.stderr", *sorted((self.data / "logs").glob("*.log"))]
        return "\n".join(
            f"--- {file.name}\n" + "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
            for file in files
            if file.exists()
        )


def environment(**changes: str) -> dict[str, str]:
    """Ours without TALLGRASS_*, which would reach the stack by accident."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TALLGRASS_")}
    return {**kept, **changes}


def tallgrass(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments],
        cwd=ROOT, env=environment(**changes), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@contextlib.contextmanager
def running_stack(data: Path, *options: str, **changes: str) -> Iterator[RunningStack]:
    """`tallgrass up --irc-port 0 --http-port 0 OPTIONS`, ready. `changes` are environment variables.

    When the block fails, the logs are printed; pytest shows them with the failure.
    """
    arguments = ["up", "--data", str(data), "--irc-port", "0", "--http-port", "0", *options]
    with open(data.parent / f"{data.name}.stderr", "ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", *arguments],
            cwd=ROOT, env=environment(**changes), stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
    stack = RunningStack(process, data, "")
    try:
        stack = RunningStack(process, data, _ready_line(process))
        yield stack
    except BaseException:
        print(stack.logs())
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _ready_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + READY_S
    text = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not text.endswith(b"\n"):
            assert selector.select(deadline - time.monotonic()), f"no ready line within {READY_S} s"
            read = os.read(process.stdout.fileno(), 4096)
            assert read, f"`tallgrass up` ended with exit code {process.wait(STOP_S)} before it was ready"
            text += read
    line = text.decode().strip()
    assert line.startswith("ready: "), line
    assert "\n" not in line, line
    return line

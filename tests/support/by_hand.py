"""One more edge beside a stack, started by hand as an operator would: with limits, settings or a clock of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from ops.ports import free_port
from tests.support.stack import ROOT, environment


@contextlib.contextmanager
def edge(instance: str, clue_address: str, *prefix: str, **settings: str) -> Iterator[dict[str, Any]]:
    """What stack.json would have of it. `prefix`: words before the command; `settings`: TALLGRASS_* without that."""
    http, irc = free_port(), free_port()
    variables = {
        "instance": instance, "irc_port": str(irc), "http_port": str(http), "clue_address": clue_address, **settings,
    }  # fmt: skip
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "edge"], cwd=ROOT,
        env=environment(**{f"TALLGRASS_{name.upper()}": value for name, value in variables.items()}),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield {
            "name": instance, "service": "edge", "pid": process.pid, "cluster": "main",
            "addresses": {"irc": f"127.0.0.1:{irc}", "http": f"127.0.0.1:{http}", "grpc": "127.0.0.1:1"},
        }  # fmt: skip
    finally:
        process.terminate()
        process.wait(20)

"""Services as processes of their own, for tests that put them together themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import config

ROOT = Path(__file__).resolve().parents[2]
_STOP_S = 20.0


def spawn(module: str, settings: Any, log: Path) -> subprocess.Popen[bytes]:
    """`python -m module` with these settings; what it says is added to `log`."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT, env={**os.environ, **config.dump(settings)}, stdout=output, stderr=output,
        )  # fmt: skip


async def stop(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """SIGTERM to all, also to stopped ones; SIGKILL for who is still there after 20 s, which fails the test."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    late = []
    for process in running:
        try:
            await asyncio.to_thread(process.wait, _STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            late.append(process.args)
    assert not late, f"these did not stop within {_STOP_S:g} s: {late}"


@contextmanager
def logs_shown(folder: Path) -> Iterator[None]:
    """When the block fails, the ends of all logs in `folder` are printed."""
    try:
        yield
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-4_000:]}")
        raise

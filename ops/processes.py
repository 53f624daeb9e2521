"""Child processes of the single-machine stack: started, watched, started again when they die, stopped.

Promises: a child ends with us, however we end (Linux); it is in a session of its own, so a terminal's Ctrl-C reaches us
alone and the stop has an order; its output is in its own log file; its death is told with the last lines it wrote.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from common.errors import TallgrassError

_ROOT = Path(__file__).resolve().parent.parent
_BOUND_CHILD = Path(__file__).with_name("bound_child.py")
_FIRST_DELAY_S = 0.2
_LAST_DELAY_S = 5.0
_STEADY_S = 10.0  # a child that lived this long starts again with the first delay
_TAIL_LINES = 8

Say = Callable[[str], None]


class StartError(TallgrassError):
    """A child ended, or did not answer in time, before it was ready."""


@dataclass(frozen=True, slots=True)
class Spec:
    """How to start one child."""

    name: str                     # "edge-1"
    service: str                  # "edge"
    argv: tuple[str, ...]         # the program's full path, then its arguments
    log: Path
    grace_s: float                # from SIGTERM to SIGKILL
    addresses: Mapping[str, str]  # what listens there ("irc", "grpc") to HOST:PORT; for people and stack.json
    environment: Mapping[str, str] = field(default_factory=dict)  # besides our own
    short_turns: bool = False     # of the CPU (common/turns.py)


class Child:
    """One child. `start` once, then `keep` as a task; `stop` after that task was cancelled."""

    def __init__(self, spec: Spec, say: Say, *, changed: Callable[[], None]) -> None:
        self.spec = spec
        self._say = say
        self._changed = changed  # called when the pid is another
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """None while it is not running."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        spec = self.spec
        turns = ("--short-turns",) if spec.short_turns else ()
        with _appending(spec.log) as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(_BOUND_CHILD), str(os.getpid()), *turns, *spec.argv,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=_ROOT,  # `python -m edge` is ours, whatever lies in the caller's folder
                env={**os.environ, "PYTHONUNBUFFERED": "1", **spec.environment},
                start_new_session=True,
            )  # fmt: skip
        self._changed()

    async def until_ready(self, probe: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Ask `probe` until it says yes. Raises StartError when the child ends first, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while not await probe():
                    if self.pid is None:
                        raise StartError(f"{self._epitaph()} before it was ready.{self._tail()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise StartError(
                f"{self.spec.name} (pid {self.pid}) was not ready after {seconds:.0f} s.{self._tail()}"
            ) from None

    async def keep(self) -> None:
        """Start it again whenever it ends, sooner after a long life, later after short ones. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        delay = _FIRST_DELAY_S
        while True:
            since = loop.time()
            assert self._process is not None
            await self._process.wait()
            if loop.time() - since >= _STEADY_S:
                delay = _FIRST_DELAY_S
            self._changed()
            self._say(f"{self._epitaph()}; starting it again in {delay:.1f} s.{self._tail()}")
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LAST_DELAY_S)
            await self.start()
            self._say(f"{self.spec.name} runs again (pid {self.pid})")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when the grace has passed."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self.spec.grace_s):
                await process.wait()
        except TimeoutError:
            self._say(f"{self.spec.name} (pid {process.pid}) did not stop within {self.spec.grace_s:.0f} s: killed")
            process.kill()
            await process.wait()

    def _epitaph(self) -> str:
        assert self._process is not None
        code = self._process.returncode
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        return f"{self.spec.name} (pid {self._process.pid}) {how}"

    def _tail(self) -> str:
        lines = last_lines(self.spec.log, _TAIL_LINES)
        if not lines:
            return f" It wrote nothing to {self.spec.log}."
        return f" Last lines of {self.spec.log}:\n" + "\n".join("    " + line for line in lines)


def _appending(path: Path) -> IO[bytes]:
    return open(path, "ab")


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines, from at most the last 16 KiB."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            return file.read().decode("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []

"""The cluster under test, seen from outside: started, found by stack.json, hurt by process id, ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from ops import probes
from tests.support.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
_START_S = 90.0
_STOP_S = 60.0
_PAGE = os.sysconf("SC_PAGESIZE")


class Cluster:
    """Ends only what it started: the supervisor, and by their ids the processes that stack.json lists as its own."""

    def __init__(self, data: Path, *, program: tuple[str, ...] = ("tests.chaos.up",), **options: object) -> None:
        self.data = data
        self._program = program
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self._stopped: set[int] = set()

    async def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self._options.items()]
        with open(self.data / "up.log", "ab") as log:  # noqa: ASYNC230
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self._program, f"--data={self.data}", *options,
                cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=log, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(_START_S):
            line = await self._process.stdout.readline()
        if not line.startswith(b"ready:"):
            raise RuntimeError(f"the stack did not start:\n{(self.data / 'up.log').read_text()[-3_000:]}")

    async def stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        for pid in list(self._stopped):
            self._signal(pid, signal.SIGCONT)
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()  # its children are bound to it
            await process.wait()

    # -- who is there -------------------------------------------------------------------------------------------

    def facts(self) -> dict:
        return json.loads((self.data / "stack.json").read_text())

    def entry(self, name: str) -> dict:
        return next(s for s in self.facts()["services"] if s["name"] == name)

    def names(self, *services: str) -> list[str]:
        return [s["name"] for s in self.facts()["services"] if s["service"] in services]

    def pid(self, name: str) -> int | None:
        return self.entry(name)["pid"]

    def token(self, cluster: str = "") -> str:
        entry = self.facts()["clusters"]
        return Path(entry[cluster or next(iter(entry))]["control_token_file"]).read_text().strip()

    def memory_kib(self) -> dict[str, tuple[int, int]]:
        """Per process: its id and its resident memory."""
        found = {}
        for service in self.facts()["services"]:
            pid = service["pid"]
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except (OSError, ValueError):
                continue
            found[service["name"]] = (pid, pages * _PAGE // 1024)
        return found

    # -- hurting ------------------------------------------------------------------------------------------------

    def kill(self, name: str) -> int:
        return self._send(name, signal.SIGKILL)

    def terminate(self, name: str) -> int:
        return self._send(name, signal.SIGTERM)

    def freeze(self, name: str) -> int:
        pid = self._send(name, signal.SIGSTOP)
        self._stopped.add(pid)
        return pid

    def thaw(self, pid: int) -> None:
        self._stopped.discard(pid)
        self._signal(pid, signal.SIGCONT)

    def freeze_supervisor(self) -> None:
        """Nothing that is killed from now on is started again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self._stopped.add(self._process.pid)

    async def cut_link(self) -> None:
        """Between exchange-1 and edge-2, as soon as there is one. Raises AssertionError when there is none to cut."""
        assert self._process is not None
        told = self.data / "cut-connections"
        for _ in range(20):
            told.unlink(missing_ok=True)
            self._process.send_signal(signal.SIGUSR1)
            await eventually(told.exists)
            if int(told.read_text()) > 0:
                return
            await asyncio.sleep(0.2)  # the fault before this one may have ended it: the exchange dials again
        raise AssertionError("no connection between exchange-1 and edge-2 was found")

    def heal_link(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR2)

    async def again(self, name: str, not_pid: int, within_s: float = 30.0) -> None:
        """Until the supervisor has started another process under this name."""
        await eventually(lambda: self.pid(name) not in (None, not_pid), within_s)

    async def ready(self, name: str, within_s: float = 30.0) -> None:
        """Until it serves, as an operator's tool would ask before the next one."""
        entry = self.entry(name)
        addresses = entry["addresses"]
        probe = {
            "edge": lambda: probes.http(f"http://{addresses['http']}/readyz"),
            "clue": lambda: probes.clue(addresses["grpc"], self.token(entry["cluster"])),
            "exchange": lambda: probes.exchange(addresses["grpc"], len(self.names("edge"))),
            "haproxy": lambda: probes.http(f"http://{addresses['http']}/readyz"),
            "redis": lambda: probes.redis(int(addresses["redis"].rpartition(":")[2])),
        }[entry["service"]]()
        async with asyncio.timeout(within_s):
            while not await probe():
                await asyncio.sleep(0.05)

    def _send(self, name: str, number: signal.Signals) -> int:
        pid = self.pid(name)
        if pid is None:
            return 0
        self._signal(pid, number)
        return pid

    def _signal(self, pid: int, number: signal.Signals) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops import processes
from ops.processes import Child, Spec, StartError

ROOT = Path(processes.__file__).parent.parent


class Told:
    """What was said, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._more = asyncio.Event()

    def __call__(self, text: str) -> None:
        self.lines.append(text)
        self._more.set()

    async def until(self, part: str) -> str:
        async with asyncio.timeout(10):
            while True:
                for line in self.lines:
                    if part in line:
                        return line
                self._more.clear()
                await self._more.wait()


def spec(tmp_path: Path, code: str, grace_s: float = 5.0) -> Spec:
    return Spec(
        name="sleeper-1",
        service="sleeper",
        argv=(sys.executable, "-c", code),
        log=tmp_path / "sleeper-1.log",
        grace_s=grace_s,
        addresses={},
    )


SLEEP = "import time; print('hello', flush=True); time.sleep(60)"


async def no() -> bool:
    return False


async def test_a_child_that_dies_is_reported_and_started_again(tmp_path: Path) -> None:
    """Name, pid, signal and last lines are told; the new process has another pid."""
    told, changes = Told(), []
    child = Child(spec(tmp_path, SLEEP), told, changed=lambda: changes.append(child.pid))
    await child.start()
    first = child.pid
    assert first is not None
    keeper = asyncio.create_task(child.keep())
    await until_written(tmp_path / "sleeper-1.log", "hello")
    os.kill(first, signal.SIGKILL)
    line = await told.until("starting it again")
    assert f"sleeper-1 (pid {first}) was ended by SIGKILL" in line
    assert "hello" in line
    await told.until("runs again")
    assert child.pid not in (None, first)
    assert changes == [first, None, child.pid]
    keeper.cancel()
    await child.stop()


async def test_a_child_that_ends_before_it_is_ready_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "import sys; sys.exit('configuration: no')"), Told(), changed=lambda: None)
    await child.start()
    with pytest.raises(StartError, match=r"ended with exit code 1 before it was ready(.|\n)*configuration: no"):
        await child.until_ready(no, 10)


async def test_a_child_that_never_gets_ready_is_an_error(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, SLEEP), Told(), changed=lambda: None)
    await child.start()
    with pytest.raises(StartError, match="was not ready after 0 s"):
        await child.until_ready(no, 0.2)
    await child.stop()


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    told = Told()
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
    child = Child(spec(tmp_path, code, grace_s=0.2), told, changed=lambda: None)
    await child.start()
    await until_written(tmp_path / "sleeper-1.log", "hello")
    await child.stop()
    assert child.pid is None
    assert any("did not stop within" in line for line in told.lines)


@pytest.mark.skipif(sys.platform != "linux", reason="a child is bound to its parent on Linux only")
def test_children_do_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL of the parent ends the child too."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert os.path.exists(f"/proc/{child}")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while _lives(child):
        assert time.monotonic() < deadline, f"{child} lives on"
        time.sleep(0.02)


PARENT = f"""
import asyncio, sys
from pathlib import Path
from ops.processes import Child, Spec

async def main():
    log = Path(sys.argv[1]) / "log"
    spec = Spec("sleeper-1", "sleeper", (sys.executable, "-c", {SLEEP!r}), log, 5.0, {{}})
    child = Child(spec, print, changed=lambda: None)
    await child.start()
    while not log.read_text():
        await asyncio.sleep(0.02)
    print(child.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def _lives(pid: int) -> bool:
    """A zombie, which only waits for init to look, has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def until_written(path: Path, text: str) -> None:
    def written() -> bool:
        return text in path.read_text()

    async with asyncio.timeout(10):
        while not written():
            await asyncio.sleep(0.02)

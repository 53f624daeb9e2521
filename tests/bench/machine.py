"""The machine under the benchmark: cores, processes, ports, and what /proc says of them.

Core 0 carries the server that is measured, core 1 everything else (load, and for a stack all services but the edge).
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edge import fanout

SERVER_CORE = 0
LOAD_CORE = 1
MAX_FILES = 20_000
HERE = Path(__file__).parent
ROOT = HERE.parent.parent
_BOUND_CHILD = ROOT / "ops" / "bound_child.py"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024


class BenchError(Exception):
    """Something the benchmark needs is missing or broke; the text says what and what to do."""


def say(text: str) -> None:
    """One line of progress, on stderr, so that stdout holds the results alone."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def require_machine() -> None:
    """Raises BenchError when this machine cannot run the benchmark."""
    if sys.platform != "linux":
        raise BenchError("the benchmark reads /proc and pins processes to cores: it runs on Linux only")
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise BenchError("the benchmark needs cores 0 and 1, one for the server and one for the load")
    if shutil.which("gcc") is None:
        raise BenchError("gcc is missing, it builds the load generator: apt-get install gcc libc6-dev")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def most_members() -> int:
    """How many connections one process may hold here."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200


def build(folder: Path) -> None:
    """Compiles `fan` and `limit` into the folder."""
    for name in ("fan", "limit"):
        command = ["gcc", "-O2", "-w", "-o", str(folder / name), str(HERE / f"{name}.c")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pin(pid: int, core: int) -> None:
    """Moves all threads of a process to one core; threads it starts later follow."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), {core})


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def rss_kb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KB


def core_ticks() -> dict[int, tuple[int, int]]:
    """Busy and all ticks of each core since boot."""
    ticks = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name != "cpu":
            values = [int(n) for n in numbers[:8]]
            ticks[int(name[3:])] = (sum(values) - values[3] - values[4], sum(values))
    return ticks


def core_share(before: dict[int, tuple[int, int]], after: dict[int, tuple[int, int]], core: int) -> float:
    """How much of a core was busy between two `core_ticks`, 0 to 1."""
    busy, all_of_it = (after[core][i] - before[core][i] for i in (0, 1))
    return busy / all_of_it if all_of_it else 0.0


def family(pid: int) -> dict[int, str]:
    """A process and all its descendants: pid to name of the program."""
    parents: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            head, _, tail = Path(f"/proc/{entry}/stat").read_text().rpartition(")")
        except OSError:
            continue
        names[int(entry)] = head.partition("(")[2]
        parents.setdefault(int(tail.split()[1]), []).append(int(entry))
    found: dict[int, str] = {}
    todo = [pid]
    while todo:
        one = todo.pop()
        found[one] = names.get(one, "?")
        todo += parents.get(one, [])
    return found


def wait_for_port(port: int, process: subprocess.Popen[bytes], what: str, deadline_s: float = 15) -> None:
    """Returns when 127.0.0.1:port accepts; raises BenchError when the process ends or the deadline passes."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        if process.poll() is not None:
            raise BenchError(f"{what} ended at once with code {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise BenchError(f"{what} does not listen on 127.0.0.1:{port} after {deadline_s:g} s")


@contextlib.contextmanager
def running(command: list[str], core: int | None = None, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process pinned to a core, stopped at the end: SIGTERM, and SIGKILL when 20 s did not suffice.

    It is bound to us as the stack's services are to the stack: when we are killed, it goes too. And it has a session of
    its own as they have: the kernel shares a core among sessions first (sched(7), "autogroup"), and in a shell's, which
    may be a favoured one, a load would come before the services beside it.
    """
    process = subprocess.Popen(
        [sys.executable, str(_BOUND_CHILD), str(os.getpid()), *command],
        preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                say(f"{command[0]} (pid {process.pid}) ignores SIGTERM: killed")
                process.kill()
                process.wait()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one run, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="tallgrass-bench-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def describe() -> dict[str, str]:
    """What a reader needs to know of this machine to compare figures."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "fanout": fanout.FORM,
        "load_average_at_start": f"{os.getloadavg()[0]:.2f}",
    }

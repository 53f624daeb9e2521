"""Is the load itself the bottleneck? The same viewers and chatters against the least server there can be (calibrate.c).

Each step doubles the messages. What the bare fan-out and the load reach together, on the cores that a stack would share
with the load, is above what any stack can be asked for here; the load's own processor time per 1,000 deliveries is
what has to be taken off a machine's cores before they are a stack's.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from loadtest.figures import calibration_figures
from loadtest.plan import Plan
from loadtest.run import carry_out, say
from loadtest.target import Target, bare_server
from ops.ports import free_port

SOURCE = Path(__file__).with_name("calibrate.c")
JOINED_FOR_MS = 100          # as an edge that is busy joins a channel's lines
FIRST_RATE = 30.0
STEPS = 4
GOOD_P99_MS = 1_000.0


def build(folder: Path) -> Path:
    """Compile the fan-out into `folder`. Raises ConfigError without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise ConfigError("gcc is missing, it builds the bare fan-out: apt-get install gcc libc6-dev")
    program = folder / "calibrate"
    done = subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(f"{SOURCE.name} does not compile: {done.stderr.strip()[:400]}")
    return program


@contextlib.contextmanager
def fan_out(folder: Path, joined_for_ms: int = JOINED_FOR_MS, lose: int = 0) -> Iterator[Target]:
    """The bare server, running. `lose`: it leaves out one write in so many (0: none)."""
    port = free_port()
    command = [str(build(folder)), str(port), str(joined_for_ms), str(lose)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        time.sleep(0.3)
        if process.poll() is not None:
            raise ConfigError(f"the bare fan-out ended at once, with status {process.returncode}")
        yield bare_server(f"127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(10)


def run(report: Path, *, viewers: int, seconds: float) -> list[dict[str, Any]]:
    """All steps, until the delay passes a second; the rows, which are also written to calibration.json."""
    rows: list[dict[str, Any]] = []
    rate = FIRST_RATE
    for _ in range(STEPS):
        with tempfile.TemporaryDirectory(prefix="tallgrass-calibrate-") as scratch, fan_out(Path(scratch)) as target:
            plan = Plan(shape="steady", target=target, viewers=viewers, rate=rate, seconds=min(seconds, 30.0))
            folder = report / f"{time.strftime('%Y%m%d-%H%M%S')}-calibrate-{rate:g}"
            folder.mkdir(parents=True, exist_ok=True)
            outcome = carry_out(plan, folder, None)
        (delay,) = outcome["delays"].values()
        rows.append(
            {
                "rate": rate,
                "delivered_per_s": outcome["totals"]["delivered_per_s"],
                "p50_ms": delay["p50"],
                "p99_ms": delay["p99"],
                "load_cores": outcome["generator"]["cores"],
                "load_ms_per_1000": outcome["generator"]["cpu_ms_per_1000_deliveries"],
                "load_lag_p99_ms": outcome["generator"]["lag"]["p99"],
                "fan_out_cores": outcome["services"]["fan-out"]["cores"],
                "others_cores": outcome["others"]["cores"],
                "status": outcome["status"],
            }
        )
        if delay["p99"] > GOOD_P99_MS:
            break
        rate *= 2
    (report / "calibration.json").write_text(json.dumps(rows, indent=1), "utf-8")
    say("\n" + calibration_figures(rows))
    return rows

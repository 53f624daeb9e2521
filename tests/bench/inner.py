"""The inner services by themselves, without the gaps between: what one clue accepts and one exchange hands on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from .machine import ROOT, SERVER_CORE, BenchError, running, say
from .plan import Run

_DEADLINE_S = 120


def submit(run: Run) -> None:
    """One hot channel through one clue and two Redis shards: without limits, and with every rule on."""
    for turn in range(min(run.plan.repeat, 3)):
        for case, options in {"no limits": [], "every rule": ["--rules"]}.items():
            seconds = f"{run.plan.seconds / 2:g}"
            (figures,) = _asked("tests.bench.clue_submit", None, "--json", "--seconds", seconds, *options)
            run.add("submit", case, "clue", turn, **figures)
            say(f"submit: {case}: {figures['per_s']:,.0f} messages/s, {figures['us_per_message']:.0f} us of clue each")


def links(run: Run) -> None:
    """One exchange, two edges, one publisher that waits for each answer."""
    for turn in range(min(run.plan.repeat, 3)):
        for figures in _asked("tests.bench.exchange_links", SERVER_CORE, "--seconds", f"{run.plan.seconds / 4:g}"):
            case = f"batches of {figures['batch']}"
            run.add("links", case, "exchange", turn, **figures)
            say(
                f"links: {case}: {figures['per_s']:,.0f} entries/s in, {figures['delivered_per_s']:,.0f}/s out, "
                f"{figures['us_per_delivery']:.2f} us of exchange each"
            )


def _asked(module: str, core: int | None, *options: str) -> list[dict[str, Any]]:
    """What the module says in JSON, a line each."""
    command = [sys.executable, "-m", module, *options]
    quiet = subprocess.DEVNULL
    with running(command, core, cwd=ROOT, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet) as process:
        try:
            said, _ = process.communicate(timeout=_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{module} did not end within {_DEADLINE_S} s") from None
    figures = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
    if process.returncode or not figures:
        raise BenchError(f"{module} failed: run it alone to see why: python -m {module} {' '.join(options)}")
    return figures

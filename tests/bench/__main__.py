"""`python -m tests.bench`: the benchmark suite. Progress goes to stderr, the tables to stdout."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from . import delay, fanout, functions, inner, report, sessions
from .machine import BenchError, build, describe, require_machine, say, scratch
from .plan import QUICK, Plan, Run

PARTS: dict[str, Callable[[Run], None]] = {
    "functions": functions.measure,
    "submit": inner.submit,
    "links": inner.links,
    "delay": delay.measure,
    "fanout": fanout.against_peers,
    "crowd": fanout.crowd,
    "variants": fanout.variants,
    "quiet": fanout.quiet_next_to_hot,
    "saturation": fanout.saturation,
    "sessions": sessions.measure,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small loads, one turn: proves that it runs, in minutes")
    parser.add_argument("--only", default="", metavar="PART,...", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--repeat", type=int, metavar="N", help="turns of each measurement (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows there")
    parser.add_argument("--update", type=Path, metavar="PAGE", help="put the tables into this page")
    options = parser.parse_args(arguments)

    wanted = [name for name in options.only.split(",") if name] or list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.repeat is not None and options.repeat < 1:
        parser.error("--repeat must be at least 1")
    plan: Plan = QUICK if options.quick else Plan()
    if options.repeat is not None:
        plan = dataclasses.replace(plan, repeat=options.repeat)

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        require_machine()
        found = _measure(plan, wanted)
        found["quick"] = options.quick
        markdown = report.to_markdown(found)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(report.to_json(found) + "\n")
            say(f"rows: {options.json}")
        if options.update:
            report.update(options.update, markdown)
            say(f"tables: {options.update}")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything it started is stopped", file=sys.stderr)
        return 130
    print(markdown)
    return 0


def _measure(plan: Plan, wanted: list[str]) -> dict[str, object]:
    date, machine = time.strftime("%Y-%m-%d"), describe()
    with scratch() as folder:
        build(folder)
        run = Run(folder, plan)
        for name in wanted:
            say(f"--- {name}")
            began = time.monotonic()
            try:
                PARTS[name](run)
            except BenchError as error:
                run.note(f"{name} was cut short: {error}")
            say(f"--- {name}: {time.monotonic() - began:.0f} s")
    return {
        "date": date,
        "machine": machine,
        "plan": dataclasses.asdict(plan),
        "rows": run.rows,
        "notes": run.notes,
    }


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

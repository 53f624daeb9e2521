"""`tallgrass doctor`: walks a running stack from the door to the readers; names what is wrong, where, and the fix.

It looks only: nothing is changed. Exit status, for cron: 0 all is well, or nearly; 1 something is BAD; 2 it could not
be found out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import ConfigError, TallgrassError
from ops.control import Target, find
from ops.doctor_checks import Level, Result, examine
from ops.doctor_facts import WINDOW_S, Place, gather, places

WELL, BAD, UNKNOWN = 0, 1, 2
_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.BAD: "bold red"}
_WORDS = {Level.OK: "ok", Level.WARN: "WARN", Level.BAD: "BAD"}


def add_parser(commands: Any, add_target: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `doctor` to the subparsers `commands`; `add_target` adds --data, --cluster (none: all), --control ..."""
    parser = commands.add_parser(
        "doctor",
        help="find what is wrong with a running stack, and say what to do",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--window", type=float, default=WINDOW_S, metavar="S", help=f"seconds to look at rates (default: {WINDOW_S:g})"
    )
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    add_target(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """The command. Ends the process with the exit status above."""
    try:
        target = find(data=arguments.data, control=arguments.control, token=arguments.control_token)
        results = asyncio.run(_examine(_places(target, arguments), arguments.window))
    except TallgrassError as error:
        print(f"tallgrass: {error}", file=sys.stderr)
        sys.exit(UNKNOWN)
    if arguments.json:
        print(as_json(results))
    else:
        _print(results)
    worst = max(result.level for found in results.values() for result in found)
    sys.exit(BAD if worst is Level.BAD else WELL)


def _places(target: Target, arguments: argparse.Namespace) -> Sequence[Place]:
    if target.stack is None:
        return (Place(arguments.cluster, target),)
    found = places(target.stack, target, Path(arguments.data).absolute(), _token)
    chosen = [place for place in found if arguments.cluster in ("", place.cluster)]
    if not chosen:
        known = ", ".join(place.cluster for place in found)
        raise ConfigError(f"--cluster {arguments.cluster}: this stack has {known}")
    return chosen


def _token(path: str) -> str:
    try:
        return Path(path).read_text("ascii").strip()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: only who started the stack may read it") from None


async def _examine(chosen: Sequence[Place], window_s: float) -> dict[str, list[Result]]:
    facts = await asyncio.gather(*(gather(place, window_s=window_s) for place in chosen))
    return {one.cluster: examine(one) for one in facts}


def as_json(results: dict[str, list[Result]]) -> str:
    worst = max(result.level for found in results.values() for result in found)
    shown = {
        cluster: [{**asdict(result), "level": _WORDS[result.level]} for result in found]
        for cluster, found in results.items()
    }
    for found in shown.values():
        for result in found:
            result["findings"] = [{**finding, "level": _WORDS[finding["level"]]} for finding in result["findings"]]
    return json.dumps({"level": _WORDS[worst], "clusters": shown}, indent=2)


def _print(results: dict[str, list[Result]]) -> None:
    """Of several clusters only what is wrong. Colours for a terminal, plain text for a pipe: rich decides."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True, emoji=False, markup=False)
    for cluster, found in results.items():
        if len(results) > 1:
            well = sum(not result.findings for result in found)
            console.print(Text(f"cluster {cluster}: {well} of {len(found)} checks ok", "bold"))
        for result in found:
            name = result.check if result.hop == "all" else f"{result.hop} {result.check}"
            level = Text(f"{_WORDS[result.level]:5}", _COLOURS[result.level])
            if not result.findings and len(results) == 1:
                console.print(Text.assemble(level, f"{name:20} {result.ok}"))
            for finding in result.findings:
                level = Text(f"{_WORDS[finding.level]:5}", _COLOURS[finding.level])
                console.print(Text.assemble(level, f"{name:20} {finding.where}: {finding.what}"))
                console.print(Text(f"{'':25} fix: {finding.fix}", "dim"))
    everything = [result for found in results.values() for result in found]
    bad = sum(finding.level is Level.BAD for result in everything for finding in result.findings)
    warnings = sum(finding.level is Level.WARN for result in everything for finding in result.findings)
    console.print(f"{len(everything)} checks: {bad} BAD, {warnings} WARN")

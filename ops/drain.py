"""`tallgrass drain EDGE`: its sessions are asked to reconnect, spread over some seconds, until it has none."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.errors import ConfigError, RemoteError
from common.pb import clue_pb2
from ops.console import report
from ops.control import Control, Target, find

_POLL_S = 0.5
_PATIENCE_S = 20.0  # past the time given: the directory is some seconds late, and some clients take their time

Report = Callable[[str], None]


def add_parser(commands: Any, add_target: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `drain` to the subparsers `commands`; `add_target` adds --data, --cluster, --control and --control-token."""
    parser = commands.add_parser("drain", help="empty an edge: its sessions reconnect elsewhere")
    parser.add_argument("edge", metavar="EDGE", help="its name, as in `tallgrass status`")
    parser.add_argument("--within", type=int, default=30, metavar="S", help="spread over S seconds (default: 30)")
    parser.add_argument("--back", action="store_true", help="let it take users again")
    add_target(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """The command. Raises ConfigError or RemoteError."""
    if not 0 <= arguments.within <= 3_600:
        raise ConfigError(f"--within {arguments.within}: 0 to 3600 seconds")
    target = _target_of(
        arguments.edge,
        find(data=arguments.data, control=arguments.control, token=arguments.control_token, cluster=arguments.cluster),
        chosen=bool(arguments.cluster),
    )
    asyncio.run(drain(target, arguments.edge, arguments.within, back=arguments.back, report=report))


async def drain(target: Target, edge: str, within_s: int, *, back: bool = False, report: Report) -> None:
    """Until it has no session left. Raises ConfigError (no such edge) or RemoteError (not empty in time)."""
    async with Control(target) as control:
        sessions = (await control.drain(edge, within_s, back=back)).sessions
        if back:
            report(f"{edge} takes users again")
            return
        report(f"{edge}: {sessions:,} sessions, asked to leave within {within_s} s")
        begun = time.monotonic()
        before = sessions
        while True:
            await asyncio.sleep(_POLL_S)
            found = await _registration(control, edge)
            passed = time.monotonic() - begun
            if found is None:
                report(f"{edge} has left the directory after {passed:.0f} s")
                return
            if found.draining and not found.sessions:
                report(f"{edge}: empty after {passed:.0f} s; `tallgrass drain {edge} --back` lets users in again")
                return
            if found.sessions != before:
                before = found.sessions
                report(f"{edge}: {before:,} sessions left after {passed:.0f} s")
            if passed > within_s + _PATIENCE_S:
                how = f"{before:,} sessions do not leave" if found.draining else "it does not drain"
                raise RemoteError(edge, "drain", f"{how}: is it reachable? (tallgrass status; tallgrass doctor)")


async def _registration(control: Control, edge: str) -> clue_pb2.Registration | None:
    directory = await control.directory()
    if not directory.available:
        return clue_pb2.Registration(instance=edge, draining=True, sessions=1)  # not known now: ask again
    own = (s for s in directory.services if s.service == "edge" and s.instance == edge)
    return next(own, None)


def _target_of(edge: str, target: Target, *, chosen: bool) -> Target:
    """The cluster of that edge, as stack.json says."""
    if target.stack is None or chosen:
        return target
    clusters = target.stack["clusters"]
    for name, entry in clusters.items():
        if any(s["name"] == edge and s["cluster"] == name for s in target.stack["services"]) or (
            len(clusters) > 1 and edge.startswith(f"{name}-")
        ):
            token = Path(entry["control_token_file"]).read_text("ascii").strip()
            return replace(target, address=entry["control"], token=token)
    return target

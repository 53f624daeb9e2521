"""`tallgrass move CHANNEL CLUSTER` and `tallgrass home CHANNEL`: carries the steps of ops/move.py out, over Control."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from common.errors import ConfigError, RemoteError, TallgrassError
from common.pb import clue_pb2
from ops.console import channel_named, report
from ops.control import Control, Refused, Target, find_all
from ops.move import MAX_HOPS, Call, Move, MoveError, Stage
from ops.topology import ALONE

REDIRECTS = ("none", "clients", "all")

_CALL_S = 3.0
_GIVE_UP_S = 20.0       # one step that nobody answers
_BUSY_S = 4.0           # another mover died in its last step: its freeze ends by itself
_PAUSE_S = 0.1          # between two tries; much less while commits wait for us
_FROZEN_PAUSE_S = 0.02

Report = Callable[[str], None]


def token() -> str:
    """A later one compares greater."""
    return f"{time.time_ns() // 1_000_000:013d}-{secrets.token_hex(4)}"


async def move(
    channel: str,
    to: str,
    targets: Mapping[str, Target],
    *,
    redirect: str = "none",
    within_s: int = 30,
    dry_run: bool = False,
    report: Report = lambda text: None,
) -> str:
    """What was done, with its figures. Raises ConfigError, MoveError or RemoteError; chat goes on at one home."""
    if to not in targets:
        known = ", ".join(sorted(targets)) or "none"
        raise ConfigError(f"{to} is no cluster that a channel can be moved to: there are {known}")
    async with AsyncExitStack() as stack:
        controls = {
            name: await stack.enter_async_context(Control(target, timeout_s=_CALL_S))
            for name, target in targets.items()
        }
        start, brought_by = await _where(channel, controls, to)
        if start not in controls:
            raise ConfigError(f"{channel} lives on {start}: name a clue of it with --control {start}=HOST:PORT")
        steps = Move(
            channel, to, token(), start, redirect=redirect, within_s=within_s, brought_by=brought_by, dry_run=dry_run
        )
        return await Mover(steps, controls, report).run()


class Mover:
    """One move under way. `run` once."""

    def __init__(self, steps: Move, controls: Mapping[str, Control], report: Report) -> None:
        self._steps = steps
        self._controls = controls
        self._report = report
        self._reported = 0
        self._frozen_at = 0.0
        self.pause_s = 0.0      # as seen from here: from asking for the freeze until the new home answers

    async def run(self) -> str:
        steps = self._steps
        begun = time.monotonic()
        try:
            while (call := steps.due) is not None:
                await self.step(call)
        except TallgrassError:
            if steps.abortable:
                await self._abort()
            raise
        if steps.dry_run:
            return f"nothing was changed; {steps.channel} would go to {steps.to}" if steps.old != steps.to else ""
        if not self.pause_s:
            return f"{steps.channel} lives on {steps.to}"
        figures = steps.figures
        return (
            f"{steps.channel} moved from {steps.old} to {steps.to} in {time.monotonic() - begun:.1f} s: "
            f"{figures.entries:,} entries, {figures.bytes:,} bytes, {figures.rounds} rounds, "
            f"pause {self.pause_s * 1e3:.0f} ms"
        )

    async def step(self, call: Call) -> None:
        """Until it is answered or refused. Raises MoveError or RemoteError."""
        steps = self._steps
        stage = steps.stage
        if stage is Stage.FREEZE:
            self._frozen_at = time.monotonic()
        deadline = time.monotonic() + _GIVE_UP_S
        busy_until = time.monotonic() + _BUSY_S
        while True:
            try:
                steps.answered(await self._ask(call))
                break
            except Refused as refused:
                if stage is Stage.BEGIN and time.monotonic() < busy_until:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                steps.refused(str(refused))
                break
            except RemoteError as error:
                if time.monotonic() > deadline:
                    if stage is Stage.SWITCH:
                        raise MoveError(
                            f"{error}. Whether {steps.channel} lives on {steps.old} or on {steps.to} is decided there, "
                            f"only not known here: run the same command again"
                        ) from None
                    raise
                await asyncio.sleep(_FROZEN_PAUSE_S if steps.frozen else _PAUSE_S)
        if stage is Stage.SETTLE and self._frozen_at:
            self.pause_s = time.monotonic() - self._frozen_at
        for line in steps.told[self._reported :]:
            self._report(line)
        self._reported = len(steps.told)

    async def _ask(self, call: Call) -> Any:
        control = self._controls.get(call.cluster)
        if control is None:
            name = call.cluster
            channel = self._steps.channel
            raise ConfigError(f"{channel} lives on {name}: name a clue of it with --control {name}=HOST:PORT")
        if call.method != "Settle":
            return await control.step(call.method, call.request)
        reply = await control.settle(call.request.channel, call.request.move)
        if not reply.available and not reply.elsewhere.cluster:
            raise RemoteError(control.address, "Settle", "the channel's Redis shard does not answer")
        return reply

    async def _abort(self) -> None:
        """All as it was, at once; without this the next move, or the end of the freeze, has the same effect."""
        steps = self._steps
        request = clue_pb2.MoveStep(channel=steps.channel, move=steps.token, to=steps.to)
        for cluster in (steps.old, steps.to):
            try:
                await self._controls[cluster].step("AbortMove", request)
            except TallgrassError as error:
                self._report(f"abort   at {cluster}: {error}")


async def abort(channel: str, targets: Mapping[str, Target]) -> str:
    """Undo the move of `channel` that is under way. Raises ConfigError, MoveError or RemoteError."""
    async with AsyncExitStack() as stack:
        controls = {name: await stack.enter_async_context(Control(target)) for name, target in targets.items()}
        cluster, reply = await _look(channel, controls)
        if not reply.moving:
            return f"{channel} lives on {cluster}, and no move of it is under way"
        request = clue_pb2.MoveStep(channel=channel, move=reply.moving, to=reply.moving_to)
        done = await controls[cluster].step("AbortMove", request)
        if done.elsewhere.cluster:
            return f"too late: {channel} lives on {done.elsewhere.cluster} since"
        if reply.moving_to in controls:
            await controls[reply.moving_to].step("AbortMove", request)  # the copy there is worth nothing any more
        return f"the move of {channel} to {reply.moving_to} is undone: it lives on {cluster}"


async def home(channel: str, targets: Mapping[str, Target]) -> str:
    """Where it lives, with its figures. Raises ConfigError, MoveError or RemoteError."""
    async with AsyncExitStack() as stack:
        controls = {name: await stack.enter_async_context(Control(target)) for name, target in targets.items()}
        cluster, reply = await _look(channel, controls)
    moving = f"; a move to {reply.moving_to} is under way ({reply.moving})" if reply.moving else ""
    return f"{cluster}  ({reply.entries:,} entries in the log, {reply.members:,} members{moving})"


async def _look(channel: str, controls: Mapping[str, Control]) -> tuple[str, clue_pb2.MoveReply]:
    cluster, _ = await _where(channel, controls, "")
    for _ in range(MAX_HOPS):
        if cluster not in controls:
            raise ConfigError(f"{channel} lives on {cluster}: name it with --control {cluster}=HOST:PORT")
        reply: clue_pb2.MoveReply = await controls[cluster].step("BeginMove", clue_pb2.MoveStep(channel=channel))
        if not reply.elsewhere.cluster:
            return cluster, reply
        cluster = reply.elsewhere.cluster
        if reply.elsewhere.move and cluster in controls:
            await controls[cluster].settle(channel, reply.elsewhere.move)  # a mover may have died before it could
    raise MoveError(f"{channel} is sent from home to home: is it being moved at this moment? Try again")


async def _where(channel: str, controls: Mapping[str, Control], to: str) -> tuple[str, str]:
    """As the first directory that answers says: the cluster where to look first, and the move that took it there."""
    error: TallgrassError | None = None
    for name in sorted(controls, key=lambda name: name == to):  # any of them; the homes themselves know better
        try:
            directory = await controls[name].directory()
        except RemoteError as failed:
            error = failed
            continue
        for entry in directory.homes:
            if entry.channel == channel:
                return entry.cluster, entry.move
        return directory.default_home or name, ""
    raise error or ConfigError("no cluster is known: give --data, or --control CLUSTER=HOST:PORT")


def add_parser(commands: Any, add_data: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `move` and `home` to the subparsers `commands`; `add_data` adds --data."""
    parser = commands.add_parser("move", help="give a channel another home, while it is hot")
    parser.add_argument("channel", metavar="CHANNEL")
    parser.add_argument("cluster", metavar="CLUSTER", nargs="?", default="", help="its new home")
    parser.add_argument("--dry-run", action="store_true", help="say what would be moved, and change nothing")
    parser.add_argument("--abort", action="store_true", help="undo the move that is under way (a mover died)")
    parser.add_argument(
        "--redirect", choices=REDIRECTS, default="none",
        help="who is asked to reconnect there: none (default; all stay connected), clients that are in no other "
        "channel, or all",
    )  # fmt: skip
    parser.add_argument("--within", type=int, default=30, metavar="S", help="spread that over S seconds (default: 30)")
    _add_clusters(parser, add_data)
    parser.set_defaults(run=_move)

    shown = commands.add_parser("home", help="on which cluster a channel lives")
    shown.add_argument("channel", metavar="CHANNEL")
    _add_clusters(shown, add_data)
    shown.set_defaults(run=_home)


def _add_clusters(parser: argparse.ArgumentParser, add_data: Callable[[argparse.ArgumentParser], None]) -> None:
    add_data(parser)
    parser.add_argument(
        "--control", action="append", default=[], metavar="CLUSTER=HOST:PORT",
        help="a clue of a cluster elsewhere, once for each; its token is in TALLGRASS_CONTROL_TOKEN_<CLUSTER> or "
        "TALLGRASS_CONTROL_TOKEN",
    )  # fmt: skip


def _move(arguments: argparse.Namespace) -> None:
    channel, targets = channel_named(arguments.channel), _targets(arguments)
    if arguments.abort:
        if arguments.cluster:
            raise ConfigError("--abort takes no cluster: it undoes the move that is under way")
        print(asyncio.run(abort(channel, targets)))
        return
    if not arguments.cluster:
        raise ConfigError(f"move {channel} where? Name a cluster: {', '.join(sorted(targets))}")
    if arguments.cluster == ALONE:
        raise ConfigError(f"the cluster {ALONE} shares nothing with the others: no channel moves there")
    if not 0 <= arguments.within <= 3_600:
        raise ConfigError(f"--within {arguments.within}: 0 to 3600 seconds")
    outcome = asyncio.run(
        move(
            channel, arguments.cluster, targets, redirect=arguments.redirect, within_s=arguments.within,
            dry_run=arguments.dry_run, report=report,
        )
    )  # fmt: skip
    if outcome:
        print(outcome)


def _home(arguments: argparse.Namespace) -> None:
    print(asyncio.run(home(channel_named(arguments.channel), _targets(arguments))))


def _targets(arguments: argparse.Namespace) -> dict[str, Target]:
    found = find_all(data=arguments.data, controls=arguments.control, environ=os.environ)
    stack = next((target.stack for target in found.values() if target.stack), None)
    alone = {name for name, entry in stack["clusters"].items() if not entry["shared"]} if stack else set()
    targets = {name: target for name, target in found.items() if name not in alone or len(found) == 1}
    if not targets:
        raise ConfigError("none of these clusters shares a directory with another: nothing can be moved")
    return targets

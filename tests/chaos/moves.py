"""`python -m tests.chaos moves`: a channel changes home under load, ten times, and again with kills in the middle.

Two clusters as `tallgrass up` starts them, one hot channel with its members spread over the edges of both. The load,
the judge and its words are those of the fault suite (docs/faults.md); what is moved by is the product's own mover.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from common.errors import TallgrassError
from ops import mover
from ops.checker import percentile
from ops.control import Target, find_all
from ops.move import MoveError
from tests.chaos import episode, report
from tests.chaos.cluster import ROOT, Cluster
from tests.chaos.episode import Outcome
from tests.chaos.faults import Fault, Setting
from tests.chaos.load import Load
from tests.chaos.log_reader import LogReader

_DOCS = ROOT / "docs" / "clusters.md"
_AFTER_MOVE_S = 1.0
_PAUSE_GOAL_S = 0.25
STEPS = ("look", "begin", "copy", "changes", "freeze", "last", "switch", "settle", "finish")


@dataclass
class Moves:
    """What was moved, and how long it was felt."""

    pauses_s: list[float] = field(default_factory=list)  # of commits, as the mover saw it
    gaps_s: list[float] = field(default_factory=list)    # the longest silence at each connection around each move
    still_s: list[float] = field(default_factory=list)   # the same before each move, for comparison
    repeats: int = 0                                     # moves that had to be made again

    def __str__(self) -> str:
        return (
            f"{len(self.pauses_s)} moves ({self.repeats} made again); commits paused p50 "
            f"{percentile(self.pauses_s, 50) * 1e3:.0f} ms, max {max(self.pauses_s, default=0) * 1e3:.0f} ms; "
            f"longest silence at a connection p50 {percentile(self.gaps_s, 50) * 1e3:.0f} ms, p99 "
            f"{percentile(self.gaps_s, 99) * 1e3:.0f} ms, max {max(self.gaps_s, default=0) * 1e3:.0f} ms; "
            f"without a move p99 {percentile(self.still_s, 99) * 1e3:.0f} ms"
        )


@dataclass
class Stage:
    """The two clusters and the channel that moves between them."""

    cluster: Cluster | None     # None: nothing is killed, and the mover is in our own process
    load: Load
    logs: LogReader
    targets: dict[str, Target]
    say: Callable[[str], None]
    home: str = "main"

    @property
    def channel(self) -> str:
        return self.load.channels[0]

    @property
    def other(self) -> str:
        return "event" if self.home == "main" else "main"

    async def move(self, moves: Moves, at: Callable[[str], None] = lambda step: None) -> None:
        """To the other cluster; again when it fails, as an operator would. `at` hears each step."""
        self.load.watch_gaps()
        await asyncio.sleep(_AFTER_MOVE_S)
        moves.still_s += self.load.gaps()
        self.load.watch_gaps()
        to = self.other
        deadline = time.monotonic() + 30
        while True:
            try:
                outcome = await (self._move_apart(to, at) if self.cluster else self._move(to, at))
                break
            except TallgrassError as error:
                self.say(f"    {error}: again")
                moves.repeats += 1
                if time.monotonic() > deadline:
                    raise AssertionError(f"{self.channel} could not be moved to {to}: {error}") from None
                await asyncio.sleep(0.2)
        self.home = to
        self.say(f"    {outcome}")
        if found := re.search(r"pause (\d+) ms", outcome):
            moves.pauses_s.append(int(found[1]) / 1e3)
        await asyncio.sleep(_AFTER_MOVE_S)
        moves.gaps_s += self.load.gaps()

    async def _move(self, to: str, at: Callable[[str], None]) -> str:
        return await mover.move(self.channel, to, self.targets, report=lambda line: at(line.partition(" ")[0]))

    async def _move_apart(self, to: str, at: Callable[[str], None]) -> str:
        """By `tallgrass move`: our own loop is busy with the load, and the mover's pause would be ours."""
        process = await self._mover(to)
        assert process.stdout is not None
        last = ""
        async for line in process.stdout:
            last = line.decode().strip()
            at(last.partition(" ")[0])
        if await process.wait():
            raise MoveError(last)
        return last

    async def _mover(self, to: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ops.cli", "move", self.channel, to, "--data", str(self.cluster.data),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    async def killed_mover(self, step: str) -> None:
        """A mover that is killed -9 as soon as `step` is done; nothing is tidied up."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.dying_mover", self.channel, self.other, str(self.cluster.data), step,
            cwd=ROOT,
        )  # fmt: skip
        assert await process.wait() == -signal.SIGKILL, f"the mover was through before {step}"

    def names(self, service: str) -> list[str]:
        return [s["name"] for s in self.cluster.facts()["services"] if s["service"] == service]


@asynccontextmanager
async def stage(
    data: Path, say: Callable[[str], None], *, members: int, rate: float, seed: int, edges: int = 2, each: int = 2
) -> AsyncIterator[Stage]:
    """main and event, with `edges` edges and `each` clues and exchanges apiece; everybody is in."""
    cluster = Cluster(
        data, program=("ops.cli", "up"), clusters="main,event", edges=edges, clues=each, exchanges=each,
        irc_port=0, http_port=0, limits="on" if rate / members <= 0.25 else "off",
    )  # fmt: skip
    load = logs = None
    try:
        say("starting two clusters ...")
        await cluster.start()
        services = cluster.facts()["services"]
        addresses = {s["name"]: s["addresses"]["irc"] for s in services if s["service"] == "edge"}
        clues = [s["addresses"]["grpc"] for s in services if s["service"] == "clue"]
        load = Load(addresses, connections=members, channels=1, rate=rate, seed=seed)
        logs = LogReader(clues, load.channels, load.ledger.text, call_s=5.0)  # this process is busy, too
        say(f"{members} members enter {load.channels[0]} at {len(addresses)} edges of two clusters ...")
        await load.enter()
        logs.start()
        yield Stage(cluster, load, logs, find_all(data=str(data), controls=(), environ={}), say)
    finally:
        if load is not None:
            await load.leave()
        if logs is not None:
            await logs.stop()
        await cluster.stop()


async def judged(place: Stage, name: str, title: str, inject: Callable[[], Awaitable[None]]) -> Outcome:
    async def run(_: Setting) -> float:
        await inject()
        return time.monotonic()

    fault = Fault(name, title, run)
    outcome = await episode.run(fault, 1, Setting(place.cluster, place.load, 0.5), place.logs)
    place.say(report.line(outcome))
    for detail in outcome.details:
        place.say(f"    {detail}")
    return outcome


async def plain(place: Stage, moves: Moves, count: int) -> None:
    for _ in range(count):
        await place.move(moves)


async def mover_killed(place: Stage, moves: Moves) -> None:
    for step in STEPS:
        await place.killed_mover(step)
        await asyncio.sleep(0.3)
        home = await mover.home(place.channel, place.targets)
        place.say(f"    killed after {step}: it lives on {home}")
        await place.move(moves)


async def service_killed(place: Stage, moves: Moves, service: str, count: int) -> None:
    """Of either cluster, in turn, as soon as the copy is made."""
    names = place.names(service)
    for number in range(count):
        name = names[number % len(names)]
        killed: list[int] = []

        def at(step: str, name: str = name, killed: list[int] = killed) -> None:
            if step == "copy" and not killed:
                killed.append(place.cluster.kill(name))

        await place.move(moves, at)
        await place.cluster.again(name, killed[0] if killed else 0)
        await place.cluster.ready(name)
        await asyncio.sleep(1.0)


async def event_killed(place: Stage) -> None:
    """All processes of event at once, -9; main's users are judged alone (those of event are cut off and come back)."""
    for service in place.cluster.facts()["services"]:
        if service["cluster"] == "event":
            place.cluster.kill(service["name"])
    await asyncio.sleep(5.0)


PARTS: dict[str, str] = {
    "moves": "ten moves back and forth",
    "kill-mover": "kill -9 of the mover after each of its steps, then a second move",
    "kill-clue": "kill -9 of a clue, of either cluster, in the middle of each of four moves",
    "kill-exchange": "kill -9 of an exchange, of either cluster, in the middle of each of four moves",
    "kill-event": "kill -9 of all processes of event while the channel lives on main",
}


async def run(
    data: Path, say: Callable[[str], None], *, members: int, rate: float, seed: int, parts: list[str], count: int
) -> list[tuple[Outcome, Moves]]:
    results: list[tuple[Outcome, Moves]] = []
    async with stage(data, say, members=members, rate=rate, seed=seed) as place:
        for name in parts:
            moves = Moves()
            work: dict[str, Callable[[], Awaitable[None]]] = {
                "moves": lambda moves=moves: plain(place, moves, count),
                "kill-mover": lambda moves=moves: mover_killed(place, moves),
                "kill-clue": lambda moves=moves: service_killed(place, moves, "clue", 4),
                "kill-exchange": lambda moves=moves: service_killed(place, moves, "exchange", 4),
                "kill-event": lambda: event_killed(place),
            }
            if name == "kill-event" and place.home != "main":
                await place.move(Moves())
            results.append((await judged(place, name, PARTS[name], work[name]), moves))
            say(f"    {moves}")
    return results


def table(results: list[tuple[Outcome, Moves]]) -> str:
    """Markdown."""
    head = (
        "what", "sent", "deliveries", "lost", "repeated", "out of order", "verdicts wrong or missing", "not confirmed",
        "commits paused max, ms", "silence p99, ms", "without a move, ms", "slowest delivery, s", "goal",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for outcome, moves in results:
        audit = outcome.audit
        wrong = audit.unanswered + audit.allowed_not_logged + audit.denied_logged + audit.logged_twice
        silence = percentile(moves.gaps_s, 99)
        plain_moves = outcome.fault == "moves"
        met = not outcome.problems and outcome.settled and (silence <= _PAUSE_GOAL_S or not plain_moves)
        lines.append("| " + " | ".join((
            PARTS[outcome.fault], str(outcome.sent), str(outcome.deliveries), str(outcome.missing),
            str(outcome.repeated), str(outcome.out_of_order), str(wrong + outcome.wrong_ids), str(audit.unconfirmed),
            f"{max(moves.pauses_s, default=0) * 1e3:.0f}", f"{silence * 1e3:.0f}",
            f"{percentile(moves.still_s, 99) * 1e3:.0f}", f"{outcome.delivery_max_s:.1f}",
            "met" if met else "MISSED",
        )) + " |")  # fmt: skip
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos moves", description=__doc__)
    parser.add_argument("--parts", default="all", metavar="NAME,...", help=", ".join(PARTS))
    parser.add_argument("--members", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second")
    parser.add_argument("--moves", type=int, default=10)
    parser.add_argument("--seed", type=int, help="of an earlier run, to repeat it")
    parser.add_argument("--data", help="keep data and logs in this folder (it has to be new)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/clusters.md")
    arguments = parser.parse_args(argv)
    parts = list(PARTS) if arguments.parts == "all" else arguments.parts.split(",")
    for part in parts:
        if part not in PARTS:
            parser.error(f"--parts {part}: there are {', '.join(PARTS)}")
    seed = arguments.seed if arguments.seed is not None else secrets.randbits(31)
    with tempfile.TemporaryDirectory(prefix="tallgrass-moves-") as folder:
        data = Path(arguments.data) if arguments.data else Path(folder)
        print(f"seed {seed} (repeat with --seed {seed})", flush=True)
        results = uvloop.run(
            run(
                data, lambda text: print(text, flush=True), members=arguments.members, rate=arguments.rate, seed=seed,
                parts=parts, count=arguments.moves,
            )
        )  # fmt: skip
    print(f"\n{table(results)}")
    if arguments.write:
        options = f"--members {arguments.members} --rate {arguments.rate:g} --moves {arguments.moves} --write"
        _write(f"Made by `python -m tests.chaos moves {options}`, seed {seed}: {arguments.members} members, "
               f"{arguments.rate:g} messages a second.\n\n{table(results)}\n")  # fmt: skip
    sys.exit(1 if any(outcome.problems or not outcome.settled for outcome, _ in results) else 0)


def _write(text: str) -> None:
    page = _DOCS.read_text("utf-8")
    before, begin, rest = page.partition("<!-- figures: begin -->\n")
    _, end, after = rest.partition("<!-- figures: end -->")
    _DOCS.write_text(f"{before}{begin}{text}{end}{after}", "utf-8")

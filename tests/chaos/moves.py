"""`python -m tests.chaos moves`: a channel changes home under load, ten times, and again with kills in the middle.

Two clusters as `tallgrass up` starts them, one hot channel with its members spread over the edges of both. Those who
speak are read line by line, by the load, the judge and in the words of the fault suite (docs/faults.md); the others by
number and checksum of their bytes (tests/chaos/tally.py). What is moved by is the product's own mover.
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
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from common.errors import TallgrassError
from ops import mover
from ops.checker import percentile
from ops.control import Target, find_all
from ops.move import MoveError
from tests.chaos import episode, next_door, report, survivor
from tests.chaos.cluster import ROOT, Cluster
from tests.chaos.crowd_link import CrowdLink
from tests.chaos.episode import Outcome
from tests.chaos.faults import Fault, Setting
from tests.chaos.followers import Followed, Followers
from tests.chaos.load import Load
from tests.chaos.log_reader import LogReader
from tests.support.eventually import eventually

_DOCS = ROOT / "docs" / "clusters.md"
_AFTER_MOVE_S = 1.0
_STILL_AT_MOST_S = 5.0
_STARTING_S = 0.2         # Python and gRPC need longer until a mover does anything
_PAUSE_GOAL_S = 0.25      # of what a move adds
_FELT_GOAL_S = 0.02       # of what the end of another cluster adds to delay
_WITHOUT_KILLS = ("moves", "follow")
_FOLLOWERS = 40
_FOLLOW_WITHIN_S = 3
STEPS = ("look", "begin", "copy", "changes", "freeze", "last", "switch", "settle", "finish")


@dataclass
class Moves:
    """What was moved, and how long it was felt."""

    pauses_s: list[float] = field(default_factory=list)  # of commits, as the mover saw it
    gaps_s: list[float] = field(default_factory=list)    # the longest silence at each connection around each move
    still_s: list[float] = field(default_factory=list)   # the same in as long a time without a move
    spans: list[tuple[float, float]] = field(default_factory=list)        # those times
    still_spans: list[tuple[float, float]] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)  # of messages sent around moves: from sending to each reader
    still_delays_s: list[float] = field(default_factory=list)
    own_lateness_s: list[float] = field(default_factory=list)  # of this process, in all of it
    repeats: int = 0                                     # moves that had to be made again
    followed: Followed | None = None
    apart: next_door.Apart | None = None

    @property
    def added_s(self) -> float:
        """What moves add to silence: judged."""
        return max(0.0, percentile(self.gaps_s, 99) - percentile(self.still_s, 99))

    @property
    def added_delay_s(self) -> float:
        """The same of delays."""
        return max(0.0, percentile(self.delays_s, 99) - percentile(self.still_delays_s, 99))

    @property
    def noisy(self) -> bool:
        """Silence without a move is above the bound already: nothing can be said about what moves add."""
        return percentile(self.still_s, 99) > _PAUSE_GOAL_S

    def time(self, load: Load) -> None:
        """Delays of messages, from the load's line-by-line readers."""
        sent_at = load.ledger.sent_at
        around = {n for n, at in sent_at.items() if any(begin <= at <= end for begin, end in self.spans)}
        still = {n for n, at in sent_at.items() if any(begin <= at <= end for begin, end in self.still_spans)}
        for life in load.lives:
            for number, at in zip(life.seen, life.seen_at, strict=True):
                if number in around:
                    self.delays_s.append(at - sent_at[number])
                elif number in still:
                    self.still_delays_s.append(at - sent_at[number])

    def __str__(self) -> str:
        def ms(values: list[float], percent: float) -> str:
            return f"{percentile(values, percent) * 1e3:.0f}"

        return (
            f"{len(self.pauses_s)} moves ({self.repeats} made again); commits paused p50 {ms(self.pauses_s, 50)} ms, "
            f"max {ms(self.pauses_s, 100)} ms; longest silence of a connection p50 {ms(self.gaps_s, 50)}, p99 "
            f"{ms(self.gaps_s, 99)}, max {ms(self.gaps_s, 100)} ms, without a move {ms(self.still_s, 50)}, "
            f"{ms(self.still_s, 99)}, {ms(self.still_s, 100)} ms: p99 {self.added_s * 1e3:+.0f} ms; from sending to a "
            f"reader p50 {ms(self.delays_s, 50)}, p99 {ms(self.delays_s, 99)}, max {ms(self.delays_s, 100)} ms, "
            f"without a move {ms(self.still_delays_s, 50)}, {ms(self.still_delays_s, 99)}, "
            f"{ms(self.still_delays_s, 100)} ms; our own loop late p99 {ms(self.own_lateness_s, 99)} ms, max "
            f"{ms(self.own_lateness_s, 100)} ms" + "".join(f"; {one}" for one in (self.followed, self.apart) if one)
        )


@asynccontextmanager
async def lateness(found: list[float]) -> AsyncIterator[None]:
    """How much later than asked this process's loop runs, fifty times a second."""

    async def watch() -> None:
        while True:
            due = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            found.append(max(0.0, time.monotonic() - due))

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@dataclass
class Stage:
    """The two clusters and the channel that moves between them."""

    cluster: Cluster | None     # None: nothing is killed, and the mover is in our own process
    load: Load
    logs: LogReader
    targets: dict[str, Target]
    say: Callable[[str], None]
    home: str = "main"
    crowd: CrowdLink | None = None

    @property
    def channel(self) -> str:
        return self.load.channels[0]

    @property
    def other(self) -> str:
        return "event" if self.home == "main" else "main"

    async def move(
        self, moves: Moves, at: Callable[[str], None] = lambda step: None, redirect: tuple[str, ...] = ()
    ) -> None:
        """To the other cluster; again when it fails, as an operator would. `at` hears each step. Then as long a time
        without a move, for comparison.
        """
        process = None
        if self.cluster is not None:
            # To start a process halts ours, and with it all who speak: that is no part of a move. It does nothing yet.
            process = await self._mover(self.other, *redirect)
            await asyncio.sleep(_STARTING_S)
        begun = time.monotonic()
        await self._watch()
        await self._until_moved(moves, at, redirect, process)
        await asyncio.sleep(_AFTER_MOVE_S)
        moves.gaps_s += await self._gaps()
        ended = time.monotonic()
        moves.spans.append((begun, ended))
        await self._watch()
        await asyncio.sleep(min(ended - begun, _STILL_AT_MOST_S))
        moves.still_s += await self._gaps()
        moves.still_spans.append((ended, time.monotonic()))

    async def _watch(self) -> None:
        self.load.watch_gaps()
        if self.crowd is not None:
            await self.crowd.watch()

    async def _gaps(self) -> list[float]:
        return self.load.gaps() + (await self.crowd.gaps() if self.crowd is not None else [])

    async def _until_moved(
        self, moves: Moves, at: Callable[[str], None], redirect: tuple[str, ...],
        process: asyncio.subprocess.Process | None,
    ) -> None:
        to = self.other
        deadline = time.monotonic() + 30
        while True:
            try:
                outcome = await (self._told_by(process, at) if process is not None else self._move(to, at))
                break
            except TallgrassError as error:
                self.say(f"    {error}: again")
                moves.repeats += 1
                if time.monotonic() > deadline:
                    raise AssertionError(f"{self.channel} could not be moved to {to}: {error}") from None
                await asyncio.sleep(0.2)
                if process is not None:
                    process = await self._mover(to, *redirect)
        self.home = to
        self.say(f"    {outcome}")
        if found := re.search(r"pause (\d+) ms", outcome):
            moves.pauses_s.append(int(found[1]) / 1e3)

    async def _move(self, to: str, at: Callable[[str], None]) -> str:
        return await mover.move(self.channel, to, self.targets, report=lambda line: at(line.partition(" ")[0]))

    async def _told_by(self, process: asyncio.subprocess.Process, at: Callable[[str], None]) -> str:
        """What `tallgrass move` says at the end: our own loop is busy with the load, and its pause would be ours."""
        assert process.stdout is not None
        last = ""
        async for line in process.stdout:
            last = line.decode().strip()
            at(last.partition(" ")[0])
        if await process.wait():
            raise MoveError(last)
        return last

    async def _mover(self, to: str, *options: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ops.cli", "move", self.channel, to, "--data", str(self.cluster.data), *options,
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
    data: Path, say: Callable[[str], None], *, members: int, speakers: int, rate: float, seed: int, edges: int = 2,
    each: int = 2,
) -> AsyncIterator[Stage]:
    """main and event, with `edges` edges and `each` clues and exchanges apiece; everybody is in. `speakers` of the
    members are read line by line.
    """
    cluster = Cluster(
        data, program=("ops.cli", "up"), clusters="main,event", edges=edges, clues=each, exchanges=each,
        irc_port=0, http_port=0, limits="on" if rate / speakers <= 0.5 else "off",
    )  # fmt: skip
    load = logs = crowd = None
    try:
        say("starting two clusters ...")
        await cluster.start()
        services = cluster.facts()["services"]
        addresses = {s["name"]: s["addresses"]["irc"] for s in services if s["service"] == "edge"}
        clues = [s["addresses"]["grpc"] for s in services if s["service"] == "clue"]
        load = Load(addresses, connections=min(speakers, members), channels=1, rate=rate, seed=seed)
        logs = LogReader(clues, load.channels, load.ledger.text, call_s=5.0)  # this process is busy, too
        say(f"{members} members enter {load.channels[0]} at {len(addresses)} edges of two clusters ...")
        await load.enter()
        if members > len(load.seats):
            crowd = CrowdLink(load.ledger.text.strip())
            number = load.ledger.pattern.pattern.decode()
            await crowd.enter(addresses, load.channels[0], members - len(load.seats), number, 120.0)
        logs.start()
        yield Stage(cluster, load, logs, find_all(data=str(data), controls=(), environ={}), say, crowd=crowd)
    finally:
        if crowd is not None:
            await crowd.leave()
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
    outcome = await episode.run(fault, 1, Setting(place.cluster, place.load, 0.5), place.logs, place.crowd)
    place.say(report.line(outcome))
    if outcome.crowd is not None:
        crowd = outcome.crowd
        place.say(
            f"    of these, {crowd.readers} connections by number and checksum of their bytes: {crowd.lines} lines, "
            f"{crowd.blind} connections with other bytes; read p99 {crowd.late_p99_ms} ms, max {crowd.late_max_ms} ms "
            f"after the kernel had them, {crowd.cpu_s} s of CPU in {outcome.seconds:.0f} s"
        )
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


async def followed(place: Stage, moves: Moves, count: int) -> Outcome:
    """`move --redirect clients`: clients at the old home reconnect to the new one's door and ask for what they missed.

    The load's own members are in another channel, too, and are not asked.
    """
    clusters = place.cluster.facts()["clusters"]
    crowd = Followers(place.load.ledger.pattern, place.channel, clusters[place.home]["irc"])
    moves.followed = crowd.told
    await place.load.join_also("#elsewhere")
    await crowd.enter(_FOLLOWERS)

    async def move_and_follow() -> None:
        for turn in range(1, count + 1):
            crowd.door = clusters[place.other]["irc"]
            await place.move(moves, redirect=("--redirect", "clients", "--within", str(_FOLLOW_WITHIN_S)))
            await eventually(lambda turn=turn: crowd.told.arrived == turn * _FOLLOWERS, _FOLLOW_WITHIN_S + 10)

    try:
        outcome = await judged(place, "follow", PARTS["follow"], move_and_follow)
        for detail in crowd.judge(place.logs.logs[place.channel])[:20]:
            place.say(f"    {detail}")
        outcome.missing += crowd.told.missing
        outcome.repeated += crowd.told.repeated
        outcome.out_of_order += crowd.told.out_of_order
    finally:
        await crowd.leave()
        await place.load.part_also("#elsewhere")
    return outcome


PARTS: dict[str, str] = {
    "moves": "ten moves back and forth",
    "kill-mover": "kill -9 of the mover after each of its steps, then a second move",
    "kill-clue": "kill -9 of a clue, of either cluster, in the middle of each of four moves",
    "kill-exchange": "kill -9 of an exchange, of either cluster, in the middle of each of four moves",
    "follow": "four moves with `--redirect clients`",
    "kill-event": "no move: kill -9 of all processes of event while main serves a channel of its own",
    "kill-main": "no move: kill -9 of all processes of main while event serves a channel of its own",
    "next-door": "no move: the cluster test under full load next to main, with 300 members",
}

SURVIVORS = {"kill-event": "main", "kill-main": "event"}  # whose users are asked in these parts


async def compared(
    place: Stage, moves: Moves, part: str, still_s: float, disturb: Callable[[], Awaitable[None]]
) -> Outcome:
    """What the load feels for `still_s`, and then while it is disturbed."""

    async def run() -> None:
        begun = time.monotonic()
        await place._watch()
        await asyncio.sleep(still_s)
        moves.still_s += await place._gaps()
        between = time.monotonic()
        await place._watch()
        await disturb()
        moves.gaps_s += await place._gaps()
        moves.still_spans.append((begun, between))
        moves.spans.append((between, time.monotonic()))

    async with lateness(moves.own_lateness_s):
        outcome = await judged(place, part, PARTS[part], run)
    moves.time(place.load)
    place.say(f"    {moves}")
    return outcome


async def beside_test(data: Path, say: Callable[[str], None], seed: int) -> tuple[Outcome, Moves]:
    """main's own load before and while test is loaded."""
    moves = Moves()
    async with next_door.neighbours(data, say, seed=seed, members=300, speakers=60, rate=25.0) as neighbours:
        cluster, load, logs, targets, crowd, neighbour = neighbours
        moves.apart = neighbour.apart
        place = Stage(cluster, load, logs, targets, say, crowd=crowd)
        outcome = await compared(place, moves, "next-door", next_door.QUIET_S, neighbour.loaded)
    return outcome, moves


async def survived(data: Path, say: Callable[[str], None], part: str, seed: int) -> tuple[Outcome, Moves]:
    """The load of the cluster that stays, before and after the other's end."""
    moves = Moves()
    async with survivor.survivor(data, say, stays=SURVIVORS[part], seed=seed) as left:

        async def kill() -> None:
            say(f"    killed: {', '.join(left.kill_other())}")
            await asyncio.sleep(survivor.WITHOUT_S)

        place = Stage(left.cluster, left.load, left.logs, {}, say)
        outcome = await compared(place, moves, part, survivor.WITH_S, kill)
    return outcome, moves


async def run(
    data: Path, say: Callable[[str], None], *, members: int, speakers: int, rate: float, seed: int, parts: list[str],
    count: int,
) -> list[tuple[Outcome, Moves]]:
    results: list[tuple[Outcome, Moves]] = []
    together = [name for name in parts if name != "next-door" and name not in SURVIVORS]
    if together:
        results += await _run_together(data, say, members, speakers, rate, seed, together, count)
    if "next-door" in parts:
        results.append(await beside_test(data / "next-door", say, seed))
    for part in parts:
        if part in SURVIVORS:
            results.append(await survived(data / part, say, part, seed))
    return results


async def _run_together(
    data: Path, say: Callable[[str], None], members: int, speakers: int, rate: float, seed: int, parts: list[str],
    count: int,
) -> list[tuple[Outcome, Moves]]:
    results: list[tuple[Outcome, Moves]] = []
    async with stage(data, say, members=members, speakers=speakers, rate=rate, seed=seed) as place:
        for name in parts:
            moves = Moves()
            work: dict[str, Callable[[], Awaitable[None]]] = {
                "moves": lambda moves=moves: plain(place, moves, count),
                "kill-mover": lambda moves=moves: mover_killed(place, moves),
                "kill-clue": lambda moves=moves: service_killed(place, moves, "clue", 4),
                "kill-exchange": lambda moves=moves: service_killed(place, moves, "exchange", 4),
            }
            async with lateness(moves.own_lateness_s):
                if name == "follow":
                    outcome = await followed(place, moves, 4)
                else:
                    outcome = await judged(place, name, PARTS[name], work[name])
            moves.time(place.load)
            results.append((outcome, moves))
            say(f"    {moves}")
    return results


def is_met(outcome: Outcome, moves: Moves) -> bool:
    """Kills cost a pause that faults.md bounds; moves alone have the bound of this suite."""
    if outcome.problems or not outcome.settled:
        return False
    if moves.followed is not None and not moves.followed.faultless:
        return False
    if moves.apart is not None and not moves.apart.kept:
        return False
    if outcome.fault in SURVIVORS:
        return moves.added_delay_s <= _FELT_GOAL_S
    return outcome.fault not in _WITHOUT_KILLS or (moves.added_s <= _PAUSE_GOAL_S and not moves.noisy)


def _goal(outcome: Outcome, moves: Moves) -> str:
    if is_met(outcome, moves):
        return "met"
    return "machine too busy" if moves.noisy and not outcome.problems and not outcome.missing else "MISSED"


def table(results: list[tuple[Outcome, Moves]]) -> str:
    """Markdown."""
    head = (
        "what", "sent", "deliveries", "lost", "repeated", "out of order", "verdicts wrong or missing", "not confirmed",
        "commits paused max, ms", "silence p99 / without a move, ms", "delay p99 / without a move, ms",
        "slowest delivery, s", "goal",
    )  # fmt: skip

    def both(first: list[float], second: list[float]) -> str:
        if not first:
            return ""
        return f"{percentile(first, 99) * 1e3:.0f} / {percentile(second, 99) * 1e3:.0f}"

    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for outcome, moves in results:
        audit = outcome.audit
        wrong = audit.unanswered + audit.allowed_not_logged + audit.denied_logged + audit.logged_twice
        lines.append("| " + " | ".join((
            PARTS[outcome.fault], str(outcome.sent), str(outcome.deliveries), str(outcome.missing),
            str(outcome.repeated), str(outcome.out_of_order), str(wrong + outcome.wrong_ids), str(audit.unconfirmed),
            f"{max(moves.pauses_s, default=0) * 1e3:.0f}", both(moves.gaps_s, moves.still_s),
            both(moves.delays_s, moves.still_delays_s), f"{outcome.delivery_max_s:.1f}",
            _goal(outcome, moves),
        )) + " |")  # fmt: skip
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos moves", description=__doc__)
    parser.add_argument("--parts", default="all", metavar="NAME,...", help=", ".join(PARTS))
    parser.add_argument("--members", type=int, default=2_000)
    parser.add_argument("--speakers", type=int, default=200, help="members who speak and are read line by line")
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
                data, lambda text: print(text, flush=True), members=arguments.members,
                speakers=arguments.speakers, rate=arguments.rate, seed=seed, parts=parts, count=arguments.moves,
            )
        )  # fmt: skip
    print(f"\n{table(results)}")
    if arguments.write:
        options = f"--members {arguments.members} --speakers {arguments.speakers} --rate {arguments.rate:g} --write"
        _write(f"Made by `python -m tests.chaos moves {options}`, seed {seed}: {arguments.members} members, "
               f"{arguments.rate:g} messages a second.\n\n{table(results)}\n")  # fmt: skip
    sys.exit(0 if all(is_met(outcome, moves) for outcome, moves in results) else 1)


def _write(text: str) -> None:
    page = _DOCS.read_text("utf-8")
    before, begin, rest = page.partition("<!-- figures: begin -->\n")
    _, end, after = rest.partition("<!-- figures: end -->")
    _DOCS.write_text(f"{before}{begin}{text}{end}{after}", "utf-8")

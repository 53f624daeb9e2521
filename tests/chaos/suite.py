"""A run of the suite: one cluster, one load, faults one after the other, rounds of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import episode, report
from tests.chaos.cluster import Cluster
from tests.chaos.episode import Outcome
from tests.chaos.faults import FAULTS, Setting
from tests.chaos.load import Load
from tests.chaos.log_reader import LogReader


@dataclass(frozen=True)
class Form:
    """How much of everything."""

    connections: int = 1_000
    channels: int = 20
    rate: float = 200.0          # messages a second in all
    edges: int = 3
    clues: int = 2
    exchanges: int = 2
    redis_shards: int = 2
    haproxies: int = 2
    scale: float = 1.0           # of the faults' lengths
    rounds: int = 1
    faults: tuple[str, ...] = tuple(FAULTS)
    shuffle: bool = False        # another order in each round, by the seed

    @property
    def limits(self) -> str:
        """The rules for users stay on as long as the load keeps them (20 in 30 s each, and luck)."""
        return "on" if self.rate / self.connections <= 0.25 else "off"


@dataclass
class Result:
    seed: int
    form: Form
    outcomes: list[Outcome] = field(default_factory=list)
    memory: list[dict[str, tuple[int, int]]] = field(default_factory=list)  # after each round


async def run(form: Form, seed: int, data: Path, say: Callable[[str], None]) -> Result:
    """Raises what the cluster or the load could not do; a broken promise is in the result."""
    result = Result(seed, form)
    cluster = Cluster(
        data, edges=form.edges, clues=form.clues, exchanges=form.exchanges, redis_shards=form.redis_shards,
        haproxies=form.haproxies, limits=form.limits,
        write_buffer=int(max(65_536, min(262_144, 1_300 * form.rate))), slow_s=5,
    )  # fmt: skip
    load = logs = None
    try:
        say(f"starting {form.edges} edges, {form.clues} clues, {form.exchanges} exchanges ...")
        await cluster.start()
        facts = cluster.facts()
        edges = {s["name"]: s["addresses"]["irc"] for s in facts["services"] if s["service"] == "edge"}
        clues = [s["addresses"]["grpc"] for s in facts["services"] if s["service"] == "clue"]
        load = Load(edges, connections=form.connections, channels=form.channels, rate=form.rate, seed=seed)
        logs = LogReader(clues, load.channels, load.ledger.text)
        say(f"{form.connections} connections enter {form.channels} channels ...")
        await load.enter()
        logs.start()
        setting = Setting(cluster, load, form.scale)
        order = random.Random(seed)
        for number in range(1, form.rounds + 1):
            names = list(form.faults)
            if form.shuffle:
                order.shuffle(names)
            for name in names:
                outcome = await episode.run(FAULTS[name], number, setting, logs)
                result.outcomes.append(outcome)
                say(report.line(outcome))
                for detail in outcome.details:
                    say(f"    {detail}")
                for words, count in outcome.notices.items():
                    if "command" not in words:
                        say(f"    {count} x {words!r}")
            result.memory.append(cluster.memory_kib())
    finally:
        if load is not None:
            await load.leave()
        if logs is not None:
            await logs.stop()
        await cluster.stop()
    return result


def problems(outcomes: Sequence[Outcome]) -> list[str]:
    """Broken promises, one line each."""
    found = [f"round {o.round}, {o.fault}: {', '.join(o.problems)}" for o in outcomes if o.problems]
    found += [f"round {o.round}, {o.fault}: not everything was there in the end" for o in outcomes if not o.settled]
    found += [
        f"round {o.round}, {o.fault}: {o.cut_gracefully} messages without an answer when their edge stopped"
        for o in outcomes
        if FAULTS[o.fault].graceful and o.cut_gracefully
    ]
    return found

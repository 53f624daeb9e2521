"""One of two clusters is killed -9, all of it; what the users of the other feel: those at its own edges, in a channel
that lives there. Nothing is started again meanwhile: the supervisor is stopped, as when a whole machine room is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from ops import mover
from ops.control import find_all
from tests.chaos.cluster import Cluster
from tests.chaos.load import Load
from tests.chaos.log_reader import LogReader

WITH_S = 15.0
WITHOUT_S = 15.0
_MEMBERS = 200
_RATE = 40.0


class Survivor:
    """The cluster that stays, with its load."""

    def __init__(self, cluster: Cluster, load: Load, logs: LogReader, other: str) -> None:
        self.cluster = cluster
        self.load = load
        self.logs = logs
        self._other = other

    def kill_other(self) -> list[str]:
        """Names of those killed."""
        self.cluster.freeze_supervisor()
        names = [s["name"] for s in self.cluster.facts()["services"] if s["cluster"] == self._other and s["pid"]]
        for name in names:
            self.cluster.kill(name)
        return names


@contextlib.asynccontextmanager
async def survivor(data: Path, say: Callable[[str], None], *, stays: str, seed: int) -> AsyncIterator[Survivor]:
    cluster = Cluster(
        data, program=("ops.cli", "up"), clusters="main,event", edges=2, clues=1, exchanges=1, irc_port=0, http_port=0,
        limits="off",
    )  # fmt: skip
    leaving: list[Callable[[], Awaitable[None]]] = []
    try:
        say("starting main and event ...")
        await cluster.start()
        services = cluster.facts()["services"]
        own = [s for s in services if s["cluster"] == stays]
        edges = {s["name"]: s["addresses"]["irc"] for s in own if s["service"] == "edge"}
        load = Load(edges, connections=_MEMBERS, channels=1, rate=_RATE, seed=seed)
        leaving.append(load.leave)
        await load.enter()
        if stays != "main":
            await mover.move(load.channels[0], stays, find_all(data=str(data), controls=(), environ={}))
        clues = [s["addresses"]["grpc"] for s in own if s["service"] == "clue"]
        logs = LogReader(clues, load.channels, load.ledger.text, call_s=5.0)
        leaving.append(logs.stop)
        logs.start()
        await asyncio.sleep(2.0)  # until edges know who is where
        yield Survivor(cluster, load, logs, "event" if stays == "main" else "main")
    finally:
        for leave in reversed(leaving):
            await leave()
        await cluster.stop()

"""The cluster `test` under full load next to main: what main feels of it, and whether anything leads from one to the
other. Processors are shared on one machine, and felt; Redis, connections and sockets are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis

from ops.control import find_all
from tests.chaos.cluster import Cluster
from tests.chaos.crowd_link import CrowdLink
from tests.chaos.load import Load
from tests.chaos.log_reader import LogReader

QUIET_S = 8.0
LOADED_S = 12.0
_SPEAKERS = 200          # at test: 117 messages a second, as much as the rules for users let them say
_READERS = 600           # there
_ESTABLISHED = "01"

Endpoint = tuple[bytes, int]    # address, port
Pair = tuple[Endpoint, Endpoint]


@dataclass
class Apart:
    """What was looked at, and what of it should not be."""

    sockets: Counter[str] = field(default_factory=Counter)        # TCP connections by cluster
    redis_clients: Counter[str] = field(default_factory=Counter)  # of main's shards, by the cluster of their owner
    between: list[str] = field(default_factory=list)              # connections from a process of test to one of main
    sent: int = 0                                                 # messages at test meanwhile
    deliveries: int = 0                                           # and lines there

    @property
    def kept(self) -> bool:
        return bool(self.sockets["main"] and self.sockets["test"] and self.redis_clients["main"]) and not (
            self.between or self.redis_clients["test"]
        )

    def __str__(self) -> str:
        owners = ", ".join(f"{count} of {name}" for name, count in sorted(self.redis_clients.items()) if name != "test")
        return (
            f"test had {self.sent} messages and {self.deliveries} deliveries meanwhile; TCP connections: "
            f"{self.sockets['main']} of main's processes, {self.sockets['test']} of test's, "
            f"{len(self.between)} between them {self.between[:3] or ''}; clients of main's Redis: {owners}, "
            f"{self.redis_clients['test']} of test"
        )


def connections(pids: Iterable[int]) -> dict[Pair, int]:
    """Established TCP connections of these processes, as they see them: from their own end to the other."""
    inodes: dict[str, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes[os.readlink(link).removeprefix("socket:[").removesuffix("]")] = pid
    found: dict[Pair, int] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, remote, state, *rest = line.split()
            if state == _ESTABLISHED and rest[5] in inodes:
                found[_endpoint(local), _endpoint(remote)] = inodes[rest[5]]
    return found


def between(ours: Iterable[Pair], theirs: Iterable[Pair]) -> list[Pair]:
    """Connections of which one end is in `ours` and the other in `theirs`."""
    far = {(remote, local) for local, remote in theirs}
    return [pair for pair in ours if pair in far]


def _endpoint(text: str) -> Endpoint:
    """As /proc/net/tcp writes it: words of 32 bits, little end first. IPv4 in IPv6 is IPv4."""
    address, _, port = text.partition(":")
    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
    return words[-1], int(port, 16)


class Neighbour:
    """main and test of one `tallgrass up`; main's load is the caller's to judge."""

    def __init__(self, cluster: Cluster, load: Load, crowd: CrowdLink) -> None:
        self.apart = Apart()
        self._cluster = cluster
        self._load = load        # of test
        self._crowd = crowd

    async def loaded(self) -> None:
        """test is under full load for LOADED_S; meanwhile who is connected to whom is looked at again and again."""
        self._load.begin()
        await self._crowd.begin(self._load.say)
        self._load.talk()
        ends = time.monotonic() + LOADED_S
        while time.monotonic() < ends:
            await self._look()
            await asyncio.sleep(1.0)
        await self._load.hush()
        self.apart.sent = len(self._load.ledger.sent_at)
        await self._crowd.end(self._load.say)
        sight = await self._crowd.judge([], {})
        self.apart.deliveries = sight.lines + sum(len(life.seen) for life in self._load.lives)

    async def _look(self) -> None:
        services = self._cluster.facts()["services"]
        pids = {name: [s["pid"] for s in services if s["cluster"] == name] for name in ("main", "test")}
        pairs = {name: await asyncio.to_thread(connections, pids[name]) for name in pids}
        names = {s["pid"]: s["name"] for s in services}
        for pair in between(pairs["test"], pairs["main"]):
            self.apart.between.append(f"{names[pairs['test'][pair]]} {pair}")
        self.apart.sockets = Counter({name: len(found) for name, found in pairs.items()})
        owners = {local: name for name, found in pairs.items() for local, _ in found}
        clients: Counter[str] = Counter()
        for service in services:
            if service["service"] == "redis" and service["cluster"] == "main":
                async with Redis(port=int(service["addresses"]["redis"].rpartition(":")[2])) as redis:
                    for client in await redis.client_list():
                        host, _, port = client["addr"].rpartition(":")
                        address = bytes(map(int, host.split(".")))
                        clients[owners.get((address, int(port)), "others (`up`, ourselves)")] += 1
        seen_of_test = self.apart.redis_clients["test"] + clients["test"]
        self.apart.redis_clients = clients
        self.apart.redis_clients["test"] = seen_of_test


@contextlib.asynccontextmanager
async def neighbours(data: Path, say: Callable[[str], None], *, seed: int, members: int, speakers: int, rate: float):
    """Gives main's load, logs, crowd and targets, and its neighbour."""
    cluster = Cluster(
        data, program=("ops.cli", "up"), clusters="main,test", edges=2, clues=1, exchanges=1, irc_port=0, http_port=0,
        limits="off",
    )  # fmt: skip
    leaving: list[Callable[[], Awaitable[None]]] = []
    try:
        say("starting main and test ...")
        await cluster.start()
        services = cluster.facts()["services"]

        async def enter(name: str, seats: int, readers: int, speed: float, number: int) -> tuple[Load, CrowdLink]:
            own = [s for s in services if (s["service"], s["cluster"]) == ("edge", name)]
            edges = {s["name"]: s["addresses"]["irc"] for s in own}
            load = Load(edges, connections=seats, channels=1, rate=speed, seed=number)
            leaving.append(load.leave)
            crowd = CrowdLink(load.ledger.text.strip())
            leaving.append(crowd.leave)
            await load.enter()
            await crowd.enter(edges, load.channels[0], readers, load.ledger.pattern.pattern.decode(), 120.0)
            return load, crowd

        load, crowd = await enter("main", speakers, members - speakers, rate, seed)
        loud, readers = await enter("test", _SPEAKERS, _READERS, 200.0, seed + 1)
        clues = [s["addresses"]["grpc"] for s in services if (s["service"], s["cluster"]) == ("clue", "main")]
        logs = LogReader(clues, load.channels, load.ledger.text, call_s=5.0)
        leaving.append(logs.stop)
        logs.start()
        targets = find_all(data=str(data), controls=(), environ={})
        yield cluster, load, logs, targets, crowd, Neighbour(cluster, loud, readers)
    finally:
        for leave in reversed(leaving):
            await leave()
        await cluster.stop()

"""`python -m tests.chaos drain`: an edge with thousands of sessions is emptied. Where do they go, is anybody refused?

The sessions are at one edge of four. `tallgrass drain` asks them to reconnect, and each comes back through HAProxy at
once, as a client does. They should land on the others in proportion to the weights those say, and nobody be refused.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import uvloop

from ops.haproxy_runtime import ask
from tests.chaos.cluster import ROOT, Cluster

_FAR = 0.15         # from the share that its weight says
_WAVE = 100


class Session(asyncio.Protocol):
    """One life of an anonymous viewer."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._number = number
        self._asked = False
        self.transport: asyncio.Transport | None = None
        self.welcomed = asyncio.get_running_loop().create_future()
        self._rest = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(f"CAP REQ :twitch.tv/commands\r\nNICK justinfan{self._number}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            if b" 376 " in line and not self.welcomed.done():
                self.welcomed.set_result(True)
            elif line.endswith(b" RECONNECT") and not self._asked:
                self._asked = True
                self._crowd.follow(self, self._number)
            elif line.startswith(b"PING"):
                assert self.transport is not None
                self.transport.write(b"PONG :tmi.twitch.tv\r\n")

    def connection_lost(self, error) -> None:
        if not self.welcomed.done():
            self.welcomed.set_result(False)
        if not self._asked:
            self._crowd.lost += 1


class Crowd:
    """All of them."""

    def __init__(self, door: str) -> None:
        self._door = door
        self.lost = 0       # closed without having been asked to go
        self.refused = 0    # not let in after RECONNECT
        self.followed = 0
        self._tasks: set[asyncio.Task] = set()
        self._sessions: list[Session] = []

    async def enter(self, address: str, number: int) -> bool:
        host, _, port = address.rpartition(":")
        try:
            _, session = await asyncio.get_running_loop().create_connection(
                lambda: Session(self, number), host, int(port)
            )
        except OSError:
            return False
        self._sessions.append(session)
        return await session.welcomed

    def follow(self, session: Session, number: int) -> None:
        task = asyncio.get_running_loop().create_task(self._follow(session, number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, session: Session, number: int) -> None:
        if await self.enter(self._door, number):
            self.followed += 1
        else:
            self.refused += 1
        assert session.transport is not None
        session.transport.close()

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for session in self._sessions:
            if session.transport is not None:
                session.transport.abort()


async def run(data: Path, sessions: int, within_s: int) -> bool:
    cluster = Cluster(
        data, program=("ops.cli", "up"), edges=4, clues=1, exchanges=1, irc_port=0, http_port=0, limits="off"
    )
    crowd = None
    try:
        await cluster.start()
        facts = cluster.facts()
        crowd = Crowd(facts["irc"])
        full = cluster.entry("edge-1")["addresses"]["irc"]
        for start in range(0, sessions, _WAVE):
            wave = range(start, min(start + _WAVE, sessions))
            entered = await asyncio.gather(*(crowd.enter(full, 100_000 + number) for number in wave))
            assert all(entered), "edge-1 did not let all sessions in"
        print(f"{sessions} sessions are at edge-1", flush=True)
        await asyncio.sleep(5)  # until the agents have told it
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ops.cli", "drain", "edge-1", "--within", str(within_s), "--data", str(data), cwd=ROOT
        )
        code = await process.wait()
        seconds = time.monotonic() - begun
        await asyncio.sleep(2)
        counts, weights = await _load(facts["haproxy_socket"])
        return _told(sessions, seconds, code, crowd, counts, weights)
    finally:
        if crowd is not None:
            crowd.end()
        await cluster.stop()


async def _load(socket: str) -> tuple[Counter[str], dict[str, int]]:
    (answer,) = await ask(socket, ("show stat",))
    header, *lines = answer.removeprefix("# ").splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=False)) for line in lines]
    edges = [row for row in rows if row["pxname"] == "irc_edges" and row["svname"] != "BACKEND"]
    return (
        Counter({row["svname"]: int(row["scur"]) for row in edges}),
        {row["svname"]: int(row["weight"]) for row in edges},
    )


def _told(
    sessions: int, seconds: float, code: int, crowd: Crowd, counts: Counter[str], weights: dict[str, int]
) -> bool:
    others = sorted(name for name in weights if name != "edge-1")
    total = sum(weights[name] for name in others)
    furthest = 0.0
    for name in others:
        share = sessions * weights[name] / total
        furthest = max(furthest, abs(counts[name] - share) / share)
        print(f"    {name}: {counts[name]} sessions, weight {weights[name]}: {counts[name] / share - 1:+.1%}")
    well = (
        code == 0 and not crowd.refused and not crowd.lost
        and crowd.followed == sessions and furthest <= _FAR and not counts["edge-1"]
    )  # fmt: skip
    print(
        f"{sessions} sessions left edge-1 in {seconds:.0f} s: {crowd.followed} are elsewhere, {crowd.refused} were "
        f"refused, {crowd.lost} were cut off; furthest from its weight {furthest:.1%}: {'met' if well else 'MISSED'}"
    )
    return well


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos drain", description=__doc__)
    parser.add_argument("--sessions", type=int, default=5_000)
    parser.add_argument("--within", type=int, default=30, metavar="S")
    arguments = parser.parse_args(argv)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    with tempfile.TemporaryDirectory(prefix="tallgrass-drain-") as folder:
        sys.exit(not uvloop.run(run(Path(folder), arguments.sessions, arguments.within)))

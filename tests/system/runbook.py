"""Cause the faults of docs/runbook.md on a real stack and take their pictures: `python -m tests.system.runbook`.

Arguments are names of faults ("slow-redis"); without any it causes them all, one after the other, in about five
minutes. Pictures go to docs/runbook/, the log lines of each fault to stdout, to be copied into the page.
Needs what `tallgrass up --metrics` needs, and Debian's faketime for the wrong clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import signal
import socket
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from common import rpc
from common.pb import chat_pb2, exchange_pb2, exchange_pb2_grpc
from deploy.grafana.dashboards import DASHBOARDS
from deploy.grafana.panels import Panel
from ops import logs
from ops.ports import free_port
from ops.selfsigned import ensure_pair
from tests.support.irc import Client, Door
from tests.support.load import read_nothing, talk
from tests.support.stack import ROOT, RunningStack, environment, running_stack

PICTURES = ROOT / "docs" / "runbook"
_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
_FAULT_S = 10.0
_BEFORE_S = 12

Fault = Callable[["Scene"], Awaitable[None]]


class Scene:
    """A stack under light load, and what is needed to hurt it."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        self.facts = json.loads((stack.data / "stack.json").read_text())
        self._tails = [logs.Tail(one["name"], Path(one["log"])) for one in self.facts["services"]]
        self.said: list[str] = []

    def pid(self, name: str) -> int:
        return int(self.stack.service(name)["pid"])

    def address(self, name: str, kind: str) -> str:
        (found,) = [one["addresses"][kind] for one in self.facts["services"] if one["name"] == name]
        return str(found)

    async def pulse(self, name: str, stopped_s: float, running_s: float) -> None:
        """It gets little of its time."""
        pid = self.pid(name)
        end = time.monotonic() + _FAULT_S
        while time.monotonic() < end:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(stopped_s)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(running_s)

    async def kill(self, *names: str) -> None:
        """Again and again: each time it is started again a little later."""
        end = time.monotonic() + _FAULT_S
        while time.monotonic() < end:
            for name in names:
                pid = self.stack.service(name)["pid"]
                if pid:
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(1.0)

    @contextlib.asynccontextmanager
    async def process(self, *argv: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """One more service of ours beside the stack, started by hand; what it says is kept."""
        variables = {f"TALLGRASS_{name.upper()}": value for name, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=ROOT, env=environment(**variables),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            output, _ = await process.communicate()
            self.said += [line for line in output.decode().splitlines() if " info " not in line]

    def edge(self, instance: str) -> dict[str, str]:
        return {
            "instance": instance, "irc_port": str(free_port()), "http_port": "0", "clue_address": self.facts["control"],
            "statsd": self.facts["statsd"], "irc_tls_port": "0", "https_port": "0",
        }  # fmt: skip

    def clue(self, instance: str, shards: list[str], cluster: str = "main") -> dict[str, str]:
        return {
            "instance": instance, "cluster": cluster, "grpc_port": "0", "redis_shards": ",".join(shards),
            "exchange_address": "127.0.0.1:1", "statsd": self.facts["statsd"],
        }  # fmt: skip

    def shards(self) -> list[str]:
        return [self.address(name, "redis") for name in ("redis-1", "redis-2")]

    def new_lines(self) -> list[str]:
        lines = [line for line in logs.merge(self._tails) if line.level in ("warning", "error")]
        said, self.said = self.said, []
        ours = [f"{line.name} {line.text}" for line in lines if line.name.startswith(("edge", "clue", "exchange"))]
        return ours + said

    async def picture(self, name: str, title: str, panel: Panel) -> None:
        query = [("target", target.replace("$cluster", "main")) for target in panel.targets]
        if panel.least is not None:
            query.append(("yMin", str(panel.least)))
        query += [
            ("from", f"-{int(_FAULT_S) + _BEFORE_S + 15}s"), ("width", "720"), ("height", "260"), ("title", title),
            ("bgcolor", "white"), ("fgcolor", "black"), ("lineMode", "connected"), ("fontSize", "9"),
            ("hideLegend", "false"),
        ]  # fmt: skip
        url = f"{self.facts['graphite']}/render?{urllib.parse.urlencode(query)}"
        data = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=30).read())
        (PICTURES / f"{name}.png").write_bytes(data)


async def slow_redis(scene: Scene) -> None:
    await scene.pulse("redis-2", 0.3, 0.05)


async def wrong_shard(scene: Scene) -> None:
    async with scene.process(
        sys.executable, "-m", "clue", **scene.clue("clue-3", list(reversed(scene.shards())))
    ) as process:
        await asyncio.wait_for(process.wait(), 20)


async def refused(scene: Scene) -> None:
    await scene.kill("clue-1", "clue-2")


async def link_cut(scene: Scene) -> None:
    await scene.kill("exchange-1")


async def full_queue(scene: Scene) -> None:
    """An exchange with the smallest queue, an edge that stands still, and entries that edges have had long ago."""
    port = free_port()
    settings = {
        "instance": "exchange-9", "grpc_port": str(port), "clue_address": scene.facts["control"],
        "statsd": scene.facts["statsd"], "queue_bytes": "65536",
    }  # fmt: skip
    old = chat_pb2.Entries(entry=[chat_pb2.Entry(seq=1, prev=0, publication=bytes(50_000))]).SerializeToString()
    request = exchange_pb2.PublishRequest(channels=[chat_pb2.ChannelEntries(channel="#owner0", entries=old)])
    async with (
        scene.process(sys.executable, "-m", "exchange", **settings),
        rpc.channel(f"127.0.0.1:{port}") as grpc_channel,
    ):
        await asyncio.sleep(5)
        pid = scene.pid("edge-2")
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(200):
                await exchange_pb2_grpc.ExchangeStub(grpc_channel).Publish(request, timeout=5)
                await asyncio.sleep(0.015)
        finally:
            os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(4)


async def slow_edge(scene: Scene) -> None:
    await scene.pulse("edge-2", 0.4, 0.1)


async def foreign_redis(scene: Scene) -> None:
    async with scene.process(
        sys.executable, "-m", "clue", **scene.clue("clue-1", scene.shards(), cluster="test")
    ) as process:
        await asyncio.wait_for(process.wait(), 20)
    host, _, port = scene.shards()[0].rpartition(":")
    with contextlib.closing(socket.create_connection((host, int(port)), timeout=5)) as stranger:
        stranger.sendall(b"CLIENT SETNAME clue-1@test\r\n")
        await asyncio.sleep(_FAULT_S)


async def expired_tls(scene: Scene) -> None:
    made = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=375)  # it is good for 365
    chain, key = ensure_pair(scene.stack.data / "expired", made)
    settings = scene.edge("edge-3")
    async with scene.process(sys.executable, "-m", "edge", **settings, tls_cert=str(chain), tls_key=str(key)):
        await asyncio.sleep(_FAULT_S)


async def descriptors(scene: Scene) -> None:
    settings = scene.edge("edge-4")
    limited = f"ulimit -n 700 && exec {sys.executable} -m edge"
    async with scene.process("/bin/sh", "-c", limited, **settings), contextlib.AsyncExitStack() as stack:
        await asyncio.sleep(3)
        door = Door("tcp", "127.0.0.1", int(settings["irc_port"]))
        for _ in range(540):
            await stack.enter_async_context(await Client.connect(door))
            await asyncio.sleep(0.01)
        await asyncio.sleep(4)


async def slow_reader(scene: Scene) -> None:
    settings = scene.edge("edge-6")
    async with scene.process(sys.executable, "-m", "edge", **settings, write_buffer="65536", slow_s="6"):
        await read_nothing(f"127.0.0.1:{settings['irc_port']}", "#owner0", seconds=_FAULT_S + 5)


async def clock_skew(scene: Scene) -> None:
    settings = scene.edge("edge-5")
    wrong = (f"LD_PRELOAD={_FAKETIME}", "FAKETIME=+5s", "FAKETIME_DONT_FAKE_MONOTONIC=1")
    skewed = ("env", *wrong, sys.executable, "-m", "edge")
    async with scene.process(*skewed, **settings), contextlib.AsyncExitStack() as stack:
        await asyncio.sleep(4)
        client = await stack.enter_async_context(
            await Client.connect(Door("tcp", "127.0.0.1", int(settings["irc_port"])))
        )
        await client.login("justinfan77")
        await client.join("#owner0")
        await asyncio.sleep(_FAULT_S)


def _panel(title: str, panel: str) -> Panel:
    pages = [page for page in DASHBOARDS if page.title == title]
    return next(one for page in pages for row in page.rows for one in row.panels if one.title == panel)


_OVERVIEW, _EDGE, _CLUE, _LINKS = (
    "Tallgrass: Overview", "Tallgrass: Edge", "Tallgrass: Clue & Redis", "Tallgrass: Exchange & distribution",
)  # fmt: skip
FAULTS: tuple[tuple[Fault, str, str | None], ...] = (  # the cause, and the panel that shows it
    (slow_redis, _OVERVIEW, "Time of a pipeline"),
    (wrong_shard, _CLUE, None),
    (refused, _OVERVIEW, "Calls that failed or were repeated"),
    (link_cut, _LINKS, "As the edge sees it"),
    (full_queue, _OVERVIEW, "Dropped and redialled"),
    (slow_edge, _OVERVIEW, "Edges: loop lag"),
    (foreign_redis, _OVERVIEW, "Redis"),
    (expired_tls, _EDGE, "TLS certificate"),
    (descriptors, _OVERVIEW, "Descriptors used"),
    (clock_skew, _OVERVIEW, "Clocks"),
    (slow_reader, _OVERVIEW, "Skipped and repaired"),
)


async def _run(stack: RunningStack, names: list[str]) -> None:
    scene = Scene(stack)
    doors = [Door(kind, *_split(address)) for kind, address in (("tcp", stack.irc), ("websocket", stack.ws[5:]))]
    seconds = len(FAULTS) * (_BEFORE_S + _FAULT_S + 15)
    load = asyncio.create_task(
        talk(doors, [f"#owner{number}" for number in range(6)], members=20, pause_s=0.5, seconds=seconds)
    )
    for fault, page, panel in FAULTS:
        name = fault.__name__.replace("_", "-")
        if names and name not in names:
            continue
        await asyncio.sleep(_BEFORE_S)
        scene.new_lines()
        await fault(scene)
        await asyncio.sleep(4)
        if panel is not None:
            await scene.picture(name, f"{page.removeprefix('Tallgrass: ')}: {panel}", _panel(page, panel))
        lines = scene.new_lines()
        first = {(line.split()[0], *line.split()[2:4]): line for line in reversed(lines)}
        print(f"\n=== {name}: {page} / {panel}", *reversed(first.values()), sep="\n", flush=True)
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="tallgrass-runbook-") as folder,
        running_stack(Path(folder) / "data", "--metrics") as stack,
    ):
        asyncio.run(_run(stack, sys.argv[1:]))


if __name__ == "__main__":
    main()

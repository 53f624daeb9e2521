"""The real chain: a stack under load and faults, npm's statsd, carbon, graphite-web; every panel has data to show.

One stack of two clusters for all of the tests here: it runs for about a minute, in which a channel moves and comes
back, an edge is emptied, a shard stalls, an exchange dies, a stranger visits Redis, somebody does not read and users do
what is refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from common import metric_catalogue
from common.errors import ConfigError
from deploy.grafana.alerts import ALERTS
from deploy.grafana.dashboards import DASHBOARDS
from ops import haproxy, instruments
from tests.support.by_hand import edge
from tests.support.irc import Client, Door
from tests.support.load import read_nothing, talk
from tests.support.stack import RunningStack, running_stack

_LEAVES = ("rate", "count", "mean", "max", "count.rate", "count.count")

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(haproxy.find() is None, reason="haproxy is not installed"),
]

LOAD_S = 200.0
_EXCHANGES = ("main-exchange-1", "main-exchange-2")
STALL_S = 8.0  # longer than a sender waits for a verdict


@dataclass(frozen=True)
class Measured:
    """A stack that has been through it, and its Graphite."""

    stack: RunningStack
    graphite: str
    followed: str  # id of a message that its sender wanted to be followed

    def render(self, target: str) -> list[dict[str, Any]]:
        """What Graphite has of the whole run: [{"target", "datapoints": [[value, time], ...]}]."""
        asked = {"target": target.replace("$cluster", "main"), "from": "-10min", "format": "json"}
        query = urllib.parse.urlencode(asked)
        with urllib.request.urlopen(f"{self.graphite}/render?{query}", timeout=30) as answer:
            series: list[dict[str, Any]] = json.load(answer)
            return series

    def highest(self, target: str) -> float | None:
        """The highest value that any of the target's series had; None: there is none."""
        values = [value for one in self.render(target) for value, _ in one["datapoints"] if value is not None]
        return max(values, default=None)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    try:
        instruments.find()
    except ConfigError as error:
        pytest.skip(str(error))
    data = tmp_path_factory.mktemp("instruments") / "data"
    with running_stack(data, "--clusters", "main,event", "--metrics", "--tls", "self") as stack:
        facts = json.loads((data / "stack.json").read_text())
        measured = Measured(stack, facts["graphite"], asyncio.run(_live(stack)))
        found = stack.run("verify", "#owner0", "--count", "10", "--rate", "10", "--statsd", facts["statsd"])
        assert "10 posted" in found.stdout, found.stdout + found.stderr
        _eventually(lambda: measured.highest("tallgrass.main.verify.*.*.missing") is not None)
        yield measured


async def _live(stack: RunningStack) -> str:
    """Returns the id of the message that is followed."""
    doors = [_door("tcp", stack.irc), _door("websocket", stack.ws.removeprefix("ws://"))]
    channels = [f"#owner{number}" for number in range(8)]
    load = asyncio.create_task(talk(doors, channels, members=30, pause_s=0.5, seconds=LOAD_S))  # longer than it takes
    await asyncio.sleep(5)  # the dashboards' ordinary life
    await _refused(doors[0])
    slow = asyncio.create_task(_slow_reader(stack))
    followed = await _cluster_life(stack)
    exchange = stack.service("main-exchange-1")["pid"]
    with _stranger(stack):  # clue looks for such every 5 s
        os.kill(exchange, signal.SIGSTOP)
        await asyncio.sleep(6)
        os.kill(exchange, signal.SIGKILL)  # the stack starts it again
    await _stall(stack, ("main-redis-2",), STALL_S)
    await _stall(stack, ("main-clue-1", "main-clue-2"), 4)
    await slow
    assert not load.done()
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)
    return followed


async def _cluster_life(stack: RunningStack) -> str:
    """A channel moves and comes back, an edge is emptied and takes users again, a room is made.

    Returns the id of a message to the channel while it is away.
    """
    followed = ""
    for words in (
        ("move", "#owner1", "event", "--redirect", "clients", "--within", "1"),
        ("drain", "event-edge-2", "--cluster", "event", "--within", "1"),
        ("move", "#owner1", "main"),
        ("drain", "event-edge-2", "--cluster", "event", "--back"),
    ):
        done = await asyncio.to_thread(stack.run, *words)
        assert done.returncode == 0, (words, done.stdout + done.stderr)
        followed = followed or await _follow_me(_door("tcp", stack.irc))
        await asyncio.sleep(1)
    wanted = {"login": "owner1", "name": "picnic"}
    headers = {"Authorization": "Bearer any"}
    async with aiohttp.ClientSession(headers=headers) as session:
        address = stack.service("main-edge-1")["addresses"]["http"]
        async with session.post(f"http://{address}/rooms", json=wanted) as answer:
            assert answer.status == 201, await answer.text()
        async with session.get(f"http://{address}/helix/users?login=owner1") as answer:
            assert answer.status < 500, await answer.text()
    return followed


async def _follow_me(door: Door) -> str:
    async with await Client.connect(door) as user:
        await user.login("wanderer")
        await user.join("#owner1")
        await user.send("@+tallgrass/trace=1 PRIVMSG #owner1 :is it far?")
        while "id" not in (told := await user.expect("USERSTATE")).tags:
            pass
        return told.tags["id"]


async def _slow_reader(stack: RunningStack) -> None:
    """A user who asks for more than it reads, at an edge where little may lie unread."""
    statsd = json.loads((stack.data / "stack.json").read_text())["statsd"]
    with edge("main-edge-9", stack.status()["control"], statsd=statsd, write_buffer="65536", slow_s="6") as entry:
        await read_nothing(entry["addresses"]["irc"], "#owner0", seconds=12)


async def _stall(stack: RunningStack, names: tuple[str, ...], seconds: float) -> None:
    pids = [stack.service(name)["pid"] for name in names]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def _refused(door: Door) -> None:
    """A user who repeats himself, and leaves."""
    async with await Client.connect(door) as user:
        await user.login("parrot")
        await user.join("#owner0")
        for _ in range(3):
            await user.send("PRIVMSG #owner0 :again")
        await user.expect("NOTICE #owner0")
        await user.send("QUIT")
        await user.end()


def _stranger(stack: RunningStack) -> closing[socket.socket]:
    """A connection to our Redis by a service of another cluster."""
    host, _, port = stack.service("main-redis-1")["addresses"]["redis"].rpartition(":")
    visitor = socket.create_connection((host, int(port)), timeout=5)
    visitor.sendall(b"CLIENT SETNAME clue-9@test\r\n")
    return closing(visitor)


def _door(transport: str, address: str) -> Door:
    host, _, port = address.rpartition(":")
    return Door(transport, host, int(port))


def _eventually(ask: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.5)


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.uid)
def test_every_target_of_every_panel_has_data(measured, page):
    """Graphite's render API answers each target of a dashboard with at least one value."""
    empty = [
        f"{row.title} / {panel.title}: {target}"
        for row in page.rows
        for panel in row.panels
        for target in panel.targets
        if measured.highest(target) is None
    ]
    assert not empty, "\n".join(empty)


@pytest.mark.parametrize(
    ("target", "least"),
    [
        ("sumSeries(tallgrass.main.edge.*.verdicts.unavailable.count)", 1),   # the stalled shard: senders are told
        ("sumSeries(tallgrass.main.clue.*.redis.1.errors.count)", 1),
        ("tallgrass.main.clue.*.redis.1.ms.max", 1_000),
        ("sumSeries(tallgrass.main.edge.*.clue.errors.Submit.count)", 1),       # the stalled clues
        ("tallgrass.main.clue.*.redis.0.foreign_clients", 1),
        ("tallgrass.main.edge.*.follower.degraded", 1),                         # the killed exchange
        ("sumSeries(tallgrass.main.edge.*.links.closed.count)", 1),
        ("sumSeries(tallgrass.main.exchange.*.links_up.count)", 1),
        ("tallgrass.main.clue.*.denied.msg_duplicate.count", 1),                # the user who repeats himself
        ("sumSeries(tallgrass.main.edge.*.disconnects.quit.count)", 1),
        ("sumSeries(tallgrass.main.edge.*.broadcast.deliveries.rate)", 20),     # 30 members, two lines a second each
        ("tallgrass.main.edge.*.broadcast.delay_ms.max", 0.1),
        ("tallgrass.main.edge.*.sessions.slow", 1),                              # the user who does not read
        ("sumSeries(tallgrass.main.edge.*.broadcast.skipped.count)", 1),
        ("sumSeries(tallgrass.main.edge.*.disconnects.slow_reader.count)", 1),
        ("tallgrass.main.edge.*.homes.listed", 1),                               # the channel that moved
        ("sumSeries(tallgrass.main.edge.*.moves.told.count)", 1),
        ("tallgrass.event.edge.event-edge-2.drain.active", 1),
        ("sumSeries(tallgrass.main.edge.*.rooms.created.count)", 1),
    ],
)  # fmt: skip
def test_a_fault_shows(measured, target, least):
    """What was done to the stack is seen in its panel."""
    highest = measured.highest(target)
    assert highest is not None
    assert highest >= least


def test_a_silent_exchange_is_seen_by_name(measured):
    """The panel names which exchange was not heard, and not the other one."""
    silent_s = {name: measured.highest(f"tallgrass.main.edge.main-edge-1.link.{name}.silent_s") for name in _EXCHANGES}
    assert silent_s["main-exchange-1"] > 3
    assert silent_s["main-exchange-2"] < 3


@pytest.mark.parametrize("alert", ["foreign-redis-connections", "link-down", "verdict-timeouts"])
def test_an_alert_fires_on_its_fault(measured, alert):
    """The rule's own query passes its threshold."""
    (rule,) = [rule for rule in ALERTS if rule.uid == alert]
    highest = measured.highest(rule.target)
    assert highest is not None
    assert highest > rule.above


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.uid)
def test_every_alert_has_data(measured, alert):
    """A rule that can never fire because its query finds nothing would be a comfort without a reason."""
    assert measured.highest(alert.target) is not None


def test_all_that_services_send_is_listed(measured):
    """No name reaches Graphite that the catalogue does not know."""
    with urllib.request.urlopen(f"{measured.graphite}/metrics/index.json", timeout=30) as answer:
        names = [name for name in json.load(answer) if name.startswith("tallgrass.")]
    assert names
    unknown = set()
    for name in names:
        _, _, service, _, metric = name.split(".", 4)
        stems = [metric, *(metric.removesuffix(f".{leaf}") for leaf in _LEAVES)]
        if not any(metric_catalogue.find(service, stem) for stem in stems):
            unknown.add(f"{service}: {metric}")
    assert not unknown


def test_top_shows_the_stack(measured):
    """`tallgrass top`, into a pipe, prints one screen with every instance, shard and link; statsd passes metrics on."""
    shown = measured.stack.run("top", "--once")
    assert shown.returncode == 0, shown.stderr
    for part in ("tallgrass event, main", "main-edge-1", "event-edge-2", "main-clue-2", "redis 1", "main-exchange-1"):
        assert part in shown.stdout
    assert "DOWN" not in shown.stdout


def test_logs_are_merged_and_name_the_stranger(measured):
    """`tallgrass logs` shows all processes in one order; the faults are in it, with remote and cause."""
    shown = measured.stack.run("logs", "-n", "0")
    assert shown.returncode == 0, shown.stderr
    for part in ("foreign_redis_connection remote=clue-9@test@", "exchange_silent remote=main-exchange-1@"):
        assert part in shown.stdout
    assert "shard slow" in shown.stdout
    moments = [line[:12] for line in shown.stdout.splitlines() if line[2:3] == ":"]
    assert moments == sorted(moments)


def test_a_message_is_followed_over_all_hops(measured):
    """From main's edge to event, where its channel lives at that moment, and back to the edges of both."""
    shown = measured.stack.run("trace", measured.followed)
    assert shown.returncode == 0, shown.stderr
    for part in (
        "taken from the user wanderer", "decided; on its way to Redis", "in the log as", "queued for ",
        "an exchange has it", "arrived from ", "written to ", "verdict: allowed",
    ):  # fmt: skip
        assert part in shown.stdout, shown.stdout
    assert "event event-clue-" in shown.stdout
    assert "main main-edge-" in shown.stdout
    assert measured.followed in measured.stack.run("trace").stdout


def test_a_picture_can_be_had(measured):
    """Graphite renders PNGs, which docs/runbook.md is made of."""
    query = urllib.parse.urlencode({"target": "tallgrass.main.edge.*.sessions", "from": "-5min", "format": "png"})
    with urllib.request.urlopen(f"{measured.graphite}/render?{query}", timeout=30) as answer:
        assert answer.read().startswith(b"\x89PNG")

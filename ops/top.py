"""`tallgrass top`: a running stack on one screen, once a second, on any terminal.

It listens where the services send their metrics (with `up --metrics`, statsd repeats them there), so what it shows is
what every other instrument gets. Board, which takes the datagrams, and `screen`, which draws, know no socket.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import lifecycle, metric_catalogue
from common.errors import ConfigError
from common.metric_catalogue import Kind
from ops.control import Target, find
from ops.data_folder import DataFolder
from ops.status import Channel, largest

if TYPE_CHECKING:
    from rich.console import RenderableType

_COUNTED_S = 1.5  # a counter that was not sent for so long stands still: services send once a second
_GONE_S = 4.0  # an instance that was not heard for so long is gone
_ONCE_S = 2.5
_CHANNELS = 8
_ASK_S = 2.0  # between two looks into the directory, which is as often as edges tell it


class Board:
    """The last second of every metric, by service and instance. Times are given: seconds of any clock."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], dict[str, tuple[float, bool, float]]] = {}  # value, is a counter, when
        self._heard: dict[tuple[str, str], float] = {}
        self.clusters: set[str] = set()
        self.channels: Sequence[Channel] = ()  # the largest, as the directories tell; who reads them sets them

    def take(self, datagram: bytes, now: float) -> None:
        """Lines NAME:VALUE|c or |g; what is not ours is passed over."""
        for line in datagram.decode("ascii", "replace").splitlines():
            name, _, rest = line.partition(":")
            value, _, kind = rest.partition("|")
            parts = name.split(".", 4)
            if len(parts) != 5 or parts[0] != "tallgrass" or kind not in ("c", "g"):
                continue
            try:
                number = float(value)
            except ValueError:
                continue
            _, cluster, service, instance, metric = parts
            self.clusters.add(cluster)
            self._heard[service, instance] = now
            self._values.setdefault((service, instance), {})[metric] = (number, kind == "c", now)

    def instances(self, service: str, now: float) -> list[str]:
        """Those that were heard lately, by name."""
        return sorted(
            instance for (kind, instance), heard in self._heard.items() if kind == service and now - heard < _GONE_S
        )

    def value(self, service: str, instance: str, metric: str, now: float) -> float | None:
        """A counter's rate per second, or a gauge; None: never heard, or not any more."""
        found = self._values.get((service, instance), {}).get(metric)
        if found is None:
            listed = metric_catalogue.find(service, metric)
            heard = now - self._heard.get((service, instance), -_GONE_S) < _GONE_S
            return 0.0 if heard and listed is not None and listed.kind is Kind.COUNTER else None
        number, counted, at = found
        if now - at < _COUNTED_S:
            return number
        return 0.0 if counted and now - at < _GONE_S else None

    def all(self, service: str, metric: str, now: float) -> list[float]:
        """Over all instances that have it now."""
        values = (self.value(service, instance, metric, now) for instance in self.instances(service, now))
        return [value for value in values if value is not None]

    def total(self, service: str, metrics: Iterable[str], now: float) -> float:
        return sum(sum(self.all(service, metric, now)) for metric in metrics)

    def worst(self, service: str, metric: str, now: float) -> float | None:
        return max(self.all(service, metric, now), default=None)

    def places(self, service: str, before: str, after: str, now: float) -> list[str]:
        """What stands between: places("clue", "redis.", ".ms.max") gives ["0", "1"]."""
        found = set()
        for instance in self.instances(service, now):
            for metric in self._values[service, instance]:
                if metric.startswith(before) and metric.endswith(after):
                    found.add(metric[len(before) : len(metric) - len(after)])
        return sorted(place for place in found if place and "." not in place)


def screen(board: Board, now: float) -> RenderableType:
    """Hops from the sender to the readers, then each service, as one thing that rich can print."""
    from rich.console import Group
    from rich.text import Text

    if not (heard := [s for s in ("edge", "clue", "exchange") if board.instances(s, now)]):
        return Text("waiting for the first second's metrics ...")
    sessions, channels = (board.total("edge", (metric,), now) for metric in ("sessions", "channels"))
    title = Text.assemble(
        (f"tallgrass {', '.join(sorted(board.clusters))}", "bold"),
        f"  {time.strftime('%H:%M:%S')}  {sessions:,.0f} sessions, {channels:,.0f} channels on edges",
        ("" if len(heard) == 3 else f"  NOT HEARD: {', '.join({'edge', 'clue', 'exchange'} - set(heard))}", "bold red"),
    )
    tables = (_hops, _edges, _channels, _clues, _shards, _exchanges, _links)
    return Group(title, *(table(board, now) for table in tables))


def _hops(board: Board, now: float) -> RenderableType:
    def row(hop: str, service: str, taken: str, wrong: tuple[str, ...], delay: str, waiting: str) -> tuple[str, ...]:
        lost = sum(board.total(service, (metric,), now) for metric in wrong)
        return (
            hop,
            _number(board.total(service, (taken,), now)),
            _bad(lost),
            _ms(board.worst(service, f"{delay}.mean", now)),
            _ms(board.worst(service, f"{delay}.max", now)),
            _number(board.total(service, (waiting,), now)) if waiting else "",
        )

    rows = [
        row(
            "edge to clue",
            "edge",
            "submit.taken",
            ("verdicts.unavailable", "submit.expired", "submit.refused_waiting"),
            "submit.ms",
            "submit.waiting",
        ),
        row(
            "clue to log", "clue", "allowed", ("unavailable", "superseded", "limits.unchecked"), "submit.decide_ms", ""
        ),
        row(
            "clue to exchange",
            "clue",
            "publish.commits",
            ("publish.retries", "publish.dropped"),
            "publish.ms",
            "publish.waiting",
        ),
        row("exchange to edge", "exchange", "deliveries", ("dropped", "discarded", "redials"), "deliver.ms", ""),
        row(
            "log to edge",
            "edge",
            "follower.delivered",
            ("follower.holes", "follower.losses"),
            "broadcast.delay_ms",
            "follower.repairs",
        ),
        row("edge to users", "edge", "broadcast.deliveries", ("broadcast.skipped",), "broadcast.pass_ms", ""),
    ]
    return _table("hop", ("per second", "lost, repeated", "mean ms", "longest ms", "waiting"), rows)


def _edges(board: Board, now: float) -> RenderableType:
    rows = [
        (
            name,
            _number(get("sessions")),
            _number(get("lines")),
            _number(get("broadcast.deliveries")),
            _ms(get("broadcast.delay_ms.max")),
            _ms(get("loop.lag_ms.max"), 50),
            _number(get("process.cpu_percent")),
            _number(get("process.fds")),
            _number(get("process.memory_bytes"), 1 / 1_048_576),
            _number(get("links.up")),
            _bad(get("sessions.slow")),
            _bad(get("follower.oldest_hole_s")),
            _number(get("agent.weight")),
        )
        for name in board.instances("edge", now)
        for get in [_of(board, "edge", name, now)]
    ]
    columns = (
        "sessions",
        "lines/s",
        "written/s",
        "delay ms",
        "lag ms",
        "cpu %",
        "files",
        "MiB",
        "links",
        "slow",
        "hole s",
        "weight %",
    )
    return _table("edge", columns, rows)


def _channels(board: Board, now: float) -> RenderableType:
    """By name where the directory tells; else their members by rank."""
    if board.channels:
        largest = [(one.name, f"{one.members:,}", f"{one.rate:.1f}", one.home) for one in board.channels[:_CHANNELS]]
        return _table("largest channels", ("members", "lines/s", "home"), largest)
    ranks = board.places("edge", "channels.largest.", ".members", now)
    rows = []
    for name in board.instances("edge", now):
        members = [board.value("edge", name, f"channels.largest.{rank}.members", now) for rank in ranks]
        rows.append((name, *map(_number, members)))
    return _table("largest channels' members", tuple(ranks) or ("none",), rows)


def _clues(board: Board, now: float) -> RenderableType:
    rows = [
        (
            name,
            _number(get("submissions")),
            _number(get("allowed")),
            _bad(get("unavailable")),
            _bad(get("submits.retried")),
            _number(get("logins")),
            _number(get("joins")),
            _ms(get("submit.ms.max")),
            _number(get("publish.waiting")),
            _ms(get("loop.lag_ms.max"), 50),
            _number(get("process.cpu_percent")),
        )
        for name in board.instances("clue", now)
        for get in [_of(board, "clue", name, now)]
    ]
    columns = (
        "messages/s",
        "allowed/s",
        "undecided",
        "repeated",
        "logins/s",
        "joins/s",
        "longest ms",
        "waiting",
        "lag ms",
        "cpu %",
    )
    return _table("clue", columns, rows)


def _shards(board: Board, now: float) -> RenderableType:
    rows = []
    for shard in board.places("clue", "redis.", ".up", now):
        up = board.all("clue", f"redis.{shard}.up", now)
        rows.append(
            (
                f"redis {shard}",
                "yes" if all(up) else f"[bold red]{up.count(0.0)} of {len(up)} clues: NO[/]",
                _number(board.total("clue", (f"redis.{shard}.commands",), now)),
                _ms(board.worst("clue", f"redis.{shard}.ms.mean", now)),
                _ms(board.worst("clue", f"redis.{shard}.ms.max", now)),
                _number(board.worst("clue", f"redis.{shard}.script_us", now)),
                _number(board.worst("clue", f"redis.{shard}.core_percent", now)),
                _number(board.worst("clue", f"redis.{shard}.clients", now)),
                _bad(board.worst("clue", f"redis.{shard}.foreign_clients", now)),
                _bad(board.total("clue", (f"redis.{shard}.errors",), now)),
            )
        )
    columns = (
        "answers",
        "commands/s",
        "mean ms",
        "longest ms",
        "script µs",
        "core %",
        "connections",
        "foreign",
        "errors/s",
    )
    return _table("shard", columns, rows)


def _exchanges(board: Board, now: float) -> RenderableType:
    rows = [
        (
            name,
            _number(get("publishes")),
            _number(get("deliveries")),
            _number(get("delivered_bytes"), 1 / 1024),
            _number(get("links")),
            _number(get("channels")),
            _number(get("queue_bytes_max"), 1 / 1024),
            _bad(get("dropped")),
            _bad(get("redials")),
            _ms(get("loop.lag_ms.max"), 50),
            _number(get("process.cpu_percent")),
        )
        for name in board.instances("exchange", now)
        for get in [_of(board, "exchange", name, now)]
    ]
    columns = (
        "publishes/s",
        "deliveries/s",
        "KiB/s",
        "edges",
        "channels",
        "longest queue KiB",
        "dropped",
        "redials",
        "lag ms",
        "cpu %",
    )
    return _table("exchange", columns, rows)


def _links(board: Board, now: float) -> RenderableType:
    edges = board.places("exchange", "link.", ".up", now)
    rows = []
    for name in board.instances("exchange", now):
        states = []
        for edge in edges:
            up = board.value("exchange", name, f"link.{edge}.up", now)
            queued = board.value("exchange", name, f"link.{edge}.queue_bytes", now) or 0.0
            state = f"{queued / 1024:,.0f} KiB queued" if queued >= 1024 else "up"
            states.append("" if up is None else state if up else "[bold red]DOWN[/]")
        rows.append((name, *states))
    return _table("link", tuple(edges) or ("none",), rows)


def _of(board: Board, service: str, instance: str, now: float) -> Callable[[str], float | None]:
    return lambda metric: board.value(service, instance, metric, now)


def _number(value: float | None, scale: float = 1.0) -> str:
    return "" if value is None else f"{value * scale:,.0f}"


def _ms(value: float | None, bad: float = float("inf")) -> str:
    if value is None:
        return ""
    return f"[bold red]{value:,.1f}[/]" if value > bad else f"{value:,.1f}"


def _bad(value: float | None) -> str:
    """What should be zero."""
    if value is None:
        return ""
    return f"[bold red]{value:,.0f}[/]" if value else "0"


def _table(first: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, style="bold", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


# -- the command --------------------------------------------------------------------------------------------------


def add_parser(commands: Any, add_data: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `top` to the subparsers `commands`; `add_data` adds --data."""
    parser = commands.add_parser("top", help="a running local stack on one screen: rates, delays, links, shards")
    parser.add_argument("--once", action="store_true", help="print one screen and end (so it does into a pipe)")
    add_data(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Until Ctrl-C. Raises ConfigError when there is no stack, or its metrics go elsewhere."""
    folder = DataFolder(Path(arguments.data))
    stack = folder.read_stack()
    if not stack["top"]:
        raise ConfigError(
            f"the metrics of this stack go to {stack['statsd']} (up --statsd): look there, or start it without, "
            "or with --metrics"
        )
    listener = _listen(stack["top"])
    target = find(data=arguments.data, control="", token="")
    with listener:
        asyncio.run(_watch(listener, folder, target, once=arguments.once or not sys.stdout.isatty()))


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        listener.bind((host, int(port)))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{address} cannot be listened on ({error.strerror}): another `tallgrass top` shows this stack"
        ) from None
    listener.setblocking(False)
    return listener


async def _watch(listener: socket.socket, folder: DataFolder, target: Target, *, once: bool) -> None:
    loop = asyncio.get_running_loop()
    board = Board()

    def read() -> None:
        try:
            while True:
                board.take(listener.recv(65_536), loop.time())
        except BlockingIOError:
            pass

    loop.add_reader(listener, read)
    async with lifecycle.background(_name_channels(board, target)):
        await _show(board, folder, once=once)


async def _name_channels(board: Board, target: Target) -> None:
    """Metrics have no names of channels: they are too many."""
    while True:
        board.channels = await largest(target)
        await asyncio.sleep(_ASK_S)


async def _show(board: Board, folder: DataFolder, *, once: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    loop = asyncio.get_running_loop()
    console = Console()
    if once:
        await asyncio.sleep(_ONCE_S)
        console.print(screen(board, loop.time()))
        return
    with Live(screen(board, loop.time()), console=console, screen=True, auto_refresh=False) as live:
        while folder.running:
            await asyncio.sleep(1.0)
            live.update(screen(board, loop.time()), refresh=True)
    console.print("the stack has stopped")

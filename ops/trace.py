"""`tallgrass trace [ID]`: one message's way, from its sender's edge over clue, Redis and exchange to every edge.

One message in TALLGRASS_TRACE_EVERY (1,000) is followed, and those sent with the tag +tallgrass/trace; each hop
writes a line `trace` into its log (common/trace.py). This reads the logs of a local stack, of all of its clusters.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.trace import is_traced
from ops.data_folder import DataFolder

_POLL_S = 0.3
_SETTLED_S = 3.0  # a message that nothing was heard of for so long is through
_TEXT = re.compile(r"\S+ \w+ +(?P<service>\w+)/(?P<instance>\S+)@(?P<cluster>\S+) trace (?P<fields>.*)")
_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')
_OF_ALL = ("id", "hop", "at", "channel")


@dataclass(frozen=True, slots=True)
class Hop:
    at_us: int          # UNIX microseconds, by that machine's clock
    cluster: str
    service: str
    instance: str
    hop: str            # what happened to the message: taken, received, decided, logged, ...
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Way:
    """A message's hops in the order of time."""

    id: str
    channel: str
    hops: list[Hop]

    @property
    def began_us(self) -> int:
        return self.hops[0].at_us

    @property
    def took_ms(self) -> float:
        return (self.hops[-1].at_us - self.began_us) / 1e3


def parse(raw: str) -> tuple[str, str, Hop] | None:
    """Id, channel and hop of a log line; None: it is no such line."""
    if raw.startswith("{"):
        if '"trace"' not in raw:
            return None
        try:
            fields = json.loads(raw)
        except ValueError:
            return None
        if fields.get("event") != "trace":
            return None
        service, instance, cluster = (str(fields.get(name, "")) for name in ("service", "instance", "cluster"))
        more = {key: str(value) for key, value in fields.items() if key not in _HEAD}
    elif found := _TEXT.match(raw):
        service, instance, cluster = found["service"], found["instance"], found["cluster"]
        more = {key: _plain(value) for key, value in _FIELD.findall(found["fields"])}
    else:
        return None
    try:
        message_id, hop, at, channel = (more.pop(name) for name in _OF_ALL)
        return message_id, channel, Hop(int(at), cluster, service, instance, hop, more)
    except (KeyError, ValueError):
        return None


_HEAD = ("time", "level", "service", "instance", "cluster", "event")


def _plain(value: str) -> str:
    return str(json.loads(value)) if value.startswith('"') else value


class Ways:
    """All that the logs tell, by id; `read` takes what is new."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self.all: dict[str, Way] = {}

    def read(self) -> set[str]:
        """Ids that have news."""
        changed = set()
        for path in sorted(self._folder.glob("**/logs/*.log")):
            for raw in self._lines(path):
                if (found := parse(raw)) is not None:
                    message_id, channel, hop = found
                    self.all.setdefault(message_id, Way(message_id, channel, [])).hops.append(hop)
                    changed.add(message_id)
        for message_id in changed:
            self.all[message_id].hops.sort(key=lambda hop: hop.at_us)
        return changed

    def _lines(self, path: Path) -> Iterable[str]:
        with open(path, "rb") as file:
            start = self._read.get(path, 0)
            if file.seek(0, 2) < start:
                start = 0
            file.seek(start)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._read[path] = start + len(complete)
        return (line.decode("utf-8", "replace") for line in complete.splitlines() if b"trace" in line)


def as_text(way: Way) -> str:
    """One line a hop: milliseconds since the first one, since the one before, where, what."""
    several = len({hop.cluster for hop in way.hops}) > 1
    rows = []
    before = way.began_us
    for hop in way.hops:
        where = f"{hop.cluster} {hop.instance}" if several else hop.instance
        since_us, step_us = hop.at_us - way.began_us, hop.at_us - before
        rows.append((f"{since_us / 1e3:.3f}", f"+{step_us / 1e3:.3f}", where, _what(hop)))
        before = hop.at_us
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    moment = datetime.datetime.fromtimestamp(way.began_us / 1e6, datetime.UTC)
    lines = [f"{way.id}  {way.channel}  {moment:%Y-%m-%d %H:%M:%S.%f}Z"]
    lines += [
        f"{ms:>{widths[0]}} ms  {step:>{widths[1]}}  {where:{widths[2]}}  {what}" for ms, step, where, what in rows
    ]
    if len(way.hops) > 1:
        first, second = max(itertools.pairwise(way.hops), key=lambda pair: pair[1].at_us - pair[0].at_us)
        ms = (second.at_us - first.at_us) / 1e3
        lines.append(f"longest: {ms:.3f} ms from {first.instance} {first.hop} to {second.instance} {second.hop}")
    return "\n".join(lines)


_WORDS = {
    "taken": "taken from the user {login}",
    "received": "received (attempt {attempt})",
    "decided": "decided; on its way to Redis",
    "logged": "in the log as {seq}",
    "queued": "queued for {edges}",
    "published": "an exchange has it",
    "arrived": "arrived from {source}",
    "held": "arrived from {source}, held: entries before it are missing",
    "repeated": "arrived again from {source}",
    "written": "written to {members} members",
    "verdict": "verdict: {outcome}",
}


def _what(hop: Hop) -> str:
    try:
        return _WORDS[hop.hop].format(**hop.fields)
    except KeyError:  # of another version
        return " ".join([hop.hop, *(f"{key}={value}" for key, value in hop.fields.items())])


def add_parser(commands: Any, add_data: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `trace` to the subparsers `commands`; `add_data` adds --data."""
    parser = commands.add_parser(
        "trace",
        help="a message's way over all hops, with times",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("id", nargs="?", default="", metavar="ID", help="of the message; default: list the last ones")
    parser.add_argument("-f", "--follow", action="store_true", help="show each followed message when it is through")
    parser.add_argument("-n", "--lines", type=int, default=20, metavar="N", help="of the list (default: 20)")
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    add_data(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Raises ConfigError when nothing is known of the message, or nothing was followed yet."""
    folder = DataFolder(Path(arguments.data))
    if not any(folder.path.glob("**/logs/*.log")):
        raise ConfigError(f"there are no logs in {folder.path}: name the stack's folder with --data DIR")
    ways = Ways(folder.path)
    ways.read()
    if arguments.follow:
        _follow(ways, folder)
    elif arguments.id:
        way = _find(ways, arguments.id)
        print(json.dumps(asdict(way), indent=2) if arguments.json else as_text(way))
    else:
        _list(ways, arguments.lines, as_json=arguments.json)


def _find(ways: Ways, asked: str) -> Way:
    found = [way for message_id, way in ways.all.items() if message_id.startswith(asked)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{asked} is the beginning of {len(found)} messages: give more of it")
    why = "no log here tells of it" if is_traced(asked) else "it was not followed"
    raise ConfigError(f"message {asked}: {why}. {_HOW}")


_HOW = (
    "One message in 1,000 is followed (TALLGRASS_TRACE_EVERY of the edges), and those sent with the tag "
    "+tallgrass/trace; `tallgrass trace` lists them"
)


def _list(ways: Ways, count: int, *, as_json: bool) -> None:
    latest = sorted(ways.all.values(), key=lambda way: way.began_us)[-count:]
    if as_json:
        print(json.dumps([asdict(way) for way in latest], indent=2))
        return
    if not latest:
        raise ConfigError(f"no message was followed yet. {_HOW}")
    for way in latest:
        moment = datetime.datetime.fromtimestamp(way.began_us / 1e6, datetime.UTC)
        written = sum(hop.hop == "written" for hop in way.hops)
        outcome = next((hop.fields.get("outcome", "") for hop in way.hops if hop.hop == "verdict"), "no verdict")
        print(
            f"{moment:%H:%M:%S.%f}"[:-3],
            f"{way.id}  {way.channel}  {outcome}, written at {written} edges, {way.took_ms:.1f} ms",
        )


def _follow(ways: Ways, folder: DataFolder) -> None:
    """Each message once, when it is through. Until Ctrl-C, or the stack stops."""
    open_ids: set[str] = set()
    while folder.running:
        open_ids |= ways.read()
        now_us = time.time() * 1e6
        for message_id in sorted(open_ids, key=lambda one: ways.all[one].began_us):
            way = ways.all[message_id]
            if now_us - way.hops[-1].at_us > _SETTLED_S * 1e6:
                open_ids.discard(message_id)
                print(as_text(way), end="\n\n", flush=True)
        time.sleep(_POLL_S)

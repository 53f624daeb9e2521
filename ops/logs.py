"""`tallgrass logs`: what all processes of a local stack write, in one view, in the order of time, with colours.

Our services' lines begin with their time, as do HAProxy's and Redis'; a line without one (a traceback, a banner)
belongs to the line before it in its file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from ops.data_folder import DataFolder

_POLL_S = 0.2
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_REDIS = re.compile(r"\d+:[A-Z] (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) [.\-*#] ")
_LEVELS = ("debug", "info", "warning", "error", "critical")
_LEVEL = re.compile(rf" ({'|'.join(_LEVELS)}) ")
_COLOURS = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta", "bright_blue")
_LEVEL_COLOURS = {"warning": "yellow", "error": "red", "critical": "bold red"}


@dataclass(frozen=True, slots=True)
class Line:
    at: float   # Unix seconds
    name: str   # of the process: "edge-1"
    level: str
    text: str   # without its time


def parse(name: str, raw: str, before: Line | None) -> Line:
    """One line of a log; `before` is the one before it in the same file."""
    if raw.startswith("{") and (event := _event(raw)) is not None:
        pairs = " ".join(f"{key}={_shown(value)}" for key, value in event.items() if key not in _OF_THE_HEAD)
        at = datetime.datetime.fromisoformat(event["time"]).timestamp()
        return Line(at, name, event["level"], f"{event['level']:7} {event['event']} {pairs}".rstrip())
    if found := _ISO.match(raw):
        at = datetime.datetime.fromisoformat(found[0]).timestamp()
        level = _LEVEL.match(raw, found.end())
        # Whose line it is stands before it already.
        text = re.sub(r"^(\w+ +)\w+/\S+@\w+ ", r"\1", raw[found.end() :].strip())
        return Line(at, name, level[1] if level else "info", text)
    if found := _REDIS.match(raw):
        at = datetime.datetime.strptime(found[1], "%d %b %Y %H:%M:%S.%f").timestamp()  # local time, as Redis writes it
        return Line(at, name, "warning" if "WARNING" in raw else "info", raw[found.end() :])
    if before is None:
        return Line(0.0, name, "info", raw)
    return Line(before.at, name, before.level, raw)


_OF_THE_HEAD = ("time", "level", "service", "instance", "cluster", "event")


def _event(raw: str) -> dict[str, Any] | None:
    try:
        event = json.loads(raw)
    except ValueError:
        return None
    return event if isinstance(event, dict) and {"time", "level", "event"} <= event.keys() else None


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and " " in value else str(value)


class Tail:
    """One log file, read as it grows. A file that was replaced, as by a new stack, is read from its beginning."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._inode = 0
        self._at = 0
        self._rest = b""
        self._last: Line | None = None

    def read(self) -> list[Line]:
        """The lines that are complete and new; none when there is no such file (yet)."""
        try:
            with open(self._path, "rb") as file:
                inode = self._path.stat().st_ino
                if inode != self._inode or file.seek(0, 2) < self._at:
                    self._inode, self._at, self._rest = inode, 0, b""
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        self._at += len(data)
        *complete, self._rest = (self._rest + data).split(b"\n")
        lines = []
        for raw in complete:
            self._last = parse(self.name, raw.decode("utf-8", "replace").rstrip("\r"), self._last)
            lines.append(self._last)
        return lines


def merge(tails: Iterable[Tail]) -> list[Line]:
    """What is new in all files, by time; lines of the same moment stay in their files' order."""
    return sorted((line for tail in tails for line in tail.read()), key=lambda line: line.at)


def add_parser(commands: Any, add_data: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `logs` to the subparsers `commands`; `add_data` adds --data."""
    parser = commands.add_parser("logs", help="what all processes of a local stack write, merged by time")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, e.g. edge-1, or clue for all clues")
    parser.add_argument("-f", "--follow", action="store_true", help="and what they go on to write, until Ctrl-C")
    parser.add_argument("-n", "--lines", type=int, default=100, metavar="N", help="default: 100; 0: all there are")
    parser.add_argument("--level", choices=_LEVELS, default="debug", help="these and worse (default: debug, all)")
    add_data(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Raises ConfigError when there are no such logs."""
    tails = _tails(DataFolder(Path(arguments.data)), arguments.names)
    wanted = _LEVELS[_LEVELS.index(arguments.level) :]
    show = _Printer([tail.name for tail in tails]).show
    lines = [line for line in merge(tails) if line.level in wanted]
    for line in lines[-arguments.lines :] if arguments.lines else lines:
        show(line)
    while arguments.follow:
        time.sleep(_POLL_S)
        for line in merge(tails):
            if line.level in wanted:
                show(line)


def _tails(folder: DataFolder, names: list[str]) -> list[Tail]:
    files = sorted((folder.path / "logs").glob("*.log"))
    if not files:
        raise ConfigError(f"there are no logs in {folder.path / 'logs'}: name the stack's folder with --data DIR")
    known = [file.stem for file in files]
    for name in names:
        if not any(_is(name, one) for one in known):
            raise ConfigError(f"no process {name!r} has a log there: {', '.join(known)}")
    return [Tail(file.stem, file) for file in files if not names or any(_is(name, file.stem) for name in names)]


def _is(asked: str, name: str) -> bool:
    """"clue" means clue-1 and clue-2, and event-clue-1 where there are several clusters."""
    kind = name.rpartition("-")[0]
    return name == asked or kind == asked or kind.endswith(f"-{asked}")


class _Printer:
    """Colours for a terminal, plain text for a pipe (and where NO_COLOR says so): rich decides."""

    def __init__(self, names: list[str]) -> None:
        from rich.console import Console  # only here: other commands need not wait for it

        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True, emoji=False, markup=False)
        self._width = max(map(len, names))
        self._colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}

    def show(self, line: Line) -> None:
        from rich.text import Text

        moment = datetime.datetime.fromtimestamp(line.at, datetime.UTC).strftime("%H:%M:%S.%f")[:-3] if line.at else ""
        text = Text.assemble(
            (f"{moment:12} ", "dim"),
            (f"{line.name:{self._width}} ", self._colours[line.name]),
            (line.text, _LEVEL_COLOURS.get(line.level, "")),
        )
        self._console.print(text)

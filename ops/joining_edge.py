"""`tallgrass edge`: one more edge of a local stack, in the foreground until Ctrl-C.

It registers like any other; HAProxy takes it in within seconds (ops/doorkeeper.py), and lets go of it when it leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from ops.control import Control, find
from ops.data_folder import DataFolder

_ROOT = Path(__file__).resolve().parent.parent


def add_parser(commands: Any, add_data: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `edge` to the subparsers `commands`; `add_data` adds --data."""
    parser = commands.add_parser("edge", help="one more edge of a local stack, until Ctrl-C")
    parser.add_argument("--cluster", default="", metavar="NAME", help="of the stack's clusters (default: its first)")
    parser.add_argument("--name", default="", metavar="NAME", help="default: the next free one, e.g. edge-3")
    add_data(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Becomes that edge. Raises ConfigError or RemoteError."""
    stack = DataFolder(Path(arguments.data)).read_stack()
    target = find(data=arguments.data, control="", token="", cluster=arguments.cluster)
    settings: dict[str, str] = dict(stack["clusters"][arguments.cluster or stack["cluster"]]["edge"])
    directory = asyncio.run(Control(target).directory())
    taken = {service.instance for service in directory.services if service.service == "edge"}
    taken |= {service["name"] for service in stack["services"]}
    name = arguments.name or next_name(settings["TALLGRASS_INSTANCE"], taken)
    if name in taken:
        raise ConfigError(f"--name {name}: an edge of that name is there already; choose another")
    print(f"tallgrass: {name} joins {settings['TALLGRASS_CLUSTER']}; Ctrl-C lets it leave", file=sys.stderr, flush=True)
    os.chdir(_ROOT)
    os.execve(
        sys.executable, [sys.executable, "-m", "edge"], {**os.environ, **settings, "TALLGRASS_INSTANCE": name}
    )


def next_name(stem: str, taken: Collection[str]) -> str:
    """ "edge" and {"edge-1", "edge-2"} give "edge-3"."""
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"

"""The doorkeeper: keeps one cluster's HAProxies in step with the directory, through the runtime API.

Edges that register and are not in HAProxy's configuration become servers at run time, checked and weighed as the static
ones are; those that are gone take nobody new, and are removed when their last connection has ended. The map of homes
gets the channels that do not live where their name says. What the configuration file says itself is never touched.

`plan_changes` decides and knows no socket. A server that was added at run time has a colon in its name,
"edge-3:127.0.0.1:23456", which no name in the configuration has: so it is known again after a restart of either.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.directory import own_edges
from common.errors import ConfigError, RemoteError
from common.pb import clue_pb2
from ops.console import say
from ops.control import Control, Target, find
from ops.haproxy import AGENT, EDGE_WEIGHT, HEALTH
from ops.haproxy_runtime import ask
from ops.processes import Say

HOMES_MAP = "homes.map"     # the file's name; where it lies, HAProxy says
PERIOD_S = 1.0
LINGER_S = 60.0             # connections to an edge that is gone are shut after so long

_OWN_HTTP, _OWN_IRC = "http_edges", "irc_edges"
_FORCED_MAINTENANCE = 1     # bit of srv_admin_state
_DONE = ("New server registered", "Server deleted")  # what HAProxy says when it worked; else nothing
_GUESTS = "http_"
_UNUSABLE = re.compile(r"[^A-Za-z0-9._:-]")


@dataclass(frozen=True, slots=True)
class Edge:
    """As the directory knows it; addresses are HOST:PORT."""

    name: str
    cluster: str
    irc: str
    http: str
    agent: str  # "": it does not answer agent-checks


@dataclass(frozen=True, slots=True)
class Known:
    """What the directory says."""

    cluster: str                # whose HAProxy this is
    edges: tuple[Edge, ...]     # of all clusters
    homes: Mapping[str, str]    # channel without "#" -> cluster


@dataclass(frozen=True, slots=True)
class Seen:
    """A server as HAProxy has it."""

    address: str
    maintenance: bool


@dataclass(frozen=True, slots=True)
class State:
    """What HAProxy has."""

    servers: Mapping[str, Mapping[str, Seen]]                   # backend -> server name -> how it is
    homes: Mapping[str, str] = field(default_factory=dict)      # channel -> backend
    homes_map: str = ""                                         # the map's name there; "": it has none


@dataclass(frozen=True, slots=True)
class Change:
    """Some commands that belong together, and what to tell of them. The first one's answer says whether it worked."""

    commands: tuple[str, ...]
    told: str
    server: str = ""    # "backend/name"
    leaves: bool = False    # one that is gone: it takes nobody new from now on
    ends: bool = False      # its connections have ended, if it can be removed


def known(directory: clue_pb2.Directory, cluster: str) -> Known:
    """From clue's answer. `cluster`: whose HAProxy is kept."""
    registered: dict[tuple[str, str], clue_pb2.Registration] = {}
    for other in directory.clusters:
        if other.name != cluster:
            registered.update({(other.name, edge.instance): edge for edge in other.edges})
    registered.update({(cluster, edge.instance): edge for edge in own_edges(directory, cluster)})
    edges = (
        Edge(edge.instance, home, edge.irc_address, edge.http_address, edge.agent_address)
        for (home, _), edge in sorted(registered.items())
    )
    return Known(cluster, tuple(edges), {home.channel.removeprefix("#"): home.cluster for home in directory.homes})


def plan_changes(known: Known, state: State) -> list[Change]:
    """What makes HAProxy what the directory says. Nothing that is right already is said again."""
    changes: list[Change] = []
    for backend, servers in state.servers.items():
        address_of = _address_of(backend, known.cluster)
        if address_of is None:
            continue
        edges = {address_of(edge): edge for edge in known.edges if address_of(edge)}
        there = {seen.address for seen in servers.values()}
        changes += [_join(backend, edge, address) for address, edge in edges.items() if address not in there]
        for name, seen in servers.items():
            if ":" not in name:
                continue
            server = f"{backend}/{name}"
            if seen.address in edges:
                if seen.maintenance:
                    changes.append(Change((f"set server {server} state ready",), f"{server} is back", server))
            elif not seen.maintenance:
                command = f"set server {server} state maint"
                changes.append(Change((command,), f"{server} is gone: it takes nobody new", server, leaves=True))
            else:
                changes.append(Change((f"del server {server}",), f"{server} is removed", server, ends=True))
    return changes + _map_changes(known, state)


def _address_of(backend: str, cluster: str) -> Callable[[Edge], str] | None:
    """Where a server of this backend is, or "" for an edge that does not belong there; None: it is not ours to fill."""
    if backend == _OWN_HTTP:
        return lambda edge: edge.http if edge.cluster == cluster else ""
    if backend == _OWN_IRC:
        return lambda edge: edge.irc if edge.cluster == cluster else ""
    if backend.startswith(_GUESTS):
        other = backend.removeprefix(_GUESTS)
        return lambda edge: edge.http if edge.cluster == other else ""
    return None


def _join(backend: str, edge: Edge, address: str) -> Change:
    name = _UNUSABLE.sub("", f"{edge.name}:{address}")
    server = f"{backend}/{name}"
    words = [f"add server {server} {address} {HEALTH} {EDGE_WEIGHT}"]
    if backend == _OWN_IRC:
        # Its health is that of the HTTP port, as with the static ones; a server added at run time cannot track another.
        words.append(f"send-proxy port {edge.http.rpartition(':')[2]}")
    if edge.agent:
        host, _, port = edge.agent.rpartition(":")
        words.append(f"{AGENT} agent-addr {host} agent-port {port}")
    commands = [" ".join(words), f"enable health {server}"]
    if edge.agent:
        commands.append(f"enable agent {server}")
    return Change((*commands, f"set server {server} state ready"), f"{server} joins", server)


def _map_changes(known: Known, state: State) -> list[Change]:
    if not state.homes_map:
        return []
    wanted = {
        channel: _OWN_HTTP if cluster == known.cluster else f"{_GUESTS}{cluster}"
        for channel, cluster in known.homes.items()
    }
    changes = []
    for channel, pool in wanted.items():
        if state.homes.get(channel) == pool:
            continue
        verb = "set" if channel in state.homes else "add"
        changes.append(Change((f"{verb} map {state.homes_map} {channel} {pool}",), f"#{channel} is in {pool}"))
    return changes + [
        Change((f"del map {state.homes_map} {channel}",), f"#{channel} is where its name says")
        for channel in sorted(state.homes.keys() - wanted.keys())
    ]


def read_servers(text: str) -> dict[str, dict[str, Seen]]:
    """Of `show servers state`."""
    header: list[str] = []
    found: dict[str, dict[str, Seen]] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            header = line[2:].split()
        elif header and line:
            row = dict(zip(header, line.split(), strict=False))
            seen = Seen(f"{row['srv_addr']}:{row['srv_port']}", bool(int(row["srv_admin_state"]) & _FORCED_MAINTENANCE))
            found.setdefault(row["be_name"], {})[row["srv_name"]] = seen
    return found


def read_map_name(text: str) -> str:
    """Of `show map`: the name of the map of homes, as a path; "" without one."""
    names = re.findall(r"^-?\d+ \((.*?)\) ", text, re.MULTILINE)
    return next((name for name in names if os.path.basename(name) == HOMES_MAP), "")


def read_map(text: str) -> dict[str, str]:
    """Of `show map NAME`."""
    rows = (line.split() for line in text.splitlines())
    return {row[1]: row[2] for row in rows if len(row) == 3}


class Doorkeeper:
    """Of one cluster's HAProxies. `run` goes on until it is cancelled, whatever does not answer."""

    def __init__(self, cluster: str, target: Target, sockets: Sequence[str], say: Say) -> None:
        self._cluster = cluster
        self._target = target
        self._sockets = sockets
        self._say = say
        self._gone_since: dict[tuple[str, str], float] = {}   # socket and server
        self._trouble: dict[str, str] = {}                      # by whom: what was told of it last

    async def run(self) -> None:
        async with Control(self._target) as control:
            while True:
                await self._round(control)
                await asyncio.sleep(PERIOD_S)

    async def _round(self, control: Control) -> None:
        try:
            directory = await control.directory()
        except (RemoteError, ConfigError) as error:
            self._tell("the directory", str(error))
            return
        self._tell("the directory", "")
        if not directory.available:
            return  # what we know of the services is old: keep them
        for socket in self._sockets:
            try:
                await self._keep(socket, known(directory, self._cluster))
                self._tell(socket, "")
            except RemoteError as error:
                self._tell(socket, str(error))

    async def _keep(self, socket: str, wanted: Known) -> None:
        state = await read_state(socket)
        loop = asyncio.get_running_loop()
        names = {(socket, f"{backend}/{name}") for backend, servers in state.servers.items() for name in servers}
        self._gone_since = {
            key: since for key, since in self._gone_since.items() if key[0] != socket or key in names
        }
        for change in plan_changes(wanted, state):
            commands = change.commands
            if change.leaves:
                self._gone_since[socket, change.server] = loop.time()
            elif change.ends:
                since = self._gone_since.setdefault((socket, change.server), loop.time())
                if loop.time() - since > LINGER_S:
                    commands = (f"shutdown sessions server {change.server}", *commands)
            answers = await ask(socket, commands)
            failed = next((answer for answer in answers if answer and not answer.startswith(_DONE)), "")
            if not failed:
                self._say(f"{self._cluster} haproxy: {change.told}")
            elif not change.ends:  # one that is to be removed still has connections: the next round tries again
                self._tell(f"{socket} {change.server}", f"{change.told}: HAProxy refused: {failed}")

    def _tell(self, who: str, trouble: str) -> None:
        """Once for each trouble, not once a second."""
        if self._trouble.get(who, "") != trouble:
            self._trouble[who] = trouble
            self._say(f"{self._cluster} doorkeeper: " + (trouble or f"{who} answers again"))


async def read_state(socket: str) -> State:
    """Raises RemoteError."""
    servers, maps = await ask(socket, ("show servers state", "show map"))
    homes_map = read_map_name(maps)
    homes = read_map((await ask(socket, (f"show map {homes_map}",)))[0]) if homes_map else {}
    # A backend without servers is not in that list; the guests' pools begin so.
    backends = [name for name in (await ask(socket, ("show backend",)))[0].splitlines() if not name.startswith("#")]
    return State({**{name: {} for name in backends}, **read_servers(servers)}, homes, homes_map)


def add_parser(commands: Any, add_target: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `doorkeeper` to the subparsers `commands`."""
    parser = commands.add_parser(
        "doorkeeper",
        help="keep an HAProxy in step with the directory, until Ctrl-C (`up` does it by itself)",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--haproxy-socket", action="append", required=True, metavar="PATH",
        help="its runtime API (stats socket ... level admin); may be given several times",
    )  # fmt: skip
    parser.add_argument("--for", dest="of", default="", metavar="CLUSTER", help="whose HAProxy (default: the stack's)")
    add_target(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    target = find(
        data=arguments.data, control=arguments.control, token=arguments.control_token, cluster=arguments.cluster
    )
    cluster = arguments.of or arguments.cluster or (target.stack["cluster"] if target.stack else "")
    if not cluster:
        raise ConfigError("--for is missing: say of which cluster the HAProxy is")
    for socket in arguments.haproxy_socket:
        if not os.access(socket, os.R_OK | os.W_OK):
            raise ConfigError(f"--haproxy-socket {socket}: there is no such socket, or it may not be used")
    asyncio.run(Doorkeeper(cluster, target, arguments.haproxy_socket, say).run())

"""Clusters on one machine: started in order, watched, stopped in the opposite order.

Order: Redis, clue, HAProxy, then exchanges and edges, which meet through clue; ready when users can get in everywhere.
Several clusters go through it side by side, after the directory's Redis. A process that dies is started again by
itself, whatever becomes of the others. Edges stop first, with time to send their users away, and clue after the
exchanges, which say goodbye through it. What other commands need to know stands in stack.json while it runs.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from clue.config import ClueConfig
from common import config
from common.lifecycle import stop_event
from exchange.config import ExchangeConfig
from ops import haproxy, probes, redis_server
from ops.control import Target
from ops.data_folder import DataFolder
from ops.doorkeeper import HOMES_MAP, Doorkeeper
from ops.instruments import Instruments
from ops.processes import Child, Say, Spec
from ops.promoting import Promoting
from ops.topology import Topology

_READY_S = 60.0         # Redis may have a long file to load, and all interpreters start at once
_GRACE_S = 5.0          # SIGTERM to SIGKILL, besides what an edge takes to drain
_REDIS_GRACE_S = 30.0   # it writes its file out
_MAX_SOCKET_PATH = 90   # sun_path holds 107 bytes, and HAProxy first binds PATH.PID.tmp

_HELPER_PAUSE_S = 5.0

Helper: TypeAlias = Doorkeeper | Promoting
Changed: TypeAlias = Callable[[], None]
Started: TypeAlias = list[tuple[Child, probes.Probe]]


@dataclass(frozen=True, slots=True)
class Part:
    """One cluster of the stack: what it runs, and the folder with its data."""

    topology: Topology
    folder: DataFolder


class ClusterStack:
    """The processes of one cluster, and what keeps its HAProxies in step. Started in phases by Stack."""

    def __init__(self, part: Part, *, haproxy_path: str | None, private: Path, say: Say, changed: Changed) -> None:
        self.topology = part.topology
        self.folder = part.folder
        self._private = private
        self._say = say
        self._changed = changed
        self.sockets: list[str] = []
        self.redis = [self._child(spec) for spec in self._redis_specs()]
        self.clues = [self._child(self._grpc_spec("clue", settings)) for settings in part.topology.clues]
        self.exchanges = [self._child(self._grpc_spec("exchange", settings)) for settings in part.topology.exchanges]
        self.edges = [self._child(spec) for spec in self._edge_specs()]
        self.haproxy = [self._child(spec) for spec in self._haproxy_specs(haproxy_path or "")]

    @property
    def name(self) -> str:
        return self.topology.options.cluster

    @property
    def token(self) -> str:
        return self.topology.clues[0].control_token

    @property
    def target(self) -> Target:
        return Target(self.topology.control, self.token, None)

    def children(self) -> list[Child]:
        return [*self.edges, *self.clues, *self.exchanges, *self.haproxy, *self.redis]

    def redis_probes(self) -> Started:
        return [(child, probes.redis(port)) for child, port in zip(self.redis, self.topology.redis_ports, strict=True)]

    def clue_probes(self) -> Started:
        return [(child, probes.clue(child.spec.addresses["grpc"], self.token)) for child in self.clues]

    def haproxy_probes(self) -> Started:
        return [(child, probes.listening(child.spec.addresses["clue"])) for child in self.haproxy]

    def outer_probes(self) -> Started:
        exchanges = [(child, probes.listening(child.spec.addresses["grpc"])) for child in self.exchanges]
        return exchanges + [
            (child, probes.http(f"http://{child.spec.addresses['http']}/readyz")) for child in self.edges
        ]

    def linked(self, guests: int) -> list[Coroutine[Any, Any, None]]:
        """Until exchanges, edges and HAProxy have met: only then does no first message take the long way."""
        edges = len(self.edges) + guests
        waiting = [
            child.until_ready(probes.exchange(child.spec.addresses["grpc"], edges), _READY_S)
            for child in self.exchanges
        ]
        waiting += [
            child.until_ready(probe, _READY_S)
            for child in self.haproxy
            for probe in (
                probes.clue(child.spec.addresses["clue"], self.token),
                probes.exchange(child.spec.addresses["exchange"], edges),
                probes.http(f"http://{child.spec.addresses['http']}/readyz"),
            )
        ]
        return waiting

    def entry(self) -> dict[str, Any]:
        """For stack.json."""
        topology, options = self.topology, self.topology.options
        edge = topology.edges[0]
        return {
            "irc": topology.irc,
            "ws": topology.ws,
            "ircs": topology.ircs,
            "wss": topology.wss,
            "auth": options.auth,
            "limits": options.limits,
            "control": topology.control,
            "control_token_file": str(self.folder.path / "control-token"),
            "haproxy_socket": self.sockets[0] if self.sockets else "",
            "haproxy_sockets": self.sockets,
            "redis": [f"127.0.0.1:{port}" for port in topology.redis_ports],
            "shared": topology.shared is not None,
            # What an edge has to be told that joins later (`tallgrass edge`).
            "edge": {
                **config.dump(replace(edge, irc_port=0, http_port=0, link_port=0, agent_port=0, host="127.0.0.1")),
                "TALLGRASS_IRC_TLS_PORT": "0",
                "TALLGRASS_HTTPS_PORT": "0",
                "TALLGRASS_INSTANCE": f"{topology.prefix}edge",
            },
        }

    def _child(self, spec: Spec) -> Child:
        return Child(spec, self._say, changed=self._changed)

    def _service(self, service: str, settings: Any, addresses: dict[str, str], grace_s: float = _GRACE_S) -> Spec:
        return Spec(
            name=settings.instance,
            service=service,
            argv=(sys.executable, "-m", service),
            log=self.folder.log(settings.instance),
            grace_s=grace_s,
            addresses=addresses,
            environment=config.dump(settings),
        )

    def _grpc_spec(self, service: str, settings: ClueConfig | ExchangeConfig) -> Spec:
        return self._service(service, settings, {"grpc": f"127.0.0.1:{settings.grpc_port}"})

    def _edge_specs(self) -> Iterable[Spec]:
        for edge in self.topology.edges:
            addresses = {
                "irc": f"127.0.0.1:{edge.irc_port}",
                "http": f"127.0.0.1:{edge.http_port}",
                "grpc": f"127.0.0.1:{edge.link_port}",
            }
            if edge.tls_cert:
                addresses["ircs"] = f"127.0.0.1:{edge.irc_tls_port}"
                addresses["https"] = f"127.0.0.1:{edge.https_port}"
            yield self._service("edge", edge, addresses, grace_s=edge.drain_s + _GRACE_S)

    def _redis_specs(self) -> Iterable[Spec]:
        for number, port in enumerate(self.topology.redis_ports, 1):
            name = f"redis-{number}"
            yield redis_spec(self.folder.folder(name), f"{self.topology.prefix}{name}", port, self.folder)

    def _haproxy_specs(self, program: str) -> Iterable[Spec]:
        for number, doors in enumerate(self.topology.doors, 1):
            yield self._haproxy_spec(program, "haproxy" if number == 1 else f"haproxy-{number}", doors)

    def _haproxy_spec(self, program: str, name: str, doors: haproxy.Doors) -> Spec:
        folder = self.folder.folder(name)
        socket = self._socket_path(folder, f"{self.topology.prefix}{name}")
        self.sockets.append(socket)
        path = folder / "haproxy.cfg"
        homes = folder / HOMES_MAP
        homes.write_text("# The channels that were moved, and the pools they live in; filled at run time.\n", "utf-8")
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        text = haproxy.configuration(
            doors, maxconn=haproxy.max_connections(hard), stats_socket=socket, homes_map=str(homes)
        )
        path.write_text(text, "utf-8")
        by_name = {
            "irc": doors.irc,
            "http": doors.http,
            "ircs": doors.ircs,
            "https": doors.https,
            "clue": doors.clue,
            "exchange": doors.exchange,
        }
        return Spec(
            name=f"{self.topology.prefix}{name}",
            service="haproxy",
            argv=(program, "-db", "-f", str(path)),
            log=self.folder.log(f"{self.topology.prefix}{name}"),
            grace_s=_GRACE_S,
            addresses={what: door.bind for what, door in by_name.items() if door is not None},
            short_turns=True,
        )

    def _socket_path(self, folder: Path, name: str) -> str:
        """The runtime API's socket: in the data folder, or in a private one when that path is too long for a socket."""
        path = folder / "haproxy.sock"
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
            path = self._private / f"{name}.sock"
        return str(path)


class Stack:
    """`run` starts it, keeps it and stops it."""

    def __init__(
        self,
        parts: Sequence[Part],
        folder: DataFolder,
        *,
        haproxy_path: str | None,
        say: Say,
        instruments: Instruments | None = None,
        top: str = "",
    ) -> None:
        """The first of `parts` is the one that ready: and stack.json tell first."""
        self._folder = folder
        self._say = say
        self._keepers: list[asyncio.Task[None]] = []
        self._complete = False
        self._private = tempfile.TemporaryDirectory(prefix="tallgrass-")
        private = Path(self._private.name)
        self.clusters = [
            ClusterStack(part, haproxy_path=haproxy_path, private=private, say=say, changed=self._write)
            for part in parts
        ]
        directories = {part.topology.shared.directory for part in parts if part.topology.shared}
        self._directory_address = next(iter(directories), "")
        self._directory = [self._child(self._directory_spec())] if self._directory_address else []
        measured = instruments.children if instruments else ()
        self._instruments = [(self._child(spec), probe) for spec, probe in measured]
        self._graphite = instruments.graphite if instruments else ""
        self._top = top

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; a second one ends everything at once. Raises StartError when it cannot start."""
        stop = stop_event()
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                print(self.ready_line(), flush=True)
                await asyncio.wait({stopping, *self._keepers}, return_when=asyncio.FIRST_COMPLETED)
                for keeper in self._keepers:
                    if keeper.done():
                        keeper.result()
            self._say("stopping ...")
        finally:
            starting.cancel()
            stopping.cancel()
            await self._stop()
        self._say("stopped")

    def ready_line(self) -> str:
        first, *others = self.clusters
        parts = ["ready:", f"irc={first.topology.irc}", f"ws={first.topology.ws}"]
        if first.topology.ircs:
            parts += [f"ircs={first.topology.ircs}", f"wss={first.topology.wss}"]
        parts += [f"edge={edge.spec.name}@{edge.spec.addresses['irc']}" for one in self.clusters for edge in one.edges]
        for one in others:
            parts += [f"irc.{one.name}={one.topology.irc}", f"ws.{one.name}={one.topology.ws}"]
            if one.topology.ircs:
                parts += [f"ircs.{one.name}={one.topology.ircs}", f"wss.{one.name}={one.topology.wss}"]
        return " ".join(parts)

    async def _start(self) -> None:
        await self._bring_up(self._instruments)
        port = int(self._directory_address.rpartition(":")[2] or 0)
        await self._bring_up(
            [(child, probes.redis(port)) for child in self._directory]
            + [pair for one in self.clusters for pair in one.redis_probes()]
        )
        await self._bring_up([pair for one in self.clusters for pair in one.clue_probes()])
        await self._bring_up([pair for one in self.clusters for pair in one.haproxy_probes()])
        await self._bring_up([pair for one in self.clusters for pair in one.outer_probes()])
        self._say("linking exchanges and edges ...")
        shared = [one for one in self.clusters if one.topology.shared]
        edges = sum(len(one.edges) for one in shared)
        await _together(
            [wait for one in self.clusters for wait in one.linked(edges - len(one.edges) if one in shared else 0)]
        )
        for one in self.clusters:
            self._keepers += [asyncio.create_task(self._go_on(helper)) for helper in self._helpers(one)]
        self._complete = True
        self._write()

    async def _go_on(self, helper: Helper) -> None:
        """A mistake of a helper's is told, and does not end the stack."""
        while True:
            try:
                await helper.run()
            except Exception as error:  # whatever it is
                name = type(helper).__name__.lower()
                self._say(f"{name} failed ({type(error).__name__}: {error}); again in {_HELPER_PAUSE_S:.0f} s")
            await asyncio.sleep(_HELPER_PAUSE_S)

    def _helpers(self, one: ClusterStack) -> Iterable[Helper]:
        """What runs in our own process for a cluster."""
        if one.sockets:
            yield Doorkeeper(one.name, one.target, one.sockets, self._say)
        promotion = one.topology.options.promotion
        if promotion is not None:
            targets = {other.name: other.target for other in self.clusters if other.topology.shared}
            memory = one.folder.path / "promoted.json"
            yield Promoting(promotion, one.name, targets, memory, self._say)

    async def _bring_up(self, children: Started) -> None:
        """Start them all, wait for all. From when it is ready, a child is kept."""
        if not children:
            return
        self._say("starting " + ", ".join(child.spec.name for child, _ in children) + " ...")
        await _together([self._start_then_keep(child, probe) for child, probe in children])

    async def _start_then_keep(self, child: Child, probe: probes.Probe) -> None:
        await child.start()
        await child.until_ready(probe, _READY_S)
        self._keepers.append(asyncio.create_task(child.keep()))

    async def _stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        clusters = self.clusters
        phases = (
            [child for one in clusters for child in one.edges],
            [child for one in clusters for child in one.exchanges],
            [child for one in clusters for child in one.clues],
            [child for one in clusters for child in one.haproxy],
            [child for one in clusters for child in one.redis] + self._directory,
            [child for child, _ in reversed(self._instruments)],
        )
        for children in phases:
            await asyncio.gather(*(child.stop() for child in children))
        self._folder.remove_stack()
        self._private.cleanup()

    def _write(self) -> None:
        if not self._complete:
            return
        first = self.clusters[0]
        entry = first.entry()
        kept = ("irc", "ws", "ircs", "wss", "auth", "limits", "control", "haproxy_socket")
        services = [_entry(child, one.name) for one in self.clusters for child in one.children()]
        services += [_entry(child, "") for child in [*self._directory, *(child for child, _ in self._instruments)]]
        self._folder.write_stack(
            {
                "cluster": first.name,
                "pid": os.getpid(),
                **{key: entry[key] for key in kept},
                "statsd": first.topology.options.statsd,
                "graphite": self._graphite,
                "top": self._top,
                "directory": self._directory_address,
                "clusters": {one.name: one.entry() for one in self.clusters},
                "services": services,
            }
        )

    def _child(self, spec: Spec) -> Child:
        return Child(spec, self._say, changed=self._write)

    def _directory_spec(self) -> Spec:
        port = int(self._directory_address.rpartition(":")[2])
        return redis_spec(self._folder.folder("directory"), "directory", port, self._folder)


def redis_spec(folder: Path, name: str, port: int, logs: DataFolder) -> Spec:
    path = folder / "redis.conf"
    path.write_text(redis_server.configuration(port, folder), "utf-8")
    return Spec(
        name=name,
        service="redis",
        argv=(redis_server.find(), str(path)),
        log=logs.log(name),
        grace_s=_REDIS_GRACE_S,
        addresses={"redis": f"127.0.0.1:{port}"},
        short_turns=True,
    )


async def _together(work: list[Coroutine[Any, Any, None]]) -> None:
    """All at once. The first that fails cancels the others, and its error is the one raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _entry(child: Child, cluster: str) -> dict[str, Any]:
    spec = child.spec
    return {
        "name": spec.name,
        "service": spec.service,
        "cluster": cluster,
        "pid": child.pid,
        "addresses": dict(spec.addresses),
        "log": str(spec.log),
    }

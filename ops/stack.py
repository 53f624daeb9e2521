"""A whole cluster on one machine: started in order, watched, stopped in the opposite order.

Order: Redis, clue, HAProxy, then exchanges and edges, which meet through clue; ready when users can get in everywhere.
Edges stop first, with time to send their users away, and clue after the exchanges, which say goodbye through it. What
other commands need to know stands in stack.json while it runs.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

from clue.config import ClueConfig
from common import config
from common.lifecycle import stop_event
from exchange.config import Config as ExchangeConfig
from ops import haproxy, probes, redis_server
from ops.data_folder import DataFolder
from ops.instruments import Instruments
from ops.processes import Child, Say, Spec
from ops.topology import Topology

_READY_S = 60.0         # Redis may have a long file to load, and all interpreters start at once
_GRACE_S = 5.0          # SIGTERM to SIGKILL, besides what an edge takes to drain
_REDIS_GRACE_S = 30.0   # it writes its file out
_MAX_SOCKET_PATH = 90   # sun_path holds 107 bytes, and HAProxy first binds PATH.PID.tmp


class Stack:
    """`run` starts it, keeps it and stops it."""

    def __init__(
        self,
        topology: Topology,
        folder: DataFolder,
        *,
        haproxy_path: str | None,
        say: Say,
        instruments: Instruments | None = None,
        top: str = "",
    ) -> None:
        self._topology = topology
        self._folder = folder
        self._say = say
        self._keepers: list[asyncio.Task[None]] = []
        self._complete = False
        self._private = tempfile.TemporaryDirectory(prefix="tallgrass-")
        self._socket = ""
        self._redis = [self._child(spec) for spec in self._redis_specs()]
        self._clues = [self._child(self._grpc_spec("clue", settings)) for settings in topology.clues]
        self._exchanges = [self._child(self._grpc_spec("exchange", settings)) for settings in topology.exchanges]
        self._edges = [self._child(spec) for spec in self._edge_specs()]
        self._haproxy = [self._child(spec) for spec in self._haproxy_specs(haproxy_path or "")]
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
        topology = self._topology
        parts = ["ready:", f"irc={topology.irc}", f"ws={topology.ws}"]
        if topology.ircs:
            parts += [f"ircs={topology.ircs}", f"wss={topology.wss}"]
        parts += [f"edge={edge.spec.name}@{edge.spec.addresses['irc']}" for edge in self._edges]
        return " ".join(parts)

    async def _start(self) -> None:
        topology = self._topology
        token = topology.clues[0].control_token
        await self._bring_up(self._instruments)
        await self._bring_up(
            [(child, probes.redis(port)) for child, port in zip(self._redis, topology.redis_ports, strict=True)]
        )
        await self._bring_up(
            [(child, probes.clue(child.spec.addresses["grpc"], token)) for child in self._clues]
        )
        await self._bring_up([(child, probes.listening(child.spec.addresses["clue"])) for child in self._haproxy])
        await self._bring_up(
            [(child, probes.listening(child.spec.addresses["grpc"])) for child in self._exchanges]
            + [(child, probes.http(f"http://{child.spec.addresses['http']}/readyz")) for child in self._edges]
        )
        # Linked everywhere, and HAProxy has seen it: only now does no first message take the long way.
        self._say("linking exchanges and edges ...")
        linked = [
            child.until_ready(probes.exchange(child.spec.addresses["grpc"], len(self._edges)), _READY_S)
            for child in self._exchanges
        ]
        passed_on = [
            child.until_ready(probe, _READY_S)
            for child in self._haproxy
            for probe in (
                probes.clue(child.spec.addresses["clue"], token),
                probes.exchange(child.spec.addresses["exchange"], len(self._edges)),
                probes.http(f"http://{child.spec.addresses['http']}/readyz"),
            )
        ]
        await _together(linked + passed_on)
        self._complete = True
        self._write()

    async def _bring_up(self, children: list[tuple[Child, probes.Probe]]) -> None:
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
        instruments = [child for child, _ in reversed(self._instruments)]
        for children in (self._edges, self._exchanges, self._clues, self._haproxy, self._redis, instruments):
            await asyncio.gather(*(child.stop() for child in children))
        self._folder.remove_stack()
        self._private.cleanup()

    def _write(self) -> None:
        if not self._complete:
            return
        topology, options = self._topology, self._topology.options
        self._folder.write_stack(
            {
                "cluster": options.cluster,
                "pid": os.getpid(),
                "irc": topology.irc,
                "ws": topology.ws,
                "ircs": topology.ircs,
                "wss": topology.wss,
                "auth": options.auth,
                "limits": options.limits,
                "control": topology.control,
                "haproxy_socket": self._socket,
                "statsd": options.statsd,
                "graphite": self._graphite,
                "top": self._top,
                "services": [_entry(child) for child in self._all()],
            }
        )

    def _all(self) -> Iterable[Child]:
        instruments = [child for child, _ in self._instruments]
        return [*self._edges, *self._clues, *self._exchanges, *self._haproxy, *self._redis, *instruments]

    def _child(self, spec: Spec) -> Child:
        return Child(spec, self._say, changed=self._write)

    def _service(self, service: str, settings: Any, addresses: dict[str, str], grace_s: float = _GRACE_S) -> Spec:
        return Spec(
            name=settings.instance,
            service=service,
            argv=(sys.executable, "-m", service),
            log=self._folder.log(settings.instance),
            grace_s=grace_s,
            addresses=addresses,
            environment=config.dump(settings),
        )

    def _grpc_spec(self, service: str, settings: ClueConfig | ExchangeConfig) -> Spec:
        return self._service(service, settings, {"grpc": f"127.0.0.1:{settings.grpc_port}"})

    def _edge_specs(self) -> Iterable[Spec]:
        for edge in self._topology.edges:
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
        program = redis_server.find()
        for number, port in enumerate(self._topology.redis_ports, 1):
            name = f"redis-{number}"
            folder = self._folder.folder(name)
            path = folder / "redis.conf"
            path.write_text(redis_server.configuration(port, folder), "utf-8")
            yield Spec(
                name=name,
                service="redis",
                argv=(program, str(path)),
                log=self._folder.log(name),
                grace_s=_REDIS_GRACE_S,
                addresses={"redis": f"127.0.0.1:{port}"},
            )

    def _haproxy_specs(self, program: str) -> Iterable[Spec]:
        for number, doors in enumerate(self._topology.doors, 1):
            yield self._haproxy_spec(program, "haproxy" if number == 1 else f"haproxy-{number}", doors)

    def _haproxy_spec(self, program: str, name: str, doors: haproxy.Doors) -> Spec:
        folder = self._folder.folder(name)
        socket = self._socket_path(folder)
        self._socket = self._socket or socket
        path = folder / "haproxy.cfg"
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        path.write_text(
            haproxy.configuration(doors, maxconn=haproxy.max_connections(hard), stats_socket=socket), "utf-8"
        )
        by_name = {
            "irc": doors.irc,
            "http": doors.http,
            "ircs": doors.ircs,
            "https": doors.https,
            "clue": doors.clue,
            "exchange": doors.exchange,
        }
        return Spec(
            name=name,
            service="haproxy",
            argv=(program, "-db", "-f", str(path)),
            log=self._folder.log(name),
            grace_s=_GRACE_S,
            addresses={what: door.bind for what, door in by_name.items() if door is not None},
        )

    def _socket_path(self, folder: Path) -> str:
        """The runtime API's socket: in the data folder, or in a private one when that path is too long for a socket."""
        path = folder / "haproxy.sock"
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
            path = Path(self._private.name) / f"{folder.name}.sock"
        return str(path)


async def _together(work: list[Coroutine[Any, Any, None]]) -> None:
    """All at once. The first that fails cancels the others, and its error is the one raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _entry(child: Child) -> dict[str, Any]:
    spec = child.spec
    return {
        "name": spec.name,
        "service": spec.service,
        "pid": child.pid,
        "addresses": dict(spec.addresses),
        "log": str(spec.log),
    }

"""What `tallgrass status` shows: the processes of a local stack, joined with what the directory knows of them."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field

from common.errors import RemoteError
from common.pb import clue_pb2
from ops.control import Control, Target

_SILENT_MS = 10_000  # a service registers every few seconds; one silent for longer is not counted as alive
_REGISTER = ("edge", "clue", "exchange")
_OF_THE_STACK = ("cluster", "pid", "irc", "ws", "ircs", "wss", "auth", "limits", "haproxy_socket")


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    service: str
    pid: int | None                 # None: not running now
    addresses: dict[str, str]       # "irc", "http", "grpc", ... to HOST:PORT
    alive: bool                     # its process runs (local), or it registered lately (remote)
    registered: bool                # the directory knows it; Redis and HAProxy never are
    sessions: int | None = None     # edges
    loop_lag_us: int | None = None
    draining: bool = False
    log: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    control: str
    cluster: str = ""               # the rest is known of a local stack only
    pid: int | None = None
    irc: str = ""
    ws: str = ""
    ircs: str = ""
    wss: str = ""
    auth: str = ""
    limits: bool = True
    haproxy_socket: str = ""
    directory: str = "available"    # or why it is not
    services: list[Service] = field(default_factory=list)


async def collect(target: Target) -> Facts:
    """Raises RemoteError when a remote stack does not answer; a local one is shown as far as it can be."""
    problem = "available"
    directory = clue_pb2.Directory()
    try:
        directory = await Control(target).directory()
        if not directory.available:
            problem = "its Redis shard does not answer"
    except RemoteError as error:
        if target.stack is None:
            raise
        problem = str(error)
    return join(target, directory, problem, now_ms=time.time_ns() // 1_000_000)


def join(target: Target, directory: clue_pb2.Directory, problem: str, *, now_ms: int) -> Facts:
    """Each process once: with its pid from the stack, its sessions from the directory."""
    known = {registration.instance: registration for registration in directory.services}
    if target.stack is None:
        services = [_remote(registration, now_ms) for registration in known.values()]
        services.sort(key=lambda service: (service.service, service.name))
        return Facts(control=target.address, directory=problem, services=services)
    stack = target.stack
    return Facts(
        control=stack["control"],
        directory=problem,
        services=[_local(entry, known.get(entry["name"])) for entry in stack["services"]],
        **{key: stack[key] for key in _OF_THE_STACK},
    )


def as_json(facts: Facts) -> str:
    return json.dumps(asdict(facts), indent=2)


def as_text(facts: Facts) -> str:
    """One screen."""
    lines = []
    if facts.cluster:
        doors = "  ".join(text for text in (facts.irc, facts.ws, facts.ircs, facts.wss) if text)
        limits = "" if facts.limits else ", LIMITS OFF"
        lines.append(f"cluster {facts.cluster} (pid {facts.pid}, auth {facts.auth}{limits}): {doors}")
    if facts.directory != "available":
        lines.append(f"directory: {facts.directory}")
    rows = [("NAME", "PID", "STATE", "SESSIONS", "ADDRESSES")]
    rows += [
        (s.name, str(s.pid or "-"), _state(s), "" if s.sessions is None else str(s.sessions), _addresses(s))
        for s in facts.services
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[4]]).rstrip())
    return "\n".join(lines)


def _local(entry: dict[str, object], registration: clue_pb2.Registration | None) -> Service:
    pid = entry["pid"]
    assert pid is None or isinstance(pid, int)
    addresses = entry["addresses"]
    assert isinstance(addresses, dict)
    current = registration if registration is not None and registration.pid == pid else None
    return Service(
        name=str(entry["name"]),
        service=str(entry["service"]),
        pid=pid,
        addresses=addresses,
        alive=pid is not None and _runs(pid),
        registered=current is not None,
        sessions=_sessions(current),
        loop_lag_us=current.loop_lag_us if current else None,
        draining=current.draining if current else False,
        log=str(entry["log"]),
    )


def _remote(registration: clue_pb2.Registration, now_ms: int) -> Service:
    addresses = {
        "irc": registration.irc_address,
        "http": registration.http_address,
        "grpc": registration.grpc_address,
    }
    return Service(
        name=registration.instance,
        service=registration.service,
        pid=registration.pid,
        addresses={name: address for name, address in addresses.items() if address},
        alive=now_ms - registration.last_seen_ms < _SILENT_MS,
        registered=True,
        sessions=_sessions(registration),
        loop_lag_us=registration.loop_lag_us,
        draining=registration.draining,
    )


def _sessions(registration: clue_pb2.Registration | None) -> int | None:
    return registration.sessions if registration is not None and registration.service == "edge" else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _state(service: Service) -> str:
    if not service.alive:
        return "DOWN"
    if service.draining:
        return "draining"
    return "up, not registered" if service.service in _REGISTER and not service.registered else "up"


def _addresses(service: Service) -> str:
    return " ".join(f"{name}={address}" for name, address in service.addresses.items())

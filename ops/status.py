"""What `tallgrass status` shows: a stack's clusters, their processes, largest channels, homes and Redis servers.

The processes of a local stack are joined with what each cluster's directory knows of them; of a remote one the
directory alone tells.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from common.errors import TallgrassError
from common.pb import clue_pb2
from ops.control import Control, Target

_SILENT_MS = 10_000  # a service registers every few seconds; one silent for longer is not counted as alive
_SHOWN = 10  # channels and homes on the screen; --json has all that is known
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
    cluster: str = ""
    weight: int | None = None       # edges: percent, as HAProxy is told
    max_sessions: int | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    name: str
    members: int                    # over all edges that told of it
    rate: float                     # publications per second
    home: str = ""                  # the cluster where it lives; "": not told


@dataclass(frozen=True, slots=True)
class Shard:
    """As one clue of the cluster sees it."""

    name: str
    available: bool
    directory: bool = False         # the clusters' shared directory
    keys: int = 0
    memory_bytes: int = 0
    connections: int = 0
    commands_s: int = 0             # by the server's own count
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    name: str
    control: str
    directory: str = "available"    # or why it is not
    irc: str = ""
    ws: str = ""
    shared: bool = True             # the clusters' directory answers, or there is none
    homes: dict[str, str] = field(default_factory=dict)     # channels that live elsewhere than their name says
    channels: list[Channel] = field(default_factory=list)   # largest first
    shards: list[Shard] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)

    @property
    def sessions(self) -> int:
        return sum(service.sessions or 0 for service in self.services)


@dataclass(frozen=True, slots=True)
class Facts:
    """The fields from `cluster` to `directory` are those of the (first) cluster."""

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
    services: list[Service] = field(default_factory=list)   # of all clusters
    clusters: list[Cluster] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answers:
    """What one cluster's clue said."""

    directory: clue_pb2.Directory
    diagnosis: clue_pb2.Diagnosis
    problem: str = "available"


async def collect(target: Target) -> Facts:
    """Raises TallgrassError when a remote stack does not answer; a local one is shown as far as it can be."""
    targets = _targets(target)
    answers = await asyncio.gather(*map(_ask, targets.values()))
    return join(target, dict(zip(targets, answers, strict=True)), now_ms=time.time_ns() // 1_000_000)


def _targets(target: Target) -> dict[str, Target]:
    """One for each cluster of the stack."""
    if target.stack is None:
        return {"": target}
    clusters: dict[str, Any] = target.stack.get("clusters") or {}
    if len(clusters) < 2:
        return {target.stack["cluster"]: target}
    return {
        name: target
        if facts["control"] == target.address
        else Target(facts["control"], _token(facts["control_token_file"]), target.stack)
        for name, facts in clusters.items()
    }


def _token(path: str) -> str:
    """An empty one is refused by clue, which says what to do."""
    try:
        return Path(path).read_text("ascii").strip()
    except OSError:
        return ""


async def _ask(target: Target) -> Answers:
    directory, diagnosis = clue_pb2.Directory(), clue_pb2.Diagnosis()
    problem = "available"
    try:
        directory = await Control(target).directory()
        if not directory.available:
            problem = "its Redis shard does not answer"
        diagnosis = await Control(target).diagnose()
    except TallgrassError as error:
        if target.stack is None:
            raise
        problem = str(error)
    return Answers(directory, diagnosis, problem)


def join(target: Target, answers: dict[str, Answers], *, now_ms: int) -> Facts:
    """Each process once: with its pid from the stack, its sessions from its cluster's directory."""
    if target.stack is None:
        ((_, told),) = answers.items()
        services = [_remote(registration, now_ms) for registration in told.directory.services]
        services.sort(key=lambda service: (service.cluster, service.service, service.name))
        name = next((one.cluster for one in told.directory.services if one.service == "clue"), "")
        cluster = _cluster(name, {"control": target.address}, told, services)
        return Facts(control=target.address, directory=told.problem, services=services, clusters=[cluster])
    stack = target.stack
    first = stack["cluster"]
    services = [_local(entry, answers, first) for entry in stack["services"]]
    described: dict[str, Any] = stack.get("clusters") or {}
    return Facts(
        control=stack["control"],
        directory=answers[first].problem,
        services=services,
        clusters=[
            _cluster(name, described.get(name, stack), told, [one for one in services if one.cluster == name])
            for name, told in answers.items()
        ],
        **{key: stack[key] for key in _OF_THE_STACK},
    )


def as_json(facts: Facts) -> str:
    return json.dumps(asdict(facts), indent=2)


def as_text(facts: Facts) -> str:
    """One screen. Of several clusters the edges, and of the others those that are not up."""
    lines = []
    several = len(facts.clusters) > 1
    for cluster in facts.clusters:
        lines += ["", *_of_cluster(facts, cluster, brief=several)]
    shared = [service for service in facts.services if several and not service.cluster]
    if shared:
        directory = [shard for cluster in facts.clusters for shard in cluster.shards if shard.directory]
        lines += ["", "shared", *_table(_SERVICE, map(_service_row, shared))]
        lines += ["", *_table(_SHARD, map(_shard_row, directory[:1]))] if directory else []
    return "\n".join(lines).strip("\n")


def _of_cluster(facts: Facts, cluster: Cluster, *, brief: bool) -> list[str]:
    lines = []
    title = f"cluster {cluster.name or 'at ' + cluster.control}"
    if facts.cluster:
        limits = "" if facts.limits else ", LIMITS OFF"
        first = cluster.name == facts.cluster
        doors = (facts.irc, facts.ws, facts.ircs, facts.wss) if first else (cluster.irc, cluster.ws)
        where = "  ".join(text for text in doors if text)
        title += f" (pid {facts.pid}, auth {facts.auth}{limits}): {where}" if first else f": {where}"
    lines.append(f"{title}, {cluster.sessions:,} sessions" if cluster.services else title)
    if cluster.directory != "available":
        lines.append(f"directory: {cluster.directory}")
    if not cluster.shared:
        lines.append("the clusters' directory does not answer: moves and new accounts wait")
    left_out = [one for one in cluster.services if brief and one.service != "edge" and _state(one) == "up"]
    lines += _table(_SERVICE, (_service_row(one) for one in cluster.services if one not in left_out))
    if left_out:
        counts = Counter(service.service for service in left_out)
        lines.append("up: " + ", ".join(f"{count} {service}" for service, count in counts.items()))
    shards = [shard for shard in cluster.shards if not (brief and shard.directory)]
    if shards:
        lines += ["", *_table(_SHARD, map(_shard_row, shards))]
    if cluster.channels:
        rows = [
            (one.name, f"{one.members:,}", f"{one.rate:.1f}", one.home or cluster.name)
            for one in cluster.channels[:_SHOWN]
        ]
        lines += ["", *_table(_CHANNEL, rows)]
    if cluster.homes:
        moved = ", ".join(f"{channel} on {home}" for channel, home in sorted(cluster.homes.items())[:_SHOWN])
        more = f" and {len(cluster.homes) - _SHOWN:,} more" if len(cluster.homes) > _SHOWN else ""
        lines += ["", f"away from home: {moved}{more}"]
    return lines


_SHARD = ("REDIS", "STATE", "KEYS", "MIB", "CONNECTIONS", "COMMANDS/S")
_CHANNEL = ("CHANNEL", "MEMBERS", "LINES/S", "HOME")
_SERVICE = ("NAME", "PID", "STATE", "SESSIONS", "WEIGHT", "LAG MS", "ADDRESSES")


def _service_row(service: Service) -> tuple[str, ...]:
    sessions = "" if service.sessions is None else f"{service.sessions:,}"
    if service.sessions is not None and service.max_sessions:
        sessions += f"/{service.max_sessions:,}"
    return (
        service.name,
        str(service.pid or "-"),
        _state(service),
        sessions,
        "" if not service.weight else f"{service.weight} %",
        "" if service.loop_lag_us is None or service.service != "edge" else f"{service.loop_lag_us / 1e3:.1f}",
        " ".join(f"{name}={address}" for name, address in service.addresses.items()),
    )


def _shard_row(shard: Shard) -> tuple[str, ...]:
    name = f"{shard.name} (directory)" if shard.directory else shard.name
    if not shard.available:
        return (name, f"DOWN: {shard.cause}", "", "", "", "")
    memory = f"{shard.memory_bytes / 1_048_576:.1f}"
    return (name, "up", f"{shard.keys:,}", memory, str(shard.connections), f"{shard.commands_s:,}")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns as wide as they need to be, the last one as long as it is."""
    table = [tuple(head), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in table
    ]


def _cluster(name: str, described: dict[str, Any], told: Answers, services: list[Service]) -> Cluster:
    directory = told.directory
    homes = {home.channel: home.cluster for home in directory.homes}
    return Cluster(
        name=name,
        control=described["control"],
        directory=told.problem,
        irc=described.get("irc", ""),
        ws=described.get("ws", ""),
        shared=directory.shared or not directory.clusters,
        homes=homes,
        channels=channels(directory, homes),
        shards=[_shard(shard) for shard in told.diagnosis.shards],
        services=services,
    )


async def largest(target: Target) -> list[Channel]:
    """The largest channels of a local stack's clusters, as far as these answer; never raises."""
    found: dict[str, Channel] = {}
    for name, one in _targets(target).items():
        try:
            directory = await Control(one).directory()
        except TallgrassError:
            continue
        for channel in channels(directory, {home.channel: home.cluster for home in directory.homes}):
            # Each cluster knows the edges that are its guests: the one with most of them knows most.
            if channel.name not in found or channel.members > found[channel.name].members:
                found[channel.name] = replace(channel, home=channel.home or name)
    return sorted(found.values(), key=lambda channel: (-channel.members, channel.name))


def channels(directory: clue_pb2.Directory, homes: dict[str, str]) -> list[Channel]:
    """The largest ones, as the edges tell: those in the directory, guests as well."""
    members: dict[str, int] = {}
    rates: dict[str, float] = {}
    for edge in directory.services:
        for load in edge.largest:
            members[load.channel] = members.get(load.channel, 0) + load.members
            rates[load.channel] = max(rates.get(load.channel, 0.0), load.rate)  # the same log, seen from several edges
    static = {True: directory.inbox_home, False: directory.default_home}
    found = [
        Channel(name, count, round(rates[name], 1), homes.get(name) or static[name.startswith(("@", "#_"))])
        for name, count in members.items()
    ]
    return sorted(found, key=lambda channel: (-channel.members, channel.name))


def _shard(shard: clue_pb2.ShardFacts) -> Shard:
    return Shard(
        name=shard.name,
        available=shard.available,
        directory=shard.directory,
        keys=shard.keys,
        memory_bytes=int(shard.info.get("used_memory", 0)),
        connections=len(shard.clients),
        commands_s=int(shard.info.get("instantaneous_ops_per_sec", 0)),
        cause=shard.cause,
    )


def _local(entry: dict[str, Any], answers: dict[str, Answers], first: str) -> Service:
    pid = entry["pid"]
    assert pid is None or isinstance(pid, int)
    service = str(entry["service"])
    cluster = str(entry.get("cluster", first))
    told = answers.get(cluster)
    # By pid: that of an earlier process is not this one's, whatever its name.
    current = None
    if told is not None and pid is not None:
        current = next((one for one in told.directory.services if (one.service, one.pid) == (service, pid)), None)
    return Service(
        name=str(entry["name"]),
        service=service,
        pid=pid,
        addresses=dict(entry["addresses"]),
        alive=pid is not None and _runs(pid),
        registered=current is not None,
        loop_lag_us=current.loop_lag_us if current else None,
        draining=current.draining if current else False,
        log=str(entry["log"]),
        cluster=cluster,
        sessions=_of_edge(current, "sessions"),
        weight=_of_edge(current, "weight"),
        max_sessions=_of_edge(current, "max_sessions"),
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
        loop_lag_us=registration.loop_lag_us,
        draining=registration.draining,
        cluster=registration.cluster,
        sessions=_of_edge(registration, "sessions"),
        weight=_of_edge(registration, "weight"),
        max_sessions=_of_edge(registration, "max_sessions"),
    )


def _of_edge(registration: clue_pb2.Registration | None, name: str) -> int | None:
    if registration is None or registration.service != "edge":
        return None
    return int(getattr(registration, name))


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

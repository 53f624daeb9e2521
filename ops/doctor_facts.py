"""What `tallgrass doctor` looks at: one cluster as it is now, gathered from everything that can tell.

Counters are read twice, WINDOW_S apart, and become rates. What does not answer is a fact, too: gathering raises
nothing. Checks (ops/doctor_checks.py) see these values alone.
"""

from __future__ import annotations

import asyncio
import csv
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import grpc.aio
from cryptography import x509

from common import rpc
from common.directory import belongs
from common.errors import RemoteError, TallgrassError
from common.pb import clue_pb2, exchange_pb2, exchange_pb2_grpc
from ops.control import Control, Target
from ops.haproxy_runtime import ask

WINDOW_S = 1.5
_CALL_S = 2.5  # clue itself gives a server 1.5 s
_DAY_S = 86_400

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """One cluster, and the ways to it. The fields after `target` are known of a local stack only."""

    cluster: str        # "": clue shall say
    target: Target
    services: tuple[dict[str, Any], ...] = ()   # its entries of stack.json
    haproxies: tuple[tuple[str, str], ...] = () # name and path of the runtime API's socket
    tls: tuple[str, ...] = ()                   # HOST:PORT of doors with TLS
    statsd: str = ""                            # HOST:PORT; "": the numbers go to `tallgrass top` alone, or nowhere


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection that a Redis server has."""

    address: str
    name: str           # "clue-1@main"; "": unnamed
    age_s: int
    idle_s: int
    internal: bool      # of a replica or a Sentinel

    @property
    def cluster(self) -> str:
        return self.name.rpartition("@")[2] if "@" in self.name else ""


@dataclass(frozen=True, slots=True)
class Redis:
    """One server as one clue sees it."""

    name: str                       # "redis-0@127.0.0.1:7000"
    clue: str                       # who saw it
    available: bool
    cause: str = ""                 # why not
    directory: bool = False         # the directory's, which clusters share
    info: dict[str, str] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    connections: tuple[Connection, ...] = ()
    identity: str = ""
    place: str = ""
    keys: int = 0
    clock_ahead_ms: int = 0         # of clue's clock
    runs: tuple[str, ...] = ()      # run_id each time it was asked
    core_percent: float | None = None   # None: seen once only
    commands_s: float | None = None

    @property
    def address(self) -> str:
        return self.name.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Clue:
    instance: str
    address: str
    problem: str = ""               # it does not answer; the rest is then unknown
    clock_ahead_ms: int = 0         # of the doctor's clock
    statsd: str = ""
    homes_version: int = 0
    shared: bool = True             # the shared directory answered it, or there is none
    redis: tuple[Redis, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    instance: str
    address: str                    # HOST:PORT of its HTTP port
    cluster: str = ""
    problem: str = ""               # it does not answer at all
    not_ready: str = ""             # what /readyz says; "": ready
    draining: bool = False
    sessions: int = 0
    max_sessions: int = 0           # 0: not told
    loop_lag_ms: float = 0.0
    homes_version: int = 0
    grpc_address: str = ""
    clock_ahead_ms: int | None = None   # of the doctor's clock; None: /statusz was not answered
    links: dict[str, float] = field(default_factory=dict)   # exchange to seconds since it was heard; up ones only
    missing: tuple[str, ...] = ()   # exchanges that should deliver to it and do not
    files: int = 0
    max_files: int = 0              # 0: not told


@dataclass(frozen=True, slots=True)
class Link:
    edge: str
    address: str
    up: bool
    queue_bytes: int
    unapplied: int
    silent_ms: int


@dataclass(frozen=True, slots=True)
class Exchange:
    instance: str
    address: str
    problem: str = ""
    took_ms: float = 0.0
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Haproxy:
    name: str
    socket: str
    problem: str = ""
    info: dict[str, str] = field(default_factory=dict)
    rows: tuple[dict[str, str], ...] = ()       # of `show stat`
    # Frontend to its sessions and requests in the window.
    new: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Process:
    """Of this machine."""

    name: str
    service: str
    pid: int | None         # None: not running
    cpu_percent: float = 0.0    # of one core, its main thread
    wait_percent: float = 0.0   # of the time that thread was ready to run and got no core
    files: int = 0
    max_files: int = 0      # soft limit; 0: unknown


@dataclass(frozen=True, slots=True)
class Certificate:
    address: str
    problem: str = ""
    days_left: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    cluster: str
    window_s: float
    problem: str = ""               # why the directory could not be asked at all
    directory_available: bool = True
    clusters: tuple[str, ...] = ()  # that share the directory
    registered: tuple[str, ...] = ()    # "clue/clue-1"
    clues: tuple[Clue, ...] = ()
    edges: tuple[Edge, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    haproxies: tuple[Haproxy, ...] = ()
    processes: tuple[Process, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    statsd: str = ""
    statsd_problem: str = ""

    @property
    def shards(self) -> tuple[Redis, ...]:
        """Each server once, as the first clue that reached it sees it."""
        found: dict[str, Redis] = {}
        for clue in self.clues:
            for redis in clue.redis:
                if redis.name not in found or (redis.available and not found[redis.name].available):
                    found[redis.name] = redis
        return tuple(found.values())


async def gather(place: Place, *, window_s: float = WINDOW_S) -> Facts:
    """Takes about `window_s`, and a few seconds more for what does not answer."""
    control = Control(place.target, timeout_s=_CALL_S)
    problem = ""
    directory = clue_pb2.Directory()
    try:
        directory = await control.directory()
    except TallgrassError as error:
        problem = str(error)
    cluster = place.cluster or next((one.cluster for one in directory.services if one.service == "clue"), "")
    own = [one for one in directory.services if belongs(one, cluster)]
    clue_addresses = _addresses(place, own, "clue")
    exchange_addresses = _addresses(place, own, "exchange")
    if not clue_addresses and not problem:
        clue_addresses = {"clue": place.target.address}
    # Before the window and after it; what lies between is its length.
    before_cpu = {entry["name"]: _cpu_s(entry["pid"]) for entry in place.services}
    cpu_at = time.monotonic()
    before, haproxies = await asyncio.gather(
        _all(_diagnose(place, address) for address in clue_addresses.values()),
        _all(_haproxy(socket) for _, socket in place.haproxies),
    )
    started = time.monotonic()
    edges, exchanges, certificates, (statsd_problem,), _ = await asyncio.gather(
        _all(_edge(one) for one in _edges(place, directory)),
        _all(_exchange(name, address) for name, address in exchange_addresses.items()),
        _all(_certificate(address) for address in place.tls),
        _all([_statsd(place.statsd)]),
        asyncio.sleep(window_s),
    )
    took_s = time.monotonic() - started
    after, haproxies_after = await asyncio.gather(
        _all(_clue(place, name, address) for name, address in clue_addresses.items()),
        _all(_haproxy(socket) for _, socket in place.haproxies),
    )
    cpu_s = time.monotonic() - cpu_at
    return Facts(
        cluster=cluster or next((redis.identity for clue in after for redis in clue.redis if redis.identity), ""),
        window_s=took_s,
        problem=problem,
        directory_available=directory.available or bool(problem),
        clusters=tuple(one.name for one in directory.clusters),
        registered=tuple(f"{one.service}/{one.instance}" for one in own),
        clues=tuple(_rated(clue, earlier, took_s) for clue, earlier in zip(after, before, strict=True)),
        edges=tuple(edges),
        exchanges=tuple(exchanges),
        haproxies=tuple(
            _passed(name, path, first, second)
            for (name, path), first, second in zip(place.haproxies, haproxies, haproxies_after, strict=True)
        ),
        processes=tuple(_process(entry, before_cpu[entry["name"]], cpu_s) for entry in place.services),
        certificates=tuple(certificates),
        statsd=place.statsd,
        statsd_problem=statsd_problem,
    )


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    return list(await asyncio.gather(*work))


def _addresses(place: Place, registered: Iterable[clue_pb2.Registration], service: str) -> dict[str, str]:
    """By instance: those that registered, and those that the stack has started, alive or not."""
    found = {one.instance: one.grpc_address for one in registered if one.service == service}
    for entry in place.services:
        if entry["service"] == service:
            found.setdefault(entry["name"], entry["addresses"]["grpc"])
    return dict(sorted(found.items()))


def _edges(place: Place, directory: clue_pb2.Directory) -> list[clue_pb2.Registration]:
    """Guests, too; and edges that the stack has started and that are not registered."""
    found = [one for one in directory.services if one.service == "edge"]
    known = {one.http_address for one in found}
    for entry in place.services:
        if entry["service"] == "edge" and entry["addresses"]["http"] not in known:
            addresses = entry["addresses"]
            found.append(
                clue_pb2.Registration(
                    service="edge", instance=entry["name"], cluster=place.cluster,
                    http_address=addresses["http"], grpc_address=addresses["grpc"],
                )
            )  # fmt: skip
    return found


# -- clue and Redis -------------------------------------------------------------------------------------------------


async def _diagnose(place: Place, address: str) -> clue_pb2.Diagnosis | str:
    """What clue says, or why it says nothing."""
    try:
        return await Control(Target(address, place.target.token, None), timeout_s=_CALL_S).diagnose()
    except TallgrassError as error:
        return str(error)


async def _clue(place: Place, instance: str, address: str) -> Clue:
    asked_ms = time.time_ns() // 1_000_000
    diagnosis = await _diagnose(place, address)
    middle_ms = (asked_ms + time.time_ns() // 1_000_000) // 2
    if isinstance(diagnosis, str):
        return Clue(instance, address, problem=diagnosis)
    # Redis' answers were put together first; a slow one would look as a wrong clock.
    slow = time.time_ns() // 1_000_000 - asked_ms > 1_000
    try:
        directory = await Control(Target(address, place.target.token, None), timeout_s=_CALL_S).directory()
    except TallgrassError as error:
        return Clue(instance, address, problem=str(error))
    return Clue(
        instance=instance,
        address=address,
        clock_ahead_ms=0 if slow else diagnosis.now_ms - middle_ms,
        statsd=diagnosis.statsd,
        homes_version=directory.homes_version,
        shared=directory.shared or not directory.clusters,
        redis=tuple(_redis(instance, shard) for shard in diagnosis.shards),
    )


def _redis(clue: str, shard: clue_pb2.ShardFacts) -> Redis:
    info = dict(shard.info)
    return Redis(
        name=shard.name,
        clue=clue,
        available=shard.available,
        cause=shard.cause,
        directory=shard.directory,
        info=info,
        config=dict(shard.config),
        connections=tuple(connection(line) for line in shard.clients),
        identity=shard.identity,
        place=shard.place,
        keys=shard.keys,
        clock_ahead_ms=shard.clock_ahead_ms,
        runs=(info.get("run_id", ""),) if shard.available else (),
    )


def connection(line: str) -> Connection:
    """One line of CLIENT LIST."""
    fields = dict(part.split("=", 1) for part in line.split(" ") if "=" in part)
    name, flags = fields.get("name", ""), fields.get("flags", "")
    return Connection(
        address=fields.get("addr", ""),
        name=name,
        age_s=int(fields.get("age", 0)),
        idle_s=int(fields.get("idle", 0)),
        internal="S" in flags or "M" in flags or name.startswith("sentinel-"),
    )


def _rated(clue: Clue, before: clue_pb2.Diagnosis | str, seconds: float) -> Clue:
    """With rates of the window in it."""
    if isinstance(before, str) or clue.problem:
        return clue
    earlier = {shard.name: shard for shard in before.shards if shard.available}
    return replace(clue, redis=tuple(_rated_redis(redis, earlier.get(redis.name), seconds) for redis in clue.redis))


def _rated_redis(redis: Redis, before: clue_pb2.ShardFacts | None, seconds: float) -> Redis:
    if before is None or not redis.available:
        return redis
    first = before.info.get("run_id", "")
    if first != redis.runs[0]:
        return replace(redis, runs=(first, *redis.runs))
    core_s = _core_s(redis.info) - _core_s(before.info)
    commands = int(redis.info["total_commands_processed"]) - int(before.info["total_commands_processed"])
    # By the server's own clock: an answer that was late does not count as idle time.
    own_s = (int(redis.info.get("server_time_usec", 0)) - int(before.info.get("server_time_usec", 0))) / 1e6
    if own_s > 0.1:
        seconds = own_s
    return replace(redis, core_percent=100 * core_s / seconds, commands_s=commands / seconds)


def _core_s(info: Any) -> float:
    """CPU that the main thread has used; older servers tell only what all threads have."""
    names = ("used_cpu_user_main_thread", "used_cpu_sys_main_thread")
    if names[0] not in info:
        names = ("used_cpu_user", "used_cpu_sys")
    return sum(float(info[name]) for name in names)


# -- edges and exchanges --------------------------------------------------------------------------------------------


async def _edge(registration: clue_pb2.Registration) -> Edge:
    address = registration.http_address
    known = Edge(
        instance=registration.instance,
        address=address,
        cluster=registration.cluster,
        draining=registration.draining,
        sessions=registration.sessions,
        max_sessions=registration.max_sessions,
        loop_lag_ms=registration.loop_lag_us / 1e3,
        homes_version=registration.homes_version,
        grpc_address=registration.grpc_address,
    )
    timeout = aiohttp.ClientTimeout(total=_CALL_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.get(f"http://{address}/readyz") as answer:
                not_ready = "" if answer.status == 200 else (await answer.text()).strip() or f"status {answer.status}"
            asked_ms = time.time_ns() // 1_000_000
            async with session.get(f"http://{address}/statusz") as answer:
                status = await answer.json() if answer.status == 200 else None
            middle_ms = (asked_ms + time.time_ns() // 1_000_000) // 2
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return replace(known, problem=str(error) or type(error).__name__)
    if status is None:
        return replace(known, not_ready=not_ready)
    return replace(
        known,
        not_ready=not_ready,
        clock_ahead_ms=status["now_ms"] - middle_ms,
        links={link["exchange"]: link["silent_s"] for link in status["links"] if link["up"]},
        missing=tuple(status["missing"]),
        files=status["files"],
        max_files=status["max_files"],
    )


async def _exchange(instance: str, address: str) -> Exchange:
    started = time.monotonic()
    async with rpc.channel(address) as link:
        try:
            stub = exchange_pb2_grpc.ExchangeStub(link)
            reply = await stub.GetLinks(exchange_pb2.LinksRequest(), timeout=_CALL_S)
        except grpc.aio.AioRpcError as error:
            return Exchange(instance, address, problem=rpc.remote_error(instance, "GetLinks", error).cause)
    return Exchange(
        instance,
        address,
        took_ms=(time.monotonic() - started) * 1e3,
        links=tuple(
            Link(one.edge, one.address, one.up, one.queue_bytes, one.unapplied, one.silent_ms) for one in reply.links
        ),
    )


# -- HAProxy --------------------------------------------------------------------------------------------------------


async def _haproxy(path: str) -> tuple[dict[str, str], list[dict[str, str]]] | str:
    """`show info` and `show stat`, or why not."""
    try:
        info, stat = await ask(path, ("show info", "show stat"), within_s=_CALL_S)
    except RemoteError as error:
        return error.cause
    facts = dict(line.split(": ", 1) for line in info.splitlines() if ": " in line)
    rows = list(csv.DictReader(stat.removeprefix("# ").splitlines()))
    return facts, rows


def _passed(name: str, path: str, before: Any, after: Any) -> Haproxy:
    if isinstance(after, str):
        return Haproxy(name, path, problem=after)
    info, rows = after
    new: dict[str, tuple[int, int]] = {}
    if not isinstance(before, str):
        earlier = {row["pxname"]: row for row in before[1] if row["svname"] == "FRONTEND"}
        for row in rows:
            if row["svname"] == "FRONTEND" and (first := earlier.get(row["pxname"])) is not None:
                sessions = number(row["stot"]) - number(first["stot"])
                new[row["pxname"]] = (sessions, number(row["req_tot"]) - number(first["req_tot"]))
    return Haproxy(name, path, info=info, rows=tuple(rows), new=new)


def number(text: str | None) -> int:
    """A field of `show stat`; an empty one is 0."""
    return int(text or 0)


# -- this machine ---------------------------------------------------------------------------------------------------


def _process(entry: dict[str, Any], before_s: tuple[float, float], seconds: float) -> Process:
    name, service, pid = entry["name"], entry["service"], entry["pid"]
    if pid is None or not os.path.isdir(f"/proc/{pid}"):
        return Process(name, service, None)
    try:
        files = len(os.listdir(f"/proc/{pid}/fd"))
        limits = Path(f"/proc/{pid}/limits").read_text("ascii")
    except OSError:  # another user's
        return Process(name, service, pid)
    (limit,) = [line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")]
    ran_s, waited_s = _cpu_s(pid)
    return Process(
        name, service, pid,
        cpu_percent=100 * (ran_s - before_s[0]) / seconds,
        wait_percent=100 * (waited_s - before_s[1]) / seconds,
        files=files,
        max_files=int(limit) if limit.isdigit() else 0,
    )  # fmt: skip


def _cpu_s(pid: int | None) -> tuple[float, float]:
    """Since its start: how long its main thread ran, and how long it waited for a core; 0 when that is not told."""
    try:
        ran_ns, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text("ascii").split()
    except (OSError, ValueError):
        return 0.0, 0.0
    return int(ran_ns) / 1e9, int(waited_ns) / 1e9


async def _certificate(address: str) -> Certificate:
    """Of whoever answers TLS there."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # an expired one is to be read, too
    try:
        async with asyncio.timeout(_CALL_S):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        try:
            found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.close()
    except (OSError, TimeoutError) as error:
        return Certificate(address, problem=str(error) or type(error).__name__)
    ends = x509.load_der_x509_certificate(found).not_valid_after_utc
    return Certificate(address, days_left=(ends.timestamp() - time.time()) / _DAY_S)


async def _statsd(address: str) -> str:
    """Why nobody listens there, as far as can be told of UDP: this machine's, or a host's refusal."""
    host, _, port = address.rpartition(":")
    if not host:
        return ""

    def probe() -> str:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.connect((host, int(port)))
                for _ in range(3):  # the refusal of the first one is told with the next
                    sender.send(b"\n")  # nothing to count
                    time.sleep(0.1)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    return await asyncio.to_thread(probe)


def places(stack: dict[str, Any], target: Target, data: Path, token_of: Any) -> Sequence[Place]:
    """The clusters of a local stack. `token_of(path)` reads a control token's file."""
    clusters = stack.get("clusters") or {stack["cluster"]: {**stack, "control_token_file": ""}}
    found = []
    for name, facts in clusters.items():
        # What belongs to no cluster (the directory's Redis, statsd) is looked at with the first one.
        belonging = (name, "") if name == stack["cluster"] else (name,)
        services = tuple(entry for entry in stack["services"] if entry.get("cluster", name) in belonging)
        token_file = facts.get("control_token_file", "")
        token = token_of(token_file) if token_file else target.token
        statsd = stack.get("statsd", "")
        found.append(
            Place(
                cluster=name,
                target=Target(facts["control"], token, stack),
                services=services,
                haproxies=tuple(_sockets(services, data, facts["haproxy_socket"])),
                tls=tuple(_tls(facts)),
                statsd="" if statsd == stack.get("top") else statsd,
            )
        )
    return found


def _sockets(services: Iterable[dict[str, Any]], data: Path, first: str) -> Iterable[tuple[str, str]]:
    """Of each HAProxy; stack.json names the first one's alone."""
    for entry in services:
        if entry["service"] == "haproxy":
            own = data / entry["name"] / "haproxy.sock"
            if own.exists():
                yield entry["name"], str(own)
            elif first:
                yield entry["name"], first


def _tls(facts: dict[str, Any]) -> Iterable[str]:
    for key in ("ircs", "wss"):
        if facts.get(key):
            yield facts[key].rpartition("/")[2]

"""What can be wrong with a cluster, and what to do then. Pure: facts in, results out, one function a check.

In the order in which a message meets things, as one looks for a fault: the door, edges, clue, Redis, exchanges, links
back to the edges, the directory; then what all of them stand on. Bounds are named, with their reason.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ops.doctor_facts import Edge, Facts, Haproxy, Redis, number


class Level(enum.IntEnum):
    OK = 0
    WARN = 1    # works, and may not for long
    BAD = 2     # somebody is hurt by it, or will be at the next fault


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    where: str      # instance and address
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Result:
    hop: str
    check: str
    ok: str                         # what was looked at, when nothing is wrong
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        return max((finding.level for finding in self.findings), default=Level.OK)


Found = Iterator[Finding]

# A server uses one core; waiting grows faster than load from 80 % on (see the alert).
CORE_BAD, CORE_WARN = 80.0, 60.0
# Fewer say nothing about how keys and commands are spread.
ENOUGH_KEYS, ENOUGH_COMMANDS_S = 1_000, 200.0
# clue keeps at most four to a server (clue/redis_shards.py).
CONNECTIONS_OF_ONE = 8
IDLE_S, IDLE_MANY = 60, 50  # ours are closed after a minute
FULL_BAD, FULL_WARN = 0.85, 0.70
CLOCK_BAD_MS, CLOCK_WARN_MS = 2_000, 500  # the first as in common/clock_check.py
# Our services keep their connections: a new one a second is a restart, not a habit.
NEW_SESSIONS_S, REQUESTS_A_SESSION = 3.0, 5.0
SILENT_S = 3.0  # an exchange sends a heartbeat a second, and edges call it silent then
SLOW_CALL_MS = 200.0
QUEUE_BYTES = 1_048_576
LAG_MS = 50.0
CPU_PERCENT = 85.0
CERTIFICATE_DAYS = 14


# -- the door -------------------------------------------------------------------------------------------------------


def door_servers(facts: Facts) -> Found:
    """HAProxy answers, and all servers of its pools are up."""
    for haproxy in facts.haproxies:
        if haproxy.problem:
            yield Finding(
                Level.BAD, f"{haproxy.name}, {haproxy.socket}", f"HAProxy does not answer ({haproxy.problem})",
                f"`tallgrass logs {haproxy.name}` says why; `tallgrass up` starts it again",
            )  # fmt: skip
        for row in _servers(haproxy):
            status = row["status"].split()[0]
            where = f"{haproxy.name}, {row['pxname']}/{row['svname']} {row['addr']}"
            if status == "DOWN":
                yield Finding(
                    Level.BAD, where, f"the server is down: {row['last_chk'] or row['check_status'] or 'no check'}",
                    f"`tallgrass logs {row['svname']}`; is it running, does its port answer (/readyz of an edge)?",
                )  # fmt: skip
            elif status in ("MAINT", "DRAIN", "NOLB"):
                yield Finding(
                    Level.WARN, where, f"takes nothing new ({row['status']})",
                    "wait for its drain to end, or give it back: `tallgrass drain --back`",
                )  # fmt: skip


def door_room(facts: Facts) -> Found:
    """Nothing in HAProxy is near its maxconn, and nothing waits for a place."""
    for haproxy in facts.haproxies:
        current, most = number(haproxy.info.get("CurrConns")), number(haproxy.info.get("Maxconn"))
        yield from _full(
            current, most, haproxy.name, "connections of HAProxy's maxconn",
            "raise maxconn and the process' descriptor limit (ulimit -n), or add a HAProxy",
        )  # fmt: skip
        for row in haproxy.rows:
            where = f"{haproxy.name}, {row['pxname']}/{row['svname']}"
            if row["svname"] != "BACKEND" and number(row["slim"]) not in (0, most):
                yield from _full(
                    number(row["scur"]), number(row["slim"]), where, "connections of its maxconn",
                    "raise that maxconn, or add servers",
                )  # fmt: skip
            if number(row["qcur"]):
                yield Finding(
                    Level.BAD, where, f"{row['qcur']} connections wait for a place", "raise its maxconn, or add servers"
                )


def keep_alive(facts: Facts) -> Found:
    """Callers of the inner pools keep their connections: many calls go over each."""
    for haproxy in facts.haproxies:
        for row in haproxy.rows:
            name = row["pxname"]
            if row["svname"] != "FRONTEND" or not _inner(name):
                continue
            new, calls = haproxy.new.get(name, (0, 0))
            if new >= NEW_SESSIONS_S * facts.window_s and calls < REQUESTS_A_SESSION * new:
                yield Finding(
                    Level.BAD, f"{haproxy.name}, {name}",
                    f"{new / facts.window_s:.0f} new connections a second for {calls / facts.window_s:.0f} calls: "
                    "somebody connects for each call, with no keep-alive",
                    "find who: `ss -tnp` towards that port; services keep one rpc.channel (common/rpc.py)",
                )  # fmt: skip


def certificates(facts: Facts) -> Found:
    for found in facts.certificates:
        if found.problem:
            yield Finding(Level.BAD, found.address, f"no TLS there ({found.problem})", "see the edges' logs")
        elif found.days_left < CERTIFICATE_DAYS:
            level = Level.BAD if found.days_left < 0 else Level.WARN
            told = f"expired {-found.days_left:.0f} days ago: clients refuse it"
            yield Finding(
                level, found.address,
                told if found.days_left < 0 else f"the certificate expires in {found.days_left:.1f} days",
                "renew it and send the edges SIGHUP: nobody is disconnected",
            )  # fmt: skip


# -- edges ----------------------------------------------------------------------------------------------------------


def edges_ready(facts: Facts) -> Found:
    """Every edge answers, takes users, and is in the directory."""
    for edge in _own_edges(facts):
        where = f"{edge.instance}@{edge.address}"
        if edge.problem:
            yield Finding(
                Level.BAD, where, f"it does not answer ({edge.problem})",
                f"`tallgrass logs {edge.instance}`: is it running, is it busy?",
            )  # fmt: skip
        elif edge.draining:
            yield Finding(Level.WARN, where, "it drains", "wait, or `tallgrass drain --back`")
        elif edge.not_ready:
            yield Finding(
                Level.BAD, where, f"it takes no users: {edge.not_ready}", "the checks below say what it lacks"
            )
    if facts.problem or not facts.directory_available:
        return
    known = set(facts.registered)
    for edge in _own_edges(facts):
        if f"edge/{edge.instance}" not in known and not edge.problem:
            yield Finding(
                Level.BAD, f"{edge.instance}@{edge.address}", "it is not in the directory: exchanges do not dial it",
                "does it reach clue (TALLGRASS_CLUE_ADDRESS)? Its log says register_failed",
            )  # fmt: skip


def edges_room(facts: Facts) -> Found:
    """No edge is nearly full, or later than users bear."""
    for edge in _own_edges(facts):
        where = f"{edge.instance}@{edge.address}"
        yield from _full(
            edge.sessions, edge.max_sessions, where, "sessions of as many as its descriptors allow",
            "add edges, or raise its descriptor limit (ulimit -n, LimitNOFILE=)",
        )  # fmt: skip
        if edge.loop_lag_ms > LAG_MS:
            yield Finding(
                Level.WARN, where, f"its event loop is {edge.loop_lag_ms:.0f} ms late",
                "it has more than it can do, or another process has its core: add edges, or drain it",
            )  # fmt: skip


# -- clue -----------------------------------------------------------------------------------------------------------


def clue_answers(facts: Facts) -> Found:
    if facts.problem:
        yield Finding(Level.BAD, f"clues of {facts.cluster}", facts.problem, "is a clue running? `tallgrass status`")
    for clue in facts.clues:
        if clue.problem:
            yield Finding(
                Level.BAD, f"{clue.instance}@{clue.address}", clue.problem, f"`tallgrass logs {clue.instance}` says why"
            )


# -- Redis ----------------------------------------------------------------------------------------------------------


def redis_answers(facts: Facts) -> Found:
    """Every clue reaches every server, and it is this cluster's and a primary."""
    for clue in facts.clues:
        for redis in clue.redis:
            if not redis.available:
                yield Finding(
                    Level.BAD, redis.name, f"{clue.instance} does not reach it: {redis.cause}",
                    "is it running? From one clue only: that clue's network; from all: that server",
                )  # fmt: skip
    for redis in facts.shards:
        if not redis.available:
            continue
        if redis.info.get("role", "master") != "master":
            yield Finding(
                Level.BAD, redis.name, f"it is a {redis.info['role']}: nothing can be written",
                "promote it (REPLICAOF NO ONE), or list its primary in TALLGRASS_REDIS_SHARDS",
            )  # fmt: skip
        wanted = "directory" if redis.directory else facts.cluster
        if redis.identity and redis.identity != wanted:
            yield Finding(
                Level.BAD, redis.name, f"it belongs to {redis.identity!r}, not to {wanted!r}",
                "correct TALLGRASS_REDIS_SHARDS: clusters share no Redis",
            )  # fmt: skip


def redis_sharding(facts: Facts) -> Found:
    """Several servers, each asked directly: a balancer cannot spread keys, it does not speak Redis."""
    shards = _own_shards(facts)
    runs: dict[str, set[str]] = {}
    for clue in facts.clues:
        for redis in clue.redis:
            runs.setdefault(redis.name, set()).update(redis.runs)
    for name, seen in runs.items():
        if len(seen) > 1:
            yield Finding(
                Level.BAD, name, f"{len(seen)} different servers answer at this address: a balancer stands before them",
                "name each server in TALLGRASS_REDIS_SHARDS: keys are sharded by clue (common/sharding.py)",
            )  # fmt: skip
    behind = [redis for redis in shards if redis.available and _proxied(redis)]
    for redis in behind:
        alone = ", and it is the only one: one core for everything" if len(shards) == 1 else ""
        yield Finding(
            Level.BAD if alone else Level.WARN, redis.name,
            f"a server with port {redis.info['tcp_port']} answers: a balancer or proxy stands before it{alone}",
            "name the servers themselves in TALLGRASS_REDIS_SHARDS",
        )  # fmt: skip
    if len(shards) == 1 and not behind:
        yield Finding(
            Level.WARN, shards[0].name, "it is the only shard: one core for everything",
            "two or more servers in TALLGRASS_REDIS_SHARDS, on a machine with a core for each",
        )  # fmt: skip
    owners: dict[str, str] = {}
    for redis in shards:
        run = redis.runs[-1] if redis.runs else ""
        if run and owners.setdefault(run, redis.name) != redis.name:
            yield Finding(
                Level.BAD, redis.name, f"it is the same server as {owners[run]}",
                "a server may stand once in TALLGRASS_REDIS_SHARDS",
            )  # fmt: skip


def redis_balance(facts: Facts) -> Found:
    """Keys and commands are spread over the shards."""
    shards = [redis for redis in _own_shards(facts) if redis.available]
    if len(shards) < 2:
        return
    most = min(0.8, 2 / len(shards))  # of all, that one may have
    keys = sum(redis.keys for redis in shards)
    commands_s = sum(redis.commands_s or 0.0 for redis in shards)
    for redis in shards:
        if keys >= ENOUGH_KEYS and redis.keys > most * keys:
            yield Finding(
                Level.WARN, redis.name, f"it holds {redis.keys / keys:.0%} of {keys:,} keys",
                "keys are spread by hash tag: many of one tag, or keys that are not ours (`redis-cli --bigkeys`)",
            )  # fmt: skip
        if commands_s >= ENOUGH_COMMANDS_S and (redis.commands_s or 0.0) > most * commands_s:
            yield Finding(
                Level.WARN, redis.name,
                f"it gets {(redis.commands_s or 0.0) / commands_s:.0%} of {commands_s:,.0f} commands a second",
                "a channel lives on one shard: `tallgrass move` a hot one (`tallgrass top` names them), or look for a "
                "foreign client",
            )  # fmt: skip


def redis_core(facts: Facts) -> Found:
    for redis in facts.shards:
        percent = redis.core_percent
        if percent is not None and percent >= CORE_WARN:
            level = Level.BAD if percent >= CORE_BAD else Level.WARN
            yield Finding(
                level, redis.name, f"it uses {percent:.0f} % of its one core",
                "`redis-cli SLOWLOG GET` and the connections below say what for; more shards, or move a hot channel",
            )  # fmt: skip


def redis_connections(facts: Facts) -> Found:
    """Who is connected: only services of this cluster, each with a few, and few that do nothing."""
    known = {name.partition("/")[2] for name in facts.registered}
    for redis in facts.shards:
        allowed = set(facts.clusters) | {facts.cluster} if redis.directory else {facts.cluster}
        # One of this second may not have told its name yet.
        outside = [one for one in redis.connections if not one.internal and one.age_s > 0]
        owners = Counter(one.name for one in outside)
        idle = Counter(one.name for one in outside if one.idle_s >= IDLE_S)
        for owner, count in owners.most_common():
            cluster = owner.rpartition("@")[2] if "@" in owner else ""
            address = next(one.address for one in outside if one.name == owner)
            where = f"{redis.name}, {owner or 'unnamed'} from {address.rpartition(':')[0]}"
            told = f"{count} connections, {idle[owner]} of them idle for a minute"
            if cluster and cluster not in allowed:
                yield Finding(
                    Level.BAD, where, f"a service of cluster {cluster!r} is connected: {told}",
                    "shut it off; correct its TALLGRASS_REDIS_SHARDS: clusters share no Redis",
                )  # fmt: skip
            elif not cluster:
                yield Finding(
                    Level.WARN, where, f"no service of ours: {told}",
                    f"find it (`ss -tnp` towards {redis.address}) and end it; only clue talks to Redis",
                )  # fmt: skip
            elif count > CONNECTIONS_OF_ONE:
                yield Finding(
                    Level.WARN, where, f"{told}; a clue needs four", "restart it; is it one process, or several?"
                )
            elif known and not redis.directory and owner.rpartition("@")[0] not in known:
                yield Finding(
                    Level.WARN, where, f"it is not in the directory: {told}", "an old process that was not stopped?"
                )
        if sum(idle.values()) > IDLE_MANY:
            yield Finding(
                Level.WARN, redis.name, f"{sum(idle.values())} of {len(outside)} connections are idle for a minute",
                "the owners above keep too many open",
            )  # fmt: skip
        yield from _full(
            len(redis.connections), number(redis.config.get("maxclients")), redis.name, "connections of its maxclients",
            "end those that are not needed, or raise maxclients",
        )  # fmt: skip


def redis_durable(facts: Facts) -> Found:
    """What was acknowledged survives the server."""
    for redis in facts.shards:
        config, info = redis.config, redis.info
        if not redis.available or not config:
            continue
        if config.get("appendonly") != "yes":
            yield Finding(
                Level.BAD, redis.name, "its append-only file is off: what senders were told is in the log dies with it",
                "CONFIG SET appendonly yes, and in its redis.conf",
            )  # fmt: skip
        elif config.get("appendfsync") == "no":
            yield Finding(
                Level.WARN, redis.name, "appendfsync is no: a power cut loses about half a minute",
                "CONFIG SET appendfsync everysec",
            )  # fmt: skip
        if info.get("aof_enabled") == "1" and info.get("aof_last_write_status", "ok") != "ok":
            yield Finding(
                Level.BAD, redis.name, "its last write to the append-only file failed", "look at its disk: is it full?"
            )


def redis_memory(facts: Facts) -> Found:
    """A full server refuses writes, which clue tells; it must not throw away users and logs."""
    for redis in facts.shards:
        config, info = redis.config, redis.info
        bound, policy = number(config.get("maxmemory")), config.get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            yield Finding(
                Level.BAD if bound else Level.WARN, redis.name,
                f"maxmemory-policy is {policy}: when it is full it throws away users and logs",
                "CONFIG SET maxmemory-policy noeviction",
            )  # fmt: skip
        if number(info.get("evicted_keys")):
            yield Finding(
                Level.BAD, redis.name, f"it has thrown away {info['evicted_keys']} keys",
                "maxmemory-policy noeviction, and more memory; `tallgrass verify` channels that matter",
            )  # fmt: skip
        if bound:
            yield from _full(
                number(info.get("used_memory")), bound, redis.name, "bytes of maxmemory",
                "raise maxmemory, or add shards",
            )  # fmt: skip


# -- exchanges and links --------------------------------------------------------------------------------------------


def exchange_answers(facts: Facts) -> Found:
    for exchange in facts.exchanges:
        where = f"{exchange.instance}@{exchange.address}"
        if exchange.problem:
            yield Finding(
                Level.BAD, where, f"it does not answer ({exchange.problem})", f"`tallgrass logs {exchange.instance}`"
            )
        elif exchange.took_ms > SLOW_CALL_MS:
            yield Finding(
                Level.WARN, where, f"a call that does nothing took {exchange.took_ms:.0f} ms",
                "it has more than it can do: add exchanges, or give it a core",
            )  # fmt: skip


def links(facts: Facts) -> Found:
    """Every exchange delivers to every edge, and none lags."""
    for exchange in facts.exchanges:
        if exchange.problem:
            continue
        by_address = {link.address: link for link in exchange.links}
        for edge in facts.edges:
            where = f"{exchange.instance}@{exchange.address} to {edge.instance}@{edge.grpc_address}"
            if edge.draining or edge.problem:
                continue
            link = by_address.get(edge.grpc_address)
            if link is None or not link.up:
                state = "does not know it" if link is None else "dials it in vain"
                yield Finding(
                    Level.BAD, where, f"no link: the exchange {state}, and the edge polls the log instead",
                    "is the edge in the directory, and its link port reachable from there? Both logs name the cause",
                )  # fmt: skip
            elif link.silent_ms > SILENT_S * 1e3:
                yield Finding(
                    Level.BAD, where, f"the edge was last heard {link.silent_ms / 1e3:.1f} s ago",
                    "the edge is stopped or has more than it can do",
                )  # fmt: skip
            elif link.queue_bytes > QUEUE_BYTES:
                yield Finding(
                    Level.WARN, where, f"{link.queue_bytes:,} bytes wait: the edge does not keep up",
                    "look at that edge: loop lag, CPU; drain it or add edges",
                )  # fmt: skip
    for edge in facts.edges:
        where = f"{edge.instance}@{edge.grpc_address}"
        if edge.draining or edge.problem:
            continue
        for missing in edge.missing:
            yield Finding(
                Level.BAD, where, f"{missing} does not deliver to it: it polls the log instead",
                f"is {missing} running and not stopped? `tallgrass logs {missing} {edge.instance}`",
            )  # fmt: skip
        for exchange_name, silent_s in edge.links.items():
            if silent_s > SILENT_S and exchange_name not in edge.missing:
                yield Finding(
                    Level.BAD, where, f"{exchange_name} is silent for {silent_s:.1f} s",
                    f"`tallgrass logs {exchange_name}`: is it stopped, or has it more than it can do?",
                )  # fmt: skip


# -- the directory --------------------------------------------------------------------------------------------------


def directory(facts: Facts) -> Found:
    """Services find each other, and all know where channels live."""
    if not facts.problem and not facts.directory_available:
        yield Finding(
            Level.BAD, f"cluster {facts.cluster}", "the shard with the directory does not answer clue: services that "
            "start now are found by nobody", "see the Redis checks: it is the shard of {directory}",
        )  # fmt: skip
    for clue in facts.clues:
        if not clue.problem and not clue.shared:
            yield Finding(
                Level.BAD, f"{clue.instance}@{clue.address}",
                "the clusters' shared directory does not answer: moves and new accounts wait",
                "start its Redis (TALLGRASS_DIRECTORY); chat goes on meanwhile",
            )  # fmt: skip
    versions = {clue.homes_version for clue in facts.clues if not clue.problem}
    if len(versions) > 1:
        told = ", ".join(f"{clue.instance} {clue.homes_version}" for clue in facts.clues if not clue.problem)
        yield Finding(
            Level.WARN, f"cluster {facts.cluster}", f"clues know different homes of channels: {told}",
            "a moment after a move that is normal; else one of them does not reach the directory: its log says so",
        )  # fmt: skip
    newest = max(versions, default=0)
    for edge in _own_edges(facts):
        if not edge.problem and edge.homes_version != newest and newest:
            yield Finding(
                Level.WARN, f"{edge.instance}@{edge.address}",
                f"it knows homes of version {edge.homes_version}, clue of {newest}: a detour to moved channels",
                "a few seconds after a move that is normal; else it does not reach clue: its log says register_failed",
            )  # fmt: skip


# -- what they stand on ---------------------------------------------------------------------------------------------


def processes(facts: Facts) -> Found:
    for process in facts.processes:
        if process.pid is None:
            yield Finding(
                Level.BAD, process.name, "it does not run",
                f"`tallgrass logs {process.name}` says why; `tallgrass up` starts it again",
            )  # fmt: skip
        elif process.service in ("edge", "clue", "exchange"):
            used, waits = process.cpu_percent, process.wait_percent
            if used + waits > CPU_PERCENT:
                yield Finding(
                    Level.WARN, f"{process.name}, pid {process.pid}",
                    f"its event loop wants {used + waits:.0f} % of a core, and waits {waits:.0f} % of the time for one",
                    f"add more of its kind (--{process.service}s), or cores: a machine needs one for each busy process",
                )  # fmt: skip


def descriptors(facts: Facts) -> Found:
    for process in facts.processes:
        yield from _full(
            process.files, process.max_files, f"{process.name}, pid {process.pid}", "descriptors",
            "raise its limit (ulimit -n, LimitNOFILE=), or add another one",
        )  # fmt: skip
    local = {process.name for process in facts.processes}
    for edge in _own_edges(facts):
        if edge.instance not in local:
            yield from _full(
                edge.files, edge.max_files, f"{edge.instance}@{edge.address}", "descriptors",
                "raise its limit (ulimit -n, LimitNOFILE=), or add another one",
            )  # fmt: skip


def clocks(facts: Facts) -> Found:
    """Time-outs of users, slow mode and the times in tags go by clue's clock, and delays are told across two."""
    ahead = {f"{clue.instance}@{clue.address}": clue.clock_ahead_ms for clue in facts.clues if not clue.problem}
    for clue in facts.clues:
        for redis in clue.redis:
            if redis.available:
                ahead.setdefault(redis.name, redis.clock_ahead_ms + clue.clock_ahead_ms)
    for edge in _own_edges(facts):
        if edge.clock_ahead_ms is not None:
            ahead[f"{edge.instance}@{edge.address}"] = edge.clock_ahead_ms
    for where, ms in ahead.items():
        if abs(ms) >= CLOCK_WARN_MS:
            direction = "ahead of" if ms > 0 else "behind"
            yield Finding(
                Level.BAD if abs(ms) >= CLOCK_BAD_MS else Level.WARN, where,
                f"its clock is {abs(ms) / 1e3:.1f} s {direction} this machine's", "run an NTP client there",
            )  # fmt: skip


def statsd(facts: Facts) -> Found:
    if facts.statsd_problem:
        yield Finding(
            Level.WARN, f"statsd@{facts.statsd}", f"nobody listens there ({facts.statsd_problem}): metrics are lost",
            "start statsd, or correct --statsd",
        )  # fmt: skip


Check = Callable[[Facts], Iterable[Finding]]

CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("door", "servers", door_servers),
    ("door", "room", door_room),
    ("door", "certificates", certificates),
    ("edge", "ready", edges_ready),
    ("edge", "room", edges_room),
    ("clue", "answers", clue_answers),
    ("clue", "keep-alive", keep_alive),
    ("redis", "answers", redis_answers),
    ("redis", "sharding", redis_sharding),
    ("redis", "balance", redis_balance),
    ("redis", "core", redis_core),
    ("redis", "connections", redis_connections),
    ("redis", "durability", redis_durable),
    ("redis", "memory", redis_memory),
    ("exchange", "answers", exchange_answers),
    ("exchange", "links", links),
    ("all", "directory", directory),
    ("all", "processes", processes),
    ("all", "descriptors", descriptors),
    ("all", "clocks", clocks),
    ("all", "statsd", statsd),
)


def examine(facts: Facts) -> list[Result]:
    """All checks, in order."""
    well = _well(facts)
    return [Result(hop, name, well[hop, name], tuple(check(facts))) for hop, name, check in CHECKS]


def _well(facts: Facts) -> dict[tuple[str, str], str]:
    """What each check has looked at, for the line that says ok."""
    shards = _own_shards(facts)
    calls = {name: passed for haproxy in facts.haproxies for name, passed in haproxy.new.items() if _inner(name)}
    links = sum(link.up for exchange in facts.exchanges for link in exchange.links)
    full = max((process.files / process.max_files for process in facts.processes if process.max_files), default=0.0)
    versions = ", ".join(sorted({str(clue.homes_version) for clue in facts.clues}))
    return {
        ("door", "servers"): _count(sum(len(list(_servers(haproxy))) for haproxy in facts.haproxies), "server"),
        ("door", "room"): ", ".join(
            f"{one.info.get('CurrConns')} of {one.info.get('Maxconn')} connections" for one in facts.haproxies
        ),
        ("door", "certificates"): ", ".join(f"{one.days_left:.0f} days" for one in facts.certificates) or "no TLS",
        ("edge", "ready"): _count(len(_own_edges(facts)), "edge"),
        ("edge", "room"): _count(sum(edge.sessions for edge in _own_edges(facts)), "session"),
        ("clue", "answers"): _count(len(facts.clues), "clue"),
        ("clue", "keep-alive"): f"{_count(sum(made for _, made in calls.values()), 'call')} over "
        + _count(sum(new for new, _ in calls.values()), "new connection"),
        ("redis", "answers"): _count(len(facts.shards), "server"),
        ("redis", "sharding"): _count(len(shards), "shard"),
        ("redis", "balance"): f"{sum(redis.keys for redis in shards):,} keys, "
        f"{sum(redis.commands_s or 0.0 for redis in shards):,.0f} commands/s",
        ("redis", "core"): ", ".join(f"{redis.core_percent or 0.0:.0f} %" for redis in facts.shards),
        ("redis", "connections"): ", ".join(str(len(redis.connections)) for redis in facts.shards),
        ("redis", "durability"): ", ".join(sorted({one.config.get("appendfsync", "not told") for one in facts.shards})),
        ("redis", "memory"): ", ".join(redis.info.get("used_memory_human", "not told") for redis in facts.shards),
        ("exchange", "answers"): _count(len(facts.exchanges), "exchange"),
        ("exchange", "links"): _count(links, "link"),
        ("all", "directory"): f"homes version {versions}" if facts.clusters else "of this cluster alone",
        ("all", "processes"): _count(len(facts.processes), "local process", "local processes"),
        ("all", "descriptors"): f"at most {full:.0%} used",
        ("all", "clocks"): "within half a second",
        ("all", "statsd"): facts.statsd or "metrics go to `tallgrass top` alone",
    }


def _servers(haproxy: Haproxy) -> Iterable[dict[str, str]]:
    return [row for row in haproxy.rows if row["svname"] not in ("FRONTEND", "BACKEND")]


def _inner(frontend: str) -> bool:
    """A pool that only services of ours ask."""
    return "clue" in frontend or "exchange" in frontend


def _own_edges(facts: Facts) -> list[Edge]:
    """Without guests: their own clusters tell of them."""
    return [edge for edge in facts.edges if edge.cluster in ("", facts.cluster)]


def _own_shards(facts: Facts) -> list[Redis]:
    return [redis for redis in facts.shards if not redis.directory]


def _proxied(redis: Redis) -> bool:
    """The server does not listen where clue connects to (a container's published port looks the same)."""
    port = redis.address.rpartition(":")[2]
    return redis.info.get("tcp_port", port) not in (port, "0")


def _full(used: int, most: int, where: str, of: str, fix: str) -> Found:
    """`most` 0: not known, or without a bound."""
    if most and used >= FULL_WARN * most:
        level = Level.BAD if used >= FULL_BAD * most else Level.WARN
        yield Finding(level, where, f"{used:,} of {most:,} {of} are used", fix)


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"

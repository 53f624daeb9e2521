"""Redis, sharded by key: a list of plain servers, or of primaries that Sentinels name, or Redis Cluster, behind one
interface.

`Shards.at(key)` names the shard, `Shard.call(commands)` sends. What a shard promises:

1. Commands of one call are sent together and in order; calls that arrive while a pipeline is under way go in the next
   one. One pipeline at a time is under way.
2. A command that fails costs no other command anything: its reply is a RemoteError.
3. A shard that cannot be reached fails all calls at once, without waiting, until a probe (5 a second) finds it back.
   A call that meets the loss itself waits for at most the time-outs below.
4. Nothing is sent twice. (redis-py's own retries are off: only a batch number makes a repeat safe.) A command that
   failed with the connection may have been carried out or not.
5. A shard of another cluster is never used: see `claim`.
6. A replica is never used, not even to read: one that is not promoted yet, or a primary that was replaced, is lost.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from clue import keys, scripts
from clue.homes import DIRECTORY
from clue.scripts import Command
from common import sharding
from common.batcher import Batcher
from common.errors import ConfigError, RemoteError
from common.log import Log
from common.metrics import Metrics

CONNECTIONS = 4  # of one shard; the pipeline takes one, probes another
CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 1.5  # of a pipeline: less than the 2 s of an edge's try, so that it learns which channels failed
SLOW_MS = 200  # of a pipeline, which takes 1 to 5; a sender begins to notice
PROBE_S = 0.2
IDLE_S = 60.0  # connections of a shard that was not asked for so long are closed
_CALLS = 256  # in one pipeline; what one call holds is bounded by the batch it serves

_FOREIGN = (RedisError, OSError)

Pending = Command | Callable[[], Command]  # a callable is asked when the pipeline is written, not before
Reply = Any  # what Redis answered, or a RemoteError


class Shard:
    """One server. `name` is what logs and errors call it: "redis-0@127.0.0.1:7000"."""

    def __init__(
        self,
        name: str,
        execute: Callable[[list[Command]], Awaitable[list[Any]]],
        *,
        label: str,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.name = name
        self.label = label  # in metric names: its number, or its address
        self.last_used = time.monotonic()
        self.down: RemoteError | None = RemoteError(name, "pipeline", "not probed yet")
        self._lost_at = float("-inf")
        self._execute = execute
        self._metrics = metrics
        self._log = log.bind(remote=name)
        self._batcher: Batcher[Sequence[Pending], list[Reply]] = Batcher(self._pipeline, limit=_CALLS)

    def call(self, commands: Sequence[Pending]) -> asyncio.Future[list[Reply]]:
        """Send commands; the future has their replies in order, or raises RemoteError: the shard was not reached."""
        if self.down is not None:
            self._metrics.count(f"redis.{self.label}.errors", len(commands))
            failed: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
            failed.set_exception(self.down)
            failed.exception()  # a caller that went away leaves nobody to read it
            return failed
        return self._batcher.put(commands)

    async def call_one(self, command: Command) -> Reply:
        """Send one command. Raises RemoteError."""
        reply = (await self.call((command,)))[0]
        if isinstance(reply, RemoteError):
            raise reply
        return reply

    @property
    def lost_for_s(self) -> float:
        """Seconds since it was lost; only of a shard that is down."""
        return time.monotonic() - self._lost_at

    def lost(self, error: RemoteError) -> None:
        """Fail all calls with `error` until a probe finds the shard back."""
        if self.down is None:
            self._lost_at = time.monotonic()
        if self.down is None or self.down.cause != error.cause:
            self._log.error("shard lost", operation=error.operation, cause=error.cause)
        self.down = error

    def found(self) -> None:
        if self.down is not None:
            self._log.info("shard found")
        self.down = None

    async def close(self) -> None:
        await self._batcher.close()

    async def _pipeline(self, calls: list[Sequence[Pending]]) -> list[list[Reply]]:
        if self.down is not None:  # lost while these waited
            self._metrics.count(f"redis.{self.label}.errors", sum(map(len, calls)))
            raise self.down
        commands = [c() if callable(c) else c for call in calls for c in call]
        started = self.last_used = time.monotonic()
        try:
            replies = await self._send(commands)
        finally:
            took_ms = (time.monotonic() - started) * 1000
            self._metrics.count(f"redis.{self.label}.commands", len(commands))
            self._metrics.timing(f"redis.{self.label}.ms", took_ms)
            if took_ms > SLOW_MS:
                cause = f"a pipeline took over {SLOW_MS} ms"
                self._log.warning("shard slow", operation="pipeline", cause=cause, ms=round(took_ms))
        results = []
        at = 0
        for call in calls:
            results.append(replies[at : at + len(call)])
            at += len(call)
        return results

    async def _send(self, commands: list[Command]) -> list[Reply]:
        try:
            replies = await self._execute(commands)
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                # A new or restarted server. A script that it does not know was not run: sending it again is safe.
                # EVAL also teaches it.
                sources = [_with_source(commands[i]) for i in unknown]
                for i, reply in zip(unknown, await self._execute(sources), strict=True):
                    replies[i] = reply
        except _FOREIGN as error:
            self._metrics.count(f"redis.{self.label}.errors", len(commands))
            remote = RemoteError(self.name, "pipeline", f"{type(error).__name__}: {error}")
            self.lost(remote)
            raise remote from error
        for i, reply in enumerate(replies):
            if isinstance(reply, Exception):
                replies[i] = self._translate(commands[i], reply)
                if isinstance(reply, ReadOnlyError):
                    self.lost(replies[i])
        return replies

    def _translate(self, command: Command, error: Exception) -> RemoteError:
        self._metrics.count(f"redis.{self.label}.errors")
        remote = RemoteError(self.name, str(command[0]), f"{type(error).__name__}: {error}")
        self._log.error("command failed", operation=command[0], key=command[3:4], cause=remote.cause)
        return remote


def _pack(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows one-tuples only
    return packed


class _Connection(Connection):
    """One that can be written to without a time-out of its own: redis-py's makes a task for each write."""

    async def write(self, packed: bytes) -> None:
        """On any error, and when it is cancelled, the connection is closed."""
        assert self._writer is not None  # it is connected
        try:
            self._writer.write(packed)
            await self._writer.drain()
        except BaseException:
            await self.disconnect(nowait=True)
            raise


async def _read(connection: AbstractConnection) -> Any:
    """One reply; a command's own error is a reply. On any other, and when it is cancelled, the connection is closed.

    Without a time-out of its own: setting one for each reply was 6 % of clue's CPU (tests/bench/clue_submit.py).
    """
    try:
        return await connection.read_response(timeout=math.inf)
    except ResponseError as error:
        return error


def _with_source(command: Command) -> Command:
    return ("EVAL", scripts.SOURCES[str(command[1])], *command[2:])


class Shards(Protocol):
    """All servers. Built by `connect`; `run` must be running for lost shards to come back."""

    def at(self, key: str) -> Shard:
        """The shard that holds `key`. Two keys of one tag always share it."""

    def all(self) -> Sequence[Shard]: ...

    async def run(self) -> None: ...

    async def close(self) -> None: ...


async def connect(
    *,
    servers: Sequence[str],
    sentinels: Sequence[str],
    cluster_seeds: Sequence[str],
    cluster: str,
    instance: str,
    metrics: Metrics,
    log: Log,
) -> Shards:
    """Reach the servers and claim them for `cluster`. With `sentinels`, `servers` are the names they know them by.

    Those out of reach are left to `run`. Raises ConfigError when one belongs to another cluster.
    """
    shards: PlainShards | ClusterShards
    if cluster_seeds:
        shards = ClusterShards(cluster_seeds, cluster=cluster, instance=instance, metrics=metrics, log=log)
    else:
        shards = PlainShards(servers, sentinels, cluster=cluster, instance=instance, metrics=metrics, log=log)
    try:
        await shards.probe()
    except BaseException:
        await shards.close()
        raise
    return shards


async def connect_directory(address: str, *, cluster: str, instance: str, metrics: Metrics, log: Log) -> Shards:
    """The Redis server that clusters share (clue/shared.py), as one shard. Raises ConfigError if it is a cluster's."""
    try:
        server = PlainShards((address,), cluster=cluster, instance=instance, metrics=metrics, log=log, shared=True)
        try:
            await server.probe()
        except BaseException:
            await server.close()
            raise
    except ConfigError as error:
        raise ConfigError(f"TALLGRASS_DIRECTORY={address!r} cannot be used: {error}") from None
    return server


def _options(cluster: str, instance: str) -> dict[str, Any]:
    return {
        "client_name": f"{instance}@{cluster}",
        "protocol": 2,  # no push messages, nothing to negotiate
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": READ_TIMEOUT_S,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
    }


async def _greet(connection: AbstractConnection) -> None:
    """A new connection's first words. Raises RedisConnectionError at a replica: its log may be an older one."""
    await connection.on_connect()
    await connection.send_command("ROLE")
    role = (await connection.read_response())[0]
    if role != b"master":
        raise RedisConnectionError(f"it is a {role.decode()}, not the primary")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"{text!r} is no Redis address: give HOST:PORT")
    return host, int(port)


async def claim(client: Any, cluster: str, name: str) -> None:
    """Write our cluster's name into a server that has none. Raises ConfigError when it has another's."""
    await client.set(keys.IDENTITY, cluster, nx=True)
    found = (await client.get(keys.IDENTITY)).decode()
    if found != cluster and cluster == DIRECTORY:
        raise ConfigError(
            f"{name} belongs to cluster {found!r}: the directory is a Redis server of its own, which no cluster keeps "
            f"its data on"
        )
    if found != cluster and found == DIRECTORY:
        raise ConfigError(
            f"{name} is the directory that clusters share, and no place for the data of cluster {cluster!r}. Correct "
            f"TALLGRASS_REDIS_SHARDS (or TALLGRASS_REDIS_CLUSTER)."
        )
    if found != cluster:
        raise ConfigError(
            f"{name} belongs to cluster {found!r}, and this clue to {cluster!r}: clusters share no Redis. "
            f"Correct TALLGRASS_REDIS_SHARDS (or TALLGRASS_REDIS_CLUSTER), or, when the data is no longer "
            f"needed, empty that server."
        )


async def _take_place(client: Any, place: str, name: str) -> None:
    """Write into a server which one of the list it is. Raises ConfigError when it was another: keys would be looked for
    where they are not.
    """
    await client.set(keys.PLACE, place, nx=True)
    found = (await client.get(keys.PLACE)).decode()
    if found != place:
        raise ConfigError(
            f"{name} is listed as shard {place}, and its data was made as shard {found}: the order and the number of "
            f"servers in TALLGRASS_REDIS_SHARDS are part of the data. Restore the list."
        )


class _Connections:
    """Those to one primary, wherever it is at the moment."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._address: tuple[str, int] | None = None
        self._pool: BlockingConnectionPool | None = None
        # The pipeline's, between two of them. To take it from the pool and give it back each time, and to write with a
        # time-out of its own, was 10 % of clue's CPU for a batch of one line [2.74 to 2.47 ms at 50 a second]. Who
        # comes while it is in use asks the pool.
        self._kept: _Connection | None = None

    async def go_to(self, address: tuple[str, int]) -> bool:
        """True: it was elsewhere before; connections to there are ended."""
        if address == self._address:
            return False
        moved = self._address is not None
        await self.close()
        self._kept = None  # one that was kept while we waited: it is closed, and would connect to the old address
        self._address = address
        self._pool = BlockingConnectionPool(
            host=address[0],
            port=address[1],
            max_connections=CONNECTIONS,
            timeout=CONNECT_TIMEOUT_S,
            connection_class=_Connection,
            redis_connect_func=_greet,
            **self._options,
        )
        return moved

    @property
    def client(self) -> Redis:
        assert self._pool is not None
        return Redis(connection_pool=self._pool)

    async def close_idle(self) -> None:
        if self._pool is not None:
            await self._release_kept(self._pool)
            await self._pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        if self._pool is not None:
            await self._release_kept(self._pool)
            await self._pool.disconnect()

    async def execute(self, commands: list[Command]) -> list[Any]:
        # What Redis.pipeline does, with the commands packed by hiredis: redis-py's asyncio packs them in Python,
        # which was a third of clue's CPU (tests/bench/clue_submit.py).
        pool = self._pool
        assert pool is not None  # a shard that was never found is down
        connection, self._kept = self._kept, None
        if connection is None:
            connection = await pool.get_connection()
        try:
            if not connection.is_connected or await connection.can_read():  # its end, if Redis has closed it
                await pool.ensure_connection(connection)
            async with asyncio.timeout(READ_TIMEOUT_S):
                await connection.write(b"".join(map(_pack, commands)))
                replies = [await _read(connection) for _ in commands]
        except BaseException as error:
            await pool.release(connection)
            if isinstance(error, TimeoutError):
                raise RedisTimeoutError(f"no answer within {READ_TIMEOUT_S} s") from None
            raise
        if self._kept is None and self._pool is pool:
            self._kept = connection
        else:
            await pool.release(connection)
        return replies

    async def _release_kept(self, pool: BlockingConnectionPool) -> None:
        connection, self._kept = self._kept, None
        if connection is not None:
            await pool.release(connection)


class _Plain:
    """One server of the list."""

    def __init__(
        self, number: int, text: str, options: dict[str, Any], metrics: Metrics, log: Log, label: str = ""
    ) -> None:
        self.text = text  # of the configuration
        self.connections = _Connections(options)
        self.number = number
        name = f"{label}@{text}" if label else f"redis-{number}@{text}"
        self.shard = Shard(name, self.connections.execute, label=label or str(number), metrics=metrics, log=log)


class PlainShards:
    """A fixed list of servers; whole lanes go to a server (common/sharding.py).

    With Sentinels a server is a name, and they say where its primary is: asked at the start and after each loss.
    """

    def __init__(
        self,
        servers: Sequence[str],
        sentinels: Sequence[str] = (),
        *,
        cluster: str,
        instance: str,
        metrics: Metrics,
        log: Log,
        shared: bool = False,
    ) -> None:
        """`shared`: it is the directory, which belongs to no cluster."""
        if not 1 <= len(servers) <= sharding.LANES:
            raise ConfigError(f"TALLGRASS_REDIS_SHARDS names {len(servers)} servers: 1 to {sharding.LANES} will do")
        self._identity = DIRECTORY if shared else cluster
        options = _options(cluster, instance)
        self._sentinels = None
        if sentinels:
            self._sentinels = Sentinel([_address(text) for text in sentinels], sentinel_kwargs=options)
        else:
            for text in servers:
                _address(text)
        self._log = log
        label = DIRECTORY if shared else ""
        self._plain = [_Plain(i, text, options, metrics, log, label) for i, text in enumerate(servers)]
        self._shards = [plain.shard for plain in self._plain]

    def at(self, key: str) -> Shard:
        return self._shards[sharding.shard(key, len(self._shards))]

    def all(self) -> Sequence[Shard]:
        return self._shards

    async def probe(self) -> None:
        """Look for the lost ones. Raises ConfigError when one that answers is another cluster's: it stays lost."""
        lost = [self._probe(plain) for plain in self._plain if plain.shard.down is not None]
        for error in await asyncio.gather(*lost):
            if error is not None:
                raise error

    async def run(self) -> None:
        await _watch(self)

    async def close_idle(self, since: float) -> None:
        for plain in self._plain:
            if plain.shard.last_used < since:
                await plain.connections.close_idle()

    async def close(self) -> None:
        for plain in self._plain:
            await plain.shard.close()
            await plain.connections.close()
        if self._sentinels is not None:
            for sentinel in self._sentinels.sentinels:
                await sentinel.aclose()

    async def _probe(self, plain: _Plain) -> ConfigError | None:
        try:
            host, port = await self._locate(plain.text)
            if await plain.connections.go_to((host, port)):
                cause = "it has another primary: what was written last may be missing"
                self._log.warning(
                    "shard moved", remote=plain.shard.name, operation="connect", to=f"{host}:{port}", cause=cause
                )
            client = plain.connections.client
            await claim(client, self._identity, plain.shard.name)
            await _take_place(client, f"{plain.number} of {len(self._plain)}", plain.shard.name)
        except _FOREIGN as error:
            plain.shard.lost(RemoteError(plain.shard.name, "connect", f"{type(error).__name__}: {error}"))
        except ConfigError as error:
            plain.shard.lost(RemoteError(plain.shard.name, "connect", str(error)))
            return error
        else:
            plain.shard.found()
        return None

    async def _locate(self, text: str) -> tuple[str, int]:
        if self._sentinels is None:
            return _address(text)
        host, port = await self._sentinels.discover_master(text)
        return str(host), int(port)


class _Node:
    """One node of a Redis Cluster that is a primary, or was."""

    def __init__(self, shards: ClusterShards, host: str, port: int, options: dict[str, Any]) -> None:
        self.address = (host, port)
        self.connections = _Connections(options)
        self._shards = shards
        label = f"{host}_{port}".replace(".", "_").replace(":", "_")
        self.shard = Shard(f"redis@{host}:{port}", self._execute, label=label, metrics=shards.metrics, log=shards.log)

    async def _execute(self, commands: list[Command]) -> list[Any]:
        return await self._shards.redirected(commands, await self.connections.execute(commands))


class ClusterShards:
    """Redis Cluster: one shard a node.

    Who serves which slot is asked of any node, at the start, after each loss, and when a node says that a slot is not
    its own. While a slot's keys are on two nodes, scripts on it fail (TRYAGAIN), and whoever sent them tries again.
    """

    def __init__(self, seeds: Sequence[str], *, cluster: str, instance: str, metrics: Metrics, log: Log) -> None:
        self.metrics = metrics
        self.log = log
        self._cluster = cluster
        self._options = _options(cluster, instance)
        self._seeds = [_address(seed) for seed in seeds]
        self._name = f"redis@{','.join(seeds)}"
        self._nodes: dict[tuple[str, int], _Node] = {}
        self._owners: list[_Node | None] = [None] * sharding.SLOTS
        self._claimed = False
        self._outdated = True  # what we know of the slots
        self._unreached = Shard(self._name, self._nowhere, label="cluster", metrics=metrics, log=log)

    def at(self, key: str) -> Shard:
        owner = self._owners[sharding.slot(key)]
        return self._unreached if owner is None else owner.shard

    def all(self) -> Sequence[Shard]:
        return [node.shard for node in self._primaries()] or [self._unreached]

    async def probe(self) -> None:
        """Learn who serves what, and look for lost nodes. Raises ConfigError when it is another cluster's."""
        if not self._outdated and all(node.shard.down is None for node in self._primaries()):
            return
        await self._learn()
        identity = self._owners[sharding.slot(keys.IDENTITY)]
        for node in sorted(self._primaries(), key=lambda node: node is not identity):
            if node.shard.down is None:
                continue
            try:
                await node.connections.go_to(node.address)
                if node is identity:
                    await claim(node.connections.client, self._cluster, self._name)
                    self._claimed = True
                else:
                    await node.connections.client.ping()
            except _FOREIGN as error:
                node.shard.lost(RemoteError(node.shard.name, "connect", f"{type(error).__name__}: {error}"))
            else:
                if self._claimed or node is identity:
                    node.shard.found()

    async def run(self) -> None:
        await _watch(self)

    async def close_idle(self, since: float) -> None:
        for node in self._nodes.values():
            if node.shard.last_used < since:
                await node.connections.close_idle()

    async def close(self) -> None:
        for node in self._nodes.values():
            await node.shard.close()
            await node.connections.close()

    async def redirected(self, commands: list[Command], replies: list[Any]) -> list[Any]:
        """Replies with those that say "not here" replaced by what the right node answers: they were not carried out."""
        elsewhere: dict[_Node, list[int]] = {}
        for i, reply in enumerate(replies):
            if isinstance(reply, AskError):  # a MovedError is one, too
                node = self._node(reply.host, reply.port)
                elsewhere.setdefault(node, []).append(i)
                if isinstance(reply, MovedError):
                    self._owners[reply.slot_id] = node
                    self._outdated = True
            elif isinstance(reply, ClusterDownError):
                self._outdated = True
        for node, places in elsewhere.items():
            asked: list[Command] = []
            for i in places:
                if not isinstance(replies[i], MovedError):
                    asked.append(("ASKING",))
                asked.append(commands[i])
            try:
                await node.connections.go_to(node.address)
                answers = iter(await node.connections.execute(asked))
            except _FOREIGN as error:
                for i in places:
                    replies[i] = error
                continue
            for i in places:
                if not isinstance(replies[i], MovedError):
                    next(answers)
                replies[i] = next(answers)
            node.shard.found()
        return replies

    def _primaries(self) -> list[_Node]:
        return list(dict.fromkeys(node for node in self._owners if node is not None))

    def _node(self, host: str, port: int) -> _Node:
        node = self._nodes.get((host, port))
        if node is None:
            node = self._nodes[host, port] = _Node(self, host, port, self._options)
        return node

    async def _learn(self) -> None:
        """Ask one node after the other, those that answered last first, until one knows."""
        known = sorted(self._nodes.values(), key=lambda node: node.shard.down is not None)
        cause = "no seed"
        for host, port in dict.fromkeys([*(node.address for node in known), *self._seeds]):
            try:
                async with Redis(host=host, port=port, **self._options) as client:
                    ranges = await client.execute_command("CLUSTER", "SLOTS")
            except _FOREIGN as error:
                cause = f"{type(error).__name__}: {error}"
                continue
            owners: list[_Node | None] = [None] * sharding.SLOTS
            for first, last, (ip, its_port, *_), *_ in ranges:
                owners[first : last + 1] = [self._node(ip.decode() if ip else host, its_port)] * (last + 1 - first)
            self._owners = owners
            self._outdated = None in owners
            if self._outdated:
                cause = f"{owners.count(None)} slots are not served, says {host}:{port}"
            break
        if self._outdated:
            self._unreached.lost(RemoteError(self._name, "connect", cause))
        else:
            self._unreached.found()

    async def _nowhere(self, commands: list[Command]) -> list[Any]:
        raise RedisConnectionError("no node serves the slot")


class _Watched(Protocol):
    async def probe(self) -> None: ...
    async def close_idle(self, since: float) -> None: ...


async def _watch(shards: _Watched) -> None:
    while True:
        await asyncio.sleep(PROBE_S)
        try:
            await shards.probe()
        except ConfigError:
            pass  # a server came back as another cluster's: it stays lost, and the log says why
        await shards.close_idle(time.monotonic() - IDLE_S)

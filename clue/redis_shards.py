"""Redis, sharded by key: a list of plain servers, or Redis Cluster, behind one interface.

`Shards.at(key)` names the shard, `Shard.call(commands)` sends. What a shard promises:

1. Commands of one call are sent together and in order; calls that arrive while a pipeline is under way go in the next
   one. One pipeline at a time is under way.
2. A command that fails costs no other command anything: its reply is a RemoteError.
3. A shard that cannot be reached fails all calls at once, without waiting, until a probe (5 a second) finds it back.
   A call that meets the loss itself waits for at most the time-outs below.
4. Nothing is sent twice. (redis-py's own retries are off: only a batch number makes a repeat safe.) A command that
   failed with the connection may have been carried out or not.
5. A shard of another cluster is never used: see `claim`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from clue import keys, scripts
from clue.scripts import Command
from common import sharding
from common.batcher import Batcher
from common.errors import ConfigError, RemoteError
from common.log import Log
from common.metrics import Metrics

CONNECTIONS = 4  # of one shard; the pipeline takes one, probes another
CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 1.5  # under the 2 s that an edge gives one try of a batch, so that it learns which channels failed
PROBE_S = 0.2
IDLE_S = 60.0  # connections of a shard that was not asked for so long are closed
_CALLS = 256  # in one pipeline; what one call holds is bounded by the batch it serves

_FOREIGN = (RedisError, RedisClusterException, OSError)  # the second is no RedisError

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
        self.last_used = time.monotonic()
        self.down: RemoteError | None = RemoteError(name, "pipeline", "not probed yet")
        self._execute = execute
        self._metrics = metrics
        self._log = log.bind(remote=name)
        self._commands, self._ms, self._errors = (f"redis.{label}.{what}" for what in ("commands", "ms", "errors"))
        self._batcher: Batcher[Sequence[Pending], list[Reply]] = Batcher(self._pipeline, limit=_CALLS)

    def call(self, commands: Sequence[Pending]) -> asyncio.Future[list[Reply]]:
        """Send commands; the future has their replies in order, or raises RemoteError: the shard was not reached."""
        if self.down is not None:
            self._metrics.count(self._errors, len(commands))
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

    def lost(self, error: RemoteError) -> None:
        """Fail all calls with `error` until a probe finds the shard back."""
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
            self._metrics.count(self._errors, sum(map(len, calls)))
            raise self.down
        commands = [c() if callable(c) else c for call in calls for c in call]
        started = self.last_used = time.monotonic()
        replies = await self._send(commands)
        self._metrics.count(self._commands, len(commands))
        self._metrics.timing(self._ms, (time.monotonic() - started) * 1000)
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
            self._metrics.count(self._errors, len(commands))
            remote = RemoteError(self.name, "pipeline", f"{type(error).__name__}: {error}")
            self.lost(remote)
            raise remote from error
        for i, reply in enumerate(replies):
            if isinstance(reply, Exception):
                replies[i] = self._translate(commands[i], reply)
        return replies

    def _translate(self, command: Command, error: Exception) -> RemoteError:
        self._metrics.count(self._errors)
        remote = RemoteError(self.name, str(command[0]), f"{type(error).__name__}: {error}")
        self._log.error("command failed", operation=command[0], key=command[3:4], cause=remote.cause)
        return remote


def _pack(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows one-tuples only
    return packed


async def _read(connection: AbstractConnection) -> Any:
    """One reply; a command's own error is a reply. On any other the connection is closed."""
    try:
        return await connection.read_response()
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
    *, servers: Sequence[str], cluster_seeds: Sequence[str], cluster: str, instance: str, metrics: Metrics, log: Log
) -> Shards:
    """Reach the servers and claim them for `cluster`.

    Those out of reach are left to `run`. Raises ConfigError when one belongs to another cluster.
    """
    shards: PlainShards | ClusterShards
    if cluster_seeds:
        shards = ClusterShards(cluster_seeds, cluster=cluster, instance=instance, metrics=metrics, log=log)
    else:
        shards = PlainShards(servers, cluster=cluster, instance=instance, metrics=metrics, log=log)
    try:
        await shards.probe()
    except BaseException:
        await shards.close()
        raise
    return shards


def _options(cluster: str, instance: str) -> dict[str, Any]:
    return {
        "client_name": f"{instance}@{cluster}",
        "protocol": 2,  # no push messages, nothing to negotiate
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": READ_TIMEOUT_S,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
    }


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"{text!r} is no Redis address: give HOST:PORT")
    return host, int(port)


async def claim(client: Any, cluster: str, name: str) -> None:
    """Write our cluster's name into a server that has none. Raises ConfigError when it has another's."""
    await client.set(keys.IDENTITY, cluster, nx=True)
    found = (await client.get(keys.IDENTITY)).decode()
    if found != cluster:
        raise ConfigError(
            f"{name} belongs to cluster {found!r}, and this clue to {cluster!r}: clusters share no Redis. "
            f"Correct TALLGRASS_REDIS_SHARDS (or TALLGRASS_REDIS_CLUSTER), or, when the data is no longer "
            f"needed, empty that server."
        )


class _Plain:
    """One server of the list with its client."""

    def __init__(self, client: Redis, pool: BlockingConnectionPool, shard: Shard) -> None:
        self.client = client
        self.pool = pool
        self.shard = shard


class PlainShards:
    """A fixed list of servers; whole lanes go to a server (common/sharding.py)."""

    def __init__(self, servers: Sequence[str], *, cluster: str, instance: str, metrics: Metrics, log: Log) -> None:
        if not 1 <= len(servers) <= sharding.LANES:
            raise ConfigError(f"TALLGRASS_REDIS_SHARDS names {len(servers)} servers: 1 to {sharding.LANES} will do")
        self._cluster = cluster
        self._plain = [self._open(i, text, instance, metrics, log) for i, text in enumerate(servers)]
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
                await plain.pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        for plain in self._plain:
            await plain.shard.close()
            await plain.pool.aclose()

    def _open(self, number: int, text: str, instance: str, metrics: Metrics, log: Log) -> _Plain:
        host, port = _address(text)
        pool = BlockingConnectionPool(
            host=host,
            port=port,
            max_connections=CONNECTIONS,
            timeout=CONNECT_TIMEOUT_S,
            **_options(self._cluster, instance),
        )
        client = Redis(connection_pool=pool)

        async def execute(commands: list[Command]) -> list[Any]:
            # What Redis.pipeline does, with the commands packed by hiredis: redis-py's asyncio packs them in Python,
            # which was a third of clue's CPU (tests/bench/clue_submit.py).
            connection = await pool.get_connection()
            try:
                await connection.send_packed_command([b"".join(map(_pack, commands))])
                return [await _read(connection) for _ in commands]
            finally:
                await pool.release(connection)

        name = f"redis-{number}@{text}"
        return _Plain(client, pool, Shard(name, execute, label=str(number), metrics=metrics, log=log))

    async def _probe(self, plain: _Plain) -> ConfigError | None:
        try:
            await claim(plain.client, self._cluster, plain.shard.name)
        except _FOREIGN as error:
            plain.shard.lost(RemoteError(plain.shard.name, "connect", f"{type(error).__name__}: {error}"))
        except ConfigError as error:
            plain.shard.lost(RemoteError(plain.shard.name, "connect", str(error)))
            return error
        else:
            plain.shard.found()
        return None


class ClusterShards:
    """Redis Cluster: one shard a node; where a slot is, and that it has moved, redis-py knows."""

    def __init__(self, seeds: Sequence[str], *, cluster: str, instance: str, metrics: Metrics, log: Log) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._log = log
        self._seeds = ",".join(seeds)
        self._client = RedisCluster(
            startup_nodes=[ClusterNode(*_address(seed)) for seed in seeds],
            max_connections=CONNECTIONS,
            require_full_coverage=False,
            **_options(cluster, instance),
        )
        self._shards: dict[str, Shard] = {}
        self._unreached = Shard(f"redis@{self._seeds}", self._execute, label="cluster", metrics=metrics, log=log)
        self._ready = False

    def at(self, key: str) -> Shard:
        if not self._ready:
            return self._unreached
        try:
            node = self._client.get_node_from_key(key)
        except _FOREIGN:
            node = None  # a slot that no node serves
        if node is None:
            return self._unreached
        return self._shards.get(node.name) or self._add(node.name)

    def all(self) -> Sequence[Shard]:
        return list(self._shards.values()) or [self._unreached]

    async def probe(self) -> None:
        """Learn the topology, and look for lost nodes. Raises ConfigError when it is another cluster's."""
        if self._ready and all(shard.down is None for shard in self._shards.values()):
            return
        try:
            if self._ready:
                await self._client.nodes_manager.initialize()
            else:
                await self._client.initialize()
            await claim(self._client, self._cluster, f"redis@{self._seeds}")
        except _FOREIGN as error:
            self._unreached.lost(RemoteError(self._unreached.name, "connect", f"{type(error).__name__}: {error}"))
            return
        self._ready = True
        primaries = {node.name: node for node in self._client.get_primaries()}
        self._shards = {name: shard for name, shard in self._shards.items() if name in primaries}
        for name, node in primaries.items():
            shard = self._shards.get(name) or self._add(name)
            try:
                await node.execute_command("PING")
            except _FOREIGN as error:
                shard.lost(RemoteError(shard.name, "connect", f"{type(error).__name__}: {error}"))
            else:
                shard.found()

    async def run(self) -> None:
        await _watch(self)

    async def close_idle(self, since: float) -> None:
        for name, shard in list(self._shards.items()):
            node = self._client.get_node(node_name=name)
            if node is not None and shard.last_used < since:
                await node.disconnect_free_connections()

    async def close(self) -> None:
        for shard in self._shards.values():
            await shard.close()
        await self._client.aclose()

    def _add(self, name: str) -> Shard:
        label = name.replace(".", "_").replace(":", "_")
        shard = Shard(f"redis@{name}", self._execute, label=label, metrics=self._metrics, log=self._log)
        shard.down = None
        self._shards[name] = shard
        return shard

    async def _execute(self, commands: list[Command]) -> list[Any]:
        pipeline = self._client.pipeline()
        for command in commands:
            pipeline.execute_command(*command)
        replies = await pipeline.execute(raise_on_error=False)
        if replies and all(isinstance(reply, (RedisConnectionError, RedisTimeoutError)) for reply in replies):
            raise replies[0]
        return replies


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

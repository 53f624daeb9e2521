"""Wiring: builds clue's parts, starts them in order, stops them in order."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from clue import limiter, redis_shards
from clue.channel_log import ChannelLogs
from clue.commits import Commits
from clue.config import ClueConfig
from clue.control import ControlService
from clue.directory import REGISTER_S, DirectoryStore
from clue.effects import Effects
from clue.gathering import Gathering
from clue.joins import Joiner
from clue.operations import Operations
from clue.presence import Presence
from clue.publisher import Publisher
from clue.ranks import RanksReader
from clue.recent import RecentLines
from clue.rooms import Rooms
from clue.service import ClueService
from clue.shard_watch import ShardWatch
from clue.submit import Submitter
from clue.users import Users
from clue.vocabularies import Vocabularies
from common import lifecycle, rpc
from common.clock import Clock, SystemClock
from common.clock_check import ClockCheck
from common.errors import ConfigError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2, clue_pb2_grpc
from common.process_metrics import ProcessMetrics

STOP_CALLS_S = 3.0  # for calls under way when it stops
STOP_PUBLISH_S = 2.0  # then for what no exchange has taken yet


class Running:
    """A clue that serves. `port` is the one it listens on."""

    def __init__(self, port: int, metrics: Metrics) -> None:
        self.port = port
        self.metrics = metrics


@asynccontextmanager
async def running(config: ClueConfig, *, clock: Clock | None = None) -> AsyncIterator[Running]:
    """Serve for the length of the block. Raises ConfigError when the settings cannot be served."""
    clock = clock or SystemClock()
    log = Log()
    metrics = Metrics(f"tallgrass.{config.cluster}.clue.{config.instance}")
    shards = await redis_shards.connect(
        servers=config.redis_shards,
        sentinels=config.redis_sentinels,
        cluster_seeds=config.redis_cluster,
        cluster=config.cluster,
        instance=config.instance,
        metrics=metrics,
        log=log,
    )
    if not config.limits:
        log.warning("limits are off", cause="TALLGRASS_LIMITS=off: for benches only")
    users = Users(shards, clock, metrics, open_mode=config.auth == "open")
    rooms = Rooms(shards, users)
    logs = ChannelLogs(shards)
    presence = Presence(shards, RanksReader(rooms).read, metrics)
    directory = DirectoryStore(shards)
    publisher = Publisher(config.exchange_address, metrics=metrics, log=log)
    recent = RecentLines()
    vocabularies = Vocabularies(shards)
    limits = replace(limiter.ON, lockout_ms=config.lockout_s * 1000) if config.limits else limiter.OFF
    commits = Commits(shards, clock, recent, publisher.publish)
    submitter = Submitter(
        rooms,
        logs,
        publisher,
        Gathering(shards, rooms, users, logs, recent, limits=limits, metrics=metrics),
        commits,
        Effects(commits, rooms, users),
        vocabularies,
        limits=limits,
        clock=clock,
        metrics=metrics,
        log=log,
    )
    metrics.gauge("publish.waiting", lambda: len(publisher))
    metrics.gauge("channels", lambda: len(rooms.cache))
    watched = () if config.redis_cluster else shards.all()
    watch = ShardWatch(watched, cluster=config.cluster, metrics=metrics, log=log)

    server = rpc.server()
    clue_pb2_grpc.add_ClueServicer_to_server(
        ClueService(users, submitter, Joiner(rooms, users, metrics), logs, presence, directory), server
    )
    if config.control_token:
        operations = Operations(shards, rooms, users, commits, clock, metrics)
        control = ControlService(config.control_token, users, operations, submitter, vocabularies, directory, clock)
        clue_pb2_grpc.add_ControlServicer_to_server(control, server)
    address = f"{config.grpc_host}:{config.grpc_port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        await shards.close()
        raise ConfigError(
            f"cannot listen on {address}: the port is taken, or the address is not this machine's "
            f"(TALLGRASS_GRPC_HOST, TALLGRASS_GRPC_PORT)"
        ) from None
    registration = clue_pb2.Registration(
        service="clue",
        instance=config.instance,
        run=secrets.randbits(63),
        grpc_address=f"{config.advertise_host}:{port}",
        pid=os.getpid(),
    )
    await server.start()
    log.info("serving", address=f"{config.grpc_host}:{port}", auth=config.auth)
    try:
        async with lifecycle.background(
            shards.run(),
            vocabularies.run(),
            watch.run(),
            ProcessMetrics(metrics).run(),
            metrics.run(config.statsd),
            _register(directory, registration, ClockCheck(registration, metrics, log, clock)),
        ):
            yield Running(port, metrics)
    finally:
        await directory.leave(registration)
        await server.stop(STOP_CALLS_S)
        await publisher.close(STOP_PUBLISH_S)
        await shards.close()
        log.info("stopped")


async def _register(directory: DirectoryStore, registration: clue_pb2.Registration, clocks: ClockCheck) -> None:
    while True:
        clocks.look(await directory.register(registration))
        await asyncio.sleep(REGISTER_S)

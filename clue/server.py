"""Wiring: builds clue's parts, starts them in order, stops them in order."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from clue import limiter, redis_shards
from clue.accounts import SharedAccounts
from clue.api import ApiService
from clue.api_callers import Callers
from clue.api_lists import Lists
from clue.channel_log import ChannelLogs
from clue.commits import Commits
from clue.config import ClueConfig
from clue.control import ControlService
from clue.diagnosis import Diagnoser
from clue.directory import REGISTER_S, DirectoryStore
from clue.effects import Effects, Posts
from clue.gathering import Gathering
from clue.homes import Homes
from clue.joins import Joiner
from clue.moves import Moves
from clue.operations import Operations
from clue.peers import Peers
from clue.presence import Presence
from clue.publisher import Publisher
from clue.ranks import RanksReader
from clue.recent import RecentLines
from clue.rooms import Rooms
from clue.service import ClueService
from clue.shard_watch import ShardWatch
from clue.shared import SharedDirectory
from clue.submit import Submitter
from clue.temporary import TemporaryRooms
from clue.users import Users
from clue.vocabularies import Vocabularies
from common import lifecycle, rpc
from common.clock import Clock, SystemClock
from common.clock_check import ClockCheck
from common.errors import ConfigError
from common.log import Log
from common.metrics import Metrics
from common.pb import api_pb2_grpc, clue_pb2, clue_pb2_grpc
from common.process_metrics import ProcessMetrics
from common.streams import Answering

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
    homes = Homes(config.cluster, config.default_home, config.inbox_home)
    directory_server = None
    if config.directory:
        try:
            directory_server = await redis_shards.connect_directory(
                config.directory, cluster=config.cluster, instance=config.instance, metrics=metrics, log=log
            )
        except BaseException:
            await shards.close()
            raise
    accounts = SharedAccounts(directory_server, shards, metrics) if directory_server is not None else None
    users = Users(shards, clock, metrics, open_mode=config.auth == "open", shared=accounts)
    rooms = Rooms(shards, homes, users)
    logs = ChannelLogs(shards, homes)
    presence = Presence(shards, homes, RanksReader(rooms).read, metrics)
    shared = SharedDirectory(directory_server, shards, homes, metrics=metrics)
    directory = DirectoryStore(shards, homes, shared, clock)
    peers = Peers(shared)
    publisher = Publisher(config.exchange_address, metrics=metrics, log=log)
    recent = RecentLines()
    vocabularies = Vocabularies(shards)
    limits = replace(limiter.ON, lockout_ms=config.lockout_s * 1000) if config.limits else limiter.OFF
    commits = Commits(shards, homes, clock, recent, publisher.publish)
    posts = Posts(commits, homes, peers, metrics)
    effects = Effects(posts, rooms, users, metrics, log)
    operations = Operations(shards, rooms, users, commits, clock, metrics)
    temporary = TemporaryRooms(
        shards, homes, users, operations, peers, clock=clock, metrics=metrics, log=log, empty_ms=config.room_empty_ms
    )
    moves = Moves(shards, homes, rooms, commits, shared, peers, clock=clock, metrics=metrics, log=log)
    submitter = Submitter(
        rooms,
        logs,
        publisher,
        Gathering(shards, rooms, users, logs, recent, peers, limits=limits, metrics=metrics),
        commits,
        effects,
        vocabularies,
        limits=limits,
        clock=clock,
        metrics=metrics,
        log=log,
    )
    metrics.gauge("publish.waiting", lambda: len(publisher))
    metrics.gauge("channels", lambda: len(rooms.cache))
    watch = ShardWatch(shards.all, cluster=config.cluster, metrics=metrics, log=log)

    joiner = Joiner(rooms, users, limits=limits, metrics=metrics)
    server = rpc.server()
    streams = Answering()
    clue_pb2_grpc.add_ClueServicer_to_server(
        ClueService(users, submitter, joiner, logs, presence, directory, moves, posts, temporary, streams), server
    )
    callers = Callers(shards, users, limits=limits, clock=clock, metrics=metrics)
    lists = Lists(shards, rooms, users, presence, clock)
    api_pb2_grpc.add_ApiServicer_to_server(ApiService(callers, users, rooms, submitter, lists), server)
    if config.control_token:
        diagnoser = Diagnoser(
            shards.all, instance=config.instance, statsd=config.statsd, clock=clock,
            directory=directory_server.all if directory_server is not None else tuple,
        )  # fmt: skip
        control = ControlService(
            config.control_token, users, operations, submitter, vocabularies, directory, moves, diagnoser, clock
        )
        clue_pb2_grpc.add_ControlServicer_to_server(control, server)
    address = f"{config.grpc_host}:{config.grpc_port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        await shards.close()
        if directory_server is not None:
            await directory_server.close()
        raise ConfigError(
            f"cannot listen on {address}: the port is taken, or the address is not this machine's "
            f"(TALLGRASS_GRPC_HOST, TALLGRASS_GRPC_PORT)"
        ) from None
    registration = clue_pb2.Registration(
        service="clue",
        cluster=config.cluster,
        instance=config.instance,
        run=secrets.randbits(63),
        grpc_address=f"{config.advertise_host}:{port}",
        pid=os.getpid(),
    )
    shared.reach(config.clue_pool or registration.grpc_address)
    await shared.start()
    await server.start()
    log.info("serving", address=f"{config.grpc_host}:{port}", auth=config.auth)
    try:
        async with lifecycle.background(
            shards.run(),
            temporary.run(),
            *((directory_server.run(), shared.run(directory.services)) if directory_server is not None else ()),
            *((accounts.run(),) if accounts is not None else ()),
            vocabularies.run(),
            watch.run(),
            ProcessMetrics(metrics).run(),
            metrics.run(config.statsd),
            _register(directory, registration, ClockCheck(registration, metrics, log, clock)),
        ):
            yield Running(port, metrics)
    finally:
        await directory.leave(registration)
        streams.end()
        await server.stop(STOP_CALLS_S)
        await effects.close()
        await publisher.close(STOP_PUBLISH_S)
        await peers.close()
        await shards.close()
        if directory_server is not None:
            await directory_server.close()
        log.info("stopped")


async def _register(directory: DirectoryStore, registration: clue_pb2.Registration, clocks: ClockCheck) -> None:
    while True:
        clocks.look(await directory.register(registration))
        await asyncio.sleep(REGISTER_S)

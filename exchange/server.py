"""The wiring of one exchange: build, start, run, stop in order."""

from __future__ import annotations

import asyncio
import os
import secrets

from common import rpc
from common.clock import Clock, SystemClock
from common.clock_check import ClockCheck
from common.errors import ConfigError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2, clue_pb2_grpc, exchange_pb2_grpc
from common.process_metrics import ProcessMetrics
from common.registrar import Registrar
from common.streams import Answering
from exchange.config import ExchangeConfig
from exchange.links import Links, LinkSettings
from exchange.service import ExchangeService

GRACE_S = 2.0  # for publishes under way when we are told to stop
FLUSH_S = 3.0  # for the queues


class Server:
    """`start`, then `run` until cancelled, then `stop`."""

    def __init__(self, config: ExchangeConfig, *, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self.config = config
        self.run_number = secrets.randbits(63) | 1
        self.port = 0
        self.log = Log()
        self.metrics = Metrics(f"tallgrass.{config.cluster}.exchange.{config.instance}")
        settings = LinkSettings(
            config.instance, config.cluster, self.run_number, config.pace_ms / 1000, config.queue_bytes
        )
        self.links = Links(settings, self.metrics, self.log, clock)
        self._clock = clock
        self._clue = rpc.Service("clue", config.clue_address, clue_pb2_grpc.ClueStub)
        self._registrar: Registrar | None = None
        self._grpc_server = rpc.server()
        self._streams = Answering()
        service = ExchangeService(self.links, self._streams, self.metrics, self.log)
        exchange_pb2_grpc.add_ExchangeServicer_to_server(service, self._grpc_server)

    async def start(self) -> None:
        """Listen. Raises ConfigError when the address cannot be had."""
        config = self.config
        wanted = f"{config.grpc_host}:{config.grpc_port}"
        try:
            self.port = self._grpc_server.add_insecure_port(wanted)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise ConfigError(
                f"cannot listen on {wanted}: another process has it, or the address is not of this machine. "
                "Change TALLGRASS_GRPC_HOST or TALLGRASS_GRPC_PORT (0: any free port)"
            )
        await self._grpc_server.start()
        registration = clue_pb2.Registration(
            service="exchange",
            instance=config.instance,
            run=self.run_number,
            cluster=config.cluster,
            grpc_address=f"{config.advertise_host or config.grpc_host}:{self.port}",
            pid=os.getpid(),
        )
        clocks = ClockCheck(registration, self.metrics, self.log, self._clock)

        def on_directory(directory: clue_pb2.Directory) -> None:
            self.links.update(directory)
            clocks.look(directory)

        self._registrar = Registrar(
            self._clue, lambda: registration, on_directory, self.metrics, self.log, self._clock
        )
        self.log.info("ready", grpc=registration.grpc_address, pid=registration.pid, clue=config.clue_address)

    async def run(self) -> None:
        assert self._registrar is not None, "start() first"
        async with asyncio.TaskGroup() as group:
            group.create_task(self._registrar.run())
            group.create_task(self.links.beat())
            group.create_task(ProcessMetrics(self.metrics).run())
            group.create_task(self.metrics.run(self.config.statsd))

    async def stop(self) -> None:
        """Refuse new publishes, finish those under way, send what is queued, leave the directory."""
        self.log.info("stopping", links=self.links.up)
        self._streams.end()
        await self._grpc_server.stop(GRACE_S)
        await self.links.close(FLUSH_S)
        if self._registrar is not None:
            await self._registrar.leave()
        await self._clue.close()
        self.log.info("stopped")

"""Wiring of one edge: build, start in order, run, stop in order."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import secrets
import signal
import ssl
from contextlib import AsyncExitStack
from functools import partial

from aiohttp import web

from common import lifecycle, rpc
from common.clock import SystemClock
from common.clock_check import ClockCheck
from common.errors import ConfigError, RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2, exchange_pb2_grpc
from common.pb.chat_pb2 import Publication
from common.process_metrics import ProcessMetrics
from edge.clue_client import ClueClient
from edge.config import EdgeConfig
from edge.connection import Services
from edge.door import Door
from edge.exchange_link import ExchangeLinks
from edge.expulsions import Expulsions
from edge.follower import Follower
from edge.hub import Hub
from edge.inbox import Inboxes, is_inbox
from edge.log_reader import LogReader
from edge.membership import Membership
from edge.timers import TICK_S, TimerWheel
from edge.tls import Certificate
from edge.transports.tcp import TcpTransport
from edge.web import handler

REGISTER_S = 2.0
_BACKLOG = 4_096
_TLS_HANDSHAKE_S = 20.0
# Sessions live long and make no cycles: collect seldom (the full collection of 15,000 sessions stops everybody).
_GC_THRESHOLDS = (50_000, 20, 100)


class Edge:
    def __init__(self, config: EdgeConfig) -> None:
        self.config = config
        self.run_id = secrets.randbits(63) | 1  # never 0: a publication without a sender has 0
        self.log = Log()
        self.clock = SystemClock()
        self.metrics = Metrics(f"tallgrass.{config.cluster}.edge.{config.instance}")
        self.wheel = TimerWheel(self.clock.monotonic())
        self.hub = Hub(self.run_id, self.metrics, coalesce_max_s=config.coalesce_max_ms / 1e3)
        self.clue = ClueClient(config.clue_address, self.run_id, self.metrics, self.log, self.clock)
        self.links = ExchangeLinks(config.instance, self.run_id, self.metrics, self.log)
        self.follower = Follower(
            self.links, self.clue, self._deliver, metrics=self.metrics, log=self.log, clock=self.clock
        )
        self.inboxes = Inboxes(
            self.hub, self.clue, self.follower, metrics=self.metrics, log=self.log, clock=self.clock
        )
        self.membership = Membership(
            self.hub, self.clue, period_s=config.presence_s, metrics=self.metrics, log=self.log, clock=self.clock
        )
        self.expulsions = Expulsions(self.hub)
        self.services = Services(
            config=config,
            hub=self.hub,
            clue=self.clue,
            follower=self.follower,
            inboxes=self.inboxes,
            membership=self.membership,
            expulsions=self.expulsions,
            logs=LogReader(self.clue, self.metrics, self.log),
            wheel=self.wheel,
            metrics=self.metrics,
            log=self.log,
        )
        self.door = Door(config, self.services, self.metrics, self.log)
        self.certificate = Certificate(config.tls_cert, config.tls_key) if config.tls_cert else None
        if self.certificate is not None:
            self.metrics.gauge("tls.days_left", self._days_left)
            self._complain_of_certificate()
        self.registration = clue_pb2.Registration(
            service="edge", instance=config.instance, run=self.run_id, pid=os.getpid()
        )
        self._clocks = ClockCheck(self.registration, self.metrics, self.log, self.clock)
        self._registered = False
        self._process = ProcessMetrics(self.metrics)

    # -- running ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From start to graceful stop."""
        stop = lifecycle.stop_event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload_certificate)
        async with AsyncExitStack() as stack:
            await self._listen(stack)
            async with lifecycle.background(
                self._tick(), self._process.run(), self._register(), self.follower.run(),
                self.inboxes.run(), self.membership.run(),
                self.metrics.run(self.config.statsd),
            ):  # fmt: skip
                gc.collect()
                gc.freeze()
                gc.set_threshold(*_GC_THRESHOLDS)
                self.log.info(
                    "serving",
                    irc=self.registration.irc_address,
                    http=self.registration.http_address,
                    link=self.registration.grpc_address,
                    pid=os.getpid(),
                )
                await stop.wait()
                await self._drain()

    async def _listen(self, stack: AsyncExitStack) -> None:
        config, loop = self.config, asyncio.get_running_loop()
        link = rpc.server()
        exchange_pb2_grpc.add_EdgeLinkServicer_to_server(self.links, link)
        link_port = link.add_insecure_port(f"{config.link_host}:{config.link_port}")
        await link.start()
        stack.push_async_callback(link.stop, 1.0)

        pages = web.Server(handler(self.door, self._not_ready, self.membership.chatters), access_log=None)
        runner = web.ServerRunner(pages, handle_signals=False)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)

        async def irc(port: int, context: ssl.SSLContext | None) -> int:
            try:
                server = await loop.create_server(
                    partial(TcpTransport, self.door, tls=context is not None),
                    config.host, port, backlog=_BACKLOG, ssl=context,
                    ssl_handshake_timeout=_TLS_HANDSHAKE_S if context else None,
                )  # fmt: skip
            except OSError as error:
                raise ConfigError(f"cannot listen for IRC on {config.host}:{port}: {error}") from error
            stack.callback(server.close)
            return int(server.sockets[0].getsockname()[1])

        async def http(port: int, context: ssl.SSLContext | None) -> int:
            site = web.TCPSite(runner, config.host, port, backlog=_BACKLOG, ssl_context=context)
            try:
                await site.start()
            except OSError as error:
                raise ConfigError(f"cannot listen for HTTP on {config.host}:{port}: {error}") from error
            return int(runner.addresses[-1][1])

        self.registration.irc_address = f"{config.advertise_host}:{await irc(config.irc_port, None)}"
        self.registration.http_address = f"{config.advertise_host}:{await http(config.http_port, None)}"
        self.registration.grpc_address = f"{config.advertise_host}:{link_port}"
        if self.certificate is not None:
            ircs = await irc(config.irc_tls_port, self.certificate.context)
            wss = await http(config.https_port, self.certificate.context)
            self.log.info("serving_tls", irc=f"{config.advertise_host}:{ircs}", http=f"{config.advertise_host}:{wss}")

    async def _drain(self) -> None:
        """Refuse new users, ask those here to reconnect, finish what is under way, then close."""
        self.door.closed = True
        self.registration.draining = True
        self.log.info("draining", sessions=len(self.hub.sessions), seconds=self.config.drain_s)
        try:
            await self.clue.leave(self.registration)
        except RemoteError as error:
            self.log.warning("leave_failed", remote=error.remote, operation=error.operation, cause=error.cause)
        connections = list(self.hub.sessions.values())
        started = self.clock.monotonic()
        for done, connection in enumerate(connections):
            connection.ask_to_reconnect()
            due = self.config.drain_s * done / len(connections)
            if due > self.clock.monotonic() - started:
                await asyncio.sleep(due - (self.clock.monotonic() - started))
        await lifecycle.within(self.config.drain_s + 6.0, self.clue.close())
        self.links.leave()
        for connection in connections:
            connection.stop()
        self.log.info("stopped", sessions=len(connections))

    # -- periodic work ------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.wheel.advance(self.clock.monotonic())

    async def _register(self) -> None:
        """Say that we are there, and learn which exchanges should deliver to us."""
        while True:
            self.registration.sessions = len(self.hub.sessions)
            self.registration.loop_lag_us = int(self._process.lag_s * 1e6)
            try:
                directory = await self.clue.register(self.registration)
                self._registered = True
                if directory.available:
                    self.follower.directory(directory)
                    self._clocks.look(directory)
            except RemoteError as error:
                self.log.warning("register_failed", remote=error.remote, operation=error.operation, cause=error.cause)
            await asyncio.sleep(REGISTER_S * random.uniform(0.9, 1.1))

    # -- callbacks ----------------------------------------------------------------------------------------------

    def _deliver(self, channel: str, entries: list[tuple[int, Publication]]) -> None:
        publications = [publication for _, publication in entries]
        if is_inbox(channel):
            self.inboxes.deliver(channel, publications)
            return
        self.hub.publish(channel, publications)
        for seq, publication in entries:
            if publication.HasField("banned"):
                self.expulsions.banned(channel, seq, publication.banned)

    def _not_ready(self) -> str:
        if self.door.closed:
            return "draining"
        if not self._registered:
            return f"no clue has answered at {self.config.clue_address} yet"
        if not self.links.live():
            return "no exchange is linked yet"
        return ""

    def _days_left(self) -> float:
        """Of the certificate; below 0 clients refuse it, and nothing else tells us."""
        assert self.certificate is not None
        return round((self.certificate.expires - self.clock.unix_ms() / 1e3) / 86_400, 3)

    def _complain_of_certificate(self) -> None:
        days = self._days_left()
        if days < 7:
            event = "certificate_expired" if days < 0 else "certificate_expires_soon"
            self.log.warning(event, operation="tls", file=self.config.tls_cert, days_left=days)

    def _reload_certificate(self) -> None:
        if self.certificate is None:
            return
        try:
            self.certificate.reload()
            self.log.info("certificate_reloaded", file=self.config.tls_cert)
            self._complain_of_certificate()
        except ConfigError as error:
            self.log.error("certificate_kept", cause=str(error))

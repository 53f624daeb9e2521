"""Wiring of one edge: build, start in order, run, stop in order."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from aiohttp import web

from common import lifecycle, rpc
from common.clock import SystemClock
from common.clock_check import ClockCheck
from common.errors import ConfigError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2, exchange_pb2_grpc
from common.pb.chat_pb2 import Publication
from common.process_metrics import ProcessMetrics
from edge import fanout, places, statusz
from edge.agent import Agent
from edge.api.pages import Api
from edge.clue_client import ClueClient
from edge.clusters import Clusters
from edge.config import EdgeConfig
from edge.connection import Services
from edge.delay import Delays
from edge.door import Door
from edge.drain import Drain
from edge.exchange_link import ExchangeLinks
from edge.expulsions import Expulsions
from edge.follower import Follower
from edge.homes import Homes
from edge.hub import Hub
from edge.inbox import Inboxes, is_inbox
from edge.log_reader import LogReader
from edge.membership import Membership
from edge.placement import Loads, weight
from edge.reconnects import Followers
from edge.rooms import RoomPages
from edge.routes import Routes
from edge.timers import TICK_S, TimerWheel
from edge.tls import Certificate
from edge.tracing import Tracer
from edge.transports.sockets import Sockets
from edge.transports.tcp import TcpTransport
from edge.web import add_pages, handler

_FIGURES_S = 1.5  # the load that the directory is told is at most this old
_BACKLOG = 4_096
# libuv accepts one connection of a listener (here: TLS) in a turn of the loop, so a storm overflowed the backlog and
# waited for repeated SYNs, up to 28 s [measured]. The same socket is watched this many times.
_ACCEPTS = 4
_TLS_HANDSHAKE_S = 20.0


class Edge:
    def __init__(self, config: EdgeConfig) -> None:
        self.config = config
        self.run_id = secrets.randbits(63) | 1  # never 0: a publication without a sender has 0
        self.log = Log()
        self.clock = SystemClock()
        self.metrics = Metrics(f"tallgrass.{config.cluster}.edge.{config.instance}")
        self.wheel = TimerWheel(self.clock.monotonic())
        self.hub = Hub(self.run_id, self.metrics, coalesce_max_s=config.coalesce_max_ms / 1e3)
        self.tracer = Tracer(config.trace_every, self.hub, self.metrics, self.log)
        self.homes = Homes(config.cluster)
        self.clue = ClueClient(config.clue_address, self.homes, self.run_id, self.metrics, self.log, self.clock)
        self.links = ExchangeLinks(config.instance, config.cluster, self.run_id, self.metrics, self.log)
        self.follower = Follower(
            self.links, self.clue, self.homes, self._deliver, traced=self.tracer.arrived,
            metrics=self.metrics, log=self.log, clock=self.clock,
        )  # fmt: skip
        self.clue.clues.on_moved = self.follower.moved
        self.inboxes = Inboxes(
            self.hub, self.clue, self.follower, metrics=self.metrics, log=self.log, clock=self.clock
        )
        self.membership = Membership(
            self.hub, self.clue, period_s=config.presence_s, metrics=self.metrics, log=self.log, clock=self.clock
        )
        self.expulsions = Expulsions(self.hub)
        self.delays = Delays(self.hub, clock=self.clock, metrics=self.metrics)
        self.services = Services(
            config=config,
            hub=self.hub,
            clue=self.clue,
            follower=self.follower,
            inboxes=self.inboxes,
            membership=self.membership,
            expulsions=self.expulsions,
            delays=self.delays,
            logs=LogReader(self.clue, self.homes, self.metrics, self.log),
            wheel=self.wheel,
            tracer=self.tracer,
            metrics=self.metrics,
            log=self.log,
        )
        self.door = Door(config, self.services, self.metrics, self.log)
        self.certificate = Certificate(config.tls_cert, config.tls_key) if config.tls_cert else None
        if self.certificate is not None:
            self.metrics.gauge("tls.days_left", self._days_left)
            self._complain_of_certificate()
        self.registration = clue_pb2.Registration(
            service="edge",
            instance=config.instance,
            cluster=config.cluster,
            run=self.run_id,
            pid=os.getpid(),
            max_sessions=self.door.bound,
        )
        self._clocks = ClockCheck(self.registration, self.metrics, self.log, self.clock)
        self._process = ProcessMetrics(self.metrics)
        self.drain = Drain(
            self.door, self.hub, self.registration, metrics=self.metrics, log=self.log, clock=self.clock
        )
        self.movers = Followers(self.hub, config.cluster, self.metrics, self.clock)
        self.agent = Agent(self._weight, self.metrics)
        self.clusters = Clusters(
            self.clue.clues, self.follower, self._registration, self._directory,
            metrics=self.metrics, log=self.log, clock=self.clock,
        )  # fmt: skip
        self._loads = Loads(self.clock.monotonic())
        self._figures_at = 0.0

    # -- running ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From start to graceful stop."""
        stop = lifecycle.stop_event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload_certificate)
        async with AsyncExitStack() as stack:
            await self._listen(stack)
            async with lifecycle.background(
                self._tick(), self._process.run(), self.clusters.run(), self.follower.run(),
                self.inboxes.run(), self.membership.run(),
                self.metrics.run(self.config.statsd),
            ):  # fmt: skip
                self.log.info(
                    "serving",
                    irc=self.registration.irc_address,
                    http=self.registration.http_address,
                    link=self.registration.grpc_address,
                    fanout=fanout.FORM,
                    pid=os.getpid(),
                )
                await stop.wait()
                await self._stop()

    async def _listen(self, stack: AsyncExitStack) -> None:
        config, loop = self.config, asyncio.get_running_loop()
        link = rpc.server()
        exchange_pb2_grpc.add_EdgeLinkServicer_to_server(self.links, link)
        link_port = link.add_insecure_port(f"{config.link_host}:{config.link_port}")
        await link.start()
        stack.push_async_callback(link.stop, 1.0)

        routes = Routes()
        add_pages(routes, self._not_ready, self.membership.chatters)
        statusz.add_page(routes, self._status, self.door.trusts)
        api = Api(self.clue.clues, self.metrics, self.log)
        api.add_pages(routes)
        places.add_page(routes, config.cluster, self.homes.of, self.clusters.edges)
        RoomPages(self.clue, api.whose, self.metrics, self.log).add_pages(routes)
        runner = web.ServerRunner(web.Server(handler(self.door, routes), access_log=None), handle_signals=False)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)

        sockets = Sockets(self.services.turnstile, self.log)
        stack.callback(sockets.close)

        def plain(what: str, port: int, protocol: Callable[[], Any]) -> int:
            listeners = _listeners(what, config.host, port)
            for listener in listeners:
                sockets.listen(listener, protocol)
            return int(listeners[0].getsockname()[1])

        async def ircs(port: int, context: ssl.SSLContext) -> int:
            listeners = _listeners("IRC", config.host, port, times=_ACCEPTS)
            for listener in listeners:
                server = await loop.create_server(
                    partial(TcpTransport, self.door, tls=True),
                    sock=listener, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=_TLS_HANDSHAKE_S,
                )  # fmt: skip
                stack.callback(server.close)
            return int(listeners[0].getsockname()[1])

        async def https(port: int, context: ssl.SSLContext) -> int:
            listeners = _listeners("HTTP", config.host, port, times=_ACCEPTS)
            for listener in listeners:
                await web.SockSite(runner, listener, backlog=_BACKLOG, ssl_context=context).start()
            return int(listeners[0].getsockname()[1])

        irc_port = plain("IRC", config.irc_port, partial(TcpTransport, self.door, tls=False))
        assert runner.server is not None  # after its setup
        http_port = plain("HTTP", config.http_port, runner.server)
        self.registration.irc_address = f"{config.advertise_host}:{irc_port}"
        self.registration.http_address = f"{config.advertise_host}:{http_port}"
        self.registration.grpc_address = f"{config.advertise_host}:{link_port}"
        if config.agent_port >= 0:
            agent = await self.agent.listen(config.agent_host, config.agent_port)
            stack.callback(agent.close)
            self.registration.agent_address = f"{config.advertise_host}:{agent.sockets[0].getsockname()[1]}"
        if self.certificate is not None:
            irc_port = await ircs(config.irc_tls_port, self.certificate.context)
            http_port = await https(config.https_port, self.certificate.context)
            host = config.advertise_host
            self.log.info("serving_tls", irc=f"{host}:{irc_port}", http=f"{host}:{http_port}")

    async def _stop(self) -> None:
        """Refuse new users, ask those here to reconnect, finish what is under way, then close."""
        self.drain.cancel()
        self.movers.close()
        _, connections = await asyncio.gather(self.clusters.leave(), self.drain.ask(self.config.drain_s))
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

    def _registration(self) -> clue_pb2.Registration:
        """What the directories are told; asked for before each call."""
        said, now = self.registration, self.clock.monotonic()
        said.homes_version = self.homes.version
        if now - self._figures_at >= _FIGURES_S:
            self._figures_at = now
            said.sessions = len(self.hub.sessions)
            said.loop_lag_us = int(self._process.lag_s * 1e6)
            said.weight = self._weight()
            members = ((name, len(channel)) for name, channel in self.hub.channels.items())
            del said.largest[:]
            said.largest.extend(self._loads.largest(members, now))
        return said

    def _directory(self, directory: clue_pb2.Directory) -> None:
        """Of the own cluster."""
        if directory.available:
            self._clocks.look(directory)
        self.drain.obey(directory.order)

    def _weight(self) -> int:
        """0: no new users."""
        return 0 if self.door.leaving else weight(len(self.hub.sessions), self.door.bound, self._process.lag_s)

    # -- callbacks ----------------------------------------------------------------------------------------------

    def _deliver(self, channel: str, entries: list[tuple[int, Publication]]) -> None:
        publications = [publication for _, publication in entries]
        if is_inbox(channel):
            self.inboxes.deliver(channel, publications)
            return
        self._loads.count(channel, len(publications))
        moves = [publication.moved for publication in publications if publication.HasField("moved")]
        if moves:  # shown to nobody
            publications = [publication for publication in publications if not publication.HasField("moved")]
            self.movers.moved(channel, moves[-1])
        if publications:
            self.delays.publish(channel, publications)
        for seq, publication in entries:
            if publication.HasField("banned"):
                self.expulsions.banned(channel, seq, publication.banned)
            elif publication.HasField("roles"):
                self.delays.changed(channel, publication)

    def _not_ready(self) -> str:
        if self.door.closed:
            return "draining"
        if not self.clusters.registered:
            return f"no clue has answered at {self.config.clue_address} yet"
        if not any(link.cluster == self.config.cluster for link in self.links.live()):
            return "no exchange is linked yet"
        return ""

    def _status(self) -> dict[str, Any]:
        return statusz.facts(
            self.registration, not_ready=self._not_ready(), sessions=len(self.hub.sessions),
            channels=len(self.hub.channels), links=self.links.all(), missing=self.follower.missing, clock=self.clock,
        )  # fmt: skip

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


def _listeners(what: str, host: str, port: int, *, times: int = 1) -> list[socket.socket]:
    """What listens at an address, each of it `times` over. Raises ConfigError."""
    listeners: list[socket.socket] = []
    try:
        for family, *_, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            listener = socket.create_server(address, family=family, backlog=_BACKLOG)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # whom it accepts has it from it
            listeners += listener, *(listener.dup() for _ in range(times - 1))
    except OSError as error:
        raise ConfigError(f"cannot listen for {what} on {host}:{port}: {error}") from error
    return listeners

"""Who may come in: bounds per address and in all, before anything is read."""

from __future__ import annotations

import ipaddress
import resource
from collections import Counter
from collections.abc import Callable

from common.log import Log
from common.metrics import Metrics
from edge.config import EdgeConfig
from edge.connection import Connection, Services
from edge.disconnect import Disconnect
from edge.transports.base import Transport

# Descriptors kept back for listeners, links, logs and the metrics socket.
_RESERVE = 200


class Door:
    """Lets transports in as connections, and counts them out again."""

    def __init__(self, config: EdgeConfig, services: Services, metrics: Metrics, log: Log) -> None:
        self.config = config
        self._services = services
        self._metrics = metrics
        self._log = log
        self._trusted = [ipaddress.ip_network(text) for text in config.trusted_proxies]
        self._per_address: Counter[str] = Counter()
        self.bound = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVE  # sessions
        self._number = 0
        self.closed = False
        self.leaving = False  # about to be closed: HAProxy is told, users are still let in
        metrics.gauges(self._gauges)

    def _gauges(self) -> dict[str, float]:
        """Sessions by kind; one walk over 15,000 sessions takes 2 ms, once a second."""
        websocket = users = slow = 0
        sessions = self._services.hub.sessions
        for connection in sessions.values():
            websocket += connection.transport.websocket
            users += connection.session.user is not None
            slow += connection.slow
        return {
            "sessions": len(sessions),
            "sessions.tcp": len(sessions) - websocket,
            "sessions.websocket": websocket,
            "sessions.users": users,
            "sessions.without_user": len(sessions) - users,
            "sessions.slow": slow,
        }

    def trusts(self, host: str) -> bool:
        """A proxy of ours may sit at this address: it may name the user's, and is not counted itself."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)

    def enter(self, transport: Transport, address: str | None) -> Connection | None:
        """A connection for `transport`, or None when it was refused (and told so)."""
        self._number += 1
        connection = Connection(self._number, transport, self._services)
        refusal = self._refusal()
        if refusal is None and (address is None or self._count(connection, address)):
            connection.opened()
            return connection
        connection.disconnect(refusal or Disconnect.TOO_MANY_SESSIONS)
        return None

    def count_address(self, connection: Connection, address: str) -> None:
        """A trusted proxy named the user of a connection that is in already."""
        if not self._count(connection, address):
            connection.disconnect(Disconnect.TOO_MANY_SESSIONS)

    def _refusal(self) -> Disconnect | None:
        if self.closed:
            return Disconnect.SERVER_STOPPING
        if len(self._services.hub.sessions) >= self.bound:
            self._log.warning("descriptors_used_up", bound=self.bound, operation="accept", cause="RLIMIT_NOFILE")
            return Disconnect.SERVER_FULL
        return None

    def _count(self, connection: Connection, address: str) -> bool:
        # This machine's own addresses are not counted, also when a proxy names them.
        if not self.config.limits or self.trusts(address):
            return True
        if self._per_address[address] >= self.config.sessions_per_address:
            return False
        self._per_address[address] += 1
        connection.on_lost = self._count_out(address)
        return True

    def _count_out(self, address: str) -> Callable[[], None]:
        def left() -> None:
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]

        return left

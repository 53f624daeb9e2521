"""Inboxes: the private channel "@login" of each user who is logged in here, for whispers and personal notices.

Every authenticated session is a member from its login on, without a JOIN line; it counts as no channel. Following the
inbox must not cost the login anything: that happens behind it, for many at once. What was sent between the login and
the moment at which the inbox is followed is read from its log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb.chat_pb2 import Publication
from edge import log_reader
from edge.hub import Hub
from edge.render import render

if TYPE_CHECKING:
    from edge.clue_client import ClueClient
    from edge.connection import Connection
    from edge.follower import Follower

# The first login after a pause is served at once; in a rush, half a second's logins share their calls.
REST_S = 0.5
BATCH = 1_000


def is_inbox(channel: str) -> bool:
    return channel.startswith("@")


class Inboxes:
    def __init__(
        self, hub: Hub, clue: ClueClient, follower: Follower, *, metrics: Metrics, log: Log, clock: Clock
    ) -> None:
        self._users = hub.users
        self._clue = clue
        self._follower = follower
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._unopened: dict[str, int] = {}  # inbox to the UNIX milliseconds of the login that wants it
        self._wake = asyncio.Event()

    def enter(self, connection: Connection) -> None:
        """It has logged in."""
        login = connection.session.login
        self._users.setdefault(login, []).append(connection)
        inbox = f"@{login}"
        if inbox not in self._unopened and not self._follower.is_following(inbox):
            self._unopened[inbox] = self._clock.unix_ms()
            self._wake.set()
        else:
            self._follower.keep(inbox)

    def leave(self, connection: Connection) -> None:
        """It is gone; no-op for one that never entered."""
        login = connection.session.login
        connections = self._users.get(login)
        if connections is not None and connection in connections:
            connections.remove(connection)
            if not connections:
                del self._users[login]
                self._follower.release(f"@{login}")

    def deliver(self, inbox: str, publications: Sequence[Publication]) -> None:
        for connection in self._users.get(inbox[1:], ()):
            if connection.slow:
                self._metrics.counters["inbox.skipped"] += len(publications)
                continue
            capabilities = connection.session.capabilities
            lines = b"".join(render(publication, inbox, capabilities) for publication in publications)
            if lines:
                connection.transport.send(lines)
                self._metrics.counters["inbox.delivered"] += len(publications)

    async def run(self) -> None:
        """Follow the inboxes of those who logged in; until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unopened:
                batch = dict(list(self._unopened.items())[:BATCH])
                for inbox in await self._open(batch):
                    del self._unopened[inbox]
                await self._clock.sleep(REST_S)

    async def _open(self, batch: dict[str, int]) -> list[str]:
        """Follow these; returns those that need no further try."""
        for inbox in [inbox for inbox in batch if inbox[1:] not in self._users]:
            del batch[inbox], self._unopened[inbox]
            self._follower.release(inbox)
        await self._follower.open_all(list(batch))
        heads = await self._clue.heads(list(batch))
        done = []
        for inbox, since_ms in batch.items():
            head = heads[inbox]
            if head:
                head = await self._catch_up(inbox, since_ms)
            if head is None:
                self._metrics.count("inbox.retries")
                self._unopened[inbox] = self._unopened.pop(inbox)  # behind those whose shard answers
                continue
            self._follower.begin(inbox, head)
            if inbox[1:] not in self._users:  # gone meanwhile
                self._follower.release(inbox)
            done.append(inbox)
        self._metrics.count("inbox.opened", len(done))
        return done

    async def _catch_up(self, inbox: str, since_ms: int) -> int | None:
        """Deliver what came since the login; returns the log's head, None when it cannot be read."""
        try:
            entries = await log_reader.entries(self._clue, inbox)
        except RemoteError as error:
            self._log.warning(
                "inbox_failed", remote=error.remote, operation=error.operation, channel=inbox, cause=error.cause
            )
            return None
        late = [publication for _, publication in entries if publication.ts_ms >= since_ms]
        if late:
            self.deliver(inbox, late)
        return entries[-1][0] if entries else 0

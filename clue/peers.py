"""Clues of the other clusters, whom this one asks to do what has to be done at a channel's home."""

from __future__ import annotations

import time
from typing import Any

from clue.facts import Channel, Member, Roles
from clue.shared import SharedDirectory
from common import rpc
from common.errors import RemoteError
from common.pb import clue_pb2, clue_pb2_grpc

TIMEOUT_S = 1.0
PAUSE_S = 1.0  # a cluster that did not answer is not asked for so long: a message shall not wait for it each time


class Peers:
    def __init__(self, shared: SharedDirectory) -> None:
        self._shared = shared
        self._services: dict[str, tuple[str, rpc.Service]] = {}  # by cluster, with the address
        self._failed: dict[str, tuple[float, RemoteError]] = {}

    async def call(self, cluster: str, method: str, request: Any) -> Any:
        """One call of the service Clue. Raises RemoteError."""
        failed_at, error = self._failed.get(cluster, (float("-inf"), None))
        if error is not None and time.monotonic() - failed_at < PAUSE_S:
            raise error
        try:
            reply = await (await self._service(cluster)).call(method, request, timeout=TIMEOUT_S)
        except RemoteError as now:
            self._failed[cluster] = (time.monotonic(), now)
            raise
        self._failed.pop(cluster, None)
        return reply

    async def room(self, cluster: str, name: str, user_id: int, login: str) -> Channel | RemoteError:
        """A channel that lives there, with this user in it, as one who joins is told of it."""
        query = clue_pb2.JoinQuery(channel=name, user_id=user_id, login=login)
        try:
            [result] = (await self.call(cluster, "Join", clue_pb2.JoinRequest(joins=[query], uncounted=True))).results
        except RemoteError as error:
            return error
        banned = result.denial == "msg_banned"
        if result.outcome != clue_pb2.JoinResult.ADMITTED and not banned:
            outcome = clue_pb2.JoinResult.Outcome.Name(result.outcome)
            return RemoteError(f"clue of {cluster}", "Join", f"{name}: {outcome.lower()}")
        modes = (field.name for field in result.room.DESCRIPTOR.fields)
        channel = Channel(name, "", {mode.encode(): b"%d" % int(getattr(result.room, mode)) for mode in modes})
        held = {"mod": result.chatter.mod, "vip": result.chatter.vip, "sub": result.chatter.subscriber}
        roles = Roles(frozenset(role for role, has in held.items() if has))
        channel.members[user_id] = Member(0 if banned else None, roles, False)
        return channel

    async def close(self) -> None:
        for _, service in self._services.values():
            await service.close()

    async def _service(self, cluster: str) -> rpc.Service:
        known = self._shared.clusters.get(cluster)
        address = known.clue_address if known is not None else ""
        if not address:
            raise RemoteError(f"cluster {cluster}", "connect", "the directory does not know its clues")
        kept = self._services.get(cluster)
        if kept is not None and kept[0] == address:
            return kept[1]
        service = rpc.Service(f"clue of {cluster}", address, clue_pb2_grpc.ClueStub)
        self._services[cluster] = (address, service)
        if kept is not None:
            await kept[1].close()
        return service

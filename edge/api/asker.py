"""One request's calls to clue."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

from common.pb import api_pb2, clue_pb2
from common.sharding import LANES
from edge.api.outcomes import Refused, check_done, check_standing, limit_headers
from edge.clues import HOPS, Clues

CALL_S = 4.5  # as long as a session's sender waits

What = api_pb2.ReadRequest.What
Command = api_pb2.Command


class Asker:
    """`headers` are the answer's, as far as clue has said. Every call raises RemoteError, and Refused."""

    __slots__ = ("_clues", "headers", "token")

    def __init__(self, clues: Clues, token: str) -> None:
        self._clues = clues
        self.token = token
        self.headers: dict[str, str] = {}

    async def users(self, ids: Iterable[str] = (), logins: Iterable[str] = ()) -> Sequence[api_pb2.Listed]:
        """Those that exist; with neither, whose token it is."""
        request = api_pb2.GetUsersRequest(caller=self._caller(), ids=map(int, ids), logins=logins)
        reply: api_pb2.GetUsersReply = await self._call("GetUsers", request, 0)
        return reply.users

    async def act(self, user_id: str, broadcaster_id: str, *commands: Command) -> None:
        """Carry out as this user in this channel ("": the own)."""
        request = api_pb2.ActRequest(
            caller=self._caller(user_id), broadcaster_id=int(broadcaster_id or 0), commands=commands
        )
        reply: api_pb2.ActReply = await self._call("Act", request, request.broadcaster_id)
        check_done(reply.verdicts)

    async def say(
        self, user_id: str, broadcaster_id: str, message: str, reply_parent_id: str
    ) -> tuple[str, clue_pb2.Verdict]:
        """The message's id, and what became of it."""
        request = api_pb2.ActRequest(
            caller=self._caller(user_id),
            broadcaster_id=int(broadcaster_id),
            message=message,
            reply_parent_id=reply_parent_id,
        )
        reply: api_pb2.ActReply = await self._call("Act", request, request.broadcaster_id)
        return reply.message_id, reply.verdicts[0]

    async def read(
        self,
        what: api_pb2.ReadRequest.What,
        broadcaster_id: str,
        *,
        user_id: str = "",
        only: Iterable[str] = (),
        first: int = 1,
        after: str = "",
    ) -> api_pb2.ReadReply:
        """As `user_id` ("": whose token it is). The reply's cursor is made for people to send back."""
        request = api_pb2.ReadRequest(
            caller=self._caller(user_id, assumed=broadcaster_id),
            broadcaster_id=int(broadcaster_id),
            what=what,
            user_ids=map(int, only),
            first=first,
            after=_clue_cursor(after),
        )
        reply: api_pb2.ReadReply = await self._call("Read", request, request.broadcaster_id)
        reply.cursor = base64.urlsafe_b64encode(reply.cursor.encode()).decode()
        return reply

    def _caller(self, user_id: str = "", assumed: str = "") -> api_pb2.Caller:
        return api_pb2.Caller(token=self.token, user_id=int(user_id or 0), assumed_id=int(assumed or 0))

    async def _call(self, method: str, request: Any, number: int) -> Any:
        """At the own cluster, or where the channel lives. `number`: requests with the same one meet the same clue."""
        cluster = self._clues.homes.own
        for _ in range(HOPS):
            reply = await self._clues.call(cluster, method, request, number % LANES, timeout=CALL_S)
            self.headers.update(limit_headers(reply.standing))
            check_standing(reply.standing)
            if method == "GetUsers" or not reply.elsewhere.cluster:
                return reply
            cluster = await self._clues.redirect(method, reply.channel, reply.elsewhere)
        raise Refused(503, "the channel is being moved; try again in a moment")


def _clue_cursor(text: str) -> str:
    try:
        return base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise Refused(400, "after: not a cursor of an earlier answer") from None

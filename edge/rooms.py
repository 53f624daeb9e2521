"""Temporary rooms over HTTP: POST /rooms makes one, POST /rooms/NAME/members lets users in, GET /rooms/NAME looks.

A room is the channel "#_NAME". Who asks sends "Authorization: Bearer" and the user's chat token. Where a token alone
names nobody (--auth open), the body's or the query's `login` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.names import fold_channel, fold_login
from common.pb import chat_pb2, clue_pb2
from common.sharding import lane
from edge.api.outcomes import Refused
from edge.api.pages import NO_TOKEN, body_of, token_of
from edge.api.shapes import Login
from edge.clue_client import ClueClient
from edge.routes import Page, Routes
from edge.web import error

MEMBERS = 100  # of one request

Whose = Callable[[str], Awaitable[chat_pb2.Chatter | None]]  # token to user; raises RemoteError and Refused
Members = Annotated[list[Login], Meta(max_length=MEMBERS)]


class NewRoom(Struct):
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_]{1,23}$")] | None = None  # None: one is made up
    invite_only: bool = False
    members: Members = []
    login: Login | None = None


class NewMembers(Struct):
    members: Annotated[list[Login], Meta(min_length=1, max_length=MEMBERS)]
    login: Login | None = None


class RoomPages:
    def __init__(self, clue: ClueClient, whose: Whose, metrics: Metrics, log: Log) -> None:
        self._clue = clue
        self._whose = whose
        self._metrics = metrics
        self._log = log

    def add_pages(self, routes: Routes) -> None:
        routes.add("POST", "/rooms", self._page(self._create))
        routes.add("POST", "/rooms/{name}/members", self._page(self._invite))
        routes.add("GET", "/rooms/{name}", self._page(self._look))

    def _page(self, work: Callable[[web.BaseRequest, Mapping[str, str]], Awaitable[web.Response]]) -> Page:
        async def page(request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
            try:
                return await work(request, parts)
            except Refused as refused:
                return error(refused.status, refused.status.phrase, str(refused))
            except RemoteError as failed:
                self._metrics.count("rooms.unavailable")
                self._log.warning("call_failed", remote=failed.remote, operation=failed.operation, cause=failed.cause)
                return error(503, "Service Unavailable", "chat is unavailable at the moment; try again")

        return page

    # -- pages --------------------------------------------------------------------------------------------------

    async def _create(self, request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        """201 when it was made, 200 when somebody was quicker: join it."""
        token = _token(request)
        asked: NewRoom = await body_of(NewRoom, request)
        user = await self._user(token, asked.login)
        name = (asked.name or "").lower()
        reply: clue_pb2.CreateRoomReply = await self._call(
            "CreateRoom",
            f"#_{name}",
            clue_pb2.CreateRoomRequest(
                name=name,
                login=user.login,
                user_id=user.user_id,
                invite_only=asked.invite_only,
                invited=_folded(asked.members),
            ),
        )
        outcome = clue_pb2.CreateRoomReply.Outcome.Name(reply.outcome).lower()
        self._metrics.count(f"rooms.{outcome}")
        if reply.outcome == clue_pb2.CreateRoomReply.REFUSED:
            raise Refused(400, reply.notice)
        if reply.outcome not in (clue_pb2.CreateRoomReply.CREATED, clue_pb2.CreateRoomReply.EXISTS):
            raise RemoteError("clue", "CreateRoom", "the shard of the room did not answer")
        created = reply.outcome == clue_pb2.CreateRoomReply.CREATED
        room = {"channel": reply.channel, "owner": reply.owner, "created": created}
        return web.json_response(room, status=201 if created else 200)

    async def _invite(self, request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        """204; 403 for who does not moderate the room."""
        token = _token(request)
        channel = _room(parts["name"])
        asked: NewMembers = await body_of(NewMembers, request)
        user = await self._user(token, asked.login)
        invite = clue_pb2.InviteRequest(channel=channel, login=user.login, invited=_folded(asked.members))
        reply: clue_pb2.InviteReply = await self._call("Invite", channel, invite)
        if not reply.done:
            raise Refused(403, reply.notice)
        self._metrics.count("rooms.invited", len(asked.members))
        return web.Response(status=204)

    async def _look(self, request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        """For who may join it; 404 for a room that is not there, or not for this user."""
        token = _token(request)
        channel = _room(parts["name"])
        user = await self._user(token, request.query.get("login"))
        joined = await self._clue.join(channel, user.user_id, user.login)
        if joined.outcome == clue_pb2.JoinResult.DENIED:
            raise Refused(404, joined.notice)
        if joined.outcome != clue_pb2.JoinResult.ADMITTED:
            raise RemoteError("clue", "Join", "the shard of the room did not answer")
        chatters = await self._clue.chatters(channel)
        room = {
            "channel": channel,
            "room_id": str(joined.room.room_id),
            "chatter_count": chatters.count if chatters.available else None,
        }
        return web.json_response(room)

    # -- who and where ------------------------------------------------------------------------------------------

    async def _user(self, token: str, login: str | None) -> chat_pb2.Chatter:
        """Counts the request, too. Raises Refused and RemoteError."""
        user = await self._whose(token)
        if user is not None:
            if login is not None and fold_login(login) != user.login:
                raise Refused(401, f"this token is not {login}'s")
            return user
        if login is None:
            raise Refused(401, "this token names no user: say with `login` whose it is")
        result = await self._clue.authenticate(login, token)
        if result.outcome == clue_pb2.LoginResult.UNAVAILABLE:
            raise RemoteError("clue", "Authenticate", "the user's shard did not answer")
        if result.outcome != clue_pb2.LoginResult.ACCEPTED:
            raise Refused(401, f"this token is not {login}'s")
        return result.user

    async def _call(self, method: str, channel: str, request: Any) -> Any:
        """At the cluster that has the rooms. Raises RemoteError."""
        clues = self._clue.clues
        return await clues.call(clues.homes.of(channel), method, request, lane(channel))


def _token(request: web.BaseRequest) -> str:
    """Raises Refused."""
    token = token_of(request.headers.get("Authorization", ""))
    if not token:
        raise Refused(401, NO_TOKEN)
    return token


def _room(name: str) -> str:
    """Raises Refused."""
    channel = fold_channel("#_" + name.removeprefix("_"))
    if channel is None:
        raise Refused(400, "a room's name is 1 to 23 of a-z, 0-9 and _")
    return channel


def _folded(logins: list[str]) -> list[str]:
    return [folded for login in logins if (folded := fold_login(login)) is not None]

"""The HTTP port: health, the lists of chatters, and WebSocket on every other path."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from common.names import fold_channel
from edge.door import Door
from edge.presence import Roster
from edge.transports import websocket

_CHATTERS = re.compile(r"/group/user/([^/]+)/chatters")
_HELLO = (
    "This is a Tallgrass edge. It speaks IRC over WebSocket here: connect with a chat client, e.g. tmi.js with\n"
    'connection: { server: "this host", port: this port, secure: false }\n'
)


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def handler(door: Door, not_ready: Callable[[], str], chatters: Callable[[str], Awaitable[Roster | None]]) -> Handler:
    """`not_ready` says why the edge cannot serve users now, or "" when it can; `chatters` who is in a channel, None
    when that cannot be told now.

    For aiohttp's low-level server: its applications cost each WebSocket 0.9 KB and 60 us more, for a router that four
    paths do not need [measured: 4,000 bare sockets].
    """

    async def group(name: str) -> web.Response:
        channel = fold_channel("#" + name)
        if channel is None:
            return _error(400, "Bad Request", "a channel is 1 to 25 of a-z, 0-9 and _")
        roster = await chatters(channel)
        if roster is None:
            return _error(503, "Service Unavailable", "the list cannot be had at the moment; try again in a minute")
        return web.json_response(_group(roster))

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await websocket.serve(request, door, _address(request, door))
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        if request.path == "/healthz":
            return web.Response(text="ok\n")
        if request.path == "/readyz":
            why = not_ready()
            return web.Response(status=503 if why else 200, text=(why or "ready") + "\n")
        match = _CHATTERS.fullmatch(request.path)
        return await group(match[1]) if match else web.Response(text=_HELLO)

    return handle


def _group(roster: Roster) -> dict[str, object]:
    """The shape that bots know from tmi.twitch.tv. Nobody is staff, admin or global moderator here."""
    ranks: dict[str, list[str]] = {
        name: [] for name in ("broadcaster", "vips", "moderators", "staff", "admins", "global_mods", "viewers")
    }
    for login in roster.logins:
        if login == roster.owner:
            rank = "broadcaster"
        elif login in roster.moderators:
            rank = "moderators"
        else:
            rank = "vips" if login in roster.vips else "viewers"
        ranks[rank].append(login)
    return {"_links": {}, "chatter_count": roster.count, "chatters": ranks}


def _error(status: int, error: str, message: str) -> web.Response:
    return web.json_response({"error": error, "status": status, "message": message}, status=status)


def _address(request: web.BaseRequest, door: Door) -> str | None:
    """The user's address: what a trusted proxy says last in X-Forwarded-For, else the socket's own."""
    remote = request.remote or "?"
    if not door.trusts(remote):
        return remote
    return request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or None

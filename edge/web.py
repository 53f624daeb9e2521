"""The HTTP port: its pages by path, and WebSocket on every path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from common.names import fold_channel
from edge.door import Door
from edge.presence import Roster
from edge.routes import Routes
from edge.transports import websocket

_HELLO = (
    "This is a Tallgrass edge. It speaks IRC over WebSocket here: connect with a chat client, e.g. tmi.js with\n"
    'connection: { server: "this host", port: this port, secure: false }\n'
)


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def handler(door: Door, routes: Routes) -> Handler:
    """For aiohttp's low-level server: its applications cost each WebSocket 0.9 KB and 60 us more, for a router that
    only the other requests need [measured: 4,000 bare sockets].
    """

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await websocket.serve(request, door, _address(request, door))
        found = routes.find(request.method, request.path)
        if isinstance(found, tuple):
            page, parts = found
            return await page(request, parts)
        if found:
            allow = ", ".join(sorted(found))
            return error(405, "Method Not Allowed", f"{request.path} takes {allow}", {"Allow": allow})
        return error(404, "Not Found", f"there is nothing at {request.path}")

    return handle


def add_pages(
    routes: Routes, not_ready: Callable[[], str], chatters: Callable[[str], Awaitable[Roster | None]]
) -> None:
    """`not_ready` says why the edge cannot serve users now, or "" when it can; `chatters` who is in a channel, None
    when that cannot be told now.
    """

    async def hello(request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        return web.Response(text=_HELLO)

    async def health(request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        why = not_ready()
        return web.Response(status=503 if why else 200, text=(why or "ready") + "\n")

    async def group(request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        channel = fold_channel("#" + parts["name"])
        if channel is None:
            return error(400, "Bad Request", "a channel is 1 to 25 of a-z, 0-9 and _")
        roster = await chatters(channel)
        if roster is None:
            return error(503, "Service Unavailable", "the list cannot be had at the moment; try again in a minute")
        return web.json_response(_group(roster))

    routes.add("GET", "/", hello)
    routes.add("GET", "/healthz", health)
    routes.add("GET", "/readyz", ready)
    routes.add("GET", "/group/user/{name}/chatters", group)


def error(status: int, name: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """In the shape that Twitch's API has for errors."""
    body = {"error": name, "status": status, "message": message}
    return web.json_response(body, status=status, headers=headers)


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


def _address(request: web.BaseRequest, door: Door) -> str | None:
    """The user's address: what a trusted proxy says last in X-Forwarded-For, else the socket's own."""
    remote = request.remote or "?"
    if not door.trusts(remote):
        return remote
    return request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or None

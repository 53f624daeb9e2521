"""The HTTP port: health, and WebSocket on every other path."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from edge.door import Door
from edge.transports import websocket

_HELLO = (
    "This is a Tallgrass edge. It speaks IRC over WebSocket here: connect with a chat client, e.g. tmi.js with\n"
    'connection: { server: "this host", port: this port, secure: false }\n'
)


def application(door: Door, not_ready: Callable[[], str]) -> web.Application:
    """`not_ready` says why the edge cannot serve users now, or "" when it can."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        why = not_ready()
        return web.Response(status=503 if why else 200, text=(why or "ready") + "\n")

    async def anything(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(text=_HELLO)
        return await websocket.serve(request, door, _address(request, door))

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/{path:.*}", anything)
    return app


def _address(request: web.Request, door: Door) -> str | None:
    """The user's address: what a trusted proxy says last in X-Forwarded-For, else the socket's own."""
    remote = request.remote or "?"
    if not door.trusts(remote):
        return remote
    return request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or None

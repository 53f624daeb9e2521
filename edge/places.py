"""GET /servers?channel=NAME: where to connect for a channel, in the shape that bots knew from tmi.twitch.tv."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from common.names import fold_channel
from common.pb.clue_pb2 import Registration
from edge.routes import Routes
from edge.web import error

EdgesOf = Callable[[str], Sequence[Registration]]


def add_page(routes: Routes, own: str, home: Callable[[str], str], edges: EdgesOf) -> None:
    """`own`: this edge's cluster; `home` gives a channel's; `edges` those of a cluster, as last known."""

    async def servers(request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        asked = request.query.get("channel", "")
        channel = fold_channel("#" + asked.removeprefix("#"))
        if channel is None:
            return error(400, "Bad Request", "give ?channel=NAME, 1 to 25 of a-z, 0-9 and _")
        cluster = home(channel)
        found = listing(cluster, edges(cluster))
        return web.json_response(found if found["servers"] else listing(own, edges(own)))

    routes.add("GET", "/servers", servers)


def listing(cluster: str, edges: Sequence[Registration]) -> dict[str, object]:
    """Those that take users, the least loaded first."""
    serving = sorted(
        (edge for edge in edges if not edge.draining), key=lambda edge: (-edge.weight, edge.sessions, edge.instance)
    )
    return {
        "cluster": cluster,
        "servers": [edge.irc_address for edge in serving],
        "websockets_servers": [edge.http_address for edge in serving],
    }

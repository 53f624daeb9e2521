"""GET /statusz: what this edge sees of itself and of its links, for `tallgrass doctor`. Not for users.

It answers who connects from an address of TALLGRASS_TRUSTED_PROXIES and comes through no proxy; nobody else finds it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from common.clock import Clock
from common.pb import clue_pb2
from edge.exchange_link import ExchangeLink
from edge.routes import Routes
from edge.web import error

Facts = Callable[[], dict[str, Any]]


def add_page(routes: Routes, facts: Facts, trusts: Callable[[str], bool]) -> None:
    async def status(request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        if "X-Forwarded-For" in request.headers or not trusts(request.remote or ""):
            return error(404, "Not Found", f"there is nothing at {request.path}")
        return web.json_response(facts())

    routes.add("GET", "/statusz", status)


def facts(
    registration: clue_pb2.Registration,
    *,
    not_ready: str,
    sessions: int,
    channels: int,
    links: Iterable[ExchangeLink],
    missing: Iterable[str],
    clock: Clock,
) -> dict[str, Any]:
    """As JSON. `missing`: exchanges that should be linked and are not."""
    now = clock.monotonic()
    return {
        "instance": registration.instance,
        "pid": registration.pid,
        "not_ready": not_ready,
        "now_ms": clock.unix_ms(),
        "sessions": sessions,
        "max_sessions": registration.max_sessions,
        "channels": channels,
        "loop_lag_us": registration.loop_lag_us,
        "links": [
            {"exchange": one.instance, "remote": one.remote, "up": one.up, "silent_s": round(now - one.last_heard, 2)}
            for one in links
        ],
        "missing": list(missing),
        "files": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
        "max_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }

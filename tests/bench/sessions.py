"""Memory per session and logins per second of one edge, the whole path with clue. Every case starts a fresh stack."""

from __future__ import annotations

import asyncio
import ssl
import time

import uvloop

from .client import log_in
from .fan import Load, joined
from .machine import cpu_seconds, most_members, rss_kb, say
from .plan import Run
from .servers import EDGE, Server, edge

_LOGINS_UNDER_WAY = 500
_TLS_LOGINS_UNDER_WAY = 20
_WARM_UP = 50  # sessions before the first look at memory: what the first ones load is not theirs


def measure(run: Run) -> None:
    sessions = min(run.plan.sessions, most_members())
    cases = {
        "TCP, joined": Load(sessions, inflight=_LOGINS_UNDER_WAY),
        "TCP, idle": Load(sessions, join=False, inflight=_LOGINS_UNDER_WAY),
        "WebSocket, joined": Load(sessions, websocket=True, inflight=_LOGINS_UNDER_WAY),
    }
    for turn in range(min(run.plan.repeat, 3)):
        for case, load in cases.items():
            with edge(run.folder) as server:
                warm = Load(_WARM_UP, websocket=load.websocket, base=30_000, letter="w")
                with joined(run.folder, server, warm):
                    before = Usage(server)
                    with joined(run.folder, server, load) as fan:
                        _add(run, case, turn, fan.joined["joined"], fan.joined["join_s"], before, Usage(server))
        with edge(run.folder, "--tls", "self") as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_tls(run, server, turn))


async def _tls(run: Run, server: Server, turn: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    clients = [await log_in(server.tls_port, f"warm{n}", tls=context) for n in range(_WARM_UP)]
    gate = asyncio.Semaphore(_TLS_LOGINS_UNDER_WAY)

    async def one(number: int) -> None:
        async with gate:
            clients.append(await log_in(server.tls_port, f"tls{number}", tls=context))

    before, began = Usage(server), time.monotonic()
    try:
        await asyncio.gather(*(one(number) for number in range(run.plan.tls_sessions)))
        took = time.monotonic() - began
        _add(run, "TCP with TLS, joined", turn, run.plan.tls_sessions, took, before, Usage(server))
    finally:
        for client in clients:
            client.close()


class Usage:
    """Memory of the edge and processor time of all processes of its stack, at one moment."""

    def __init__(self, server: Server) -> None:
        self.kb = rss_kb(server.pid)
        processes = {"edge": server.pid, **server.neighbours}
        self.cpu_s = {name: cpu_seconds(pid) for name, pid in processes.items()}


def _add(run: Run, case: str, turn: int, sessions: int, seconds: float, before: Usage, after: Usage) -> None:
    us_each = {name: (after.cpu_s[name] - before.cpu_s[name]) / sessions * 1e6 for name in before.cpu_s}
    figures = {
        "sessions": sessions,
        "kb_per_session": (after.kb - before.kb) / sessions,
        "per_s": sessions / seconds,
        "us_per_session": us_each,
    }
    run.add("sessions", case, EDGE, turn, **figures)
    most = ", ".join(f"{name} {us:.0f}" for name, us in sorted(us_each.items(), key=lambda item: -item[1])[:4])
    say(
        f"sessions: {case}: {sessions:,}: {figures['kb_per_session']:.2f} KB each, {figures['per_s']:,.0f} logins/s, "
        f"us each: {most}"
    )

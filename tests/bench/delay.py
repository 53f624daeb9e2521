"""End to end on an idle machine: from one client's send to another's receive through HAProxy, and what idling costs."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from pathlib import Path

import uvloop

from .client import Client, log_in
from .machine import BenchError, cpu_seconds, say
from .plan import Run
from .servers import Stack, stack

MESSAGES_PER_S = 10
_CONNECTION_TRIES = 12
_SETTLE_S = 3.0


def measure(run: Run) -> None:
    """Two edges, two clues, two exchanges behind HAProxy, pinned nowhere: the stack as people run it."""
    for turn in range(min(run.plan.repeat, 3)):
        with stack(run.folder, "--edges", "2", "--clues", "2", "--exchanges", "2") as whole:
            if not any("haproxy" in name for name in whole.services()):
                run.note("end to end: HAProxy is not installed, the client's way leads straight to the edge")
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_one_stack(run, whole, turn))


async def _one_stack(run: Run, whole: Stack, turn: int) -> None:
    seen: dict[str, list[tuple[int, float]]] = {}
    clients: list[Client] = []
    try:
        sender, home = await _placed(whole, "sender", None)
        clients.append(sender)
        for number in range(_CONNECTION_TRIES):
            arrivals: list[tuple[int, float]] = []
            client, place = await _placed(whole, f"reader{number}", arrivals)
            clients.append(client)
            seen.setdefault("same edge" if place == home else "other edge", arrivals)
            if len(seen) == 2:
                break
        await _measure_idle(run, whole, turn)
        await _measure_delay(run, sender, seen, turn)
    finally:
        for client in clients:
            client.close()


async def _placed(whole: Stack, nick: str, arrivals: list[tuple[int, float]] | None) -> tuple[Client, str]:
    """A client through the stack's public port, and the edge it came to (known from the edge's socket table)."""

    def on_line(line: bytes, now: float) -> None:
        if arrivals is not None and b" PRIVMSG " in line:
            arrivals.append((int(line.rpartition(b" ")[2]), now))

    before = _connections(whole)
    client = await log_in(whole.irc_port, nick, on_line=on_line)
    after = _connections(whole)
    return client, max(after, key=lambda name: after[name] - before[name])


def _connections(whole: Stack) -> dict[str, int]:
    """Established connections at each edge's IRC port."""
    count = dict.fromkeys(whole.edges, 0)
    names = {port: name for name, (_, port) in whole.edges.items()}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            match = re.match(r"\s*\d+: \w+:(\w{4}) \w+:\w{4} 01 ", line)
            if match and (name := names.get(int(match[1], 16))):
                count[name] += 1
    return count


async def _measure_idle(run: Run, whole: Stack, turn: int) -> None:
    await asyncio.sleep(_SETTLE_S)
    services = whole.services()
    before, began = {name: cpu_seconds(pid) for name, pid in services.items()}, time.monotonic()
    await asyncio.sleep(run.plan.idle_s)
    took = time.monotonic() - began
    shares = {name: (cpu_seconds(pid) - before[name]) / took for name, pid in services.items()}
    case = "2 edges, 2 clues, 2 exchanges, 0 messages"
    run.add("idle", case, "tallgrass", turn, share=sum(shares.values()), shares=shares)
    worst = ", ".join(f"{name} {share:.1%}" for name, share in sorted(shares.items(), key=lambda s: -s[1])[:4])
    say(f"idle: {sum(shares.values()):.1%} of one core ({worst})")


async def _measure_delay(
    run: Run,
    sender: Client,
    seen: dict[str, list[tuple[int, float]]],
    turn: int,
) -> None:
    sent: list[float] = []
    start = time.perf_counter()
    for number in range(run.plan.delay_messages):
        await asyncio.sleep(max(0.0, start + number / MESSAGES_PER_S - time.perf_counter()))
        sent.append(time.perf_counter())
        sender.send(b"PRIVMSG #c :a line of ordinary length, the way people talk in a chat %d" % number)
    await asyncio.sleep(1.0)
    for place, arrivals in seen.items():
        delays = sorted((now - sent[number]) * 1e3 for number, now in arrivals)
        if not delays:
            raise BenchError(f"end to end: no line reached the reader on the {place}")
        figures = {
            "sent": len(sent),
            "arrived": len(delays),
            "p50_ms": statistics.median(delays),
            "p99_ms": delays[len(delays) * 99 // 100],
            "max_ms": delays[-1],
        }
        run.add("delay", f"{MESSAGES_PER_S}/s, reader on the {place}", "tallgrass", turn, **figures)
        say(
            f"end to end, {place}: median {figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms, "
            f"{figures['arrived']} of {figures['sent']} arrived"
        )

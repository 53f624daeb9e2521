"""Fan-out: what one delivery costs the server, and how late it comes.

All servers of a case are up and joined together and take turns, so that a change of the machine's mood meets each of
them; ratios are taken within one turn. Only one load sends at a time.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from .fan import Fan, Load, joined
from .machine import BenchError, most_members, say
from .plan import Run
from .servers import PEERS, Server, edge, floor, missing_peers, peer

QUIET_RATE = 10  # lines a second


@dataclass(slots=True)
class Contender:
    """One row of a case's table: a name, the joined load that measures it, and a small one beside it."""

    name: str
    fan: Fan
    beside: Fan | None = None


def against_peers(run: Run) -> None:
    """One channel, plain members: C floor, peers and the edge."""
    plan, part = run.plan, "fanout"
    load = Load(plan.members)
    for name in missing_peers():
        run.note(f"{name} is not installed, its column is missing: make bench-peers installs it")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(floor(run.folder, ms)) for ms in (0, 20)]
        servers += [stack.enter_context(peer(run.folder, name)) for name in PEERS if name not in missing_peers()]
        servers += _edge(run, stack)
        contenders = _join(run, stack, part, [(server.name, server, load) for server in servers])
        for rate in plan.rates:
            case = f"{plan.members:,} members, {rate:g}/s"
            # Writing each line at once has the core full from 200/s on: nothing is learnt past that.
            able = [c for c in contenders if rate <= 200 or c.name != "C floor, at once"]
            _take_turns(run, part, case, able, rate)


def crowd(run: Run) -> None:
    """One very large channel: C floor joined for 100 ms, and the edge."""
    plan, part = run.plan, "crowd"
    members = min(plan.crowd, most_members())
    if members < plan.crowd:
        run.note(f"only {members:,} members instead of {plan.crowd:,}: the limit of open files is too low")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(floor(run.folder, 100)), *_edge(run, stack)]
        load = Load(members, inflight=200)
        contenders = _join(run, stack, part, [(server.name, server, load) for server in servers])
        _take_turns(run, part, f"{members:,} members, {plan.crowd_rate:g}/s", contenders, plan.crowd_rate)


def variants(run: Run) -> None:
    """The same number of members on one edge: plain or tagged, TCP or WebSocket, in 1, 4 or 16 channels."""
    plan, part = run.plan, "variants"
    loads = {
        "TCP, plain": Load(plan.members),
        "TCP, tagged": Load(plan.members, tags=True),
        "WebSocket, plain": Load(plan.members, websocket=True),
        "WebSocket, tagged": Load(plan.members, websocket=True, tags=True),
        "TCP, plain, 4 channels": Load(plan.members, channels=4),
        "TCP, plain, 16 channels": Load(plan.members, channels=16),
    }
    with contextlib.ExitStack() as stack:
        wanted: list[tuple[str, Server, Load]] = []
        servers = [*_edge(run, stack), stack.enter_context(floor(run.folder, 20))]
        for server in servers:
            for number, (name, load) in enumerate(loads.items()):
                if server.token or not (load.tags or load.websocket):
                    # Loads on one server keep apart by nick, address and channel.
                    apart = Load(
                        load.members,
                        load.channels,
                        load.tags,
                        load.websocket,
                        base=number * (plan.members + 100),
                        letter="abcdefgh"[number],
                    )
                    wanted.append((f"{server.name}: {name}", server, apart))
        contenders = _join(run, stack, part, wanted)
        for rate in plan.rates[:2]:
            able = [c for c in contenders if rate * c.fan.load.channels <= 800]
            _take_turns(run, part, f"{plan.members:,} members, {rate:g}/s in each channel", able, rate)


def quiet_next_to_hot(run: Run) -> None:
    """A channel of 20 members at 10/s while another of many is hot: the quiet one's own delays.

    Its clients are a process of their own: in one with the 10,000 others they are read when their turn comes, up to
    15 ms later [p99 of one run as one process saw it: 38 ms; by traces, from the edge that reads a line until it has
    written it: 26]. The floor joins for 100 ms, in the quiet channel too: writing each line at once takes more than a
    core at this load. A turn is longer than others: of 50 quiet lines the p99 would be the worst.
    """
    plan, part = run.plan, "quiet"
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(floor(run.folder, 100)), *_edge(run, stack)]
        load = Load(plan.hot, inflight=200)
        contenders = _join(run, stack, part, [(server.name, server, load) for server in servers])
        for contender in contenders:
            quiet = Load(20, base=plan.hot + 100, letter="q")
            contender.beside = stack.enter_context(joined(run.folder, contender.fan.server, quiet))
        case = f"20 members at {QUIET_RATE}/s next to {plan.hot:,} at 50/s"
        _take_turns(run, part, case, contenders, 50, seconds=plan.quiet_s)


def saturation(run: Run) -> None:
    """One edge, ever more lines a second to a very large channel, until it holds no more."""
    plan, part = run.plan, "saturation"
    members = min(plan.crowd, most_members())
    with contextlib.ExitStack() as stack:
        contenders = _join(
            run, stack, part, [(server.name, server, Load(members, inflight=200)) for server in _edge(run, stack)]
        )
        for contender in contenders:
            failures = 0  # one may be a mishap; the second in a row ends it
            for rate in plan.saturation:
                case = f"{members:,} members, {rate:g}/s"
                _take_turns(run, part, case, [contender], rate, turns=1)
                figures = run.rows[-1]
                failures = 0 if figures["case"] == case and holds(figures) else failures + 1
                if failures == 2:
                    break


def holds(figures: dict[str, float]) -> bool:
    """Whether a server kept up: nothing lost, nobody dropped, the last line hardly later than it was sent.

    Lines came for as long as they were sent, as much later as the last were late: that wait is no lack of pace.
    """
    offered = figures["rate"] * figures["members"]
    pace = figures["delivered"] / (figures["elapsed_s"] - figures["p99_ms"] / 1e3)
    return (
        figures["ratio"] > 0.999
        and not figures["closed"]
        and not figures["notices"]
        and pace > 0.95 * offered
        and figures["p99_ms"] < 1_000
    )


def _edge(run: Run, stack: contextlib.ExitStack) -> list[Server]:
    """The edge in a list, or none when the stack does not start (which is noted)."""
    try:
        return [stack.enter_context(edge(run.folder))]
    except BenchError as error:
        run.note(f"the edge was not measured: {error}")
        return []


def _join(
    run: Run,
    stack: contextlib.ExitStack,
    part: str,
    wanted: list[tuple[str, Server, Load]],
) -> list[Contender]:
    contenders = []
    for name, server, load in wanted:
        say(f"{part}: {load.members:,} members join {name}")
        try:
            fan = stack.enter_context(joined(run.folder, server, load))
        except BenchError as error:
            run.note(f"{part}, {name}: not measured: {error}")
            continue
        run.add("joins", f"{part}: {load.members:,} members", name, 0, **fan.joined)
        contenders.append(Contender(name, fan))
    return contenders


def _take_turns(
    run: Run,
    part: str,
    case: str,
    contenders: list[Contender],
    rate: float,
    turns: int | None = None,
    seconds: float | None = None,
) -> None:
    turns, seconds = turns or run.plan.repeat, seconds or run.plan.seconds
    for turn in range(turns):
        start = turn % len(contenders) if contenders else 0
        for contender in contenders[start:] + contenders[:start]:
            try:
                if contender.beside is not None:
                    contender.beside.begin(QUIET_RATE, seconds)
                figures = contender.fan.run(rate, seconds)
                if contender.beside is not None:
                    quiet = contender.beside.end(seconds)
                    figures |= {f"quiet_{figure}": quiet[figure] for figure in ("p50_ms", "p99_ms", "max_ms")}
                    if quiet["ratio"] < 1:
                        run.note(f"{part}, {case}, {contender.name}: {quiet['ratio']:.2%} of the quiet lines arrived")
            except BenchError as error:
                run.note(f"{part}, {case}, {contender.name}: {error}")
                contenders.remove(contender)
                continue
            if figures["closed"]:
                run.note(f"{part}, {case}, {contender.name}: {figures['closed']} members were dropped")
            if figures["notices"]:
                run.note(f"{part}, {case}, {contender.name}: {figures['notices']} lines refused: {figures['notice']}")
            run.add(part, case, contender.name, turn, **figures)
            aside = f" quiet p99 {figures['quiet_p99_ms']:.1f} ms" if "quiet_p99_ms" in figures else ""
            say(
                f"{part}: {case}: turn {turn + 1}/{turns}: {contender.name}: {figures['us_per_delivery']:.3f} us, "
                f"p99 {figures['p99_ms']:.1f} ms{aside}, {figures['deliveries_per_s']:,.0f}/s, "
                f"arrived {figures['ratio']:.2%}, cores {figures['server_core']:.0%} {figures['load_core']:.0%}"
            )

"""Rows to medians, ratios and goals; as JSON for programs and as Markdown for docs/benchmarks.md.

A ratio is taken between two servers of one turn; what is shown is the median of the turns and, in brackets, the range.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .fanout import holds
from .machine import BenchError
from .servers import EDGE, PEERS

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

_DISTURBED = 0.25  # of one core: kernel work that no process is charged for stays below

Row = dict[str, Any]
Turns = dict[int, float]


class Figures:
    """The rows of one run, and questions to them."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def of(self, part: str, case: str | None = None, server: str | None = None) -> list[Row]:
        return [
            row
            for row in self.rows
            if row["part"] == part and case in (None, row["case"]) and server in (None, row["server"])
        ]

    def cases(self, part: str) -> list[str]:
        return list(dict.fromkeys(row["case"] for row in self.of(part)))

    def servers(self, part: str, case: str) -> list[str]:
        return list(dict.fromkeys(row["server"] for row in self.of(part, case)))

    def turns(self, part: str, case: str, server: str, figure: str) -> Turns:
        return {row["turn"]: row[figure] for row in self.of(part, case, server)}

    def best_peer(self, part: str, case: str) -> Turns:
        """The cheapest peer of each turn among those that kept up."""
        best: Turns = {}
        for row in self.of(part, case):
            if row["server"] in PEERS and holds(row):
                best[row["turn"]] = min(row["us_per_delivery"], best.get(row["turn"], row["us_per_delivery"]))
        return best


def ratio(of: Turns, to: Turns) -> Turns:
    return {turn: value / to[turn] for turn, value in of.items() if to.get(turn)}


def median(values: Turns) -> float | None:
    return statistics.median(values.values()) if values else None


def shown(values: Turns | Iterable[float], digits: int) -> str:
    numbers = list(values.values()) if isinstance(values, dict) else list(values)
    if not numbers:
        return "-"
    middle = f"{statistics.median(numbers):,.{digits}f}"
    return middle if len(numbers) == 1 else f"{middle} [{min(numbers):,.{digits}f}-{max(numbers):,.{digits}f}]"


def goals(figures: Figures) -> list[Row]:
    """What must hold, and whether it does; `met` is None when this run did not measure it."""
    found: list[Row] = []

    def add(name: str, bound: float, value: float | None, unit: str, *, at_least: bool = False) -> None:
        met = None if value is None else value >= bound if at_least else value <= bound
        found.append(
            {"goal": name, "bound": f"{'≥' if at_least else '≤'} {bound:,.10g}{unit}", "value": value, "met": met}
        )

    limits = {50: (0.55, 40), 200: (0.33, 60), 800: (0.4, 60)}
    for case in figures.cases("fanout"):
        rate = figures.of("fanout", case)[0]["rate"]
        if rate in limits:
            mine = figures.turns("fanout", case, EDGE, "us_per_delivery")
            add(
                f"{case}: CPU against the best peer",
                limits[rate][0],
                median(ratio(mine, figures.best_peer("fanout", case))),
                " x",
            )
            add(f"{case}: p99 delay", limits[rate][1], median(figures.turns("fanout", case, EDGE, "p99_ms")), " ms")
    for case in figures.cases("crowd"):
        mine = figures.turns("crowd", case, EDGE, "us_per_delivery")
        floor = figures.turns("crowd", case, "C floor, 100 ms", "us_per_delivery")
        add(f"{case}: CPU against the C floor", 1.35, median(ratio(mine, floor)), " x")
        add(f"{case}: p99 delay", 300, median(figures.turns("crowd", case, EDGE, "p99_ms")), " ms")
    if figures.of("saturation"):
        held = [row["deliveries_per_s"] for row in figures.of("saturation") if holds(row)]
        add("one edge: deliveries/s it holds", 1_000_000, max(held, default=0), "", at_least=True)
    for case in figures.cases("quiet"):
        add(f"{case}: p99 of the quiet channel", 25, median(figures.turns("quiet", case, EDGE, "quiet_p99_ms")), " ms")
    for case in figures.cases("variants"):

        def cost(name: str, case: str = case) -> Turns:
            return figures.turns("variants", case, f"{EDGE}: {name}", "us_per_delivery")

        add(f"{case}: tagged against plain", 1.5, median(ratio(cost("TCP, tagged"), cost("TCP, plain"))), " x")
        add(f"{case}: WebSocket against TCP", 1.3, median(ratio(cost("WebSocket, plain"), cost("TCP, plain"))), " x")
    for case, bound in (("TCP, joined", 6), ("WebSocket, joined", 16)):
        add(
            f"memory per session, {case}", bound, median(figures.turns("sessions", case, EDGE, "kb_per_session")), " KB"
        )
    add(
        "logins and joins per second",
        2_000,
        median(figures.turns("sessions", "TCP, joined", EDGE, "per_s")),
        "/s",
        at_least=True,
    )
    for case in figures.cases("delay"):
        if case.endswith("other edge"):
            add("end to end, other edge: median", 6, median(figures.turns("delay", case, "tallgrass", "p50_ms")), " ms")
            add("end to end, other edge: p99", 20, median(figures.turns("delay", case, "tallgrass", "p99_ms")), " ms")
    for case in figures.cases("idle"):
        share = median(figures.turns("idle", case, "tallgrass", "share"))
        add("idle stack: share of one core", 5, None if share is None else share * 100, " %")
    return [goal for goal in found if goal["met"] is not None]


def to_json(found: dict[str, Any]) -> str:
    return json.dumps({**found, "goals": goals(Figures(found["rows"]))}, indent=1)


def to_markdown(found: dict[str, Any]) -> str:
    figures = Figures(found["rows"])
    machine, plan = found["machine"], found["plan"]
    quick = " (--quick: proves the machinery, no figures to quote)" if found["quick"] else ""
    parts = [
        f"Measured {found['date']} on {machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, "
        f"Python {machine['python']}, fan-out {machine['fanout']}; "
        f"load average at the start {machine['load_average_at_start']}; "
        f"{plan['repeat']} turns of {plan['seconds']:g} s{quick}.",
    ]
    parts += [f"Note: {note}" for note in found["notes"]]
    measured = [row for row in figures.rows if "others" in row]
    disturbed = sum(row["others"] > _DISTURBED for row in measured)
    if disturbed:
        parts.append(
            f"**Disturbed, not to be quoted**: in {disturbed} of {len(measured)} measurements of fan-out other work "
            f"took more than {_DISTURBED:.0%} of a core. Delays suffer, and a server that starves joins lines by "
            "itself and looks cheaper than it is."
        )
    parts += _goals(figures) + _fan_out(figures) + _saturation(figures) + _sessions(figures) + _delay(figures)
    parts += _inner(figures) + _functions(figures)
    return "\n\n".join(parts) + "\n"


def update(page: Path, markdown: str) -> None:
    """Puts the figures between the page's markers. Raises BenchError when it has none."""
    text = page.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"{page} lacks the lines {BEGIN} and {END} between which the figures go")
    page.write_text(f"{head}{BEGIN}\n\n{markdown}\n{END}{tail}")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _goals(figures: Figures) -> list[str]:
    rows = [
        [
            goal["goal"],
            goal["bound"],
            f"{goal['value']:,.3g}" if goal["value"] < 1_000 else f"{goal['value']:,.0f}",
            "met" if goal["met"] else "**missed**",
        ]
        for goal in goals(figures)
    ]
    return ["### Goals", _table(["goal", "bound", "measured", ""], rows)] if rows else []


def _fan_out(figures: Figures) -> list[str]:
    parts: list[str] = []
    titles = {
        "fanout": "Fan-out: one channel, plain members",
        "crowd": "Fan-out: a very large channel",
        "variants": "Fan-out: tags, WebSocket, several channels",
        "quiet": "A quiet channel next to a hot one",
    }
    memory = {(row["case"].partition(":")[0], row["server"]): row["kb_per_connection"] for row in figures.of("joins")}
    for part, title in titles.items():
        for case in figures.cases(part):
            floors = {
                "fanout": "C floor, 20 ms",
                "crowd": "C floor, 100 ms",
                "quiet": "C floor, 100 ms",
                "variants": "C floor, 20 ms: TCP, plain",
            }
            floor = figures.turns(part, case, floors[part], "us_per_delivery")
            best = figures.best_peer(part, case)
            rows = []
            for server in figures.servers(part, case):

                def column(figure: str, part: str = part, case: str = case, server: str = server) -> Turns:
                    return figures.turns(part, case, server, figure)

                cost = column("us_per_delivery")
                row = [
                    server,
                    shown(cost, 3),
                    shown(ratio(cost, floor), 2),
                    shown(ratio(cost, best), 2),
                    shown(column("p99_ms"), 1),
                    shown({0: median(column("deliveries_per_s")) or 0}, 0),
                    f"{min(column('ratio').values()):.2%}",
                    f"{memory.get((part, server), 0):.1f}",
                ]
                if part == "quiet":
                    row.append(shown(column("quiet_p99_ms"), 1))
                rows.append(row)
            head = [
                "server",
                "µs CPU per delivery",
                "× C floor",
                "× best peer",
                "p99 ms",
                "deliveries/s",
                "arrived",
                "KB per connection",
            ]
            if part == "quiet":
                head.append("p99 ms of the quiet channel")
            parts += [f"### {title}: {case}", _table(head, rows)]
    return parts


def _saturation(figures: Figures) -> list[str]:
    rows = []
    for row in figures.of("saturation"):
        shares = sorted(row["shares"].items(), key=lambda item: -item[1])[:5]
        rows.append(
            [
                row["case"],
                f"{row['deliveries_per_s']:,.0f}",
                f"{row['us_per_delivery']:.3f}",
                f"{row['p99_ms']:.0f}",
                f"{row['ratio']:.2%}",
                "yes" if holds(row) else "no",
                f"{row['server_core']:.0%} / {row['load_core']:.0%}",
                ", ".join(f"{name} {share:.0%}" for name, share in shares),
            ]
        )
    if not rows:
        return []
    head = [
        "load",
        "deliveries/s",
        "µs CPU per delivery",
        "p99 ms",
        "arrived",
        "held",
        "edge's core / other core busy",
        "who uses the time",
    ]
    return ["### How much one edge holds", _table(head, rows), _what_limits(figures.of("saturation"))]


def _what_limits(rows: list[Row]) -> str:
    last = rows[-1]
    if holds(last):
        return "The highest load tried was held; the limit is above it."
    if last["shares"].get(EDGE, 0) > 0.93:
        return "What limits: the edge's own core is full."
    if last["others"] > _DISTURBED:
        return "What limits: other work on this machine, see above."
    if last["load_core"] > 0.93:
        return "What limits: the other core (load generator, clue, exchange and Redis share it) is full, not the edge."
    return "What limits: no core is full; look at the delays and at what arrived."


def _sessions(figures: Figures) -> list[str]:
    rows = []
    for case in figures.cases("sessions"):
        turns = figures.of("sessions", case)
        each = {
            name: statistics.median(row["us_per_session"].get(name, 0) for row in turns)
            for name in turns[0]["us_per_session"]
        }
        costs = sorted(((us, name) for name, us in each.items() if us >= 1), reverse=True)
        rows.append(
            [
                case,
                f"{turns[0]['sessions']:,}",
                shown(figures.turns("sessions", case, EDGE, "kb_per_session"), 2),
                shown(figures.turns("sessions", case, EDGE, "per_s"), 0),
                ", ".join(f"{name} {us:.0f}" for us, name in costs),
            ]
        )
    head = ["sessions", "how many", "KB each", "logins/s", "µs CPU each"]
    return ["### Sessions: memory and logins", _table(head, rows)] if rows else []


def _delay(figures: Figures) -> list[str]:
    rows = [
        [
            case,
            *(shown(figures.turns("delay", case, "tallgrass", name), 2) for name in ("p50_ms", "p99_ms", "max_ms")),
            str(sum(row["sent"] - row["arrived"] for row in figures.of("delay", case))),
        ]
        for case in figures.cases("delay")
    ]
    head = ["case", "median ms", "p99 ms", "max ms", "lost"]
    parts = ["### End to end through HAProxy", _table(head, rows)] if rows else []
    for case in figures.cases("idle"):
        shares: dict[str, list[float]] = {}
        for row in figures.of("idle", case):
            for name, share in row["shares"].items():
                shares.setdefault(name.partition("-")[0], []).append(share / len(figures.of("idle", case)))
        by_service = ", ".join(f"{name} {sum(s):.1%}" for name, s in sorted(shares.items(), key=lambda i: -sum(i[1])))
        total = [row["share"] * 100 for row in figures.of("idle", case)]
        parts.append(f"Idle ({case}): {shown(total, 1)} % of one core; {by_service}.")
    return parts


def _inner(figures: Figures) -> list[str]:
    parts: list[str] = []
    rows = [
        [
            case,
            shown(figures.turns("submit", case, "clue", "per_s"), 0),
            shown(figures.turns("submit", case, "clue", "us_per_message"), 1),
        ]
        for case in figures.cases("submit")
    ]
    if rows:
        parts += ["### One clue, one hot channel", _table(["rules", "messages/s", "µs CPU of clue a message"], rows)]
    rows = [
        [
            case,
            shown(figures.turns("links", case, "exchange", "per_s"), 0),
            shown(figures.turns("links", case, "exchange", "delivered_per_s"), 0),
            shown(figures.turns("links", case, "exchange", "us_per_delivery"), 2),
        ]
        for case in figures.cases("links")
    ]
    if rows:
        head = ["one exchange, two edges", "entries/s in", "entries/s out", "µs CPU of exchange an entry out"]
        parts += ["### One exchange", _table(head, rows)]
    return parts


def _functions(figures: Figures) -> list[str]:
    rows = []
    for case in figures.cases("functions"):
        plain = figures.turns("functions", case, "baseline", "ns")
        ours = figures.turns("functions", case, "tallgrass", "ns")
        what = figures.of("functions", case, "baseline")
        rows.append([case, shown(ours, 0), shown(plain, 0), shown(ratio(ours, plain), 2), what[0]["what"]])
    head = ["function", "ns", "baseline ns", "ratio", "baseline"]
    return ["### Hot functions, one at a time", _table(head, rows)] if rows else []

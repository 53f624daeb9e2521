"""The page of a run: one HTML file without anything from outside, plots as inline SVG, readable in light and dark."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.timing import DISTURBED

Numbers = Sequence[float | None]

_COLORS = (
    "#2f6fde", "#e0622b", "#1f9d6b", "#b0408f", "#c79a12", "#5b5fc7",
    "#d13b4a", "#2a9db5", "#7a8a2c", "#8a6d5b", "#3c4a63", "#d98fb3",
)  # fmt: skip
_WIDTH, _HEIGHT = 860, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 12, 28

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --line: #d9dde5; --page: #fbfbfd; --card: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaf0; --soft: #98a1b3; --line: #333a48; --page: #14171d; --card: #1b1f27; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0; }
main { max-width: 920px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 25px; margin: 0 0 2px; } h2 { font-size: 18px; margin: 34px 0 8px; }
h3 { font-size: 14px; margin: 0 0 4px; font-weight: 600; }
p.soft, .soft { color: var(--soft); } p { margin: 4px 0 10px; }
.verdict { border-left: 6px solid; padding: 10px 14px; background: var(--card); border-radius: 4px; margin: 16px 0; }
.well { border-color: #1f9d6b; } .faulty { border-color: #d13b4a; } .unknown { border-color: #c79a12; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; }
.card, figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.card b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; } .card span { color: var(--soft); }
figure { margin: 12px 0; } svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; } svg .grid { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 12px; color: var(--soft); }
.legend i { display: inline-block; width: 12px; height: 3px; margin-right: 5px; vertical-align: middle; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; background: var(--card); }
th, td { text-align: right; padding: 4px 10px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; font-size: 13px; }
details { margin: 10px 0; } pre { overflow-x: auto; font-size: 12px; }
"""


def page(outcome: Mapping[str, Any]) -> str:
    """The whole file."""
    plan, totals, machine = outcome["plan"], outcome["totals"], outcome["machine"]
    title = f"Load: {outcome['shape']}, {plan['viewers']:,} viewers, {plan['rate']:g} messages/s"
    parts = [
        f"<h1>{_text(title)}</h1>",
        f"<p class=soft>{outcome['date']} · run {outcome['run']} · {_text(plan['target'])} (cluster {plan['cluster']}) "
        f"· {_text(plan_told(plan))} · {_text(_machine_told(machine))} · load average at the end "
        f"{machine['load_average'][0]}</p>",
        f"<div class='verdict {outcome['status']}'><b>{outcome['status'].capitalize()}.</b> "
        f"{_text(outcome['summary'])}</div>",
        _cards(outcome),
        f"<p>{_text(others_told(outcome['others']))}</p>",
        _plots(outcome),
        "<h2>Messages</h2>",
        _messages(outcome["messages"]),
        "<h2>Delay from sending to another's screen</h2>",
        _delays(outcome["delays"], "channel"),
        "<p class=soft>From the write to the moment at which the reader's kernel has the line.</p>",
        "<h3>By what programs outside of the test took in the same second</h3>",
        _bands(outcome["others"]["bands"]),
        "<h2>Verdicts: from sending to one's own USERSTATE</h2>",
        _delays(outcome["verdicts"], "channel"),
        "<h2>Getting in: from connecting to the end of the join</h2>",
        _delays(outcome["entering"], "channel"),
    ]
    if outcome["returning"]:
        back = outcome["returning"]
        parts += ["<h2>Coming back after the storm</h2>", _delays({"all": back}, "")]
        parts.append(
            f"<p>{back['back']:,} of {back['left']:,} came back, the last within {back['all_back_s']:g} s. Turned away "
            f"by our limits: {back['turned_away']:,}. Connections that ended before they were in, and were tried "
            f"again: {back['tries_lost']:,}.</p>"
        )
    if outcome["stayed"]:
        parts += ["<h2>Those who stayed</h2>", _stayed(outcome["stayed"])]
    parts += ["<h2>Lost, repeated, out of order</h2>", _checks(outcome["checks"])]
    if outcome["tail"]:
        tail = outcome["tail"]
        parts.append(
            f"<p>Small channels together: {tail['seen']:,} of {tail['expected']:,} deliveries, {tail['repeated']:,} "
            f"repeated; of {tail['unsure']:,} more it is not known whether they were let in.</p>"
        )
    if outcome["moderation"]["shown"]:
        parts += ["<h2>Moderating: from the command to the moderator's own screen</h2>"]
        parts.append(_delays(outcome["moderation"]["shown"], "command"))
    parts += ["<h2>Processes while messages were sent</h2>", _services(outcome)]
    parts += ["<h2>What it cost</h2>", _table(("", ""), list(outcome["costs"].items()))]
    parts.append("<p class=soft>Processor time by what was done with it. A small load pays for idle services.</p>")
    if outcome["metrics"]:
        parts += ["<h2>What the services counted</h2>", _table(("", "sum"), sorted(outcome["metrics"].items()))]
    told = {**outcome["denials"], **outcome["trouble"]}
    if told:
        parts += ["<h2>Refusals and lost connections</h2>", _table(("", "times"), list(told.items()))]
    parts.append(
        f"<p class=soft>Lines had {totals['line_bytes']:g} bytes on average. Delays are those of sampled viewers; the "
        "others are counted by their bytes: who lost or repeated a line has another sum (docs/load.md).</p>"
    )
    return _whole(title, parts)


def limit_page(found: Mapping[str, Any]) -> str:
    """The page of a search for the limit (limit.py)."""
    title = "Load: how far it goes"
    parts = [
        f"<h1>{title}</h1>",
        f"<p class=soft>{found['date']} · {_text(_machine_told(found['machine']))}</p>",
        *(f"<p>{_text(line)}.</p>" for line in found["summary"]),
    ]
    keys = (
        "viewers", "gathered", "rate", "delivered_per_s", "p50_ms", "p99_ms", "max_ms", "stack_cores", "load_cores",
        "load_lag_p99_ms", "others_cores", "disconnected", "status",
    )  # fmt: skip
    for leg, steps in found["legs"].items():
        delivered = [step["delivered_per_s"] for step in steps]
        lines = {name: [step[f"{name}_ms"] for step in steps] for name in ("p50", "p99")}
        parts.append(f"<h2>{_text(leg.capitalize())}</h2>")
        parts.append(plot("Delay by deliveries a second, ms", delivered, lines, log=True))
        parts.append(_table([key.replace("_", " ") for key in keys], [[step[key] for key in keys] for step in steps]))
    return _whole(title, parts)


def _whole(title: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(title)}</title>"
        f"<meta name=viewport content='width=device-width, initial-scale=1'><style>{_STYLE}</style>"
        f"<main>{body}</main></html>\n"
    )


def plan_told(plan: Mapping[str, Any]) -> str:
    """Who came from where, in words."""
    return (
        f"{plan['edges']} edges, limits {'on' if plan['limits'] else 'off'}, {plan['haproxy']:.0%} through HAProxy, "
        f"{plan['websocket']:.0%} over WebSocket, {plan['tls']:.0%} over TLS, "
        f"{'tags and commands' if plan['tagged'] else 'no tags'}, {plan['chatters']} chatters"
    )


def _machine_told(machine: Mapping[str, Any]) -> str:
    return f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}"


def _cards(outcome: Mapping[str, Any]) -> str:
    totals, generator = outcome["totals"], outcome["generator"]
    delay = max(outcome["delays"].values(), key=lambda one: one["count"], default={"p50": 0, "p99": 0, "max": 0})
    per_1000, others = generator["cpu_ms_per_1000_deliveries"], outcome["others"]["cores"]
    cards = [
        (f"{outcome['gathered']['viewers']:,}", "viewers when it began"),
        (f"{totals['sent_per_s']:g}/s", "messages offered, without spam"),
        (f"{totals['delivered_per_s']:,}/s", "publications delivered"),
        (f"{delay['p50']:,.0f} ms", "delay, median"),
        (f"{delay['p99']:,.0f} ms", "delay, 99 %"),
        (f"{delay['max']:,.0f} ms", "delay, maximum"),
        (f"{totals['denied']:,}", "denied, mostly spam" if outcome["plan"]["limits"] else "denied"),
        (f"{totals['disconnected']:,}", "disconnected"),
        ("-" if per_1000 is None else f"{per_1000:g} ms", "load's own CPU per 1,000 deliveries"),
        ("-" if outcome["machine_busy"] is None else f"{outcome['machine_busy']:.0%}", "of all cores busy"),
        ("-" if others is None else f"{others:.2f}", "cores busy with other programs"),
    ]
    inner = "".join(f"<div class=card><b>{value}</b><span>{name}</span></div>" for value, name in cards)
    return f"<div class=cards>{inner}</div>"


def _plots(outcome: Mapping[str, Any]) -> str:
    series, events = outcome["series"], outcome["events"]
    if not series["second"]:
        return "<p>Nothing was recorded.</p>"
    begin = next((event["at"] for event in events if event["name"] == "speak"), 0.0)
    marks = [(event["at"] - begin, event["name"]) for event in events]
    seconds = series["second"]

    def figure(title: str, lines: Mapping[str, Numbers], *, log: bool = False) -> str:
        return plot(title, seconds, lines, marks, log=log)

    figures = [
        "<h2>Over time</h2><p class=soft>Seconds from the first message.</p>",
        figure("Viewers connected", {"viewers": series["viewers"]}),
        figure("Publications a second", {"offered": series["offered"], "delivered": series["delivered"]}),
        figure("Delay from sending to another's screen, ms", series["delay"], log=True),
    ]
    if len(series["delay_p99_by_channel"]) > 1:
        figures.append(figure("Delay by channel, 99 %, ms", series["delay_p99_by_channel"], log=True))
    figures += [
        figure("The load's own lateness, not part of the delays above: 99 %, ms", {"load": series["own_lag_p99"]}),
        figure("Processor time, cores", _one_load(series["cpu"])),
        figure("Memory, MiB", _one_load(series["memory_mib"])),
        figure("All cores busy, share", {"this machine": series["busy"]}),
        figure("Programs outside of the test, cores", {"others": series["others"]}),
    ]
    if "metrics" in series:
        figures += [
            figure("Edges: the most that the loop was late in a second, ms", series["loop_lag_ms"]),
            figure("Edges: one pass over a channel's members, mean, ms", series["pass_ms"]),
            figure(
                "Batch sizes, mean",
                {"submissions to clue": series["batch_size"], "publications in one pass": series["pass_size"]},
            ),
            figure(
                "Skipped, repaired, denied, retried a second",
                {name: series["metrics"][name] for name in ("skipped", "repaired", "denied", "retried", "dropped")},
            ),
        ]
    return "".join(figures)


def _one_load(lines: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """All processes of the load as one line."""
    loads = [ys for name, ys in lines.items() if name.startswith("load-")]
    total: Numbers = [
        sum(known) if (known := [y for y in ys if y is not None]) else None for ys in zip(*loads, strict=True)
    ]
    others = {name: ys for name, ys in lines.items() if not name.startswith("load-")}
    return {**others, "the load": total} if loads else others


# -- plots ----------------------------------------------------------------------------------------------------------


def plot(
    title: str, xs: Sequence[float], lines: Mapping[str, Numbers], marks: Sequence[tuple[float, str]] = (), *,
    log: bool = False,
) -> str:
    """Lines over `xs`; None leaves a gap. `marks` are moments with a name."""  # fmt: skip
    known = [y for ys in lines.values() for y in ys if y is not None and (y > 0 or not log)]
    if not known or len(xs) < 2:
        return ""
    top = max(known)
    ticks = _log_ticks(min(known), top) if log else _ticks(top)
    low, high = ticks[0], max(ticks[-1], top)
    left, right = xs[0], xs[-1]

    def x_at(x: float) -> float:
        return _LEFT + (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)

    def y_at(y: float) -> float:
        share = math.log(max(y, low) / low) / math.log(high / low) if log else (y - low) / ((high - low) or 1)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in ticks:
        y = y_at(tick)
        parts.append(f"<line class=grid x1={_LEFT} x2={_WIDTH - _RIGHT} y1={y:.1f} y2={y:.1f} />")
        parts.append(f"<text x={_LEFT - 8} y={y + 4:.1f} text-anchor=end>{_short(tick)}</text>")
    step = _ticks(right - left, 8)[1]
    for number in range(math.ceil(left / step), math.floor(right / step) + 1):
        x = number * step
        parts.append(f"<text x={x_at(x):.1f} y={_HEIGHT - 8} text-anchor=middle>{_short(x)}</text>")
    for at, name in marks:
        if left <= at <= right:
            x = x_at(at)
            parts.append(
                f"<line class=grid x1={x:.1f} x2={x:.1f} y1={_TOP} y2={_HEIGHT - _BOTTOM} stroke-dasharray='3 3' />"
                f"<text x={x + 3:.1f} y={_TOP + 9}>{_text(name)}</text>"
            )
    legend = []
    for number, (name, ys) in enumerate(lines.items()):
        color = _COLORS[number % len(_COLORS)]
        path, drawing = [], False
        for x_value, y_value in zip(xs, ys, strict=True):
            if y_value is None:
                drawing = False
                continue
            path.append(f"{'L' if drawing else 'M'}{x_at(x_value):.1f} {y_at(y_value):.1f}")
            drawing = True
        parts.append(
            f"<path d='{''.join(path)}' fill=none stroke='{color}' stroke-width=1.6><title>{_text(name)}</title></path>"
        )
        if len(lines) > 1:
            legend.append(f"<span><i style='background:{color}'></i>{_text(name)}</span>")
    return (
        f"<figure><h3>{_text(title)}</h3><div class=legend>{''.join(legend)}</div>"
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role=img aria-label='{_text(title)}'>{''.join(parts)}</svg></figure>"
    )


def _ticks(top: float, most: int = 5) -> list[float]:
    """Round numbers from 0 to the first at or above `top`."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / most
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first = math.floor(math.log10(max(low, 1e-3)))
    last = max(first + 1, math.ceil(math.log10(high)))
    return [10.0**power for power in range(first, last + 1)]


def _short(number: float) -> str:
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:g}{unit}"
    return f"{number:g}"


# -- tables ---------------------------------------------------------------------------------------------------------


def _delays(named: Mapping[str, Mapping[str, float]], first: str) -> str:
    heads = (first, "p50 ms", "p90 ms", "p99 ms", "max ms", "measured")
    rows = [(name, *(one[key] for key in ("p50", "p90", "p99", "max", "count"))) for name, one in named.items()]
    return _table(heads, rows)


def others_told(others: Mapping[str, Any]) -> str:
    """Whether the machine was the test's own."""
    if others["cores"] is None:
        return "What other programs took is not known."
    took = f"{others['cores']:.2f} cores on average"
    if not others["disturbed_s"]:
        return f"The machine was the test's own: other programs took {took}, never {DISTURBED:g} or more in a second."
    return (
        f"The machine was disturbed: programs outside of the test took {took}, {DISTURBED:g} or more in "
        f"{others['disturbed_s']} of {others['of_s']} seconds. Delays would be lower without them."
    )


def _bands(bands: Sequence[Mapping[str, float]]) -> str:
    bounds = [f"{one['from']:g}" for one in bands]
    names = [*(f"{low} to {high} cores" for low, high in itertools.pairwise(bounds)), f"{bounds[-1]} or more"]
    rows = [
        (name, one["seconds"], *(one[key] for key in ("p50", "p90", "p99", "max", "count")))
        for name, one in zip(names, bands, strict=True) if one["seconds"]
    ]  # fmt: skip
    return _table(("others took", "seconds", "p50 ms", "p90 ms", "p99 ms", "max ms", "measured"), rows)


def _stayed(phases: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        (
            f"{name} (second {one['from_s']} to {one['to_s']})",
            *(one[key] for key in ("p50", "p90", "p99", "max", "count", "own_lag_p99", "crowd_lag_p99")),
        )
        for name, one in phases.items()
    ]
    heads = ("", "p50 ms", "p90 ms", "p99 ms", "max ms", "measured", "lateness of their process", "of the crowd's")
    return f"<p>{_text(rise_told(phases))}</p>" + _table(heads, rows) + (
        "<p class=soft>They and who speaks to them have a process of their own, which takes no part in what happens to "
        "the others. Lateness (99 %, ms) is how late a process of the load comes to what is due: delays leave the "
        "reader's out.</p>"
    )


def rise_told(phases: Mapping[str, Mapping[str, float]]) -> str:
    """How much those who stayed were disturbed."""
    before, during = phases["before"]["p99"], phases["during"]["p99"]
    return f"Those who stayed: p99 {before:,.0f} ms before and {during:,.0f} ms during it, {during - before:+,.0f} ms."


def _messages(by_kind: Mapping[str, Mapping[str, int]]) -> str:
    keys = ("sent", "allowed", "denied", "unconfirmed", "unanswered", "cut off")
    return _table(("from", *keys), [(kind, *(one[key] for key in keys)) for kind, one in by_kind.items()])


def _checks(checks: Mapping[str, Any]) -> str:
    heads = (
        "channel", "in the log", "sampled viewers", "lost", "repeated", "out of order",
        "viewers by bytes", "exact", "too few", "too many", "not comparable",
    )  # fmt: skip
    rows = []
    for channel, check in checks.items():
        viewers, references = check["viewers"], check["references"]
        rows.append(
            (
                channel,
                check["log"]["messages"] if check["log"] else "-",
                viewers["sampled"],
                *(viewers[key] + references[key] for key in ("missing", "repeated", "out_of_order")),
                *(viewers[key] for key in ("counted", "exact", "short", "over", "unknown")),
            )
        )
    told = [(channel, check["told"]) for channel, check in checks.items() if check["told"]]
    keys = (
        "allowed", "denied", "unconfirmed", "cut_off", "unanswered",
        "allowed_not_logged", "denied_logged", "logged_twice",
    )  # fmt: skip
    text = _table(heads, rows)
    if told:
        text += "<p>What senders were told, against the log:</p>"
        text += _table(
            ("channel", *(key.replace("_", " ") for key in keys)),
            [(channel, *(one[key] for key in keys)) for channel, one in told],
        )
    return text


def _services(outcome: Mapping[str, Any]) -> str:
    rows = [(name, one["cores"], one["cpu_s"], one["memory_mib"]) for name, one in outcome["services"].items()]
    return _table(("process", "cores", "CPU s", "memory MiB (most)"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return _text(str(value))


def _text(text: str) -> str:
    return html.escape(str(text), quote=True)

"""What was measured, as tables of a page of the documentation: `--update docs/load.md`.

Each kind of run has a block of its own between two marker lines; a run replaces its own block and leaves the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from loadtest.report import others_told, plan_told, rise_told

Steps = Sequence[Mapping[str, Any]]


def update(page: Path, name: str, markdown: str) -> None:
    """Put the block of runs named `name` into the page; at its end, when it has none yet. Raises ConfigError."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    try:
        text = page.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"--update {page}: {error.strerror}") from None
    if begin in text and end not in text:
        raise ConfigError(f"--update {page}: it has the line {begin}, but not {end} after the figures")
    if begin not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    page.write_text(f"{head}{begin}\n\n{markdown.strip()}\n\n{end}{tail}", "utf-8")


def run_figures(outcome: Mapping[str, Any]) -> str:
    """One run of a shape."""
    plan, totals, generator = outcome["plan"], outcome["totals"], outcome["generator"]
    stack = sum(one["cores"] for name, one in outcome["services"].items() if not name.startswith("load-"))
    parts = [
        f"### `{outcome['shape']}`: {plan['viewers']:,} viewers, {plan['rate']:g} messages/s, {plan['seconds']:g} s",
        f"{_when(outcome)}; {plan_told(plan)}. **{outcome['status'].capitalize()}**: {outcome['summary']}; "
        f"{totals['disconnected']:,} disconnected. {others_told(outcome['others'])}",
        f"**{totals['delivered_per_s']:,} deliveries/s** of {totals['sent_per_s']:g} messages/s; the stack took "
        f"{stack:.2f} cores, the load {generator['cores']:.2f} ({generator['cpu_ms_per_1000_deliveries']} ms per 1,000 "
        f"deliveries, its own lateness {generator['lag']['p99']:,.0f} ms at p99).",
        _table(
            ("delay in", "p50 ms", "p90 ms", "p99 ms", "max ms"),
            [
                (name, *(f"{one[key]:,.0f}" for key in ("p50", "p90", "p99", "max")))
                for name, one in outcome["delays"].items()
            ],
        ),
    ]
    if outcome["returning"]:
        back = outcome["returning"]
        parts.append(
            f"{back['back']:,} of {back['left']:,} came back, the last within **{back['all_back_s']:g} s**; "
            f"{back['turned_away']:,} were turned away by our limits, {back['tries_lost']:,} connections were tried "
            "again."
        )
    if outcome["stayed"]:
        parts.append(
            _table(
                ("those who stayed", "p50 ms", "p90 ms", "p99 ms", "max ms", "lateness of their process, p99 ms"),
                [
                    (name, *(f"{one[key]:,.0f}" for key in ("p50", "p90", "p99", "max", "own_lag_p99")))
                    for name, one in outcome["stayed"].items()
                ],
            )
        )
        parts.append(rise_told(outcome["stayed"]))
    if outcome["tail"]:
        tail = outcome["tail"]
        parts.append(f"Small channels: {tail['seen']:,} of {tail['expected']:,} deliveries, {tail['repeated']} twice.")
    if outcome["others"]["disturbed_s"]:
        parts.append(
            _table(
                ("others took at least, cores", "seconds", "p50 ms", "p99 ms"),
                [
                    (f"{one['from']:g}", str(one["seconds"]), f"{one['p50']:,.0f}", f"{one['p99']:,.0f}")
                    for one in outcome["others"]["bands"] if one["count"]
                ],
            )
        )  # fmt: skip
    parts.append(_table(("cost", "measured"), [(name, f"{value:g}") for name, value in outcome["costs"].items()]))
    return "\n\n".join(parts)


def limit_figures(found: Mapping[str, Any]) -> str:
    parts = [
        "### `limit`: until p99 passes 1 s",
        f"{_when(found)}. Raised in steps on one stack.",
        step_table(found["legs"]),
        "\n".join(f"* {line}." for line in found["summary"]),
    ]
    return "\n\n".join(parts)


def calibration_figures(rows: Steps) -> str:
    return "### `calibrate`: the load against the bare fan-out\n\n" + _table(
        ("messages/s", "deliveries/s", "p50 ms", "p99 ms", "load, cores", "load ms per 1,000", "lateness, p99 ms",
         "fan-out, cores", "others, cores"),
        [
            (
                f"{row['rate']:g}", f"{row['delivered_per_s']:,}", f"{row['p50_ms']:,.0f}", f"{row['p99_ms']:,.0f}",
                f"{row['load_cores']:.2f}", f"{row['load_ms_per_1000']:.2f}", f"{row['load_lag_p99_ms']:,.0f}",
                f"{row['fan_out_cores']:.2f}", _cores(row["others_cores"]),
            )
            for row in rows
        ],
    )  # fmt: skip


def step_table(legs: Mapping[str, Steps]) -> str:
    return _table(
        ("way up", "viewers", "messages/s", "deliveries/s", "p50 ms", "p99 ms", "stack, cores", "load, cores",
         "others, cores", "check"),
        [
            (
                leg, f"{step['gathered']:,}", f"{step['rate']:g}", f"{step['delivered_per_s']:,}",
                f"{step['p50_ms']:,.0f}", f"{step['p99_ms']:,.0f}", f"{step['stack_cores']:.2f}",
                f"{step['load_cores']:.2f}", _cores(step["others_cores"]), step["status"],
            )
            for leg, steps in legs.items()
            for step in steps
        ],
    )  # fmt: skip


def _when(found: Mapping[str, Any]) -> str:
    machine = found["machine"]
    return (
        f"{found['date'][:10]} on {machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, Python "
        f"{machine['python']}"
    )


def _cores(cores: float | None) -> str:
    return "-" if cores is None else f"{cores:.2f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

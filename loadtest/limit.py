"""How far it goes: one stack, loaded in steps, until the delay passes a second.

Two ways up from the same first step: more messages to the same viewers, and more viewers of the same messages (Twitch
Plays Pokémon grew that way). Deliveries a second are the product; what they cost differs, since an edge pays for each
write and hardly for the lines in it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.figures import step_table
from loadtest.monitor import Statsd
from loadtest.plan import MAIN, Plan
from loadtest.report import limit_page
from loadtest.run import carry_out, say

PASSED_MS = 1_000.0
MORE_MESSAGES = 1.5
MORE_VIEWERS = 4 / 3
EDGE_VIEWERS = 18_000        # of one edge, below its 20,000 descriptors
_REST_S = 5.0                # from one step to the next: thousands of sessions leave the edges


def run(
    plan_of: Callable[[int, float], Plan], report: Path, statsd: Statsd | None, *, viewers: int, rate: float,
    steps: int, yes_really: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """At most `steps` steps each way; `plan_of` makes a step from viewers and messages a second. Writes limit.json and
    limit.html, anew after each step. Its "status" is that of a single run: faulty when a step within the bound lost
    something."""
    most = EDGE_VIEWERS * len(plan_of(viewers, rate).target.edges)
    first = _step(plan_of(viewers, rate), report, statsd, yes_really)
    legs = {"more messages": [first], "more viewers": [first]}
    for leg, made in legs.items():
        while len(made) < steps and not _over(made[-1]):
            last = made[-1]
            if leg == "more messages":
                plan = plan_of(viewers, round(last["rate"] * MORE_MESSAGES, 1))
            else:
                plan = plan_of(int(last["viewers"] * MORE_VIEWERS), rate)
            if plan.viewers > most:
                say(f"{plan.viewers:,} viewers are more than {len(plan.target.edges)} edges have descriptors for")
                break
            time.sleep(_REST_S)
            made.append(_step(plan, report, statsd, yes_really))
            _write(report, _found(legs))
    found = _found(legs)
    _write(report, found)
    say("\n" + step_table(legs))
    for line in found["summary"]:
        say(line)
    say(f"report: {report / 'limit.html'}")
    return found


def _found(legs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    first = legs["more messages"][0]
    # Beyond the bound a stack may lose its readers; up to it nothing may be lost.
    states = [step["status"] for made in legs.values() for step in made if step["p99_ms"] <= PASSED_MS]
    return {
        "date": first["date"],
        "machine": first["machine"],
        "passed_ms": PASSED_MS,
        "legs": legs,
        "summary": [_told(leg, made) for leg, made in legs.items()],
        "status": next((bad for bad in ("faulty", "unknown") if bad in states), "well"),
    }


def _write(report: Path, found: dict[str, Any]) -> None:
    (report / "limit.json").write_text(json.dumps(found, indent=1), "utf-8")
    (report / "limit.html").write_text(limit_page(found), "utf-8")


def _step(plan: Plan, report: Path, statsd: Statsd | None, yes_really: bool) -> dict[str, Any]:
    folder = report / f"{time.strftime('%Y%m%d-%H%M%S')}-limit-{plan.viewers}x{plan.rate:g}"
    folder.mkdir(parents=True, exist_ok=True)
    return as_step(carry_out(plan, folder, statsd, yes_really=yes_really))


def as_step(outcome: dict[str, Any]) -> dict[str, Any]:
    """What is kept of one run."""
    plan, totals = outcome["plan"], outcome["totals"]
    delay = outcome["delays"].get(MAIN.removeprefix("#"), {"p50": 0.0, "p99": 0.0, "max": 0.0})
    stack = sum(one["cores"] for name, one in outcome["services"].items() if not name.startswith("load-"))
    return {
        "viewers": plan["viewers"],
        "gathered": outcome["gathered"]["viewers"],
        "rate": plan["rate"],
        "delivered_per_s": totals["delivered_per_s"],
        "p50_ms": delay["p50"],
        "p99_ms": delay["p99"],
        "max_ms": delay["max"],
        "stack_cores": round(stack, 2),
        "load_cores": outcome["generator"]["cores"],
        "load_lag_p99_ms": outcome["generator"]["lag"]["p99"],
        "others_cores": outcome["others"]["cores"],
        "disconnected": totals["disconnected"],
        "status": outcome["status"],
        "summary": outcome["summary"],
        "date": outcome["date"],
        "machine": outcome["machine"],
    }


def _over(step: dict[str, Any]) -> bool:
    return bool(step["p99_ms"] > PASSED_MS or step["status"] != "well")


def _told(leg: str, steps: list[dict[str, Any]]) -> str:
    within = [step for step in steps if not _over(step)]
    last = steps[-1]
    words = f"{leg.capitalize()}: "
    if within:
        best = within[-1]
        words += (
            f"{best['delivered_per_s']:,} deliveries/s ({best['gathered']:,} viewers, {best['rate']:g} messages/s) "
            f"with a p99 of {best['p99_ms']:,.0f} ms"
        )
    if not _over(last):
        return words + "; the delay did not pass a second within these steps"
    why = f"p99 {last['p99_ms']:,.0f} ms" if last["status"] == "well" else last["summary"]
    return words + f"{'; ' if within else ''}at {last['gathered']:,} viewers and {last['rate']:g} messages/s: {why}"

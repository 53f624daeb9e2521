"""The figures of a run, as a table for people and for docs/faults.md."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from tests.chaos.episode import Outcome
from tests.chaos.faults import FAULTS

_HEADER = (
    "fault", "sent", "not sent / not confirmed", "lost", "repeated", "out of order", "verdicts wrong or missing",
    "repair median / max, s", "slowest verdict, s", "slowest delivery, s", "goal",
)  # fmt: skip


def table(outcomes: Sequence[Outcome]) -> str:
    """One line per fault, rounds added up; Markdown."""
    grouped: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        grouped[outcome.fault].append(outcome)
    lines = ["| " + " | ".join(_HEADER) + " |", "|" + "---|" * len(_HEADER)]
    lines += ["| " + " | ".join(_row(name, group)) + " |" for name, group in grouped.items()]
    return "\n".join(lines)


def _row(name: str, group: list[Outcome]) -> tuple[str, ...]:
    fault = FAULTS[name]

    def total(attribute: str) -> int:
        return sum(getattr(outcome, attribute) for outcome in group)

    repairs = [outcome.repair_s for outcome in group]
    goal = 5.0 if fault.hung else 3.0
    wrong = sum(
        o.audit.unanswered + o.audit.allowed_not_logged + o.audit.denied_logged + o.audit.logged_twice + o.wrong_ids
        for o in group
    )
    met = max(repairs) < goal and not any(o.problems for o in group) and all(o.settled for o in group)
    if fault.graceful and total("cut_gracefully"):
        met = False
    if total("late_verdicts") and name != "stop-edge":  # a stopped edge tells nobody anything
        met = False
    return (
        fault.title,
        str(total("sent")),
        f"{sum(refused(o) for o in group)} / {sum(o.audit.unconfirmed for o in group)}",
        str(total("missing")),
        str(total("repeated")),
        str(total("out_of_order")),
        str(wrong),
        f"{statistics.median(repairs):.1f} / {max(repairs):.1f}",
        f"{max(o.verdict_max_s for o in group):.1f}",
        f"{max(o.delivery_max_s for o in group):.1f}",
        "met" if met else "MISSED",
    )


def refused(outcome: Outcome) -> int:
    """Messages that were not sent because chat was not available (not those that had to be refused)."""
    return sum(n for words, n in outcome.notices.items() if "was not sent" in words and "command" not in words)


def line(outcome: Outcome) -> str:
    """One episode, while the suite runs."""
    audit = outcome.audit
    verdict = ", ".join(outcome.problems) or "all seen, once, in order"
    if not outcome.settled:
        verdict += "; NOT SETTLED"
    return (
        f"round {outcome.round} {outcome.fault:13} {outcome.seconds:5.1f} s: "
        f"{outcome.sent} sent ({outcome.skipped} nobody free), {audit.allowed} allowed, "
        f"{audit.denied} denied ({refused(outcome)} unavailable), "
        f"{audit.unconfirmed} unconfirmed ({audit.unconfirmed_logged} logged), {audit.cut_off} cut off; "
        f"{outcome.deliveries} deliveries to {outcome.connections} connections ({outcome.closed} closed); "
        f"verdict p50 {outcome.verdict_p50_s * 1e3:.0f} ms max {outcome.verdict_max_s:.1f} s "
        f"({outcome.late_verdicts} over 6 s); delivery p50 {outcome.delivery_p50_s * 1e3:.0f} ms "
        f"max {outcome.delivery_max_s:.1f} s; repair {outcome.repair_s:.1f} s: {verdict}"
    )


def memory(rounds: Sequence[dict[str, tuple[int, int]]]) -> str:
    """Resident memory after round two against after the last, MiB; Markdown. Empty: fewer than three rounds."""
    if len(rounds) < 3:
        return ""
    second, last = rounds[1], rounds[-1]
    lines = ["| process | after round 2, MiB | after the last, MiB | change | |", "|---|---|---|---|---|"]
    for name in sorted(second.keys() & last.keys()):
        (pid, before), (now_pid, now) = second[name], last[name]
        note = "same process" if pid == now_pid else "restarted between"
        change = (now - before) / before
        lines.append(f"| {name} | {before / 1024:.1f} | {now / 1024:.1f} | {change:+.1%} | {note} |")
    return "\n".join(lines)

"""One run from its plan to its report: locust as a child, watched while it works."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from loadtest.monitor import LogReader, Processes, Statsd
from loadtest.outcome import Record, delivered_in, evaluate, line_bytes, summed
from loadtest.plan import CALM, MAIN, RAIDED, Plan
from loadtest.report import others_told, page
from loadtest.shapes import SETTLE_S
from loadtest.timing import merged
from ops.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
_SHOW_S = 2.0


def carry_out(plan: Plan, folder: Path, statsd: Statsd | None, *, yes_really: bool = False) -> dict[str, Any]:
    """The run itself, and its report in `folder`. Returns the outcome."""
    channels = {"raid": (MAIN, RAIDED), "storm": (MAIN, CALM)}.get(plan.shape, (MAIN,))
    log = LogReader(plan.target.control, channels, plan.run) if plan.target.control else None
    processes = Processes()
    processes.watch({**plan.target.pids, "load-runner": os.getpid()})
    record = Record(folder / "record.jsonl")
    say(
        f"{plan.shape}: {plan.viewers:,} viewers, {plan.rate:g} messages/s from {plan.chatters} chatters for "
        f"{plan.seconds:g} s, at {plan.target.name}, from {plan.processes} processes; about "
        f"{plan.viewers / 1500 + plan.seconds + SETTLE_S + 12:.0f} s"
    )
    processes.start()
    if log is not None:
        log.start()
    try:
        code = _drive(plan, folder, record, processes, yes_really=yes_really)
    finally:
        if log is not None:
            log.stop()
        processes.stop()
    record.read()
    if code:
        raise ConfigError(f"the load ended with status {code}: see {folder / 'load.log'}")
    outcome = evaluate(plan, record, processes, statsd, log)
    (folder / "report.json").write_text(json.dumps(outcome, indent=1), "utf-8")
    (folder / "report.html").write_text(page(outcome), "utf-8")
    say(as_text(outcome))
    say(f"report: {folder / 'report.html'}")
    return outcome


def _drive(plan: Plan, folder: Path, record: Record, processes: Processes, *, yes_really: bool) -> int:
    """Run locust to its end and show progress. Its exit status."""
    plan_file, port = folder / "plan.json", str(free_port())
    plan.write(plan_file)
    command = [
        sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), "--headless",
        "--processes", str(plan.processes), "--plan", str(plan_file), "--record", str(folder / "record.jsonl"),
        "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port,
        # A request that failed is a matter for the report, not for the exit status.
        "--exit-code-on-error", "0", "--only-summary", *(["--yes-really"] if yes_really else []),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    most = plan.viewers / 500 + plan.seconds + 400
    with (folder / "load.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            deadline = time.monotonic() + most
            shown = time.monotonic()
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.25)
                record.read()
                processes.watch(record.pids)
                if time.monotonic() - shown >= _SHOW_S:
                    shown = time.monotonic()
                    say(progress(plan, record, processes))
            return process.wait(20)
        except subprocess.TimeoutExpired:
            return 124
        finally:
            plan_file.unlink(missing_ok=True)  # it holds the control token
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                if process.poll() is None:
                    process.kill()
                    process.wait()


def progress(plan: Plan, record: Record, processes: Processes) -> str:
    """One line: the last second that all workers have reported."""
    series = record.series
    second = int(time.monotonic()) - 2
    inside = sum(summed(found, "entered") - summed(found, "left") for found in series.counts.values())
    busy = processes.busy.get(second)
    cores = "" if busy is None else f", cores {busy:.0%} busy"
    if "speak" not in record.said:
        return f"gathering: {inside:,} viewers are in{cores}"
    counts = series.counts.get(second)
    if counts is None:
        return f"{inside:,} viewers{cores}"
    whole = merged(one for name, one in series.delays.get(second, {}).items() if name.startswith("deliver "))
    disconnected = sum(summed(found, "disconnected") for found in series.counts.values())
    at = second - int(record.said["speak"])
    return (
        f"{at:4} s  {inside:,} viewers, {summed(counts, 'sent')} in/s, "
        f"{delivered_in(counts, line_bytes(series)):,.0f} deliveries/s, delay p50 {whole.percentile(50):.0f} "
        f"p99 {whole.percentile(99):.0f} max {whole.max_ms:.0f} ms, denied {summed(counts, 'denied')}, "
        f"disconnected {disconnected}{cores}"
    )


def as_text(outcome: dict[str, Any]) -> str:
    """The end of a run in a few lines."""
    totals, generator = outcome["totals"], outcome["generator"]
    lines = [
        f"{outcome['status'].upper()}: {outcome['summary']}",
        f"{totals['sent']:,} sent ({totals['sent_per_s']:g}/s), {totals['allowed']:,} allowed, "
        f"{totals['denied']:,} denied, {totals['delivered']:,} delivered ({totals['delivered_per_s']:,}/s), "
        f"{totals['disconnected']} disconnected",
    ]
    lines += [
        f"delay in {name}: p50 {one['p50']:g}, p90 {one['p90']:g}, p99 {one['p99']:g}, max {one['max']:g} ms"
        for name, one in outcome["delays"].items()
    ]
    if outcome["returning"]:
        back = outcome["returning"]
        lines.append(
            f"{back['back']:,} of {back['left']:,} back after the storm, the last within {back['all_back_s']:g} s (p50 "
            f"{back['p50']:g}, p99 {back['p99']:g} ms); turned away {back['turned_away']}, tries lost "
            f"{back['tries_lost']}"
        )
    if outcome["stayed"]:
        phases = (
            f"{one['p99']:g} ms {name} (lateness {one['own_lag_p99']:g})" for name, one in outcome["stayed"].items()
        )
        lines.append(f"those who stayed, p99: {', '.join(phases)}")
    shown = outcome["moderation"]["shown"]
    if shown:
        done = sum(one["count"] for one in shown.values())
        most = max(one["max"] for one in shown.values())
        lines.append(f"moderator: {done} acts were shown, each within {most:g} ms")
    if outcome["tail"]:
        lines.append(f"small channels: {outcome['tail']['seen']:,} of {outcome['tail']['expected']:,} deliveries")
    cores = ", ".join(f"{name} {one['cores']:g}" for name, one in outcome["services"].items() if one["cores"] >= 0.01)
    lines.append(f"cores: {cores}")
    lines.append(others_told(outcome["others"]))
    lines.append(
        f"the load itself: {generator['cores']:g} cores, "
        f"{generator['cpu_ms_per_1000_deliveries']} ms CPU per 1,000 deliveries, its own lateness p99 "
        f"{generator['lag']['p99']:g} ms"
    )
    return "\n          ".join(lines)


def say(text: str) -> None:
    print(f"loadtest: {text}", file=sys.stderr, flush=True)

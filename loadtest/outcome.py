"""From what a run recorded to what it found: one dictionary, which is the JSON report and what the page shows."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtest.audit import FATES, Findings, Track, compare_tracks
from loadtest.monitor import LogReader, Processes, Statsd
from loadtest.plan import Plan, tail_channels_of
from loadtest.timing import Histogram, Series, merged
from ops.checker import Fate, audit

WELL, FAULTY, UNKNOWN = "well", "faulty", "unknown"

# Counters of the services, by what they mean here: service, metric.
_METRICS = {
    "batches": ("edge", "submit.batches"),
    "submissions": ("edge", "submit.taken"),
    "passes": ("edge", "broadcast.passes"),
    "edge_deliveries": ("edge", "broadcast.deliveries"),
    "skipped": ("edge", "broadcast.skipped"),
    "repaired": ("edge", "follower.replayed"),
    "holes": ("edge", "follower.holes"),
    "losses": ("edge", "follower.losses"),
    "slow_members": ("edge", "members.slow"),
    "denied": ("clue", "denied.*"),
    "retried": ("clue", "submits.retried"),
    "dropped": ("exchange", "dropped"),
}


class Record:
    """The lines that the master wrote, as they come."""

    def __init__(self, path: Path) -> None:
        self.series = Series()
        self.said: dict[str, float] = {}          # what the director said to when (the first time)
        self.events: list[dict[str, Any]] = []
        self.findings: list[dict[str, Any]] = []
        self.cpu: dict[int, list[tuple[float, float]]] = {}   # worker to (second, processor seconds so far)
        self.pids: dict[str, int] = {}
        self.gathered: dict[str, Any] = {}
        self.ended = False
        self._path = path
        self._at = 0
        self._part = ""

    def read(self) -> bool:
        """Take what is new; whether there was anything."""
        if not self._path.exists():
            return False
        with self._path.open(encoding="utf-8") as file:
            file.seek(self._at)
            text = file.read()
            self._at = file.tell()
        *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            self.take(json.loads(line))
        return bool(lines)

    def take(self, found: dict[str, Any]) -> None:
        kind = found["kind"]
        if kind == "second":
            self.series.take(found)
            second = max((int(s) for s in (*found["counts"], *found["delays"])), default=0)
            self.cpu.setdefault(found["worker"], []).append((float(second or time.monotonic()), found["cpu_s"]))
            self.pids[f"load-{found['worker'] + 1}"] = found["pid"]
        elif kind == "said":
            self.said.setdefault(found["name"], found["at"])
            self.events.append({"at": found["at"], "name": found["name"]})
        elif kind == "gathered":
            self.gathered = found
        elif kind == "findings":
            self.findings.append(found)
        elif kind == "end":
            self.ended = True


def line_bytes(series: Series) -> float:
    """Mean bytes of a line, as sampled viewers had it."""
    lines = sum(
        count for found in series.counts.values() for name, count in found.items()
        if name.startswith("sampled ") and name != "sampled bytes"
    )  # fmt: skip
    return series.total("sampled bytes") / lines if lines else 0.0


def delivered_in(found: Counter[str], bytes_a_line: float) -> float:
    """Publications that all viewers got in one second: sampled ones counted, the others by their bytes."""
    sampled = sum(n for name, n in found.items() if name.startswith("sampled ") and name != "sampled bytes")
    thrown = sum(n for name, n in found.items() if name.startswith("bytes "))
    return sampled + (thrown / bytes_a_line if bytes_a_line else 0.0)


def summed(found: Counter[str], kind: str) -> int:
    return sum(count for name, count in found.items() if name.startswith(kind + " "))


def evaluate(
    plan: Plan, record: Record, processes: Processes, statsd: Statsd | None, log: LogReader | None
) -> dict[str, Any]:
    """Everything of a run that has ended."""
    series = record.series
    begin = record.said.get("speak", 0.0)
    end = record.said.get("hush", max([begin, *series.seconds]))
    took = max(1e-9, end - begin)
    size = line_bytes(series)
    window = {second: found for second, found in series.counts.items() if begin - 1 <= second}
    delivered = sum(delivered_in(found, size) for found in window.values())
    checks = {channel: _check(plan, channel, record.findings, log) for channel in _channels(record.findings, log)}
    status, summary = _judge(plan, record, checks, log)
    generator_cpu = _spent(processes, list(record.pids), begin, end + 1)
    # What the machine did besides us: on a machine that others use, the cause of much delay.
    cores = os.cpu_count() or 1
    busy = _mean([share for second, share in processes.busy.items() if begin <= second <= end])
    spent = _spent(processes, list(processes.cpu), begin, end)
    return {
        "status": status,
        "summary": summary,
        "run": plan.run,
        "shape": plan.shape,
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "machine": machine(),
        "plan": {
            **{name: value for name, value in asdict(plan).items() if name != "target"},
            "chatters": plan.chatters,
            "target": plan.target.name,
            "cluster": plan.target.cluster,
            "edges": len(plan.target.edges),
            "limits": plan.target.limits,
        },
        "gathered": {"viewers": record.gathered.get("inside", 0), "wanted": record.gathered.get("wanted", 0)},
        "totals": {
            "seconds": round(took, 2),
            "sent": _sum(window.values(), "sent"),
            "allowed": _sum(window.values(), "allowed"),
            "denied": _sum(window.values(), "denied"),
            "unconfirmed": _sum(window.values(), "unconfirmed"),
            "unanswered": _sum(window.values(), "unanswered"),
            "cut_off": _sum(window.values(), "cut off"),
            "delivered": round(delivered),
            "delivered_per_s": round(delivered / took),
            "sent_per_s": round(_sum(window.values(), "sent") / took, 2),
            "line_bytes": round(size, 1),
            "disconnected": _sum(series.counts.values(), "disconnected"),
            "refused": _sum(series.counts.values(), "refused"),
        },
        "delays": _named(series, "deliver ", begin, math.inf),
        "verdicts": _named(series, "verdict ", begin, math.inf),
        "entering": _named(series, "enter ", 0, begin),
        "returning": _returns(series, record),
        "disturbance": _disturbance(series, record, begin),
        "checks": checks,
        "denials": _total(found["denials"] for found in record.findings),
        "trouble": _trouble(series),
        "tail": _tail(plan, record.findings) if plan.shape == "longtail" else None,
        "generator": {
            "cpu_s": round(generator_cpu, 2),
            "cores": round(generator_cpu / took, 3),
            "lag": series.histogram("own lag", begin, end).summary(),
            "cpu_ms_per_1000_deliveries": round(generator_cpu * 1e6 / delivered, 3) if delivered else None,
        },
        "services": _services(plan, processes, begin, end),
        "machine_busy": busy,
        "others_cores": None if busy is None else round(max(0.0, busy * cores - spent / took), 2),
        "metrics": _metrics(statsd, begin, end) if statsd else None,
        "series": _series(record, processes, statsd, size),
        "events": record.events,
    }


def machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


# -- right or wrong --------------------------------------------------------------------------------------------------


def _channels(findings: list[dict[str, Any]], log: LogReader | None) -> list[str]:
    return sorted({*(channel for found in findings for channel in found["channels"]), *(log.numbers if log else ())})


def _check(plan: Plan, channel: str, findings: list[dict[str, Any]], log: LogReader | None) -> dict[str, Any]:
    """One channel: viewers against the references of their processes, these against the log, and what senders were
    told against the log."""
    viewers = Findings()
    references: list[Track] = []
    fates: dict[int, Fate] = {}
    for found in findings:
        numbers, of = found["fates"].get(channel, ([], []))
        fates.update(zip(numbers, (FATES[index] for index in of), strict=True))
        here = found["channels"].get(channel)
        if here is None:
            continue
        viewers.add(Findings(**here["findings"]))
        if here["reference"]:
            track = Track(from_start=here["from_start"], join_end=0)
            track.numbers = array("Q", bytes.fromhex(here["reference"]))
            references.append(track)
    checked: dict[str, Any] = {"viewers": viewers.pack()}
    logged = log.numbers.get(channel) if log else None
    if logged is None:
        # Without a log, what the first process saw is the measure of the others.
        expected = max((list(track.numbers) for track in references), key=len, default=[])
        checked |= {"log": None, "told": None}
    else:
        assert log is not None
        chain = log.chains[channel]
        checked["log"] = {"messages": len(logged), "gaps": chain.gaps, "setbacks": chain.setbacks}
        checked["told"] = asdict(audit(fates, logged))
        expected = logged
    checked["references"] = compare_tracks(expected, references).pack()
    return checked


def _judge(plan: Plan, record: Record, checks: dict[str, Any], log: LogReader | None) -> tuple[str, str]:
    if not record.ended or len(record.findings) < plan.workers:
        return UNKNOWN, "the load did not come to its end: see load.log beside this report"
    if log is not None and log.trouble:
        return UNKNOWN, f"the log could not be read: {log.trouble}"
    wrong = []
    for channel, check in checks.items():
        viewers, references, told = check["viewers"], check["references"], check["told"]
        lost = references["missing"] + viewers["missing"]
        if lost or viewers["short"]:
            wrong.append(f"{channel}: {lost} lost at sampled viewers, {viewers['short']} others got too few bytes")
        if references["repeated"] or viewers["repeated"] or viewers["over"]:
            wrong.append(
                f"{channel}: {references['repeated'] + viewers['repeated']} repeated at sampled viewers, "
                f"{viewers['over']} others got too many bytes"
            )
        if references["out_of_order"] or viewers["out_of_order"]:
            wrong.append(f"{channel}: {references['out_of_order'] + viewers['out_of_order']} out of order")
        if told and (told["unanswered"] or told["allowed_not_logged"] or told["denied_logged"] or told["logged_twice"]):
            wrong.append(f"{channel}: what senders were told and the log do not agree")
    if wrong:
        return FAULTY, "; ".join(wrong)
    cut = [channel for channel, check in checks.items() if check["log"] and check["log"]["gaps"]]
    if cut:
        return UNKNOWN, f"the log of {', '.join(cut)} was trimmed before it could be read"
    viewers = sum(check["viewers"]["sampled"] + check["viewers"]["exact"] for check in checks.values())
    return WELL, f"0 lost, 0 repeated, 0 out of order at {viewers:,} viewers that were checked"


def _tail(plan: Plan, findings: list[dict[str, Any]]) -> dict[str, int]:
    """Small channels together: what all their viewers should have seen, and what they saw."""
    readers = Counter(
        channel
        for number in range(plan.tail_herds * plan.herd)
        for channel in tail_channels_of(number, plan.tail_channels)
    )
    allowed = FATES.index(Fate.ALLOWED)
    expected = sum(
        readers[channel] * of.count(allowed)
        for found in findings for channel, (_, of) in found["fates"].items() if channel.startswith("#tail")
    )  # fmt: skip
    return {"expected": expected, "seen": sum(found["tail_seen"] for found in findings)}


# -- figures ---------------------------------------------------------------------------------------------------------


def _sum(found: Iterable[Counter[str]], kind: str) -> int:
    return sum(summed(one, kind) for one in found)


def _named(series: Series, prefix: str, begin: float, end: float) -> dict[str, dict[str, float]]:
    return {
        name.removeprefix(prefix): series.histogram(name, begin, end).summary()
        for name in series.names() if name.startswith(prefix)
    }  # fmt: skip


def _returns(series: Series, record: Record) -> dict[str, Any] | None:
    """After a scatter: how long it took until everybody was back."""
    at = record.said.get("scatter")
    if at is None:
        return None
    back = merged(
        series.histogram(name, at)
        for name in series.names() if name.startswith("enter ") and not name.endswith(" calm")
    )  # fmt: skip
    return {**back.summary(), "all_back_s": round(back.max_ms / 1e3, 2)}


def _disturbance(series: Series, record: Record, begin: float) -> dict[str, Any] | None:
    """After a scatter or a move: the delays of those who stayed, before and during the 20 s after it."""
    at = record.said.get("scatter") or record.said.get("move")
    name = "deliver calm" if "scatter" in record.said else "deliver raided"
    if at is None or name not in series.names():
        return None
    return {
        "before": series.histogram(name, begin, at - 0.5).summary(),
        "after": series.histogram(name, at - 0.5, at + 20).summary(),
    }


def _trouble(series: Series) -> dict[str, int]:
    return _total(
        {name: count for name, count in found.items() if name.startswith(("lost: ", "error: "))}
        for found in series.counts.values()
    )


def _total(many: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in many:
        total.update(one)
    return dict(total.most_common())


def _mean(numbers: Iterable[float]) -> float | None:
    found = list(numbers)
    return round(sum(found) / len(found), 3) if found else None


def _spent(processes: Processes, names: list[str], begin: float, end: float) -> float:
    """Processor seconds between two moments."""
    total = 0.0
    for name in names:
        inside = [cpu for second, cpu in sorted(processes.cpu[name].items()) if begin - 1 <= second <= end]
        if inside:
            total += inside[-1] - inside[0]
    return total


def _services(plan: Plan, processes: Processes, begin: float, end: float) -> dict[str, Any]:
    took = max(1e-9, end - begin)
    found: dict[str, Any] = {}
    for name in [*plan.target.pids, *(n for n in processes.cpu if n not in plan.target.pids)]:
        memory = [held for second, held in processes.memory[name].items() if begin <= second <= end]
        spent = _spent(processes, [name], begin, end)
        found[name] = {
            "cpu_s": round(spent, 2),
            "cores": round(spent / took, 3),
            "memory_mib": round(max(memory, default=0) / 2**20, 1),
        }
    return found


def _metrics(statsd: Statsd, begin: float, end: float) -> dict[str, Any]:
    sums = {
        name: round(sum(n for second, n in statsd.rate(*where).items() if begin - 1 <= second <= end + 3))
        for name, where in _METRICS.items()
    }
    per_batch = sums["submissions"] / sums["batches"] if sums["batches"] else None
    per_pass = sums["edge_deliveries"] / sums["passes"] if sums["passes"] else None
    return {
        **sums,
        "submissions_per_batch": round(per_batch, 2) if per_batch else None,
        "deliveries_per_pass": round(per_pass) if per_pass else None,
    }


def _series(record: Record, processes: Processes, statsd: Statsd | None, size: float) -> dict[str, Any]:
    """Columns by second; seconds are counted from the first message."""
    series = record.series
    if not series.seconds:
        return {"second": []}
    begin = int(record.said.get("speak", series.seconds[0]))
    seconds = list(range(series.seconds[0], series.seconds[-1] + 1))
    by_label: Counter[str] = Counter()
    viewers, offered = [], []
    delays: dict[str, list[float | None]] = {"p50": [], "p90": [], "p99": [], "max": []}
    lag = [series.delays.get(second, {}).get("own lag", Histogram()) for second in seconds]
    by_channel: dict[str, list[float | None]] = {
        name.removeprefix("deliver "): [] for name in series.names() if name.startswith("deliver ")
    }
    for second in seconds:
        counts = series.counts.get(second, Counter())
        for name, count in counts.items():
            kind, _, label = name.partition(" ")
            by_label[label] += count * ((kind == "entered") - (kind == "left"))
        viewers.append(by_label.total())
        # What is let in is due to everyone who is in its channel; a spammer speaks in the main one.
        offered.append(sum(counts[f"allowed {label}"] * inside for label, inside in by_label.items()))
        found = series.delays.get(second, {})
        whole = merged(one for name, one in found.items() if name.startswith("deliver "))
        for percent, column in ((50, "p50"), (90, "p90"), (99, "p99")):
            delays[column].append(round(whole.percentile(percent), 2) if whole.total else None)
        delays["max"].append(round(whole.max_ms, 2) if whole.total else None)
        for name, column99 in by_channel.items():
            one = found.get(f"deliver {name}", Histogram())
            column99.append(round(one.percentile(99), 2) if one.total else None)
    columns = {
        "second": [second - begin for second in seconds],
        "viewers": viewers,
        "sent": [summed(series.counts.get(second, Counter()), "sent") for second in seconds],
        "offered": offered,
        "delivered": [round(delivered_in(series.counts.get(second, Counter()), size)) for second in seconds],
        "delay": delays,
        "delay_p99_by_channel": by_channel,
        "own_lag_p99": [round(one.percentile(99), 2) for one in lag],
        "cpu": {
            name: [_per_second(of, second) for second in seconds] for name, of in sorted(processes.cpu.items()) if of
        },
        "memory_mib": {
            name: [round(of[second] / 2**20, 1) if second in of else None for second in seconds]
            for name, of in sorted(processes.memory.items()) if of
        },
        "busy": [round(processes.busy[second], 3) if second in processes.busy else None for second in seconds],
    }  # fmt: skip
    if statsd is not None:
        rates = {name: statsd.rate(*where) for name, where in _METRICS.items()}
        columns["metrics"] = {name: [round(of.get(second, 0)) for second in seconds] for name, of in rates.items()}
        batches, submissions = rates["batches"], rates["submissions"]
        columns["batch_size"] = [round(submissions[s] / batches[s], 2) if batches.get(s) else None for s in seconds]
        for column, metric in (("loop_lag_ms", "loop.lag_ms.max"), ("pass_ms", "broadcast.pass_ms.mean")):
            columns[column] = {
                name.split(".")[1]: [round(of[s], 1) if s in of else None for s in seconds]
                for name, of in sorted(statsd.gauges.items())
                if name.startswith("edge.") and name.endswith(metric)
            }
    return columns


def _per_second(of: dict[int, float], second: int) -> float | None:
    return round(max(0.0, of[second] - of[second - 1]), 3) if second in of and second - 1 in of else None

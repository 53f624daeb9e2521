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
from loadtest.plan import JOINS, MAIN, STAYED_IN, Plan, tail_channels_of
from loadtest.timing import DISTURBED, Histogram, Series, merged
from ops.checker import Fate, audit

WELL, FAULTY, UNKNOWN = "well", "faulty", "unknown"

# Cores that programs outside of the test take in a second: delays are told apart by these bounds.
_BANDS = (0.0, DISTURBED, 0.5, 0.8)
_RUNNER = "load-runner"
_SOME = 1_000                # sessions; fewer do not show in an edge's memory

# Counters of the services, by what they mean here: service, metric.
_METRICS = {
    "batches": ("edge", "submit.batches"),
    "submissions": ("edge", "submit.taken"),
    "passes": ("edge", "broadcast.passes"),
    "publications": ("edge", "broadcast.publications"),
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
        elif kind == "begin":
            self.pids["load-master"] = found["pid"]
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
    messages = _messages(series)
    services = _services(plan, processes, begin, end)
    returning = _returns(plan, series, record)
    moderation = _moderation(series)
    tail = _tail(plan, record.findings) if plan.shape == "longtail" else None
    status, summary = _judge(plan, record, checks, log)
    if status == WELL:
        wrong = _broken(series, returning, moderation, tail)
        status, summary = (FAULTY, "; ".join(wrong)) if wrong else (WELL, summary)
    generator_cpu = _spent(processes, [*record.pids, _RUNNER], begin, end + 1)
    busy = _mean([share for second, share in processes.busy.items() if begin <= second <= end])
    others = others_cores(processes)
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
            "sent_per_s": round(sum(one["sent"] for kind, one in messages.items() if kind != "spam") / took, 2),
            "line_bytes": round(size, 1),
            "disconnected": _sum(series.counts.values(), "disconnected"),
            "refused": _sum(series.counts.values(), "refused"),
        },
        "messages": messages,
        "delays": _named(series, "deliver ", begin, math.inf),
        "verdicts": _named(series, "verdict ", begin, math.inf),
        "entering": _named(series, "enter ", 0, begin),
        "returning": returning,
        "stayed": _stayed(series, record, begin, end),
        "moderation": moderation,
        "checks": checks,
        "denials": _total(found["denials"] for found in record.findings),
        "trouble": _trouble(series),
        "tail": tail,
        "generator": {
            "cpu_s": round(generator_cpu, 2),
            "cores": round(generator_cpu / took, 3),
            "lag": _lag(series, begin, end).summary(),
            "cpu_ms_per_1000_deliveries": round(generator_cpu * 1e6 / delivered, 3) if delivered else None,
        },
        "services": services,
        "costs": {
            **_costs(plan, services, delivered / took, _sum(window.values(), "sent") / took),
            **_memory_cost(plan, processes, begin, record.gathered.get("inside", 0)),
        },
        "machine_busy": busy,
        "others": _others(series, others, begin, end),
        "metrics": _metrics(statsd, begin, end) if statsd else None,
        "series": _series(plan, record, processes, statsd, size, others),
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
    if not record.ended or len(record.findings) < plan.processes:
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


def _broken(
    series: Series, returning: dict[str, Any] | None, moderation: dict[str, Any], tail: dict[str, int] | None
) -> list[str]:
    """What else must not be: who does not come back, a moderator's act never shown, losses in small channels."""
    wrong = [f"moderator: {failed}" for failed in moderation["failed"]]
    if returning and returning["back"] < returning["left"]:
        wrong.append(f"{returning['left'] - returning['back']} did not come back from the storm")
    if tail and tail["seen"] < tail["expected"] and not series.total("disconnected tail"):
        wrong.append(f"small channels: {tail['expected'] - tail['seen']} lost")
    if tail and (tail["repeated"] or tail["seen"] > tail["expected"] + tail["unsure"]):
        wrong.append(f"small channels: {max(tail['repeated'], tail['seen'] - tail['expected'])} repeated")
    return wrong


def _tail(plan: Plan, findings: list[dict[str, Any]]) -> dict[str, int]:
    """Small channels together: what all their viewers should have seen, and what they saw. "unsure" is what they may
    have seen besides: messages of which nobody knows whether they were let in."""
    readers = Counter(
        channel
        for number in range(plan.tail_herds * plan.herd)
        for channel in tail_channels_of(number, plan.tail_channels)
    )
    fates: Counter[Fate] = Counter()
    for found in findings:
        for channel, (_, of) in found["fates"].items():
            if channel.startswith("#tail"):
                for index in of:
                    fates[FATES[index]] += readers[channel]
    return {
        "expected": fates[Fate.ALLOWED],
        "unsure": fates.total() - fates[Fate.ALLOWED] - fates[Fate.DENIED],
        "seen": sum(found["tail_seen"] for found in findings),
        "repeated": sum(found["tail_repeated"] for found in findings),
    }


# -- figures ---------------------------------------------------------------------------------------------------------


def _sum(found: Iterable[Counter[str]], kind: str) -> int:
    return sum(summed(one, kind) for one in found)


def _named(series: Series, prefix: str, begin: float, end: float) -> dict[str, dict[str, float]]:
    return {
        name.removeprefix(prefix): series.histogram(name, begin, end).summary()
        for name in series.names() if name.startswith(prefix)
    }  # fmt: skip


def _returns(plan: Plan, series: Series, record: Record) -> dict[str, Any] | None:
    """After a scatter: how long it took until everybody was back, and who was refused on the way. "turned_away" are
    those who were told so (our limits do); "tries_lost" are all connections that ended before they were in."""
    at = record.said.get("scatter")
    if at is None:
        return None
    stayed = " " + STAYED_IN[plan.shape].removeprefix("#")
    back = merged(
        series.histogram(name, int(at))
        for name in series.names() if name.startswith("enter ") and not name.endswith(stayed)
    )  # fmt: skip
    since = [found for second, found in series.counts.items() if second >= int(at)]
    return {
        **back.summary(),
        "left": plan.herds * plan.herd,
        "back": back.total,
        "all_back_s": round(back.max_ms / 1e3, 2),
        "turned_away": _sum(since, "turned-away"),
        "tries_lost": _sum(since, "refused"),
    }


def _stayed(series: Series, record: Record, begin: float, end: float) -> dict[str, Any] | None:
    """Storm and raid: delays of those who stayed, in whole seconds before it, until the last has entered, and after;
    with the lateness of their own process and of those that do the storm."""
    at = record.said.get("scatter") or record.said.get("move")
    if at is None or "deliver stayed" not in series.names():
        return None
    entered = [second for second, found in series.counts.items() if second >= int(at) and summed(found, "entered")]
    calm = max(entered, default=int(at)) + 1
    return {
        name: {
            "from_s": round(since - begin),
            "to_s": round(until - begin),
            **series.histogram("deliver stayed", since, until).summary(),
            "own_lag_p99": round(series.histogram("lag apart", since, until).percentile(99), 2),
            "crowd_lag_p99": round(series.histogram("lag crowd", since, until).percentile(99), 2),
        }
        for name, since, until in (("before", begin, int(at)), ("during", int(at), calm), ("after", calm, end))
    }


def _moderation(series: Series) -> dict[str, Any]:
    """How long until the moderator's own screen showed each of its acts; `failed` are those that it never showed."""
    failed = [
        f"{count} times {name.partition(' ')[2]}"
        for name, count in _total(
            {name: count for name, count in found.items() if name.startswith("unmoderated ")}
            for found in series.counts.values()
        ).items()
    ]
    return {"shown": _named(series, "moderate ", 0, math.inf), "failed": failed}


def _lag(series: Series, begin: float, end: float) -> Histogram:
    return merged(series.histogram(name, begin, end) for name in ("lag crowd", "lag apart"))


def others_cores(processes: Processes) -> dict[int, float]:
    """Second to the cores that programs outside of the test took: what was busy, less all that is watched. Those that
    start or end within a second are not known in it."""
    cores = os.cpu_count() or 1
    found = {}
    for second, busy in processes.busy.items():
        ours = sum(spent for of in processes.cpu.values() if (spent := _per_second(of, second)) is not None)
        found[second] = max(0.0, busy * cores - ours)
    return found


def _others(series: Series, others: dict[int, float], begin: float, end: float) -> dict[str, Any]:
    """What the machine did besides the test, and the delays of the seconds in which it did that much: on a machine that
    is not the test's own, the cause of much delay."""
    inside = {second: cores for second, cores in others.items() if begin <= second <= end}
    rows = []
    for least, most in zip(_BANDS, (*_BANDS[1:], math.inf), strict=True):
        seconds = [second for second, cores in inside.items() if least <= cores < most]
        delays = merged(
            one
            for second in seconds
            for name, one in series.delays.get(second, {}).items() if name.startswith("deliver ")
        )  # fmt: skip
        rows.append({"from": least, "seconds": len(seconds), **delays.summary()})
    return {
        "cores": _mean(inside.values()),
        "disturbed_s": sum(cores >= DISTURBED for cores in inside.values()),
        "of_s": len(inside),
        "bands": rows,
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


def _costs(plan: Plan, services: dict[str, Any], deliveries: float, messages: float) -> dict[str, float]:
    """Processor time of one kind of service, divided by what it did; for small loads the idle cost is in it, too."""

    def cores(kind: str) -> float:
        named = [name for name in services if name.removeprefix(f"{plan.target.cluster}-").partition("-")[0] == kind]
        return sum(services[name]["cores"] for name in named)

    found = {}
    if deliveries:
        found["edges, µs per delivery"] = cores("edge") / deliveries * 1e6
        if plan.target.proxied and plan.haproxy:
            found["HAProxy, µs per delivery through it"] = cores("haproxy") / (deliveries * plan.haproxy) * 1e6
    if messages:
        for kind in ("clue", "exchange", "redis"):
            found[f"{kind}, ms per message"] = cores(kind) / messages * 1e3
    return {name: round(value, 3) for name, value in found.items() if value}


def _memory_cost(plan: Plan, processes: Processes, begin: float, viewers: int) -> dict[str, float]:
    """What the edges grew by while the crowd gathered, without the kernel's part; of small crowds nothing is told."""
    grown = 0
    for name in plan.target.edges:
        held = [size for second, size in sorted(processes.memory[name].items()) if second <= begin]
        grown += held[-1] - held[0] if held else 0
    return {"edges, KB per session": round(grown / viewers / 1e3, 1)} if viewers >= _SOME and grown else {}


def _messages(series: Series) -> dict[str, dict[str, int]]:
    """What each kind of sender sent, and what became of it."""
    found: dict[str, dict[str, int]] = {}
    fates = ("sent", "allowed", "denied", "unconfirmed", "unanswered", "cut off")
    for counts in series.counts.values():
        for name, count in counts.items():
            for fate in fates:
                if name.startswith(fate + " "):
                    one = found.setdefault(name.removeprefix(fate + " "), dict.fromkeys(fates, 0))
                    one[fate] += count
    return dict(sorted(found.items()))


def _metrics(statsd: Statsd, begin: float, end: float) -> dict[str, Any]:
    sums = {
        name: round(sum(n for second, n in statsd.rate(*where).items() if begin - 1 <= second <= end + 3))
        for name, where in _METRICS.items()
    }
    per_batch = sums["submissions"] / sums["batches"] if sums["batches"] else None
    per_pass = sums["edge_deliveries"] / sums["passes"] if sums["passes"] else None
    joined = sums["publications"] / sums["passes"] if sums["passes"] else None
    return {
        **sums,
        "submissions_per_batch": round(per_batch, 2) if per_batch else None,
        "deliveries_per_pass": round(per_pass) if per_pass else None,
        "publications_per_pass": round(joined, 2) if joined else None,
    }


def _offered(plan: Plan, counts: Counter[str], inside: Counter[str]) -> float:
    """What was let in is due to everyone who is in its channel: a spammer speaks in the main one, and of the viewers of
    the tail each channel has a few."""
    readers: dict[str, float] = {**inside, "spam": inside[MAIN.removeprefix("#")]}
    if plan.tail_channels:
        readers["tail"] = inside["tail"] * JOINS / plan.tail_channels
    return sum(counts[f"allowed {kind}"] * there for kind, there in readers.items())


def _series(
    plan: Plan, record: Record, processes: Processes, statsd: Statsd | None, size: float, others: dict[int, float]
) -> dict[str, Any]:
    """Columns by second; seconds are counted from the first message."""
    series = record.series
    if not series.seconds:
        return {"second": []}
    begin = int(record.said.get("speak", series.seconds[0]))
    seconds = list(range(series.seconds[0], series.seconds[-1] + 1))
    by_label: Counter[str] = Counter()
    viewers, offered = [], []
    delays: dict[str, list[float | None]] = {"p50": [], "p90": [], "p99": [], "max": []}
    lag = [_lag(series, second, second + 1) for second in seconds]
    by_channel: dict[str, list[float | None]] = {
        name.removeprefix("deliver "): [] for name in series.names() if name.startswith("deliver ")
    }
    for second in seconds:
        counts = series.counts.get(second, Counter())
        for name, count in counts.items():
            kind, _, label = name.partition(" ")
            by_label[label] += count * ((kind == "entered") - (kind == "left"))
        viewers.append(by_label.total())
        offered.append(round(_offered(plan, counts, by_label)))
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
        "others": [round(others[second], 2) if second in others else None for second in seconds],
    }  # fmt: skip
    if statsd is not None:
        rates = {name: statsd.rate(*where) for name, where in _METRICS.items()}
        columns["metrics"] = {name: [round(of.get(second, 0)) for second in seconds] for name, of in rates.items()}
        batches, submissions = rates["batches"], rates["submissions"]
        columns["batch_size"] = [round(submissions[s] / batches[s], 2) if batches.get(s) else None for s in seconds]
        passes, publications = rates["passes"], rates["publications"]
        columns["pass_size"] = [round(publications[s] / passes[s], 2) if passes.get(s) else None for s in seconds]
        for column, metric in (("loop_lag_ms", "loop.lag_ms.max"), ("pass_ms", "broadcast.pass_ms.mean")):
            columns[column] = {
                name.split(".")[1]: [round(of[s], 1) if s in of else None for s in seconds]
                for name, of in sorted(statsd.gauges.items())
                if name.startswith("edge.") and name.endswith(metric)
            }
    return columns


def _per_second(of: dict[int, float], second: int) -> float | None:
    return round(max(0.0, of[second] - of[second - 1]), 3) if second in of and second - 1 in of else None

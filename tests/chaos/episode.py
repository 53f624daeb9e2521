"""One fault under load: talk, hurt, wait until all is delivered, compare everything with the log."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from ops.checker import Audit, Sight, audit, compare, percentile
from tests.chaos.crowd_link import CrowdLink, CrowdSight
from tests.chaos.faults import Fault, Setting
from tests.chaos.load import Connection, Load
from tests.chaos.log_reader import LogReader

LATE_S = 1.5         # from sending to the last reader: above this, a publication was late
_BEFORE_S = 2.0
_AFTER_S = 6.0       # talk goes on this long after the fault, longer while publications are late
_SETTLE_S = 30.0
_REPEATS_S = 1.0     # what comes twice comes a little later


@dataclass
class Outcome:
    fault: str
    round: int
    seconds: float
    sent: int
    skipped: int
    deliveries: int
    connections: int              # judged, those that ended included
    closed: int                   # connections that ended
    cut_gracefully: int
    missing: int
    repeated: int
    out_of_order: int
    foreign: int
    blind: int                    # connections with any of these
    audit: Audit
    wrong_ids: int                # USERSTATEs whose id is not the log's
    log_gaps: int                 # the log was cut before we read it
    log_setbacks: int
    late_verdicts: int            # told after more than 6 s
    verdict_p50_s: float
    verdict_max_s: float
    delivery_p50_s: float         # from sending to the last reader
    delivery_max_s: float
    repair_s: float               # from the fault's end until the last late publication was with everyone
    settled: bool                 # everything was there before we gave up waiting
    failure: str = ""             # why the fault did not happen as it should
    notices: dict[str, int] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)
    crowd: CrowdSight | None = None   # those who are not read line by line; in the counts above, too

    @property
    def problems(self) -> list[str]:
        """What must not be. Empty: the fault was survived."""
        counts = {
            "lost": self.missing,
            "repeated": self.repeated,
            "out of order": self.out_of_order,
            "not in the log, but seen": self.foreign,
            "without a verdict": self.audit.unanswered,
            "allowed, but not in the log": self.audit.allowed_not_logged,
            "denied, but in the log": self.audit.denied_logged,
            "in the log twice": self.audit.logged_twice,
            "with another id than the log's": self.wrong_ids,
            "seq used twice": self.log_setbacks,
            "log gaps": self.log_gaps,
        }
        found = [f"{count} {what}" for what, count in counts.items() if count]
        return [*found, f"the fault failed ({self.failure})"] if self.failure else found


async def run(
    fault: Fault, number: int, setting: Setting, logs: LogReader, crowd: CrowdLink | None = None
) -> Outcome:
    """`crowd`: members of the load's only channel who are judged by their bytes."""
    load = setting.load
    await load.settled()
    load.begin()
    logs.forget()
    if crowd is not None:
        await crowd.settled()
        await crowd.begin(load.say)
    begun = time.monotonic()
    load.talk()
    await asyncio.sleep(_BEFORE_S * setting.scale)
    failure = ""
    try:
        ended = await fault.inject(setting)
    except (AssertionError, OSError, TimeoutError) as error:
        failure = f"{type(error).__name__}: {error}"
        ended = time.monotonic()
    await asyncio.sleep(_AFTER_S * setting.scale)
    await load.hush()
    settled = await _settle(load, logs)
    if crowd is not None:
        settled = await crowd.end(load.say) and settled
    await asyncio.sleep(_REPEATS_S)
    await logs.read_all()
    seconds = time.monotonic() - begun
    outcome = _judge(fault, number, load, logs, ended, seconds, settled)
    outcome.failure = failure
    if crowd is not None:
        _add(outcome, await crowd.judge(logs.logs[load.channels[0]], load.ledger.sent_at))
    return outcome


async def _settle(load: Load, logs: LogReader) -> bool:
    """Until every message has its verdict and everybody has seen all of the log; False: not within _SETTLE_S."""
    deadline = time.monotonic() + _SETTLE_S
    done = False
    while not done and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        done = not load.ledger.open_messages() and await logs.read_all() and _all_seen(load, logs)
    return done


def _add(outcome: Outcome, crowd: CrowdSight) -> None:
    outcome.crowd = crowd
    outcome.deliveries += crowd.lines
    outcome.connections += crowd.readers
    outcome.closed += crowd.closed
    outcome.missing += crowd.missing
    outcome.repeated += crowd.repeated
    outcome.out_of_order += crowd.out_of_order
    outcome.foreign += crowd.foreign
    outcome.blind += crowd.blind
    outcome.details += crowd.details


def _all_seen(load: Load, logs: LogReader) -> bool:
    author = load.ledger.author
    own = Counter(author[n] for log in logs.logs.values() for n in log if n in author)
    for life in load.lives:
        if not life.closed and life.whole and len(life.seen) < len(logs.logs[life.seat.channel]) - own[life]:
            return False
    return True


def _expected(life: Connection, log: list[int], load: Load) -> list[int]:
    """What this connection had to see, in the log's order."""
    ledger = load.ledger
    others = [n for n in log if ledger.author.get(n) is not life]
    begin = 0
    if not life.whole:
        # It joined at a moment that only the edge knows: after its first line nothing may be missing, and nothing that
        # was sent after the join was answered.
        seen = set(life.seen)
        sent_at, ready_at = ledger.sent_at, life.ready_at
        begin = next((i for i, n in enumerate(others) if n in seen or sent_at.get(n, 0.0) > ready_at), len(others))
    end = len(others)
    if life.closed:
        seen = set(life.seen)
        end = next((i + 1 for i in range(len(others) - 1, -1, -1) if others[i] in seen), begin)
    return others[begin:end]


def _judge(
    fault: Fault, number: int, load: Load, logs: LogReader, ended: float, seconds: float, settled: bool
) -> Outcome:
    ledger = load.ledger
    total = Counter()
    details: list[str] = []
    blind = 0
    for life in load.lives:
        expected = _expected(life, logs.logs[life.seat.channel], load)
        sight = compare(expected, life.seen)
        total.update(
            missing=sight.missing, repeated=sight.repeated, out_of_order=sight.out_of_order,
            foreign=sight.foreign, deliveries=len(life.seen),
        )  # fmt: skip
        if not sight.faultless:
            blind += 1
            if len(details) < 20:
                details.append(_detail(life, expected, sight))
    everything = [n for log in logs.logs.values() for n in log]
    delays = [seen - ledger.sent_at[n] for n, seen in ledger.last_seen.items() if n in ledger.sent_at]
    late = [at for n, at in ledger.last_seen.items() if n in ledger.sent_at and at - ledger.sent_at[n] > LATE_S]
    found = audit(ledger.fates, everything)
    if found.allowed_not_logged or found.denied_logged or found.logged_twice:
        times = Counter(everything)
        odd = [
            (n, f.value, times[n]) for n, f in ledger.fates.items()
            if (f.value == "allowed" and not times[n]) or (f.value == "denied" and times[n]) or times[n] > 1
        ]  # fmt: skip
        details += [f"message {n} ({ledger.author[n].seat.channel}): {f}, {t} x in the log" for n, f, t in odd[:10]]
    return Outcome(
        fault=fault.name,
        round=number,
        seconds=seconds,
        sent=len(ledger.sent_at),
        skipped=load.skipped,
        deliveries=total["deliveries"],
        connections=len(load.lives),
        closed=load.closed,
        cut_gracefully=ledger.cut_gracefully,
        missing=total["missing"],
        repeated=total["repeated"],
        out_of_order=total["out_of_order"],
        foreign=total["foreign"],
        blind=blind,
        audit=found,
        wrong_ids=sum(1 for n, told in ledger.ids.items() if n in logs.ids and logs.ids[n] != told),
        log_gaps=sum(chain.gaps for chain in logs.chains.values()),
        log_setbacks=sum(chain.setbacks for chain in logs.chains.values()),
        late_verdicts=ledger.late_verdicts(),
        verdict_p50_s=percentile(ledger.verdict_s, 50),
        verdict_max_s=max(ledger.verdict_s, default=0.0),
        delivery_p50_s=percentile(delays, 50),
        delivery_max_s=max(delays, default=0.0),
        repair_s=max(0.0, max(late, default=0.0) - ended),
        settled=settled,
        notices=dict(ledger.notices),
        details=details,
    )


def _detail(life: Connection, expected: list[int], sight: Sight) -> str:
    lacking = sorted(set(expected) - set(life.seen))[:5]
    state = ("closed " if life.closed else "") + ("whole" if life.whole else "late")
    return (
        f"{life.seat.login} at {life.edge} in {life.seat.channel} ({state}): {sight.missing} missing of "
        f"{sight.expected} {lacking}, {sight.repeated} repeated, {sight.out_of_order} out of order, "
        f"{sight.foreign} foreign"
    )

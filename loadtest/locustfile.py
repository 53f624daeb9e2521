"""The load on locust's own terms: `locust -f loadtest/locustfile.py --headless --processes 2 --shape-name steady ...`.

`python -m loadtest` runs this file with everything set, and makes the report; see docs/load.md.

The master holds the timeline and says, by locust's messages, what is due ("speak", "scatter", "move", "hush", "audit");
workers answer the audit with what their users saw. Each second of the workers' measurements travels in locust's own
statistics reports. With --record, the master writes all of it to a file as lines of JSON.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import gevent
import locust.argument_parser
import locust.runners
from locust import LoadTestShape, events
from locust.dispatch import UsersDispatcher
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from common.errors import TallgrassError
from loadtest import shapes, users
from loadtest.audit import Findings, compare_tracks, reference
from loadtest.herd import count_findings, tracks_by_channel
from loadtest.irc_client import now
from loadtest.places import places
from loadtest.plan import SHAPES, STAYED_IN, Plan, machine_viewers, read_plan
from loadtest.target import local_stack, require_permitted
from loadtest.timing import Histogram, Series
from loadtest.users import APART, LurkerHerd, World, cast

locust.runners.WORKER_REPORT_INTERVAL = 1.0
# Locust 2.47 makes its parser again for each option of each message that spawns users: a third of a second in which a
# worker does nothing else, at each step of a shape. It is always the same.
locust.argument_parser.default_args_dict = functools.cache(locust.argument_parser.default_args_dict)
_SPEAKERS_PER_S = 100
_LAG_PROBE_S = 0.05
_AUDIT_S = 30.0              # for all workers to answer

_plan: Plan | None = None
_world: World | None = None
_director: Director | None = None


@events.init_command_line_parser.add_listener
def _add_arguments(parser: Any) -> None:
    group = parser.add_argument_group("Tallgrass")
    group.add_argument("--data", default=".tallgrass", help="data folder of the stack (default: .tallgrass)")
    group.add_argument("--shape-name", choices=SHAPES, default="steady", help="default: steady")
    group.add_argument("--viewers", type=int, default=0, help="at the peak (default: what this machine carries)")
    group.add_argument("--rate", type=float, default=30.0, help="messages a second (default: 30)")
    group.add_argument("--seconds", type=float, default=60.0, help="of sending (default: 60)")
    group.add_argument("--load-processes", type=int, default=0, help="workers of all machines (default: --processes)")
    group.add_argument("--yes-really", action="store_true", help="load a cluster that is not the test cluster")
    group.add_argument("--plan", default="", help="a whole plan as a file, instead of the options above")
    group.add_argument("--record", default="", help="write what was measured to this file")


@events.init.add_listener
def _init(environment: Environment, runner: Any, **_: Any) -> None:
    """Once in each process."""
    global _plan, _world, _director
    options = environment.parsed_options
    try:
        _plan = _read_or_make_plan(options)
        require_permitted(_plan.target, yes_really=options.yes_really)
    except TallgrassError as error:
        print(f"loadtest: {error}", flush=True)
        os._exit(2)  # locust takes an exception here for a warning and goes on
    for kind, count in cast(_plan).items():
        kind.fixed_count = count
    environment.dispatcher_class = Places
    environment.user_classes = [LurkerHerd, *(kind for kind, count in cast(_plan).items() if count)]
    if isinstance(runner, (MasterRunner, LocalRunner)):
        _director = Director(_plan, runner, options.record)
        runner.register_message("findings", _director.heard)
    if isinstance(runner, (WorkerRunner, LocalRunner)):
        runner.register_message("say", _told)
    if isinstance(runner, WorkerRunner):
        _share_fairly()


def _share_fairly() -> None:
    """Linux gives a core to sessions first, then to their processes (sched(7), "autogroup"). Each service has a session
    of its own; in that of a shell, which may be a favoured one, the load took both cores and edges waited 400 ms for
    one [measured].
    """
    with contextlib.suppress(PermissionError):  # a shell started it alone: it leads its own group already
        os.setsid()


def _read_or_make_plan(options: Any) -> Plan:
    if options.plan:
        return read_plan(Path(options.plan))
    processes = max(1, options.load_processes or options.processes or 1)
    apart = processes > 1 and options.shape_name in STAYED_IN
    return Plan(
        shape=options.shape_name,
        target=local_stack(options.data),
        viewers=options.viewers or machine_viewers(),
        rate=options.rate,
        seconds=options.seconds,
        run="klive",
        workers=processes - apart,
        apart=apart,
    )


# -- in each worker --------------------------------------------------------------------------------------------------


@events.test_start.add_listener
def _start(environment: Environment, **_: Any) -> None:
    global _world
    runner = environment.runner
    assert _plan is not None
    if isinstance(runner, (WorkerRunner, LocalRunner)):
        worker = runner.worker_index if isinstance(runner, WorkerRunner) else 0
        _world = World(_plan, environment, worker)
        users.ChatUser.world = _world
        gevent.spawn(_measure_own_lag, _world)
    if _director is not None:
        _director.begin()


def _measure_own_lag(world: World) -> None:
    """How late this process comes to what is due. Delays are taken by the kernel and leave it out; verdicts do not."""
    name = "lag apart" if world.apart else "lag crowd"
    while not world.control.stopping:
        due = now() + _LAG_PROBE_S
        gevent.sleep(_LAG_PROBE_S)
        world.recorder.delay(name, (now() - due) * 1e3)


@events.test_stopping.add_listener
def _stopping(**_: Any) -> None:
    if _world is not None:
        _world.control.stopping = True


@events.report_to_master.add_listener
def _report(client_id: str, data: dict[str, Any]) -> None:
    if _world is not None:
        data["tallgrass"] = _drain(_world)


def _drain(world: World) -> dict[str, Any]:
    spent = time.process_time()
    return {**world.recorder.drain(), "worker": world.worker, "cpu_s": spent, "pid": os.getpid()}


def _told(environment: Environment, msg: Any, **_: Any) -> None:
    """What the director says."""
    assert _world is not None
    data = msg.data
    name, control = data["name"], _world.control
    if name == "speak":
        control.ever_spoken = control.speaking = True
    elif name == "hush":
        control.speaking = False
    elif name == "scatter":
        for herd in _world.herds:
            if not herd.stays:
                herd.scatter()
    elif name == "move":
        for herd in _world.herds:
            if not herd.stays:
                herd.move(data["channel"], data["over_s"])
    elif name == "audit":
        environment.runner.send_message("findings", _findings(_world))


def _findings(world: World) -> dict[str, Any]:
    """What this process' users saw, small enough to send: one reference per channel, and how the others differ."""
    channels: dict[str, Any] = {}
    for herd in world.herds:
        herd.sweep()
    counted = count_findings(world.herds)
    tracks = tracks_by_channel(world.herds)
    for channel in {*counted, *tracks}:
        found = Findings()
        best = reference(tracks.get(channel, []))
        if best is not None:
            found.add(compare_tracks(best.numbers, tracks[channel]))
        found.add(counted.get(channel, Findings()))
        channels[channel] = {
            "findings": found.pack(),
            "reference": best.numbers.tobytes() if best else b"",
            "from_start": bool(best and best.from_start),
        }
    fates = {channel: [list(of), list(of.values())] for channel, of in world.fates.items()}
    inside: dict[str, int] = {}
    for herd in world.herds:
        inside[herd.label] = inside.get(herd.label, 0) + herd.inside
    tail = [track.numbers for herd in world.herds if herd.label == "tail" for track in herd.tracks()]
    return {
        "worker": world.worker,
        "channels": channels,
        "fates": fates,
        "denials": dict(world.denials),
        "inside": inside,
        "tail_seen": sum(len(numbers) for numbers in tail),
        "tail_repeated": sum(len(numbers) - len(set(numbers)) for numbers in tail),
        "cpu_s": time.process_time(),
    }


# -- in the master ---------------------------------------------------------------------------------------------------


class Places(UsersDispatcher):
    """Locust says how many users there are to be; which process has them is the plan's matter."""

    def __next__(self) -> dict[str, dict[str, int]]:
        given: dict[str, dict[str, int]] = super().__next__()
        assert _director is not None
        assert _plan is not None
        runner = _director.runner
        if not isinstance(runner, MasterRunner):
            return given
        apart = {kind.__name__ for kind in APART} if _plan.apart else set()
        return places(given, runner.get_worker_index, apart, _plan.workers)


class Director:
    """Leads a run through its timeline, and collects."""

    def __init__(self, plan: Plan, runner: Any, record: str) -> None:
        self.plan = plan
        self.line = shapes.timeline(plan)
        self.series = Series()
        self.first_message = 0.0   # 0: nobody speaks yet
        self.done = False
        self.recording = bool(record)
        self.runner = runner
        # Open until the process ends: a line is whole as soon as it is written.
        self._record: TextIO | None = open(record, "a", encoding="utf-8", buffering=1) if record else None  # noqa: SIM115
        self._findings: list[dict[str, Any]] = []
        self._heard_at: dict[int, float] = {}

    def begin(self) -> None:
        self.write("begin", at=now(), pid=os.getpid())
        gevent.spawn(self._lead)

    def _lead(self) -> None:
        wanted = shapes.herds_at(self.plan, self.line.gather) * self.plan.herd
        wanted += (self.plan.stayed_herds + self.plan.tail_herds) * self.plan.herd
        deadline = now() + shapes.GATHER_AT_MOST_S
        while self.inside() < wanted and now() < deadline:
            gevent.sleep(0.25)
        gevent.sleep(2.0)  # so that the last who came in have had their answers
        self.write("gathered", at=now(), inside=self.inside(), wanted=wanted)
        self.tell("speak")
        self.first_message = now()
        for event in sorted(self.line.events, key=lambda event: event.at):
            gevent.sleep(max(0.0, self.first_message + event.at - now()))
            self.tell(event.name, channel=event.channel, over_s=event.over_s)
        gevent.sleep(max(0.0, self.first_message + self.plan.seconds - now()))
        self.tell("hush")
        self._settle()
        self.tell("audit")
        deadline = now() + _AUDIT_S
        processes = self.plan.processes if isinstance(self.runner, MasterRunner) else 1
        while len(self._findings) < processes and now() < deadline:
            gevent.sleep(0.1)
        for found in self._findings:
            self.write("findings", **{**found, "channels": {
                name: {**one, "reference": one["reference"].hex()} for name, one in found["channels"].items()
            }})  # fmt: skip
        self.write("end", at=now(), heard=len(self._findings))
        self.done = True

    def _settle(self) -> None:
        """Until no sampled viewer has got a line for SETTLE_S, as far as every process has told; PINGs do not count."""
        deadline = now() + shapes.SETTLE_AT_MOST_S
        begun = now()
        while now() < deadline:
            gevent.sleep(0.25)
            heard = min(self._heard_at.values(), default=0.0)
            last = max((second for second, found in self.series.counts.items() if _lines(found)), default=0) + 1
            if heard - max(last, begun) > shapes.SETTLE_S:
                return

    def tell(self, name: str, **data: Any) -> None:
        self.write("said", at=now(), name=name, **data)
        self.runner.send_message("say", {"name": name, **data})

    def heard(self, environment: Environment, msg: Any, **_: Any) -> None:
        self._findings.append(msg.data)

    def take(self, data: dict[str, Any]) -> None:
        """One worker's report of the last second."""
        self.series.take(data)
        self._heard_at[data["worker"]] = now()
        self.write("second", **data)

    def inside(self) -> int:
        total: dict[str, int] = {}
        for found in self.series.counts.values():
            for name, count in found.items():
                kind = name.partition(" ")[0]
                if kind in ("entered", "left"):
                    total[kind] = total.get(kind, 0) + count
        return total.get("entered", 0) - total.get("left", 0)

    def write(self, kind: str, **data: Any) -> None:
        if self._record is not None:
            self._record.write(json.dumps({"kind": kind, **data}) + "\n")
        elif kind in ("gathered", "said", "end"):
            print(f"-- {kind}: {json.dumps(data)}", flush=True)

    def show(self) -> None:
        """Progress, when nobody records: the whole second before last, which all workers have reported."""
        second = int(now()) - 2
        delays = Histogram()
        for name, one in self.series.delays.get(second, {}).items():
            if name.startswith("deliver "):
                delays.merge(one)
        counts = self.series.counts.get(second, {})
        sent = sum(n for name, n in counts.items() if name.startswith("sent "))
        print(
            f"{self.inside():,} viewers, {sent} messages/s in, delay p50 {delays.percentile(50):.0f} "
            f"p99 {delays.percentile(99):.0f} max {delays.max_ms:.0f} ms",
            flush=True,
        )


def _lines(counts: Mapping[str, int]) -> int:
    """What sampled viewers got in one second."""
    return sum(n for name, n in counts.items() if name.startswith("sampled ") and name != "sampled bytes")


@events.worker_report.add_listener
def _worker_report(client_id: str, data: dict[str, Any]) -> None:
    found = data.get("tallgrass")
    if _director is not None and found is not None:
        _director.take(found)


class Shape(LoadTestShape):
    """As many herds as the timeline wants now; the end when the director is done."""

    def tick(self) -> tuple[int, float] | None:
        director, plan = _director, _plan
        assert director is not None
        assert plan is not None
        if isinstance(director.runner, LocalRunner) and _world is not None:
            director.take(_drain(_world))
        if not director.recording:
            director.show()
        if director.done:
            return None
        second = now() - director.first_message if director.first_message else 0.0
        share = director.line.share(second) if director.first_message else director.line.gather
        fixed = sum(cast(plan).values())
        if director.runner.user_count < fixed:
            return fixed, _SPEAKERS_PER_S
        return fixed + shapes.herds_at(plan, share), shapes.JOIN_PER_S / plan.herd

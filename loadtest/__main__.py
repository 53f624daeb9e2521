"""`python -m loadtest SHAPE`: aims at a stack (its own, when none is named), shows progress, makes the report.

Exit status: 0 nothing was lost, repeated or out of order; 1 something was; 2 it could not be found out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigError, TallgrassError
from loadtest import calibrate, figures, limit
from loadtest.monitor import Statsd
from loadtest.plan import PROCESS_VIEWERS, SHAPES, Plan, machine_viewers
from loadtest.run import ROOT, carry_out, say
from loadtest.target import CLUSTER, Target, local_stack, require_permitted

_STOP_S = 60.0
_MAX_FILES = 20_000
_HAPROXY_AT_MOST = 9_000     # HAProxy takes 9,900; chatters and clients of the inner pools need some
_STEP_S = 25.0               # of sending, in each step of a search for the limit
_STATUS = {"well": 0, "faulty": 1, "unknown": 2}


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    try:
        if arguments.update and not Path(arguments.update).is_file():
            raise ConfigError(f"--update {arguments.update}: there is no such page")
        if arguments.shape == "calibrate":
            rows = calibrate.run(Path(arguments.report), viewers=arguments.viewers or 15_000, seconds=arguments.seconds)
            _update(arguments, figures.calibration_figures(rows))
            return
        outcome = _run(arguments)
        _update(
            arguments, figures.limit_figures(outcome) if arguments.shape == "limit" else figures.run_figures(outcome)
        )
    except TallgrassError as error:
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(_STATUS[outcome["status"]])


def _update(arguments: argparse.Namespace, markdown: str) -> None:
    if arguments.update:
        figures.update(Path(arguments.update), arguments.shape, markdown)
        say(f"tables: {arguments.update}")


def _fail(text: str) -> int:
    print(f"loadtest: {text}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=(*SHAPES, "limit", "calibrate"), metavar="SHAPE",
                        help=f"{', '.join(SHAPES)}; limit: raise a steady load in steps until p99 passes a second; "
                        "calibrate: measure the load itself")  # fmt: skip
    parser.add_argument("--data", default="", metavar="DIR", help="data folder of a running stack (default: start one)")
    parser.add_argument("--viewers", type=int, default=0, metavar="N", help="at the peak (default: for this machine)")
    parser.add_argument("--rate", type=float, default=30.0, metavar="N", help="messages a second (default: 30)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="N", help="of sending (default: 60)")
    parser.add_argument("--haproxy", type=float, default=0.1, metavar="SHARE", help="through HAProxy (default: 0.1)")
    parser.add_argument("--websocket", type=float, default=0.1, metavar="SHARE", help="over WebSocket (default: 0.1)")
    parser.add_argument("--tls", type=float, default=0.0, metavar="SHARE", help="over TLS (default: 0)")
    parser.add_argument("--plain", action="store_true", help="viewers ask for no tags")
    parser.add_argument("--edges", type=int, default=0, metavar="N", help="of a stack of our own (default: as needed)")
    parser.add_argument("--limits", choices=("on", "off"), default="on", help="of a stack of our own (default: on)")
    parser.add_argument("--tail-channels", type=int, default=10_000, metavar="N", help="longtail: small channels")
    parser.add_argument("--tail-rate", type=float, default=50.0, metavar="N", help="longtail: messages/s into them all")
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="limit: at most, each way up (default: 8)")
    parser.add_argument("--update", default="", metavar="PAGE", help="put the figures into this page (docs/load.md)")
    parser.add_argument("--report", default="report", metavar="DIR", help="where the report goes (default: report)")
    parser.add_argument("--yes-really", action="store_true", help="load a cluster that is not the test cluster")
    return parser


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    viewers = arguments.viewers or machine_viewers()
    # Wrong options are told before anything is started.
    _plan(arguments, Target(name="", cluster=CLUSTER, irc="", ircs="as asked for"), viewers)
    _raise_file_limit()
    with contextlib.ExitStack() as stack:
        statsd = None
        if arguments.data:
            data = arguments.data
        else:
            statsd = Statsd()
            statsd.start()
            stack.callback(statsd.stop)
            data = stack.enter_context(_stack(arguments, viewers, statsd.address))
        target = local_stack(data)
        require_permitted(target, yes_really=arguments.yes_really)
        if arguments.shape == "limit":
            report = Path(arguments.report)
            report.mkdir(parents=True, exist_ok=True)
            return limit.run(
                lambda people, rate: _plan(arguments, target, people, rate), report, statsd, viewers=viewers,
                rate=arguments.rate, steps=arguments.steps, yes_really=arguments.yes_really,
            )  # fmt: skip
        plan = _plan(arguments, target, viewers)
        folder = Path(arguments.report) / f"{time.strftime('%Y%m%d-%H%M%S')}-{plan.shape}"
        folder.mkdir(parents=True, exist_ok=True)
        return carry_out(plan, folder, statsd, yes_really=arguments.yes_really)


def _plan(arguments: argparse.Namespace, target: Target, viewers: int, rate: float = 0.0) -> Plan:
    """`rate`: instead of --rate."""
    tail, search = arguments.shape == "longtail", arguments.shape == "limit"
    return Plan(
        shape="steady" if search else arguments.shape,
        target=target,
        viewers=viewers,
        rate=rate or arguments.rate,
        seconds=min(arguments.seconds, _STEP_S) if search else arguments.seconds,
        haproxy=min(arguments.haproxy, _HAPROXY_AT_MOST / viewers),
        websocket=arguments.websocket,
        tls=arguments.tls,
        tagged=not arguments.plain,
        tail_channels=arguments.tail_channels if tail else 0,
        tail_rate=arguments.tail_rate if tail else 0.0,
    )


# -- a stack of our own ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _stack(arguments: argparse.Namespace, viewers: int, statsd: str) -> Iterator[str]:
    """`tallgrass up --clusters test` in a folder of its own, stopped and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tallgrass-load-"))
    data = folder / "data"
    crowd = viewers * (1.1 if arguments.shape == "storm" else 1.0)
    edges = arguments.edges or max(2, -(-int(crowd) // (2 * PROCESS_VIEWERS)))
    command = [
        sys.executable, "-m", "ops.cli", "up", "--clusters", CLUSTER, "--data", str(data), "--irc-port", "0",
        "--http-port", "0", "--edges", str(edges), "--limits", arguments.limits, "--statsd", statsd,
        *(["--tls", "self"] if arguments.tls else []),
    ]  # fmt: skip
    say(f"starting a stack of its own with {edges} edges ...")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLGRASS_")}
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready: "):
            process.wait(_STOP_S)
            raise ConfigError(f"`tallgrass up` did not start: {(folder / 'stderr').read_text('utf-8').strip()[-500:]}")
        yield str(data)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        logs = Path(arguments.report) / "stack-logs"
        if (data / "logs").is_dir():
            shutil.copytree(data / "logs", logs, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


if __name__ == "__main__":
    main()

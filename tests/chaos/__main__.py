"""`python -m tests.chaos` (`make chaos`): the fault suite in its full form. Exit status 1: a promise was broken.

`python -m tests.chaos moves` is the suite of two clusters and a channel that moves between them (tests/chaos/moves.py),
`python -m tests.chaos drain` empties an edge under load (tests/chaos/drain.py).
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.chaos import drain, moves, report, suite
from tests.chaos.faults import FAULTS

_DOCS = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
_SECTIONS = ("figures", "memory")


def main() -> None:
    if sys.argv[1:2] == ["moves"]:
        moves.main(sys.argv[2:])
    if sys.argv[1:2] == ["drain"]:
        drain.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    form = suite.Form()
    parser.add_argument("--faults", default="all", metavar="NAME,...", help=", ".join(FAULTS))
    parser.add_argument("--rounds", type=int, default=form.rounds, help="memory is compared from three rounds on")
    parser.add_argument("--connections", type=int, default=form.connections)
    parser.add_argument("--channels", type=int, default=form.channels)
    parser.add_argument("--rate", type=float, default=form.rate, help="messages a second in all")
    parser.add_argument("--scale", type=float, default=form.scale, help="of the faults' lengths (default: 1)")
    parser.add_argument("--shuffle", action="store_true", help="another order of faults in each round, by the seed")
    parser.add_argument("--seed", type=int, help="of an earlier run, to repeat it")
    parser.add_argument("--data", help="keep data and logs in this folder (it has to be new)")
    parser.add_argument("--write", choices=_SECTIONS, help="put the tables into that section of docs/faults.md")
    arguments = parser.parse_args()
    names = tuple(FAULTS) if arguments.faults == "all" else tuple(arguments.faults.split(","))
    for name in names:
        if name not in FAULTS:
            parser.error(f"--faults {name}: there are {', '.join(FAULTS)}")
    seed = arguments.seed if arguments.seed is not None else secrets.randbits(31)
    form = suite.Form(
        faults=names,
        rounds=arguments.rounds,
        connections=arguments.connections,
        channels=arguments.channels,
        rate=arguments.rate,
        scale=arguments.scale,
        shuffle=arguments.shuffle,
    )
    with tempfile.TemporaryDirectory(prefix="tallgrass-chaos-") as folder:
        data = Path(arguments.data) if arguments.data else Path(folder)
        print(f"seed {seed} (repeat with --seed {seed})", flush=True)
        begun = time.monotonic()
        result = uvloop.run(_run(form, seed, data))
    print(f"\n{report.table(result.outcomes)}\n\n{report.memory(result.memory)}")
    found = suite.problems(result.outcomes)
    for problem in found:
        print(f"BROKEN: {problem}")
    print(f"{len(result.outcomes)} episodes in {time.monotonic() - begun:.0f} s, seed {seed}: {len(found)} broken")
    if arguments.write:
        _write(result, arguments.write, " ".join(sys.argv[1:]))
    sys.exit(1 if found else 0)


async def _run(form: suite.Form, seed: int, data: Path) -> suite.Result:
    task = asyncio.current_task()
    assert task is not None
    for number in (2, 15):  # SIGINT, SIGTERM: stop the stack before we go
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await suite.run(form, seed, data, lambda text: print(text, flush=True))


def _write(result: suite.Result, section: str, options: str) -> None:
    form = result.form
    memory = report.memory(result.memory)
    figures = (
        f"Made by `python -m tests.chaos {options}`, seed {result.seed}: {form.connections} connections on "
        f"{form.edges} edges, {form.channels} channels, {form.rate:g} messages a second, {form.clues} clues, "
        f"{form.exchanges} exchanges, {form.redis_shards} Redis shards, {form.haproxies} HAProxies, limits "
        f"{form.limits}, {form.rounds} "
        f"round(s){'' if form.scale == 1 else f'; faults of {form.scale:g} times the length that is named'}.\n\n"
        f"{report.table(result.outcomes)}\n"
    )
    if memory:
        figures += f"\n{memory}\n"
    text = _DOCS.read_text("utf-8")
    before, begin, rest = text.partition(f"<!-- {section}: begin -->\n")
    _, end, after = rest.partition(f"<!-- {section}: end -->")
    _DOCS.write_text(f"{before}{begin}{figures}{end}{after}", "utf-8")


if __name__ == "__main__":
    main()

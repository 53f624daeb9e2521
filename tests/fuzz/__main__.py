"""Fuzz the codec and the session core, and say how fast that went.

    python -m tests.fuzz [--lines 1000000] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.fuzz.irc import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    if arguments.lines < 1:
        parser.error("--lines: at least 1")

    def progress(done: int) -> None:
        print(f"\r{done:,} of {arguments.lines:,} lines", end="", file=sys.stderr, flush=True)

    outcome = run(arguments.lines, arguments.seed, progress)
    print(file=sys.stderr)
    print(f"{outcome}; seed {arguments.seed}")


if __name__ == "__main__":
    main()

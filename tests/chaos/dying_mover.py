"""`python -m tests.chaos.dying_mover CHANNEL CLUSTER DATA STEP`: a mover that kills itself (-9) after that step."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from ops import mover
from ops.control import find_all


def main() -> None:
    channel, to, data, last = sys.argv[1:]

    def report(line: str) -> None:
        if line.startswith(last):
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(mover.move(channel, to, find_all(data=data, controls=(), environ={}), report=report))


if __name__ == "__main__":
    main()

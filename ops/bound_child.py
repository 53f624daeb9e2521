"""Become another program that dies with its parent:
`python bound_child.py PARENT_PID [--short-turns] PROGRAM [ARGUMENT...]`.

Run by ops.processes for every child, as a script of its own: code between fork and exec is unsafe in a process with
threads, and the request has to be made by the child itself. Elsewhere than on Linux nothing is bound.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2); survives exec, and tells of the death of the thread that started us: the main one


def main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it died before we asked
            os._exit(1)
    if command[0] == "--short-turns":
        del command[0]
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
        from common.turns import ask_for_short_turns

        ask_for_short_turns()
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

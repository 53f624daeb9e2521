"""common/turns.py, asked of the kernel itself."""

import os
import subprocess
import sys
from pathlib import Path

from common import turns
from tests.support.turns import KNOWN, own_turn_ns

ROOT = Path(turns.__file__).parent.parent
SHORT = turns.TURN_NS if KNOWN else 0


def printed(code, *before):
    command = [*before, sys.executable, "-c", f"from tests.support.turns import own_turn_ns, turn_ns\n{code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


def test_turns_are_short_for_the_thread_and_for_what_it_starts():
    """Threads, and other programs; the process' nice value stays."""
    ordinary = own_turn_ns()
    code = """
import os, subprocess, sys, threading
from common.turns import ask_for_short_turns
os.nice(3)
ask_for_short_turns()
print(own_turn_ns(), flush=True)
thread = threading.Thread(target=lambda: print(turn_ns(threading.get_native_id()), flush=True))
thread.start()
thread.join()
subprocess.run([sys.executable, "-c", "from tests.support.turns import own_turn_ns; print(own_turn_ns())"], check=True)
print(os.nice(0))
"""
    assert printed(code) == [SHORT or ordinary] * 3 + [min(19, os.nice(0) + 3)]
    assert own_turn_ns() == ordinary


def test_another_policy_is_left_alone():
    """An operator has chosen it."""
    code = """
import os
from common.turns import ask_for_short_turns
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
before = own_turn_ns()
ask_for_short_turns()
print(own_turn_ns() - before, os.sched_getscheduler(0))
"""
    assert printed(code) == [0, os.SCHED_BATCH]


def test_a_program_of_others_gets_them_by_our_starter():
    """Redis and HAProxy do not ask themselves."""
    starter = [sys.executable, "-I", "-S", str(ROOT / "ops" / "bound_child.py"), str(os.getpid())]
    assert printed("print(own_turn_ns())", *starter, "--short-turns") == [SHORT or own_turn_ns()]
    assert printed("print(own_turn_ns())", *starter) == [own_turn_ns()]

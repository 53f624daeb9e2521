"""The short form of `make fuzz`: TALLGRASS_FUZZ_LINES lines (20,000), TALLGRASS_FUZZ_SEED or a new seed each time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from edge.session import Session
from tests.fuzz import irc

LINES = int(os.environ.get("TALLGRASS_FUZZ_LINES", "20000"))
SEED = int(os.environ.get("TALLGRASS_FUZZ_SEED", str(random.SystemRandom().randrange(2**32))))
ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_core_answers_any_bytes():
    """Nothing but documented errors and well-formed effects, whatever comes; every kind of error is met."""
    outcome = irc.run(LINES, SEED)
    print(outcome)
    assert outcome.lines >= LINES
    assert outcome.sessions > 0
    assert set(outcome.refused) >= {"BadCommand", "ForbiddenCharacter", "InvalidUtf8", "NoCommand"}


def test_a_failure_names_its_seed_and_line(monkeypatch):
    """So that it can be met again."""

    def broken(self, line):
        raise RuntimeError("broken")

    monkeypatch.setattr(Session, "feed", broken)
    with pytest.raises(RuntimeError) as failure:
        irc.run(100, 7)
    assert failure.value.__notes__ == ["seed 7, line 1"]


def test_the_command(tmp_path):
    """python -m tests.fuzz says how many lines it fed, and how fast; the same seed meets the same."""
    command = [sys.executable, "-m", "tests.fuzz", "--lines", "2000", "--seed", "5"]
    said = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert "a second" in said[0]
    assert said[0].split(";", 1)[1] == said[1].split(";", 1)[1]

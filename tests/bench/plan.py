"""How much one run does: the full figures, or a quick look that proves the machinery."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .machine import say


@dataclass(frozen=True, slots=True)
class Plan:
    """Loads and repetitions. The full values are those of the project's goals."""

    repeat: int = 5
    seconds: float = 5.0  # of each measurement
    members: int = 1_000
    rates: tuple[float, ...] = (50, 200, 800)  # messages/s
    crowd: int = 15_000  # members of the largest channel
    crowd_rate: float = 50
    hot: int = 10_000  # members of the hot channel next to a quiet one
    quiet_s: float = 20.0  # of each measurement of these two
    saturation: tuple[float, ...] = (50, 67, 100, 200, 400, 800, 1_600, 2_400, 3_200)
    sessions: int = 10_000  # of the memory and login measurements
    tls_sessions: int = 500
    delay_messages: int = 500
    idle_s: float = 10.0


QUICK = Plan(
    repeat=1,
    seconds=2.0,
    members=300,
    rates=(50, 200),
    crowd=2_000,
    hot=1_000,
    quiet_s=2.0,
    saturation=(50, 200),
    sessions=1_000,
    tls_sessions=50,
    delay_messages=60,
    idle_s=5.0,
)


@dataclass(slots=True)
class Run:
    """One run's surroundings and what it has found so far."""

    folder: Path
    plan: Plan
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, part: str, case: str, server: str, turn: int, **figures: Any) -> None:
        self.rows.append({"part": part, "case": case, "server": server, "turn": turn, **figures})

    def note(self, text: str) -> None:
        """Something a reader of the figures must know: a peer that is missing, a load that broke."""
        say(f"note: {text}")
        self.notes.append(text)

"""One timer wheel for all sessions: no task and no loop timer per session.

Contract: 1. an entry fires once, at most one tick late; 2. nothing is cancelled: whoever is called asks itself whether
there is still something to do; 3. `now` is the wheel's coarse time, free to read on hot paths.
"""

from __future__ import annotations

from collections.abc import Callable

TICK_S = 1.0
_SLOTS = 512


class TimerWheel:
    __slots__ = ("_cursor", "_far", "_slots", "now")

    def __init__(self, now: float) -> None:
        self.now = now
        self._cursor = 0
        self._slots: list[list[Callable[[], None]]] = [[] for _ in range(_SLOTS)]
        self._far: list[tuple[float, Callable[[], None]]] = []

    def schedule(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call `call` in `delay_s` seconds, rounded up to whole ticks."""
        ticks = max(1, -int(-delay_s // TICK_S))
        if ticks < _SLOTS:
            self._slots[(self._cursor + ticks) % _SLOTS].append(call)
        else:
            self._far.append((self.now + delay_s, call))

    def advance(self, now: float) -> None:
        """Move to `now` and fire what is due."""
        while self.now + TICK_S <= now:
            self.now += TICK_S
            self._cursor = (self._cursor + 1) % _SLOTS
            due, self._slots[self._cursor] = self._slots[self._cursor], []
            if self._cursor == 0:
                self._bring_near()
            for call in due:
                call()

    def _bring_near(self) -> None:
        far, self._far = self._far, []
        for at, call in far:
            self.schedule(at - self.now, call)

"""How far this process' clock is from Redis' clock, by which the directory notes who was seen when."""

from __future__ import annotations

from common.clock import Clock
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2

WRONG_S = 2.0  # a call may take that long


class ClockCheck:
    """Give it each answer of the directory to `registration`; it keeps a gauge, and complains of a wrong clock."""

    def __init__(self, registration: clue_pb2.Registration, metrics: Metrics, log: Log, clock: Clock) -> None:
        self._registration = registration
        self._ahead_s = 0.0
        self._log = log
        self._clock = clock
        metrics.gauge("clock.ahead_s", lambda: self._ahead_s)

    def look(self, directory: clue_pb2.Directory) -> None:
        ours = self._registration
        for service in directory.services:
            if (service.service, service.instance, service.run) == (ours.service, ours.instance, ours.run):
                self._ahead_s = (self._clock.unix_ms() - service.last_seen_ms) / 1e3
                if abs(self._ahead_s) > WRONG_S:
                    self._complain()

    def _complain(self) -> None:
        self._log.warning(
            "clock_differs",
            remote="redis, where the directory is",
            operation="register",
            cause="the clock of this machine or of that one is wrong, and delays across them by as much",
            ahead_s=round(self._ahead_s, 1),
        )

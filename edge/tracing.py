"""Which messages are followed (common/trace.py), and what this edge tells of them.

One in `every` is, and those whose sender asks for it (the client-only tag +tallgrass/trace), so many a second.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from functools import partial

from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2
from common.trace import is_traced, marked, passed
from edge.hub import Hub

REQUESTS_S = 5  # of all senders of this edge; a line a hop each is for looking at, not for living with


class Tracer:
    """`every`: 0 follows requested ones only."""

    def __init__(self, every: int, hub: Hub, metrics: Metrics, log: Log) -> None:
        self._every = every
        self._left = every
        self._hub = hub
        self._counters = metrics.counters
        self._log = log
        self._second = 0
        self._requests = 0

    def new_id(self, requested: bool) -> str:
        """An id for a message; its end tells whether it is followed."""
        self._left -= 1  # below 0 for ever when none shall be
        if self._left and not requested:
            return str(uuid.uuid4())
        if not self._left:
            self._left = self._every
        elif not self._may_request():
            self._counters["traces.refused"] += 1
            return str(uuid.uuid4())
        self._counters["traces"] += 1
        return marked(str(uuid.uuid4()))

    def taken(self, message_id: str, channel: str, login: str) -> None:
        """From a user."""
        if is_traced(message_id):
            passed(self._log, "taken", message_id, channel, login=login)

    def decided(self, message_id: str, channel: str, verdict: clue_pb2.Verdict) -> None:
        if is_traced(message_id):
            outcome = clue_pb2.Verdict.Outcome.Name(verdict.outcome).lower()
            passed(self._log, "verdict", message_id, channel, outcome=outcome, seq=verdict.seq or None)

    def arrived(self, channel: str, source: str, traced: Iterable[chat_pb2.Traced], before: int, last: int) -> None:
        """From an exchange, or from the log; the newest seq given to the hub was `before`, and is `last`."""
        for one in traced:
            # Held: what lies before it is missing, and the repair brings it again.
            hop = "repeated" if one.seq <= before else "arrived" if one.seq <= last else "held"
            passed(self._log, hop, one.id, channel, source=source, seq=one.seq)
            members = self._hub.channels.get(channel)
            if hop == "arrived" and members is not None:
                members.afterwards(
                    partial(passed, self._log, "written", one.id, channel, members=len(members))
                )

    def _may_request(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._requests = second, 0
        self._requests += 1
        return self._requests <= REQUESTS_S

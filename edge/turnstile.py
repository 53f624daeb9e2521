"""Those who come and go, a few at a time, so that a storm of them does not hold up who is chatting.

A batch of answers from clue lets in dozens at once, and a crowd that loses its way in leaves by the thousand: what
that takes, 0.03 to 0.1 ms each, is not done in one turn of the loop. Contract: 1. calls are made in the order they
were put; 2. what is put into an idle turnstile is called in the next turn; 3. a call that raises ends nobody else's.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")

# Of one turn of the loop; a single call may take longer. [15,000 end and come back on two full cores: all back in 8.6
# and 14.5 s, p99 of those who stayed +87 and +136 ms; with 0.5 ms 11.9 to 22.4 s and +42 to +103]
TURN_S = 0.002


class Turnstile:
    __slots__ = ("_calls", "_loop", "_turning")

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._turning = False

    def __len__(self) -> int:
        """Calls that wait."""
        return len(self._calls)

    def put(self, call: Callable[[], None]) -> None:
        self._calls.append(call)
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def after(self, future: asyncio.Future[T], call: Callable[[asyncio.Future[T]], None]) -> None:
        """`call(future)` in its turn, once the future is done."""
        future.add_done_callback(lambda done: self.put(partial(call, done)))

    def _turn(self) -> None:
        until = time.monotonic() + TURN_S
        calls = self._calls
        try:
            while calls:
                calls.popleft()()
                if time.monotonic() >= until:
                    break
        finally:
            if calls:
                self._loop.call_soon(self._turn)
            else:
                self._turning = False

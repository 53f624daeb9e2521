"""Start, run, stop: signals to an event, tasks with an owner, uvloop as the loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from common.errors import ConfigError, TallgrassError
from common.turns import ask_for_short_turns

# Sessions and channels live long and hardly anything is a cycle. So the young are looked at in small numbers (2,000
# take 3 ms; 50,000 stopped an edge for 50 to 100 ms, several times in a storm of logins [measured]), and all that lives
# seldom: when there are two million objects more than the last time.
_GC_THRESHOLDS = (2_000, 1_000, 100)


def run(main: Callable[[], Coroutine[Any, Any, None]], *, short_turns: bool = False) -> None:
    """Run a service's main on uvloop. Our own errors become one line and exit status 1, never a traceback.

    `short_turns`: of the CPU (common/turns.py).
    """
    if short_turns:
        ask_for_short_turns()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        uvloop.run(main())
    except ConfigError as error:
        sys.exit(f"configuration: {error}")
    except TallgrassError as error:
        sys.exit(str(error))


def stop_event() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second one ends the process at once."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if event.is_set():
            os._exit(1)
        event.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return event


@contextlib.asynccontextmanager
async def background(*coroutines: Coroutine[Any, Any, None]) -> Any:
    """Own tasks for the length of a block. One that fails ends the block with its error; leaving cancels them all."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def within(seconds: float, work: Awaitable[object]) -> bool:
    """Await `work` for at most `seconds`. False: it was not done by then (and is cancelled)."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True

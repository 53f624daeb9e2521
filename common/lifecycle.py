"""Start, run, stop: signals to an event, tasks with an owner, uvloop as the loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from common.errors import ConfigError, TallgrassError


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a service's main on uvloop. Our own errors become one line and exit status 1, never a traceback."""
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

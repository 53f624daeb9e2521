"""Wait for something to become true, with a deadline; never a bare sleep."""

import asyncio
import time
from collections.abc import Callable


async def eventually(true: Callable[[], object], within_s: float = 10.0) -> None:
    """Return as soon as `true()` is; raise AssertionError when it is not within `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {true.__qualname__}")
        await asyncio.sleep(0.01)

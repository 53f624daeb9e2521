"""Self-clocking batches: one call under way, and what arrives meanwhile is the next batch.

An idle batcher adds no delay, a busy one batches by itself, and order is kept (ARCHITECTURE 3.2). One with a `rest`
begins no batch sooner after the one before than its most urgent item allows: calls that cost more than what they carry
become fewer.
Edges use one per lane towards clue; clue uses one per shard towards Redis and one per lane towards the exchanges.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Contract: 1. items are sent in the order they were put; 2. at most one `send` runs at a time; 3. each item's
    future gets the result at its place, or the exception that `send` raised; 4. an idle batcher owns no task.
    """

    __slots__ = ("_began", "_due", "_limit", "_loop", "_rest", "_resting", "_send", "_task", "_waiting")

    def __init__(
        self,
        send: Callable[[list[T]], Awaitable[Sequence[R]]],
        *,
        limit: int,
        rest: Callable[[T], float] | None = None,
    ) -> None:
        """`rest(item)`: seconds that must have passed since the last batch began before one begins for this item."""
        self._send = send
        self._limit = limit
        self._rest = rest
        self._resting: asyncio.Future[None] | None = None
        self._began = self._due = 0.0
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        """Items that wait for the next batch."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        return self._task is None

    def put(self, item: T) -> asyncio.Future[R]:
        """Add one item; the future resolves with its result."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = self._loop.create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = self._loop.create_task(self._run())
        elif self._resting is not None and self._rest is not None and self._began + self._rest(item) < self._due:
            _wake(self._resting)
        return future

    def withdraw(self, which: Callable[[T], bool]) -> list[T]:
        """Take back waiting items, in order; their futures are cancelled."""
        withdrawn = [(item, future) for item, future in self._waiting if which(item)]
        if withdrawn:
            self._waiting = deque((item, future) for item, future in self._waiting if not which(item))
            for _, future in withdrawn:
                future.cancel()
        return [item for item, _ in withdrawn]

    async def close(self) -> None:
        """Wait until all that was put has been sent."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._rest is not None and await self._rested(self._rest):
                    continue  # what waited may have been withdrawn
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._limit))]
                await self._send_one([item for item, _ in batch], [future for _, future in batch])
        finally:
            self._task = None

    async def _rested(self, rest: Callable[[T], float]) -> bool:
        """Wait until a batch may begin, or something changes; True: it took a while. A full batch need not wait."""
        assert self._loop is not None
        now = self._loop.time()
        due = self._due = self._began + min(rest(item) for item, _ in self._waiting)
        if due <= now or len(self._waiting) >= self._limit:
            self._began = now
            return False
        self._resting = self._loop.create_future()
        timer = self._loop.call_at(due, _wake, self._resting)
        try:
            await self._resting
        finally:
            timer.cancel()
            self._resting = None
        return True

    async def _send_one(self, items: list[T], futures: list[asyncio.Future[R]]) -> None:
        try:
            results = await self._send(items)
            if len(results) != len(items):
                raise AssertionError(f"{len(results)} results for {len(items)} items")
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        except Exception as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
                    # A caller that went away leaves nobody to read it; those who wait still get it.
                    future.exception()
            return
        for future, result in zip(futures, results, strict=True):
            if not future.done():
                future.set_result(result)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

"""Self-clocking batches: one call under way, and what arrives meanwhile is the next batch.

An idle batcher adds no delay, a busy one batches by itself, and order is kept (ARCHITECTURE 3.2). One with a `due`
begins no batch before its most urgent item is due: calls that cost more than what they carry become fewer.
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

    __slots__ = ("_began", "_due", "_limit", "_loop", "_resting", "_send", "_task", "_until", "_waiting")

    def __init__(
        self,
        send: Callable[[list[T]], Awaitable[Sequence[R]]],
        *,
        limit: int,
        due: Callable[[T, float], float] | None = None,
    ) -> None:
        """`due(item, began)`: the loop time at which a batch may begin for this item, when the last one began at
        `began`. Asked again for the first that waits and for each newcomer, whenever one comes.
        """
        self._send = send
        self._limit = limit
        self._due = due
        self._resting: asyncio.Future[None] | None = None
        self._began = self._until = 0.0
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
        elif self._resting is not None and (
            len(self._waiting) >= self._limit or self._sooner(item) or self._sooner(self._waiting[0][0])
        ):
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
                if self._due is not None and await self._rested(self._due):
                    continue  # what waited may have been withdrawn
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._limit))]
                await self._send_one([item for item, _ in batch], [future for _, future in batch])
        finally:
            self._task = None

    def _sooner(self, item: T) -> bool:
        """Sooner than what is rested for."""
        return self._due is not None and self._due(item, self._began) < self._until

    async def _rested(self, due: Callable[[T, float], float]) -> bool:
        """Wait until a batch may begin, or something changes; True: it took a while. A full batch need not wait."""
        assert self._loop is not None
        now = self._loop.time()
        until = self._until = min(due(item, self._began) for item, _ in self._waiting)
        if until <= now or len(self._waiting) >= self._limit:
            self._began = now
            return False
        self._resting = self._loop.create_future()
        timer = self._loop.call_at(until, _wake, self._resting)
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

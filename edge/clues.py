"""The clue pools of all clusters, and the way to the one where a channel lives (ARCHITECTURE 3.9).

Everything is asked at the home that we know of. Who answers "elsewhere" names another: that is remembered, the move
that took the channel there is settled once, and the question goes there.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

import grpc.aio
import tenacity

from common import rpc
from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import api_pb2_grpc, clue_pb2, clue_pb2_grpc
from common.sharding import lane
from common.streams import LaneCalls
from edge.homes import Homes

# One try: a hung clue is given up, and a retry hashes to another, while the sender still waits (ARCHITECTURE says 5 s
# a try; with 5 s one hung clue would use up the 6 s within which a sender must know).
TRY_S = 2.0
DECIDE_S = 4.5  # from the moment something was asked until its answer is given up
RETRY_FIRST_S = 0.05  # the longest pause before the first retry; then it doubles, up to 0.5 s
HOPS = 4  # redirects of one question
_SETTLED = 1_000  # moves remembered as settled
_RETIRE_S = 10.0  # calls over a connection that is used no more end within this time


class _Stub(clue_pb2_grpc.ClueStub, api_pb2_grpc.ApiStub):
    """Both services of a clue, over one connection."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        clue_pb2_grpc.ClueStub.__init__(self, channel)
        api_pb2_grpc.ApiStub.__init__(self, channel)


class Answer(Protocol):
    @property
    def elsewhere(self) -> clue_pb2.Elsewhere: ...


A = TypeVar("A", bound=Answer)


class Clues:
    """`on_moved` is told of each channel that turns out to live elsewhere than was known."""

    def __init__(self, address: str, homes: Homes, metrics: Metrics, log: Log, clock: Clock) -> None:
        self.homes = homes
        self.on_moved: Callable[[str], None] | None = None
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._services: dict[str, rpc.Service] = {}
        self._submits: dict[str, LaneCalls] = {}
        self._reach(homes.own, rpc.Service("clue", address, _Stub))
        self._addresses: dict[str, str] = {}  # of the other clusters
        self._settled: dict[tuple[str, str], asyncio.Task[clue_pb2.Elsewhere]] = {}
        self._retired: set[asyncio.Task[None]] = set()
        metrics.gauge("homes.listed", lambda: homes.listed)
        metrics.gauge("homes.corrections", lambda: homes.corrections)

    # -- who is there -------------------------------------------------------------------------------------------

    def update(self, addresses: Mapping[str, str]) -> None:
        """The clue pools of the other clusters, by cluster: those named are known from now on, and no others."""
        for cluster in [name for name, address in self._addresses.items() if addresses.get(name) != address]:
            del self._addresses[cluster]
            task = asyncio.get_running_loop().create_task(
                self._retire(self._services.pop(cluster), self._submits.pop(cluster))
            )
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
        for cluster, address in addresses.items():
            if cluster not in self._services and address:
                self._addresses[cluster] = address
                self._reach(cluster, rpc.Service(f"clue of {cluster}", address, _Stub))

    def _reach(self, cluster: str, service: rpc.Service) -> None:
        self._services[cluster] = service
        self._submits[cluster] = LaneCalls(service, "Submit")

    def service(self, cluster: str) -> rpc.Service:
        """Raises KeyError for a cluster that is not known."""
        return self._services[cluster]

    async def close(self) -> None:
        for task in (*self._settled.values(), *self._retired):
            task.cancel()
        for submits in self._submits.values():
            await submits.close()
        for service in self._services.values():
            await service.close()

    async def _retire(self, service: rpc.Service, submits: LaneCalls) -> None:
        try:
            await self._clock.sleep(_RETIRE_S)
        finally:
            await submits.close()
            await service.close()

    # -- one call -----------------------------------------------------------------------------------------------

    async def call(
        self,
        cluster: str,
        method: str,
        request: Any,
        number: int,
        number_of_try: int = 1,
        timeout: float | None = None,
    ) -> Any:
        """At the clue pool of a cluster; `number`: the lane. Raises RemoteError."""
        service = self._services.get(cluster)
        if service is None:
            raise RemoteError(f"clue of {cluster}", method, "its address is not known: no directory has named it")
        started = self._clock.monotonic()
        timeout = timeout or TRY_S
        try:
            if method == "Submit":
                return await self._submits[cluster].call(number, request, attempt=number_of_try, timeout=timeout)
            metadata = rpc.lane_metadata(number, number_of_try)
            return await service.call(method, request, timeout=timeout, metadata=metadata)
        finally:
            self._metrics.timing(f"clue.ms.{method}", (self._clock.monotonic() - started) * 1e3)

    async def until_decided(
        self, attempt: Callable[[int, float], Awaitable[bool]], operation: str, within_s: float | None = None
    ) -> None:
        """Try until `attempt` (number of the try, seconds it may take) says that all is decided, or time is up."""
        deadline = self._clock.monotonic() + (DECIDE_S if within_s is None else within_s)
        number_of_try = 0

        async def once() -> bool:
            nonlocal number_of_try
            number_of_try += 1
            if number_of_try > 1:
                self._metrics.count(f"clue.retries.{operation}")
            try:
                return await attempt(number_of_try, min(TRY_S, max(0.2, deadline - self._clock.monotonic())))
            except RemoteError as error:
                self.complain(error, number_of_try)
                return False

        # Nearly all is decided at once, and need not pay the 26 us that building the retries costs [measured].
        if await once():
            return
        await asyncio.sleep(random.uniform(0, RETRY_FIRST_S))
        tries = tenacity.AsyncRetrying(
            stop=tenacity.stop_before_delay(deadline - self._clock.monotonic()),
            wait=tenacity.wait_random_exponential(multiplier=RETRY_FIRST_S, max=0.5),
            retry=tenacity.retry_if_result(lambda decided: not decided),
            retry_error_callback=lambda state: None,
        )
        await tries(once)

    def complain(self, error: RemoteError, number_of_try: int = 1) -> None:
        self._metrics.count(f"clue.errors.{error.operation}")
        self._log.warning(
            "call_failed", remote=error.remote, operation=error.operation, attempt=number_of_try, cause=error.cause
        )

    # -- to where a channel lives -------------------------------------------------------------------------------

    async def at_home(self, operation: str, channel: str, ask: Callable[[str], Awaitable[A]]) -> A:
        """What `ask(cluster)` gives where the channel lives; after HOPS redirects the last answer, whatever it is."""
        cluster = self.homes.of(channel)
        for _ in range(HOPS):
            answer = await ask(cluster)
            if not answer.elsewhere.cluster:
                break
            cluster = await self.redirect(operation, channel, answer.elsewhere)
        return answer

    async def redirect(self, operation: str, channel: str, elsewhere: clue_pb2.Elsewhere) -> str:
        """Somebody has answered "elsewhere". Gives the cluster to ask, which knows by then that it is the home."""
        self._metrics.count(f"homes.elsewhere.{operation}")
        for _ in range(HOPS):
            self._correct(operation, channel, elsewhere)
            if not elsewhere.move:
                break
            further = await self._settle(channel, elsewhere)
            if not further.cluster:
                break
            elsewhere = further
        return elsewhere.cluster

    def _correct(self, operation: str, channel: str, elsewhere: clue_pb2.Elsewhere) -> None:
        if self.homes.correct(channel, elsewhere):
            self._log.info(
                "channel_moved", channel=channel, operation=operation, to=elsewhere.cluster, move=elsewhere.move or None
            )
            if self.on_moved is not None:
                self.on_moved(channel)

    async def _settle(self, channel: str, elsewhere: clue_pb2.Elsewhere) -> clue_pb2.Elsewhere:
        """Once for each move, however many ask. The mover may have died just before it did so."""
        key = (channel, elsewhere.move)
        task = self._settled.get(key)
        if task is None:
            if len(self._settled) >= _SETTLED:
                del self._settled[next(iter(self._settled))]
            task = asyncio.get_running_loop().create_task(self._call_settle(channel, elsewhere))
            self._settled[key] = task
        return await asyncio.shield(task)

    async def _call_settle(self, channel: str, elsewhere: clue_pb2.Elsewhere) -> clue_pb2.Elsewhere:
        request = clue_pb2.SettleRequest(channel=channel, move=elsewhere.move)
        try:
            reply: clue_pb2.SettleReply = await self.call(elsewhere.cluster, "Settle", request, lane(channel))
            if not reply.available:
                raise RemoteError(f"clue of {elsewhere.cluster}", "Settle", f"the shard of {channel} did not answer")
        except RemoteError as error:
            self.complain(error)
            self._settled.pop((channel, elsewhere.move), None)  # whoever is sent here next tries again
            return clue_pb2.Elsewhere()
        self._metrics.count("homes.settles")
        if reply.elsewhere.cluster:
            self._settled.pop((channel, elsewhere.move), None)
        return reply.elsewhere

"""Our place in the directory, and what it says of the others: one Register call every two seconds, through clue."""

from __future__ import annotations

import random
from collections.abc import Callable

from common import rpc
from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2, clue_pb2_grpc

PERIOD_S = 2.0
TRY_S = 2.0


class Registrar:
    """Registers until cancelled; each answer goes to `on_directory`. When clue does not answer, that is counted and
    logged, and what was known stays known.
    """

    def __init__(
        self,
        clue_address: str,
        registration: clue_pb2.Registration,
        on_directory: Callable[[clue_pb2.Directory], None],
        metrics: Metrics,
        log: Log,
        clock: Clock,
    ) -> None:
        self._clue = rpc.Service("clue", clue_address, clue_pb2_grpc.ClueStub)
        self._registration = registration
        self._on_directory = on_directory
        self._metrics = metrics
        self._log = log
        self._clock = clock

    async def run(self) -> None:
        while True:
            try:
                directory = await self._clue.call("Register", self._registration, timeout=TRY_S)
            except RemoteError as error:
                self._complain(error)
            else:
                if not directory.available:
                    self._complain(RemoteError(self._clue.remote, "Register", "the directory's shard did not answer"))
                self._on_directory(directory)
            await self._clock.sleep(PERIOD_S * random.uniform(0.9, 1.1))

    async def leave(self) -> None:
        """Say goodbye, so that nobody has to wait for our entry's end."""
        try:
            await self._clue.call("Leave", self._registration, timeout=TRY_S)
        except RemoteError as error:
            self._log.warning("leave_failed", remote=error.remote, operation=error.operation, cause=error.cause)

    async def close(self) -> None:
        await self._clue.close()

    def _complain(self, error: RemoteError) -> None:
        self._metrics.count("directory_failures")
        self._log.warning("directory_unavailable", remote=error.remote, operation=error.operation, cause=error.cause)

"""A service's place in a cluster's directory, and what it says of the others: a Register call every two seconds."""

from __future__ import annotations

import random
from collections.abc import Callable

from common import rpc
from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2

PERIOD_S = 2.0
TRY_S = 2.0


class Registrar:
    """Registers until cancelled; each answer goes to `on_directory`. When clue does not answer, what was known stays
    known: each failure is counted, and its cause is logged once.

    `registration` is asked for before each call.
    """

    def __init__(
        self,
        clue: rpc.Service,
        registration: Callable[[], clue_pb2.Registration],
        on_directory: Callable[[clue_pb2.Directory], None],
        metrics: Metrics,
        log: Log,
        clock: Clock,
    ) -> None:
        self._clue = clue
        self._registration = registration
        self._on_directory = on_directory
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._cause = ""  # of the last failure; "": there was an answer

    async def run(self) -> None:
        while True:
            try:
                directory = await self._clue.call("Register", self._registration(), timeout=TRY_S)
            except RemoteError as error:
                self._complain(error.remote, error.cause)
            else:
                if directory.available:
                    self._recovered()
                else:
                    self._complain(self._clue.remote, "the directory's shard did not answer")
                self._on_directory(directory)
            await self._clock.sleep(PERIOD_S * random.uniform(0.9, 1.1))

    async def leave(self) -> None:
        """Say goodbye, so that nobody has to wait for our entry's end."""
        try:
            await self._clue.call("Leave", self._registration(), timeout=TRY_S)
        except RemoteError as error:
            self._log.warning("leave_failed", remote=error.remote, operation=error.operation, cause=error.cause)

    def _complain(self, remote: str, cause: str) -> None:
        self._metrics.count("directory_failures")
        kind = cause.partition(":")[0]  # gRPC's details differ from call to call
        if kind != self._cause.partition(":")[0]:
            self._log.warning("directory_unavailable", remote=remote, operation="Register", cause=cause)
        self._cause = cause

    def _recovered(self) -> None:
        if self._cause:
            self._log.info("directory_available", remote=self._clue.remote, operation="Register", before=self._cause)
            self._cause = ""

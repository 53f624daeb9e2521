"""HAProxy's agent-check: whoever connects is told in one line how much of the new users this edge should get.

"up ready 75%" while it takes users, "drain" when it does not (HAProxy's configuration manual, "agent-check"). Only the
agent takes back what the agent said: without the word "ready" a server would stay in drain, also when another process
serves at its address, and without "up" one that was added at run time would stay down. So an edge is drained by
`tallgrass drain`; the drain of HAProxy's own runtime API does not last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from common.errors import ConfigError
from common.metrics import Metrics


class Agent:
    """`weight` gives the percentage, 0 for drain."""

    def __init__(self, weight: Callable[[], int], metrics: Metrics) -> None:
        self._weight = weight
        self._metrics = metrics
        metrics.gauge("agent.weight", weight)

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Port 0: any free one. Raises ConfigError."""
        try:
            return await asyncio.get_running_loop().create_server(lambda: _Check(self._answer), host, port)
        except OSError as error:
            raise ConfigError(f"cannot listen for agent-check on {host}:{port}: {error}") from error

    def _answer(self) -> bytes:
        self._metrics.count("agent.checks")
        weight = self._weight()
        return f"up ready {weight}%\n".encode() if weight else b"drain\n"


class _Check(asyncio.Protocol):
    """One check: told, and closed; what it says is not looked at."""

    def __init__(self, answer: Callable[[], bytes]) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writer = cast(asyncio.WriteTransport, transport)  # uvloop's are no subclass of it
        writer.write(self._answer())
        writer.close()

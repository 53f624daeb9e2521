"""Clues, exchanges and edges as processes around Redis servers that the test has made: for what `tallgrass up` has not
(replicas, Sentinels). There is no HAProxy: who asks is given both addresses.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clue.config import ClueConfig
from edge.config import EdgeConfig
from exchange.config import ExchangeConfig
from ops import probes
from tests.support.ports import free_port
from tests.support.services import logs_shown, spawn, stop

_READY_S = 30.0
_EACH = 2


@dataclass(frozen=True)
class House:
    folder: Path
    edges: dict[str, str]  # name to HOST:PORT of IRC
    clues: list[str]       # HOST:PORT

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


@asynccontextmanager
async def house(folder: Path, **redis: Any) -> AsyncIterator[House]:
    """Two of each; `redis` are settings of clue."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(module: str, settings: Any) -> None:
        processes.append(spawn(module, settings, folder / f"{settings.instance}.log"))

    clues = [f"127.0.0.1:{free_port()}" for _ in range(_EACH)]
    exchanges = [f"127.0.0.1:{free_port()}" for _ in range(_EACH)]
    ircs = [free_port() for _ in range(_EACH)]
    https = [free_port() for _ in range(_EACH)]
    try:
        with logs_shown(folder):
            for i in range(_EACH):
                names = {"exchange_address": ",".join(exchanges), "grpc_port": _port(clues[i])}
                start("clue", ClueConfig(instance=f"clue-{i + 1}", **names, **redis))
                own = ExchangeConfig(
                    instance=f"exchange-{i + 1}", grpc_port=_port(exchanges[i]), clue_address=",".join(clues)
                )
                start("exchange", own)
                start(
                    "edge",
                    EdgeConfig(
                        instance=f"edge-{i + 1}", irc_port=ircs[i], http_port=https[i], clue_address=",".join(clues),
                        drain_s=0.0,
                    ),
                )  # fmt: skip
            async with asyncio.timeout(_READY_S):
                for port in https:
                    ready = probes.http(f"http://127.0.0.1:{port}/readyz")
                    while not await ready():
                        await asyncio.sleep(0.05)
            yield House(folder, {f"edge-{i + 1}": f"127.0.0.1:{port}" for i, port in enumerate(ircs)}, clues)
    finally:
        await stop(processes)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])

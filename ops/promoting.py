"""Carries the promoter's decisions out, one move at a time, and remembers which channels it sent away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from common.errors import ConfigError, TallgrassError
from ops.control import Control, Target
from ops.mover import move
from ops.processes import Say
from ops.promoter import Decision, Promoter, Promotion, heats

_PERIOD_S = 2.0     # as often as edges tell their loads


class Promoting:
    """Of one cluster. `run` goes on until it is cancelled, whatever does not answer."""

    def __init__(
        self, promotion: Promotion, cluster: str, targets: Mapping[str, Target], memory: Path, say: Say
    ) -> None:
        """`targets`: the clusters that share the directory; `memory`: a file of ours. Raises ConfigError."""
        if promotion.to not in targets or promotion.to == cluster:
            raise ConfigError(
                f"{cluster} cannot promote channels to {promotion.to}: the others that share its directory are "
                f"{', '.join(sorted(targets.keys() - {cluster})) or 'none'}"
            )
        self._promoter = Promoter(promotion, cluster, _remembered(memory))
        self._cluster = cluster
        self._targets = targets
        self._memory = memory
        self._say = say
        self._trouble = ""

    async def run(self) -> None:
        async with Control(self._targets[self._cluster]) as control:
            while True:
                await asyncio.sleep(_PERIOD_S)
                try:
                    directory = await control.directory()
                except TallgrassError as error:
                    self._tell(str(error))
                    continue
                if not directory.shared:
                    self._tell("the shared directory does not answer: nothing can be moved")
                    continue
                self._tell("")
                homes = {home.channel: home.cluster for home in directory.homes}
                decision = self._promoter.decide(heats(directory), homes, asyncio.get_running_loop().time())
                if decision is not None:
                    await self._carry_out(decision)

    async def _carry_out(self, decision: Decision) -> None:
        self._say(f"{self._cluster} promoter: {decision.channel} goes to {decision.to}: {decision.why}")
        try:
            outcome = await move(decision.channel, decision.to, self._targets, redirect="clients", within_s=10)
        except TallgrassError as error:
            self._promoter.failed(decision)
            self._say(f"{self._cluster} promoter: {decision.channel} stays: {error}")
            return
        self._promoter.moved(decision)
        self._memory.write_text(json.dumps(sorted(self._promoter.promoted)) + "\n", "utf-8")
        self._say(f"{self._cluster} promoter: {outcome}")

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._say(f"{self._cluster} promoter: {trouble or 'all answers again'}")
            self._trouble = trouble


def _remembered(memory: Path) -> list[str]:
    try:
        found = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return []  # none yet, or a half-written one: those channels are moved by hand from now on
    return [str(channel) for channel in found]

"""The suite's end of `python -m tests.chaos.crowd`: started, asked, and its findings put beside the log."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.checker import compare
from tests.chaos.cluster import ROOT

_LONGEST_ANSWER = 1 << 27
_MARK_S = 5.0        # after which a mark that nobody has seen is said once more
_END_S = 20.0


@dataclass
class CrowdSight:
    """What the readers of the crowd saw of one episode. Counts of lines."""

    readers: int = 0          # lives of connections, those that ended included
    closed: int = 0
    lines: int = 0
    missing: int = 0
    repeated: int = 0
    out_of_order: int = 0
    foreign: int = 0
    blind: int = 0            # connections with any of these
    late_p99_ms: int = 0      # from the kernel's receipt until it was read
    late_max_ms: int = 0
    cpu_s: float = 0.0
    details: list[str] = field(default_factory=list)


class CrowdLink:
    def __init__(self, run: str) -> None:
        self._run = run
        self._process: asyncio.subprocess.Process | None = None
        self._marks = 0
        self.size = 0

    async def enter(self, edges: Mapping[str, str], channel: str, count: int, number: str, within_s: float) -> None:
        """`count` members, spread over the edges. Raises AssertionError when they are not in within that time."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.crowd",
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_ANSWER,
        )  # fmt: skip
        names = sorted(edges)
        members = [(f"crowd{n}", names[n % len(names)]) for n in range(count)]
        self.size = await self._ask("enter", edges=dict(edges), channel=channel, members=members, number=number)
        await self._until("inside", self.size, within_s)

    async def leave(self) -> None:
        if self._process is not None and self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()

    async def settled(self, within_s: float = 30.0) -> None:
        await self._until("inside", self.size, within_s)

    async def begin(self, say: Callable[[str], Awaitable[None]]) -> None:
        """`say` posts a line to the channel, while nobody else talks."""
        mark = self._mark()
        await self._ask("begin", mark=mark)
        assert await self._marked(mark, say, "counting"), "the mark at the beginning did not reach everybody"
        await self._ask("begun")

    async def end(self, say: Callable[[str], Awaitable[None]]) -> bool:
        """False: some have not seen the mark in time; `judge` will say who."""
        mark = self._mark()
        await self._ask("end", mark=mark)
        return await self._marked(mark, say, "ended")

    async def watch(self) -> None:
        await self._ask("watch")

    async def gaps(self) -> list[float]:
        """Seconds, of each reader."""
        found: list[float] = await self._ask("gaps")
        return found

    async def judge(self, log: Sequence[int], sent_at: Mapping[int, float]) -> CrowdSight:
        """`log`: the numbers that everybody had to see, in order."""
        told = await self._ask("judge")
        total: Counter[str] = Counter()
        details = []
        wrong: set[str] = set()
        for finding in told["findings"]:
            total.update({k: finding[k] for k in ("missing", "repeated", "out_of_order", "foreign")})
            wrong.add(finding["owner"])
            details.append(
                f"{finding['owner']}: {finding['missing']} missing, {finding['repeated']} repeated, "
                f"{finding['out_of_order']} out of order, {finding['bytes_off']:+d} bytes, {finding['where']}"
            )
        if not told["read"]:
            total["missing"] += len(log)
            details.append("nobody who is read line by line saw both marks")
        for read in told["read"]:
            sight = compare(log, read["numbers"])
            if not sight.faultless:
                total.update(
                    missing=sight.missing, repeated=sight.repeated, out_of_order=sight.out_of_order,
                    foreign=sight.foreign,
                )  # fmt: skip
                wrong.add(read["owner"])
                details.append(f"{read['owner']}, read line by line: {sight}")
        place = {number: index for index, number in enumerate(log)}
        for late in told["late"]:
            lost = [
                number for number in log[: place.get(late["first"], 0 if late["closed"] else len(log))]
                if sent_at.get(number, 0.0) > late["ready_at"]
            ]  # fmt: skip
            if lost:
                total["missing"] += len(lost)
                wrong.add(late["owner"])
                details.append(f"{late['owner']}, which came in later: nothing of {lost[:5]} before its first line")
        return CrowdSight(
            readers=told["lives"], closed=told["closed"], lines=told["lines"], blind=len(wrong), details=details[:20],
            missing=total["missing"], repeated=total["repeated"], out_of_order=total["out_of_order"],
            foreign=total["foreign"], late_p99_ms=told["late_p99_ms"], late_max_ms=told["late_max_ms"],
            cpu_s=told["cpu_s"],
        )  # fmt: skip

    def _mark(self) -> str:
        self._marks += 1
        return f" :mark{self._run}.{self._marks} "

    async def _marked(self, mark: str, say: Callable[[str], Awaitable[None]], state: str) -> bool:
        """The same mark twice is no harm: what follows the first is the same for everybody."""
        for attempt in range(int(_END_S / _MARK_S)):
            await say(f"{mark.removeprefix(' :')}{attempt}")
            try:
                await self._until(state, -1, _MARK_S)
            except AssertionError:
                if (await self._ask("progress"))[state]:
                    break  # it was said: some are late
                continue
            return True
        try:
            await self._until(state, -1, _END_S)
        except AssertionError:
            return False
        return True

    async def _until(self, state: str, count: int, within_s: float) -> None:
        """`count` -1: all who are in."""
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            progress: dict[str, int] = await self._ask("progress")
            wanted = progress["inside"] if count < 0 else count
            if progress[state] >= wanted > 0:
                return
            assert asyncio.get_running_loop().time() < deadline, f"{state}: {progress[state]} of {wanted} readers"
            await asyncio.sleep(0.1)

    async def _ask(self, what: str, **arguments: Any) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        line = await self._process.stdout.readline()
        assert line, "the crowd's process has ended"
        return json.loads(line)

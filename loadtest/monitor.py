"""What a run looks like from the machine: processor time and memory per process, the services' own metrics, the log.

Three threads of the runner, which does not run on gevent: `Processes` reads /proc, `Statsd` takes the datagrams that
services send once a second, and `LogReader` follows channels' logs through clue, as the truth to compare viewers with.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc.aio

from common import rpc
from common.pb import chat_pb2, clue_pb2, clue_pb2_grpc
from common.sharding import lane
from loadtest import marks
from ops.checker import Chain

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_POLL_S = 0.25


class Processes:
    """Each second: processor seconds and resident bytes of each named process, and how busy the machine is."""

    def __init__(self) -> None:
        self.cpu: dict[str, dict[int, float]] = defaultdict(dict)     # name to second to seconds spent so far
        self.memory: dict[str, dict[int, int]] = defaultdict(dict)    # name to second to bytes
        self.busy: dict[int, float] = {}                              # second to share of all cores
        self._pids: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def watch(self, pids: dict[str, int]) -> None:
        self._pids = {**self._pids, **pids}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        before = _machine()
        while not self._stop.wait(1.0 - time.monotonic() % 1.0):
            second = int(time.monotonic())
            for name, pid in self._pids.items():
                found = process(pid)
                if found is not None:
                    self.cpu[name][second], self.memory[name][second] = found
            after = _machine()
            self.busy[second] = (after[0] - before[0]) / max(1, after[1] - before[1])
            before = after


def process(pid: int) -> tuple[float, int] | None:
    """Processor seconds and resident bytes; None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        resident = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS, resident


def _machine() -> tuple[int, int]:
    """Busy and all ticks of all cores."""
    numbers = [int(number) for number in Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:9]]
    return sum(numbers) - numbers[3] - numbers[4], sum(numbers)


class Statsd:
    """A statsd server's ear. Names lose their tallgrass.CLUSTER. in front: "edge.edge-1.broadcast.passes"."""

    def __init__(self) -> None:
        self.counters: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))   # name to second to sum
        self.gauges: dict[str, dict[int, float]] = defaultdict(dict)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def take(self, datagram: bytes, second: int) -> None:
        for line in datagram.decode("utf-8", "replace").splitlines():
            name, _, rest = line.partition(":")
            value, _, kind = rest.partition("|")
            name = name.split(".", 2)[-1]
            try:
                number = float(value)
            except ValueError:
                continue
            if kind.startswith("c"):
                self.counters[name][second] += number
            else:
                self.gauges[name][second] = number

    def rate(self, service: str, metric: str) -> dict[int, float]:
        """Second to the sum over all instances of a service; `metric` may end with "*"."""
        found: dict[int, float] = defaultdict(float)
        for name, seconds in list(self.counters.items()):
            parts = name.split(".", 2)
            if len(parts) == 3 and parts[0] == service and _fits(parts[2], metric):
                for second, number in list(seconds.items()):
                    found[second] += number
        return found

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                datagram = self._socket.recv(65_535)
            except TimeoutError:
                continue
            self.take(datagram, int(time.monotonic()))


def _fits(name: str, metric: str) -> bool:
    return name.startswith(metric[:-1]) if metric.endswith("*") else name == metric


class LogReader:
    """Follows the logs of some channels; `numbers` are those of the run's messages, in the log's order."""

    def __init__(self, control: str, channels: Iterable[str], run: str) -> None:
        self.numbers: dict[str, list[int]] = {channel: [] for channel in channels}
        self.chains: dict[str, Chain] = {}
        self.trouble = ""            # why the log could not be read lately
        self._control = control
        self._run_name = run
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._follow()), daemon=True)

    def start(self) -> None:
        """Returns when it is known where the logs end now."""
        self._thread.start()
        self._ready.wait(10.0)

    def stop(self) -> None:
        """Reads what is new once more."""
        self._stop.set()
        self._thread.join(30.0)

    async def _follow(self) -> None:
        async with rpc.channel(self._control) as link:
            stub: Any = clue_pb2_grpc.ClueStub(link)
            while not self._ready.is_set() and not self._stop.is_set():
                await self._begin(stub)
            stopping = False
            while not stopping:
                stopping = self._stop.is_set()
                for channel in self.numbers:
                    await self._read(stub, channel)
                await asyncio.sleep(_POLL_S)

    async def _begin(self, stub: Any) -> None:
        try:
            for channel in self.numbers:
                request = clue_pb2.HeadsRequest(channels=[channel])
                reply = await stub.Heads(request, timeout=3.0, metadata=rpc.lane_metadata(lane(channel)))
                self.chains[channel] = Chain(int(reply.heads[0].seq))
        except grpc.aio.AioRpcError as error:
            self.trouble = str(error.details())
            await asyncio.sleep(_POLL_S)
            return
        self._ready.set()

    async def _read(self, stub: Any, channel: str) -> None:
        chain, more = self.chains[channel], True
        while more:
            request = clue_pb2.ReplayRequest(channel=channel, after_seq=chain.last)
            try:
                reply = await stub.Replay(request, timeout=3.0, metadata=rpc.lane_metadata(lane(channel)))
            except grpc.aio.AioRpcError as error:
                self.trouble = f"{channel}: {error.details()}"
                return
            if not reply.available:
                self.trouble = f"{channel}: its Redis shard does not answer"
                return
            self.trouble = ""
            for entry in chat_pb2.Entries.FromString(reply.entries).entry:
                fresh = chain.take(entry.seq, entry.prev)
                found = marks.read(chat_pb2.Publication.FromString(entry.publication).line.text, self._run_name)
                if fresh and found is not None:
                    self.numbers[channel].append(found[0])
            more = reply.more

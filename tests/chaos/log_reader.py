"""Reads every channel's log through clue while it grows: it is trimmed at about 1,000 entries."""

from __future__ import annotations

import asyncio
import re
import time

import grpc

from common import rpc
from common.pb import chat_pb2, clue_pb2, clue_pb2_grpc
from common.sharding import lane
from ops.checker import Chain

_PERIOD_S = 0.5
_CALL_S = 1.5


class LogReader:
    def __init__(self, addresses: list[str], channels: list[str], text: str, *, call_s: float = _CALL_S) -> None:
        """`addresses`: of clues, of all clusters where the channels may live."""
        self._call_s = call_s
        self._links = [rpc.channel(address) for address in addresses]
        self._stubs = [clue_pb2_grpc.ClueStub(link) for link in self._links]
        self._number = re.compile(re.escape(text) + r"(\d+) ")
        self.chains = {channel: Chain(0) for channel in channels}
        self.logs: dict[str, list[int]] = {channel: [] for channel in channels}
        self.ids: dict[int, bytes] = {}
        self.failed_reads = 0
        self._task: asyncio.Task | None = None
        self._turn = 0
        self._read_at = dict.fromkeys(channels, time.monotonic())  # when we last read to somewhere

    def forget(self) -> None:
        """Places stay, contents go."""
        for channel in self.logs:
            self.logs[channel] = []
        self.ids.clear()
        for chain in self.chains.values():
            chain.gaps = chain.setbacks = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for link in self._links:
            await link.close()

    async def read_all(self) -> bool:
        """True: all channels were read to their ends."""
        return all(await asyncio.gather(*map(self._read, self.logs)))

    async def _run(self) -> None:
        while True:
            await self.read_all()
            await asyncio.sleep(_PERIOD_S)

    async def _read(self, channel: str) -> bool:
        chain = self.chains[channel]
        elsewhere = 0
        while True:
            # Asked of each clue in turn: one of them may be the one that is hurt.
            self._turn += 1
            stub = self._stubs[self._turn % len(self._stubs)]
            request = clue_pb2.ReplayRequest(channel=channel, after_seq=chain.last)
            begun = chain.last
            try:
                reply = await stub.Replay(request, timeout=self._call_s, metadata=rpc.lane_metadata(lane(channel)))
            except grpc.aio.AioRpcError:
                self.failed_reads += 1
                return False
            if not reply.available:
                self.failed_reads += 1
                return False
            if reply.elsewhere.cluster:
                elsewhere += 1
                if elsewhere >= 2 * len(self._stubs):
                    return False  # on its way: nobody has it at this moment
                continue
            if chain.last != begun:
                continue  # another reader of ours was faster
            gaps = chain.gaps
            for entry in chat_pb2.Entries.FromString(reply.entries).entry:
                publication = chat_pb2.Publication.FromString(entry.publication)
                found = self._number.search(publication.line.text)
                if chain.take(entry.seq, entry.prev) and found:
                    number = int(found[1])
                    self.logs[channel].append(number)
                    self.ids[number] = publication.id.encode()
            now = time.monotonic()
            if chain.gaps > gaps:
                behind = now - self._read_at[channel]
                print(f"the log of {channel} was cut after {begun}: {behind:.1f} s since we read it")
            self._read_at[channel] = now
            if not reply.more:
                return True

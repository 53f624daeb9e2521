"""edge/log_reader.py: the whole log, read once for all who ask at the same time."""

import asyncio

import pytest

from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb.chat_pb2 import Chatter, Entries, Entry, Line, Publication
from common.pb.clue_pb2 import ReplayReply
from edge import log_reader as module
from edge.homes import Homes
from edge.log_reader import LogReader, entries


class Clue:
    """Logs of so many lines, in pages of two."""

    def __init__(self, **sizes):
        self.sizes = sizes
        self.asked = []
        self.error = None
        self.available = True

    async def replay(self, channel, after_seq, limit=0):
        self.asked.append((channel, after_seq))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        size = self.sizes[channel.removeprefix("#")]
        page = [
            Entry(
                seq=seq,
                prev=seq - 1,
                publication=Publication(
                    id=str(seq), line=Line(text="x", author=Chatter(user_id=1))
                ).SerializeToString(),
            )
            for seq in range(after_seq + 1, min(after_seq + 2, size) + 1)
        ]
        return ReplayReply(
            entries=Entries(entry=page).SerializeToString(), more=after_seq + 2 < size, available=self.available
        )


def reader(clue):
    return LogReader(clue, Homes("main"), Metrics(), Log())


async def test_all_pages_are_read():
    """Each after the last entry of the one before."""
    clue = Clue(c=5)
    assert [seq for seq, _ in await entries(clue, "#c")] == [1, 2, 3, 4, 5]
    assert clue.asked == [("#c", 0), ("#c", 2), ("#c", 4)]


async def test_those_who_ask_together_share_one_reading():
    """However many they are."""
    clue = Clue(c=2)
    logs = reader(clue)
    first, second = await asyncio.gather(logs.read("#c"), logs.read("#c"))
    assert first is second
    assert len(first) == 2
    assert clue.asked == [("#c", 0)]


async def test_who_asks_gets_what_is_in_the_log_by_then(monkeypatch):
    """A reading serves nobody who asked after it began: who came in meanwhile would miss what entered in between."""
    monkeypatch.setattr(module, "REST_S", 0.01)
    clue = Clue(c=1)
    logs = reader(clue)
    early = logs.read("#c")
    while not clue.asked:
        await asyncio.sleep(0)
    clue.sizes["c"] = 2  # enters while the first page of the reading is under way
    late = [logs.read("#c") for _ in range(3)]
    assert [len(history) for history in await asyncio.gather(*late)] == [2, 2, 2]
    assert len(await early) <= 2
    assert clue.asked == [("#c", 0), ("#c", 0)]
    clue.sizes["c"] = 3
    assert len(await logs.read("#c")) == 3


async def test_channels_that_nobody_asks_for_are_forgotten(monkeypatch):
    """Soon after their reading."""
    monkeypatch.setattr(module, "REST_S", 0.01)
    logs = reader(Clue(a=2, b=2))
    await asyncio.gather(logs.read("#a"), logs.read("#b"))
    async with asyncio.timeout(5):
        while logs._readers:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("error", [RemoteError("clue", "Replay", "gone"), None])
async def test_a_log_that_cannot_be_read_is_none(error):
    """Neither an exception nor an empty history; counted."""
    clue = Clue(c=2)
    clue.error, clue.available = error, False
    logs = LogReader(clue, Homes("main"), metrics := Metrics(), Log())
    assert await logs.read("#c") is None
    assert metrics.counters["history.failures"] == 1

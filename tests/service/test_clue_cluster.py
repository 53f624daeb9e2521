"""Clue on a Redis Cluster that changes under load: a primary dies and its replica is elected; a slot moves."""

import asyncio
import contextlib
from collections import Counter

import pytest

from clue import keys
from common import sharding
from common.pb import chat_pb2, clue_pb2
from tests.support.clue import clues, decided, exchange
from tests.support.eventually import eventually
from tests.support.redis import redis_cluster

pytestmark = pytest.mark.timeout(90)

ALLOWED = clue_pb2.Verdict.ALLOWED
WITHIN_S = 40.0  # an election that fails is repeated after four times the node time-out (8 s)


class Speaker:
    """An edge with one channel: one batch under way, repeated with its number until it is decided."""

    def __init__(self, clues, channel, run, user):
        self.channel = channel
        self.allowed = {}  # text to seq
        self.batches = 0
        self._clues = clues
        self._run = run
        self._user = user

    async def speak(self, over):
        while not over.is_set():
            self.batches += 1
            texts = [f"{self.batches}.{i}" for i in range(2)]
            content = {self.channel: [(*self._user, text) for text in texts]}
            request = self._clues[0].batch(content, edge_run=self._run, number=self.batches)
            verdicts = await decided(self._clues[self.batches % len(self._clues)], request, WITHIN_S)
            assert [verdict.outcome for verdict in verdicts] == [ALLOWED] * 2
            self.allowed.update(zip(texts, (verdict.seq for verdict in verdicts), strict=True))
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def speaking(clues, channels):
    """Speakers, one for each channel; when the block is left they end, and what they said is compared with the logs."""
    [bob] = await clues[0].login("bob")
    speakers = [Speaker(clues, channel, run, (bob, "bob")) for run, channel in enumerate(channels, 1)]
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for speaker in speakers:
            group.create_task(speaker.speak(over))
        yield speakers
        before = [speaker.batches for speaker in speakers]
        await eventually(lambda: all(s.batches >= n + 5 for s, n in zip(speakers, before, strict=True)), WITHIN_S)
        over.set()
    for speaker in speakers:
        logged = await log_of(clues[0], speaker.channel)
        assert Counter(text for text, _ in logged) == Counter(speaker.allowed.keys())
        assert dict(logged) == speaker.allowed


async def log_of(clue, channel):
    """Text and seq of all entries; each names the one before it."""
    found, last, more = [], 0, True
    while more:
        entries, more = await clue.replay(channel, last)
        for entry in entries:
            assert entry.prev == last
            last = entry.seq
            found.append((chat_pb2.Publication.FromString(entry.publication).line.text, entry.seq))
    return found


def channels_of(node, nodes, count):
    """Names whose slots a node of the fresh cluster serves."""
    names = (f"#name{i}" for i in range(10_000))
    bounds = [16_384 * i // nodes for i in range(nodes + 1)]
    slots = range(bounds[node], bounds[node + 1])
    return [name for name in names if sharding.slot(keys.of_channel(name).head) in slots][:count]


async def test_a_primary_dies():
    """It is the one node that clue was told of. Its replica is elected, and all messages are in the log once."""
    with redis_cluster(replicas=True) as nodes:
        settings = {"redis_cluster": (nodes[0].address,), "limits": False}
        async with exchange() as (_, address), clues(2, [], address, **settings) as ours:
            channels = [name for node in range(3) for name in channels_of(node, 3, 2)]
            async with speaking(ours, channels) as speakers:
                await eventually(lambda: all(speaker.batches > 10 for speaker in speakers))
                with nodes[3].client() as client:
                    await eventually(client.dbsize)
                    nodes[0].stop()
                    await eventually(lambda: client.info("replication")["role"] == "master", WITHIN_S)


async def move_slot(slot, source, target, half_way):
    """As `redis-cli --cluster reshard` does it, with a wait when the first key went; gives how many keys went."""
    with source.client() as here, target.client() as there:
        ids = [client.execute_command("CLUSTER", "MYID").decode() for client in (here, there)]
        there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        moved = 0
        while found := here.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            here.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *found)
            if not moved:
                await half_way()
            moved += len(found)
        for client in (there, here):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        return moved


async def test_a_slot_moves():
    """While its keys are on two nodes its channel waits; no other does, and nothing is lost or said twice."""
    with redis_cluster() as nodes:
        settings = {"redis_cluster": (nodes[0].address,), "limits": False}
        async with exchange() as (_, address), clues(2, [], address, **settings) as ours:
            [moving, *staying] = channels_of(0, 3, 3)
            async with speaking(ours, [moving, *staying, *channels_of(1, 3, 1)]) as speakers:
                await eventually(lambda: all(speaker.batches > 10 for speaker in speakers))
                waits, *others = speakers

                async def half_way():
                    begun = [speaker.batches for speaker in others]
                    stuck = waits.batches + 1  # one may have ended just before
                    await eventually(
                        lambda: all(s.batches > n + 3 for s, n in zip(others, begun, strict=True)), WITHIN_S
                    )
                    assert waits.batches <= stuck

                for source, target in ((0, 1), (1, 2), (2, 0)):
                    slot = sharding.slot(keys.of_channel(moving).head)
                    assert await move_slot(slot, nodes[source], nodes[target], half_way) >= 3
                    before = waits.batches
                    await eventually(lambda before=before: waits.batches > before + 5, WITHIN_S)

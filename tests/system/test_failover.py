"""Redis shards that fail over to a replica, under load: by hand, and by Sentinel.

The load and the judge are those of the fault suite (tests/chaos).
"""

import asyncio
import os
import secrets
import signal
import time
from contextlib import ExitStack, asynccontextmanager

import pytest
import redis

from tests.chaos import episode, report
from tests.chaos.faults import Fault, Setting
from tests.chaos.house import house
from tests.chaos.load import Load
from tests.chaos.log_reader import LogReader
from tests.support.eventually import eventually
from tests.support.redis import in_thread, redis_servers, replica_of, sentinels
from tests.support.relay import Relay

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def chat(home):
    seed = secrets.randbits(31)
    load = Load(home.edges, connections=90, channels=6, rate=20, seed=seed)
    logs = LogReader(home.clues, load.channels, load.ledger.text)
    try:
        await load.enter()
        logs.start()
        yield Setting(None, load, 0.5), logs
    finally:
        await load.leave()
        await logs.stop()


def broken(outcome):
    """What must not be, whatever the log has lost."""
    return {
        "missing": outcome.missing,
        "repeated": outcome.repeated,
        "out of order": outcome.out_of_order,
        "closed": outcome.closed,
        "unanswered": outcome.audit.unanswered,
        "twice": outcome.audit.logged_twice,
        "denied, but logged": outcome.audit.denied_logged,
        "late verdicts": outcome.late_verdicts,
        "seq used twice": outcome.log_setbacks,
        "unsettled": not outcome.settled,
        "failed": outcome.failure,
    }


async def test_a_stale_replica_promoted_by_hand(tmp_path):
    """It takes over the primary's address, and has not its last second: nobody is dropped, nothing comes twice, and the
    edges say what may be missing elsewhere."""
    with redis_servers(2) as servers, ExitStack() as stack:
        async with Relay(servers[0].port) as relay:
            replica = await in_thread(stack.enter_context, replica_of(servers[0].port, from_port=relay.port))

            async def promote(_):
                relay.swallow()
                await asyncio.sleep(1.0)  # what is said now is in the primary only
                servers[0].stop()
                with replica.client() as client:
                    client.replicaof("NO", "ONE")
                await in_thread(replica.move, servers[0].port)
                return time.monotonic()

            addresses = tuple(server.address for server in servers)
            async with house(tmp_path, redis_shards=addresses) as home, chat(home) as (setting, logs):
                outcome = await episode.run(Fault("promote", "by hand", promote), 1, setting, logs)
                print(report.line(outcome))
                assert not any(broken(outcome).values()), (broken(outcome), outcome.details)
                assert outcome.repair_s < 3
                for name in home.edges:
                    assert "log_jumped" in home.log(name)
                    assert "may miss lines up to" in home.log(name)


def is_primary(server):
    try:
        with server.client() as client:
            return client.info("replication")["role"] == "master"
    except redis.ConnectionError:  # whoever is promoted by Sentinel cuts its connections
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_sentinels_promote_a_replica(tmp_path, number):
    """A primary that is dead or hangs is replaced by Sentinel, and clue follows: nobody is dropped, nothing comes
    twice, and each message has its answer."""
    with redis_servers(2) as servers, replica_of(servers[0].port) as replica:
        names = {f"main-{i}": server.port for i, server in enumerate(servers)}
        with sentinels(names) as addresses:
            settings = {"redis_shards": tuple(names), "redis_sentinels": tuple(addresses)}
            async with house(tmp_path, **settings) as home, chat(home) as (setting, logs):

                async def fail_over(_):
                    os.kill(servers[0].pid, number)
                    await eventually(lambda: is_primary(replica), 20)
                    ended = time.monotonic()
                    if number == signal.SIGSTOP:
                        os.kill(servers[0].pid, signal.SIGCONT)
                    return ended

                begun = time.monotonic()
                outcome = await episode.run(Fault("sentinel", "Sentinel", fail_over), 1, setting, logs)
                print(f"{report.line(outcome)} (in all {time.monotonic() - begun:.1f} s)")
                assert not any(broken(outcome).values()), (broken(outcome), outcome.details)
                assert outcome.repair_s < 5
                for name in ("clue-1", "clue-2"):
                    await eventually(lambda name=name: "shard moved" in home.log(name))
                if outcome.foreign or outcome.audit.allowed_not_logged:  # replicas may be some writes behind
                    assert any("log_jumped" in home.log(name) for name in home.edges)

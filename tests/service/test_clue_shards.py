"""Clue when Redis is lost, restarted, frozen, another cluster's, or a Redis Cluster."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from clue import gathering, keys, redis_shards
from clue.config import ClueConfig
from clue.server import running
from common import config, sharding
from common.errors import ConfigError
from common.pb import clue_pb2
from tests.support.clue import clues, decided, exchange
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.redis import in_thread, redis_cluster, redis_server, redis_servers

ALLOWED, DENIED, UNAVAILABLE = clue_pb2.Verdict.ALLOWED, clue_pb2.Verdict.DENIED, clue_pb2.Verdict.UNAVAILABLE


def names_on(shard, key, count):
    """Names whose key lies on that shard of two."""
    names = (f"name{i}" for i in range(1000))
    return [name for name in names if sharding.shard(key(name), 2) == shard][:count]


def channels_on(shard, count=1):
    return ["#" + name for name in names_on(shard, lambda name: keys.of_channel("#" + name).head, count)]


def users_on(shard, count=1):
    return names_on(shard, keys.user, count)


async def log_in(clue, *nicks):
    return list(zip(await clue.login(*nicks), nicks, strict=True))


async def eventually_log_in(clue, *nicks):
    async with asyncio.timeout(10):
        while True:
            found = await log_in(clue, *nicks)
            if all(user_id for user_id, _ in found):
                return found
            await asyncio.sleep(0.02)


async def test_restart_jumps():
    """After a crash of Redis the same clue goes on by itself; numbers jump, and prev is the log's true last entry."""
    with redis_server() as server:
        async with exchange() as (_, address), clues(1, [server.address], address) as [clue]:
            [bob] = await log_in(clue, "bob")
            [a] = await clue.say("#bob", bob, "a")
            server.stop()
            assert (await clue.say("#bob", bob, "lost"))[0].outcome == UNAVAILABLE
            await in_thread(server.start)
            [b] = await decided(clue, clue.batch({"#bob": [(*bob, "b")]}))
            assert b.seq > a.seq + 1
            entries, _ = await clue.replay("#bob")
            assert [(entry.seq, entry.prev) for entry in entries] == [(a.seq, 0), (b.seq, a.seq)]


async def test_lost_shard():
    """What needs a lost shard is UNAVAILABLE, at once; all else goes on; and it comes back by itself."""
    with redis_servers(2) as servers:
        addresses = [server.address for server in servers]
        async with exchange() as (_, address), clues(1, addresses, address) as [clue]:
            [here], [gone] = channels_on(0), channels_on(1)
            bob, al = await log_in(clue, *users_on(0, 2))
            for name in (here, gone):
                await clue.say(name, bob, "before")
            servers[1].stop()
            request = clue.batch({gone: [(*al, "x")], here: [(*al, "y")]})
            lost, kept = await clue.submit(request)
            assert (lost.outcome, kept.outcome) == (UNAVAILABLE, ALLOWED)

            started = time.monotonic()
            for _ in range(20):
                assert (await clue.say(gone, bob, "x"))[0].outcome == UNAVAILABLE
            assert time.monotonic() - started < 10  # 20 time-outs of any kind would take longer
            assert (await clue.join(gone)).outcome == clue_pb2.JoinResult.UNAVAILABLE
            assert (await clue.join(here)).outcome == clue_pb2.JoinResult.ADMITTED
            [stranger] = users_on(1)
            reply = await clue.stub.Authenticate(
                clue_pb2.AuthenticateRequest(
                    logins=[clue_pb2.Login(nick=stranger, token="x"), clue_pb2.Login(nick=bob[1], token="x")]
                )
            )
            assert [result.outcome for result in reply.results] == [
                clue_pb2.LoginResult.UNAVAILABLE,
                clue_pb2.LoginResult.ACCEPTED,
            ]
            heads = (await clue.stub.Heads(clue_pb2.HeadsRequest(channels=[gone, here]))).heads
            assert [head.available for head in heads] == [False, True]
            assert not (await clue.stub.Replay(clue_pb2.ReplayRequest(channel=gone))).available
            assert clue.metrics.counters["redis.1.errors"] > 0

            await in_thread(servers[1].start)
            request.attempt = 2
            again = await decided(clue, request)
            assert [verdict.outcome for verdict in again] == [ALLOWED, ALLOWED]
            assert again[1].seq == kept.seq


async def test_lost_authors_shard(monkeypatch):
    """An author known from before speaks on while the own shard is lost; one not known waits for it, then is told."""
    with redis_servers(2) as servers:
        addresses = [server.address for server in servers]
        async with exchange() as (_, address), clues(2, addresses, address) as [clue, other]:
            [channel] = channels_on(0)
            bob, al = await log_in(clue, *users_on(1, 2))
            for each in (clue, other):
                await each.join(channel)
            await clue.say(channel, bob, "before")
            servers[1].stop()
            [verdict] = await clue.submit(clue.batch({channel: [(*al, "known")]}))
            assert verdict.outcome == ALLOWED
            assert clue.metrics.counters["limits.unchecked"] == 1
            request = other.batch({channel: [(*al, "x")]}, edge_run=2)
            assert [verdict.outcome for verdict in await other.submit(request)] == [UNAVAILABLE]
            monkeypatch.setattr(gathering, "RESTART_S", 0.0)
            request.attempt = 2
            [verdict] = await other.submit(request)
            assert (verdict.outcome, verdict.denial) == (DENIED, "msg_unavailable")


async def test_frozen_shard():
    """A shard that takes connections but does not answer costs its channels one time-out, and no other."""
    with redis_servers(2) as servers:
        addresses = [server.address for server in servers]
        async with exchange() as (_, address), clues(1, addresses, address) as [clue]:
            [here], [gone] = channels_on(0), channels_on(1)
            bob, al = await log_in(clue, *users_on(0, 2))
            for name in (here, gone):
                await clue.say(name, bob, "before")
            os.kill(servers[1].pid, signal.SIGSTOP)
            try:
                request = clue.batch({gone: [(*al, "x")]})
                stuck = asyncio.ensure_future(clue.submit(request))
                [verdict] = await clue.submit(clue.batch({here: [(*al, "y")]}, edge_run=2))
                assert verdict.outcome == ALLOWED
                assert not stuck.done()
                assert (await stuck)[0].outcome == UNAVAILABLE
            finally:
                os.kill(servers[1].pid, signal.SIGCONT)
            request.attempt = 2
            [verdict] = await decided(clue, request)
            assert verdict.outcome == ALLOWED
            # Frozen Redis may have got the first try; the batch is in the log once all the same.
            entries, _ = await clue.replay(gone)
            assert len(entries) == 2


async def test_starts_without_redis():
    """A clue whose Redis is not there yet starts, and serves when it comes."""
    with redis_server() as server:
        server.stop()
        async with exchange() as (_, address), clues(1, [server.address], address) as [clue]:
            assert (await clue.join("#bob")).outcome == clue_pb2.JoinResult.UNAVAILABLE
            await in_thread(server.start)
            [bob] = await eventually_log_in(clue, "bob")
            assert (await clue.say("#bob", bob, "x"))[0].outcome == ALLOWED


async def test_connections_are_named_and_few():
    """Each connection says whose it is, and there are not more than the bound."""
    with redis_server() as server, server.client() as client:
        async with exchange() as (_, address), clues(1, [server.address], address) as [clue]:
            names = [f"user{i}" for i in range(200)]
            await asyncio.gather(*(clue.login(name) for name in names))
            ours = [found for found in client.client_list() if found["id"] != str(client.client_id())]
            assert {found["name"] for found in ours} == {"clue-1@main"}
            assert len(ours) <= 4


async def test_idle_connections_are_closed(monkeypatch):
    """A shard that nobody asks for keeps no connection of ours, and is served again when somebody does."""
    monkeypatch.setattr(redis_shards, "IDLE_S", 0.5)
    with redis_servers(2) as servers, servers[1].client() as client:

        def ours():
            return [found for found in client.client_list() if found["name"] == "clue-1@main"]

        addresses = [server.address for server in servers]
        async with exchange() as (_, address), clues(1, addresses, address) as [clue]:
            [nick] = users_on(1)
            await clue.login(nick)
            assert ours()
            await eventually(lambda: not ours())
            assert (await clue.login(nick))[0]


async def test_connections_that_redis_closes():
    """Between two pipelines: the next one opens another, and nobody notices."""
    with redis_server() as server, server.client() as client:
        async with exchange() as (_, address), clues(1, [server.address], address) as [clue]:
            [bob] = await log_in(clue, "bob")
            for text in "ab":
                await eventually(lambda: client.client_kill_filter(_type="normal", skipme=True))
                await eventually(lambda: len(client.client_list(_type="normal")) == 1)
                assert (await clue.say("#bob", bob, text))[0].outcome == ALLOWED
            assert not clue.metrics.counters["redis.0.errors"]


async def test_identity():
    """A clue refuses to start on another cluster's Redis, and says what to correct."""
    with redis_server() as server, server.client() as client:
        async with exchange() as (_, address):
            async with clues(1, [server.address], address, cluster="main"):
                assert client.get(keys.IDENTITY) == b"main"
            settings = ClueConfig(cluster="event", grpc_port=0, redis_shards=(server.address,))
            with pytest.raises(ConfigError, match=r"belongs to cluster 'main'.*'event'"):
                async with running(settings):
                    raise AssertionError("it started")


async def test_identity_of_one_that_comes_back():
    """A server that comes back as another cluster's is not used."""
    with redis_server() as server, server.client() as client:
        async with exchange() as (_, address), clues(1, [server.address], address) as [clue]:
            [bob] = await log_in(clue, "bob")
            client.set(keys.IDENTITY, "event")
            server.stop()
            assert (await clue.say("#bob", bob, "x"))[0].outcome == UNAVAILABLE
            await in_thread(server.start)
            probes = clue.metrics.counters["redis.0.errors"]
            await asyncio.sleep(1)  # time for several probes to make the mistake
            assert (await clue.say("#bob", bob, "x"))[0].outcome == UNAVAILABLE
            assert clue.metrics.counters["redis.0.errors"] > probes


async def test_redis_cluster():
    """Redis Cluster serves as the list of servers does; losing a node costs its channels only, for a while."""
    with redis_cluster() as nodes:
        async with exchange() as (taking, address):
            seeds = (nodes[0].address, nodes[1].address)
            async with clues(2, [], address, redis_cluster=seeds) as [clue, other]:
                [bob] = await log_in(clue, "bob")
                verdicts = await asyncio.gather(
                    *(clue.submit(clue.batch({f"#chan{i}": [(*bob, "x")]}, edge_run=i)) for i in range(12))
                )
                assert [verdict.outcome for [verdict] in verdicts] == [ALLOWED] * 12
                assert len(taking.taken) == 12
                request = clue.batch({"#bob": [(*bob, "once")]})
                assert await clue.submit(request) == await other.submit(request)
                assert len((await clue.replay("#bob"))[0]) == 1

        settings = ClueConfig(cluster="event", grpc_port=0, redis_cluster=seeds)
        with pytest.raises(ConfigError, match="belongs to cluster 'main'"):
            async with running(settings):
                raise AssertionError("it started")


async def test_redis_cluster_loses_a_node():
    """A lost node's channels are UNAVAILABLE, others go on, and it comes back by itself."""
    with redis_cluster() as nodes:
        for node in nodes:
            with node.client() as client:
                client.config_set("cluster-require-full-coverage", "no")
        async with exchange() as (_, address), clues(1, [], address, redis_cluster=(nodes[0].address,)) as [clue]:
            bounds = 16_384 // 3
            channels = {sharding.slot(keys.of_channel(f"#name{i}").head) // bounds: f"#name{i}" for i in range(100)}
            nicks = [nick for nick in (f"bob{i}" for i in range(100)) if sharding.slot(keys.user(nick)) < bounds]
            bob, al = await log_in(clue, *nicks[:2])
            for name in (channels[0], channels[2]):
                assert (await clue.say(name, bob, "before"))[0].outcome == ALLOWED
            nodes[2].stop()
            request = clue.batch({channels[2]: [(*al, "x")]})
            assert (await clue.submit(request))[0].outcome == UNAVAILABLE
            assert (await clue.say(channels[0], al, "y"))[0].outcome == ALLOWED
            await in_thread(nodes[2].start)
            request.attempt = 2
            assert (await decided(clue, request))[0].outcome == ALLOWED


async def test_process():
    """`python -m clue` serves until SIGTERM, and ends clean; without its port it says so in one line."""
    with redis_server() as server:
        async with exchange() as (_, address):
            settings = ClueConfig(grpc_port=free_port(), redis_shards=(server.address,), exchange_address=address)
            environment = {**os.environ, **config.dump(settings)}
            command = [sys.executable, "-m", "clue"]
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            assert process.stdout is not None
            assert await process.stdout.readline() == f"ready: grpc=127.0.0.1:{settings.grpc_port}\n".encode()
            second = await asyncio.create_subprocess_exec(*command, env=environment, stderr=subprocess.PIPE)
            _, complaint = await second.communicate()
            assert second.returncode == 1
            assert b"cannot listen on" in complaint
            assert b"Traceback" not in complaint
            process.send_signal(signal.SIGTERM)
            _, log = await process.communicate()
            assert process.returncode == 0, log.decode()
            assert b"stopped" in log
            assert b"Traceback" not in log

"""Control.Diagnose and the watch of servers, over real Redis: plain, with a replica, and Redis Cluster."""

import contextlib

import grpc
import pytest

from clue import shard_watch
from common.pb import clue_pb2
from tests.support.clue import clues, exchange
from tests.support.eventually import eventually
from tests.support.redis import redis_cluster, redis_server, redis_servers, replica_of, sentinels


async def test_a_server_is_told_as_it_is():
    """INFO, connections by name, settings, identity, place, keys and clock of each server."""
    with redis_servers(2) as servers:
        async with exchange() as (_, address), clues(1, [s.address for s in servers], address) as [clue]:
            await clue.login("ann")
            diagnosis = await clue.operate("Diagnose", clue_pb2.DiagnoseRequest())
    assert diagnosis.instance == "clue-1"
    assert diagnosis.max_files > 0
    first, second = diagnosis.shards
    assert [shard.name for shard in diagnosis.shards] == [f"redis-{i}@{s.address}" for i, s in enumerate(servers)]
    for number, shard in enumerate((first, second)):
        assert shard.available
        assert shard.info["tcp_port"] == str(servers[number].port)
        assert (shard.identity, shard.place) == ("main", f"{number} of 2")
        assert shard.config["appendonly"] == "yes"
        assert abs(shard.clock_ahead_ms) < 1_000  # the same machine
        assert any(" name=clue-1@main " in line for line in shard.clients)
    assert first.keys + second.keys >= 5


async def test_a_server_that_does_not_answer_is_told_with_its_cause():
    with redis_servers(2) as servers:
        async with exchange() as (_, address), clues(1, [s.address for s in servers], address) as [clue]:
            servers[1].stop()
            found = []

            async def asked():
                found[:] = (await clue.operate("Diagnose", clue_pb2.DiagnoseRequest())).shards
                return not found[1].available

            assert await asked()
            assert found[0].available
            assert "Connection" in found[1].cause


async def test_it_is_for_operators():
    with redis_servers(1) as [server]:
        async with exchange() as (_, address), clues(1, [server.address], address) as [clue]:
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await clue.operate("Diagnose", clue_pb2.DiagnoseRequest(), token="another")
            assert told.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_nodes_of_a_redis_cluster_are_watched(monkeypatch):
    """Each primary has its gauges, by its address; a stranger at one of them is counted there."""
    monkeypatch.setattr(shard_watch, "PERIOD_S", 0.3)
    with redis_cluster(nodes=3) as servers, servers[2].client() as stranger:
        stranger.client_setname("clue-9@test")
        seeds = tuple(server.address for server in servers)
        async with exchange() as (_, address), clues(1, [], address, redis_cluster=seeds) as [clue]:
            labels = [f"127_0_0_1_{server.port}" for server in servers]

            def all_measured():
                now = clue.metrics.snapshot()
                return all(now.get(f"redis.{label}.core_percent") is not None for label in labels)

            await eventually(all_measured)
            # The fixture has a connection to each.
            foreign = [f"redis.{label}.foreign_clients" for label in labels]
            await eventually(lambda: [clue.metrics.snapshot().get(name) for name in foreign] == [1, 1, 2])
            now = clue.metrics.snapshot()
            assert all(now[f"redis.{label}.up"] == 1 for label in labels)
            diagnosis = await clue.operate("Diagnose", clue_pb2.DiagnoseRequest())
            assert sorted(shard.info["tcp_port"] for shard in diagnosis.shards) == sorted(str(s.port) for s in servers)
            assert all(shard.available for shard in diagnosis.shards)


async def test_replicas_and_sentinels_are_no_strangers(monkeypatch):
    """They belong to the server."""
    monkeypatch.setattr(shard_watch, "PERIOD_S", 0.3)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(redis_server())
        stack.enter_context(replica_of(server.port))
        stack.enter_context(sentinels({"one": server.port}, count=1))
        async with exchange() as (_, address), clues(1, [server.address], address) as [clue]:
            with server.client() as client:
                # Connections of this second are left out by the watch.
                await eventually(
                    lambda: len([one for one in client.client_list() if int(one["age"]) > 0 and _internal(one)]) >= 2
                )
            await eventually(lambda: clue.metrics.snapshot().get("redis.0.clients", 0) >= 1)
            assert clue.metrics.snapshot()["redis.0.foreign_clients"] == 0


def _internal(client):
    return "S" in client["flags"] or client["name"].startswith("sentinel-")

"""What clue learns of its Redis servers: whose connections there are, how busy they are, which shard is which."""

import pytest

from clue import shard_watch
from clue.config import ClueConfig
from clue.server import running
from common.errors import ConfigError
from tests.support.clue import clues, exchange
from tests.support.eventually import eventually
from tests.support.redis import redis_servers


async def test_servers_are_measured_and_strangers_counted(monkeypatch, caplog):
    """Each server has its gauges; a connection that is no service of the cluster is counted and named in the log."""
    monkeypatch.setattr(shard_watch, "PERIOD_S", 0.3)
    with redis_servers(2) as servers, servers[1].client() as stranger:
        stranger.client_setname("clue-9@test")
        async with exchange() as (_, address), clues(1, [s.address for s in servers], address) as [clue]:
            await eventually(lambda: clue.metrics.snapshot().get("redis.1.foreign_clients") == 1)
            await eventually(lambda: "redis.0.core_percent" in clue.metrics.snapshot())
            now = clue.metrics.snapshot()
            assert now["redis.0.up"] == now["redis.1.up"] == 1
            assert now["redis.0.foreign_clients"] == 0
            assert now["redis.0.memory_bytes"] > 100_000
            assert now["redis.1.clients"] >= 2
            told = [r.fields for r in caplog.records if r.message == "foreign_redis_connection"]
            assert told[0]["remote"].startswith("clue-9@test@127.0.0.1:")
            assert told[0]["cause"] == "not a service of cluster main"


async def test_gauges_of_a_lost_server_end(monkeypatch):
    """What a server said last is not shown any longer than it answers."""
    monkeypatch.setattr(shard_watch, "PERIOD_S", 0.3)
    with redis_servers(2) as servers:
        async with exchange() as (_, address), clues(1, [s.address for s in servers], address) as [clue]:
            await eventually(lambda: "redis.1.memory_bytes" in clue.metrics.snapshot())
            servers[1].stop()
            await eventually(lambda: "redis.1.memory_bytes" not in clue.metrics.snapshot())
            assert clue.metrics.snapshot()["redis.1.up"] == 0
            assert "redis.0.memory_bytes" in clue.metrics.snapshot()


async def test_servers_in_another_order_are_refused():
    """A clue whose list has the servers in another order than their data does not start, and says which is wrong."""
    with redis_servers(2) as servers:
        addresses = [server.address for server in servers]
        async with exchange() as (_, address):
            async with clues(1, addresses, address):
                pass
            settings = ClueConfig(grpc_port=0, redis_shards=tuple(reversed(addresses)))
            with pytest.raises(ConfigError, match=r"listed as shard 0 of 2, and its data was made as shard 1 of 2"):
                async with running(settings):
                    raise AssertionError("it started")

"""What tests of services start from. For clue: emptied shards, an exchange that takes all, two clues over both. For
edges, which a module shares: names that no other test has used.
"""

import itertools

import pytest

from clue import shared
from tests.support.clue import clues, clusters, exchange
from tests.support.redis import redis_server, redis_servers


@pytest.fixture
def redis(shards):
    """The addresses of the module's `shards`, emptied."""
    for server in shards:
        with server.client() as client:
            client.flushall()
    return [server.address for server in shards]


@pytest.fixture
async def taking():
    """An exchange that keeps what it is given; `address` is where it listens."""
    async with exchange() as (servicer, address):
        servicer.address = address
        yield servicer


@pytest.fixture
async def pair(redis, taking):
    """Two clues over the same shards."""
    async with clues(2, redis, taking.address) as two:
        yield two


@pytest.fixture(scope="module")
def four_servers():
    """Two for each of two clusters."""
    with redis_servers(4, durable=False) as started:
        yield started


@pytest.fixture(scope="module")
def directory_server():
    """The Redis that the clusters share."""
    with redis_server(options=()) as started:
        yield started


@pytest.fixture
async def main_and_event(four_servers, directory_server, monkeypatch):
    """Two clusters of two clues each over emptied Redis; inboxes live on event."""
    for server in (*four_servers, directory_server):
        with server.client() as client:
            client.flushall()
    monkeypatch.setattr(shared, "REFRESH_S", 0.1)
    addresses = [server.address for server in four_servers]
    redis = {"main": addresses[:2], "event": addresses[2:]}
    async with clusters(directory_server.address, redis, count=2, inbox_home="event", limits=False) as two:
        yield two


@pytest.fixture(scope="module")
def numbers():
    return itertools.count(1)


@pytest.fixture
def name(numbers):
    """Makes names that no other test has used."""
    return lambda: f"user{next(numbers)}"


@pytest.fixture
def channel(name):
    return f"#{name()}"

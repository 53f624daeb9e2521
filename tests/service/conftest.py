"""What tests of clue start from: emptied shards, an exchange that takes all, two clues over both."""

import pytest

from tests.support.clue import clues, exchange


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

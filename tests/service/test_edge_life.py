"""How long a real edge waits for people: for their login, and for a sign of life. The wheel's tick is one second."""

from __future__ import annotations

import asyncio
import time

import pytest
import pytest_asyncio

from tests.support.chat_clue import edges
from tests.support.irc import Client

REGISTRATION_S = 3.0
PING_S = 3.0
LATEST_S = REGISTRATION_S + 2 * PING_S + 6.0  # of the end of one who says nothing, ticks and a busy machine included

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edges")
    async with edges(1, folder, registration_s=REGISTRATION_S, ping_s=PING_S) as running:
        yield running


@pytest.mark.parametrize("doors", ["tcp", "websocket"])
async def test_who_does_not_log_in_is_told_and_closed(house, doors):
    async with await Client.connect(getattr(house, doors)[0]) as client:
        assert await client.end(LATEST_S) == ["ERROR :You did not log in in time."]


@pytest.mark.parametrize("doors", ["tcp", "websocket"])
async def test_who_answers_nothing_is_pinged_told_and_closed(house, name, doors):
    async with await Client.connect(getattr(house, doors)[0]) as client:
        await client.login(name())
        assert await client.end(LATEST_S) == [
            "PING :tmi.twitch.tv",
            "ERROR :Ping timeout: nothing was heard from you.",
        ]


async def test_any_line_is_a_sign_of_life(house, name):
    """Not only PONG (clients.md 34)."""
    async with await Client.connect(house.tcp[0]) as client:
        await client.login(name())
        for _ in range(2):
            await client.expect("PING :tmi.twitch.tv$", within=LATEST_S)
            await client.send("CAP LIST")
            await client.expect("CAP \\* LIST")
        assert not client.closed


async def test_who_speaks_is_not_pinged(house, name):
    """Two periods long; then it falls silent, and is."""
    async with await Client.connect(house.tcp[0]) as client:
        await client.login(name())
        heard = []
        until = time.monotonic() + REGISTRATION_S + 2 * PING_S
        while time.monotonic() < until:
            heard += await client.fence()
            await asyncio.sleep(0.2)
        assert heard == []
        await client.expect("PING :tmi.twitch.tv$", within=LATEST_S)


async def test_those_who_came_together_are_not_pinged_together(house, name):
    """After a storm all would answer in the same second, for ever."""

    async def pinged_at(client):
        await client.expect("PING :tmi.twitch.tv$", within=LATEST_S)
        return time.monotonic()

    clients = await asyncio.gather(*(Client.connect(house.tcp[0]) for _ in range(40)))
    try:
        await asyncio.gather(*(client.login(name()) for client in clients))
        times = await asyncio.gather(*map(pinged_at, clients))
        assert max(times) - min(times) > 0.8  # one tick at least; all 40 in one: once in ten million runs
    finally:
        for client in clients:
            await client.close()

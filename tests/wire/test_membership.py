"""JOIN and PART of others, NAMES and the list of chatters, over two edges (tmi_protocol.md 6)."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.support.irc import ALL
from tests.wire.conftest import edge_doors

# A report every 10 s, up to half as late, on each of two edges, one after the other.
BATCH_S = 40.0


async def test_others_come_and_go_in_batches(stack, connect, new_name):
    """Over both edges, for those who asked, in both directions; with whoever is there in the first 353 of who comes
    later, and in NAMES; MODE for the broadcaster.
    """
    first, second = edge_doors(stack)
    owner, reader_login, guest_login = new_name(), new_name(), new_name()
    channel = f"#{owner}"
    reader = await (await (await connect(first)).login(reader_login, capabilities=ALL)).join(channel)
    plain = await (await (await connect(first)).login(new_name(), capabilities=())).join(channel)
    await (await (await connect(second)).login(owner)).join(channel)
    guest = await (await (await connect(second)).login(guest_login)).join(channel)
    host = f"{guest_login}!{guest_login}@{guest_login}.tmi.twitch.tv"
    assert (await reader.expect(f"^:{guest_login}!", BATCH_S)).raw == f":{host} JOIN {channel}"
    assert f":jtv MODE {channel} +o {owner}" in [*reader.received, await reader.line(BATCH_S)]

    late_login = new_name()
    late = await (await connect(first)).login(late_login, capabilities=ALL)
    await late.send(f"JOIN {channel}")
    names = f":{late_login}.tmi.twitch.tv 353 {late_login} = {channel} :"
    _, others, own = await late.lines(3)
    assert {owner, reader_login, guest_login} <= set(others.removeprefix(names).split())
    assert own == names + late_login
    await late.fence()
    await late.send(f"NAMES {channel}")
    assert set((await late.line()).removeprefix(names).split()) >= {owner, reader_login, guest_login}

    await guest.send(f"PART {channel}")
    assert (await reader.expect(f"^:{guest_login}!", BATCH_S)).raw == f":{host} PART {channel}"
    assert sum(line.startswith(f":{reader_login}!") for line in reader.received) == 1  # its own JOIN, when it joined
    assert [line for line in await plain.fence() if " JOIN " in line or " PART " in line] == []


async def test_the_list_of_chatters_is_of_all_edges(stack, connect, new_name):
    """GET /group/user/<channel>/chatters, in the shape that bots know."""
    first, second = edge_doors(stack)
    owner, viewer = new_name(), new_name()
    for door, login in ((first, owner), (second, viewer)):
        await (await (await connect(door)).login(login)).join(f"#{owner}")
    url = f"http://{second.host}:{second.port}/group/user/{owner}/chatters"
    async with aiohttp.ClientSession() as http, asyncio.timeout(BATCH_S):
        while True:
            async with http.get(url) as response:
                assert response.status == 200
                found = await response.json()
            if found["chatter_count"] == 2:
                break
            await asyncio.sleep(0.5)
    assert found["chatters"].pop("broadcaster") == [owner]
    assert found["chatters"].pop("viewers") == [viewer]
    assert not any(found["chatters"].values())

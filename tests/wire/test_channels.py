"""JOIN and PART (tmi_protocol.md section 6; clients.md 17 to 21)."""

from __future__ import annotations

import asyncio
import re

ROOM = r"@emote-only=0;followers-only=-1;r9k=0;room-id=\d+;slow=0;subs-only=0 :tmi\.twitch\.tv ROOMSTATE "


def five_lines(login: str, channel: str) -> list[str]:
    """As patterns."""
    host = re.escape(f"{login}.tmi.twitch.tv")
    look = rf"@badge-info=\S*;badges=\S*;color=;display-name={login};emote-sets=0;"
    return [
        rf":{login}!{login}@{host} JOIN {channel}",
        rf":{host} 353 {login} = {channel} :{login}",
        rf":{host} 366 {login} {channel} :End of /NAMES list",
        rf"{look}mod=[01];subscriber=0;turbo=0;user-type=\S* :tmi\.twitch\.tv USERSTATE {channel}",
        ROOM + channel,
    ]


def mismatches(said: list[str], patterns: list[str]) -> list[tuple[str, str]]:
    return [pair for pair in zip(said, patterns, strict=True) if not re.fullmatch(pair[1], pair[0])]


async def test_a_join_of_two_channels_gets_five_lines_each_in_order(door, connect, new_name):
    """Section 16 item 4, section 6; clients.md 18: USERSTATE before ROOMSTATE, and the full set in the latter."""
    login, first, second = new_name(), new_name(), new_name()
    client = await (await connect(door)).login(login)
    await client.send(f"JOIN #{first},#{second}")
    patterns = five_lines(login, f"#{first}") + five_lines(login, f"#{second}")
    assert mismatches(await client.lines(10), patterns) == []
    assert await client.fence() == []


async def test_a_join_without_capabilities_gets_the_plain_three_lines(door, connect, new_name):
    """Section 2, clients.md 16 and 18: the own JOIN needs no membership, the rest is only for who asked."""
    login = new_name()
    client = await (await connect(door)).login(login, capabilities=())
    await client.send(f"JOIN #{login}")
    assert mismatches(await client.lines(3), five_lines(login, f"#{login}")[:3]) == []
    assert await client.fence() == []


async def test_an_anonymous_join_has_no_userstate(door, connect, new_name):
    """clients.md 4."""
    channel = f"#{new_name()}"
    client = await (await connect(door)).login("justinfan7")
    await client.send(f"JOIN {channel}")
    join, names, end, _, room = five_lines("justinfan7", channel)
    assert mismatches(await client.lines(4), [join, names, end, room]) == []
    assert await client.fence() == []


async def test_names_of_channels_are_folded_and_a_key_is_ignored(tcp, connect, new_name):
    """clients.md 17."""
    login, channel = new_name(), new_name()
    client = await (await connect(tcp)).login(login)
    await client.send(f"JOIN #{channel.upper()} secret")
    assert await client.line() == f":{login}!{login}@{login}.tmi.twitch.tv JOIN #{channel}"


async def test_a_second_join_of_a_channel_stays_without_reply(tcp, connect, new_name):
    """clients.md 20."""
    channel = f"#{new_name()}"
    client = await (await (await connect(tcp)).login(new_name())).join(channel)
    await client.send(f"JOIN {channel}")
    assert await client.fence() == []


async def test_a_part_is_echoed_with_or_without_a_reason(door, connect, new_name):
    """clients.md 21: twitchAPI waits for it for ever."""
    login, first, second = new_name(), new_name(), new_name()
    client = await (await (await connect(door)).login(login)).join(f"#{first}", f"#{second}")
    await client.send(f"PART #{first}", f"PART #{second} :bye now")
    assert await client.lines(2) == [f":{login}!{login}@{login}.tmi.twitch.tv PART #{name}" for name in (first, second)]


async def test_a_channel_that_was_left_is_heard_no_more(tcp, websocket, connect, new_name):
    """Section 6."""
    owner = new_name()
    channel = f"#{owner}"
    speaker = await (await connect(tcp)).login(owner)
    leaver = await (await (await connect(websocket)).login(new_name())).join(channel)
    stayer = await (await (await connect(websocket)).login(new_name())).join(channel)
    await leaver.send(f"PART {channel}")
    await leaver.expect(" PART ")
    await speaker.say(channel, "anybody there?")
    await stayer.hear(channel)
    assert await leaver.fence() == []


async def test_names_lists_oneself(tcp, connect, new_name):
    """Section 6: 353 and 366."""
    login = new_name()
    client = await (await (await connect(tcp)).login(login)).join(f"#{login}")
    await client.send(f"NAMES #{login}")
    assert await client.fence() == [
        f":{login}.tmi.twitch.tv 353 {login} = #{login} :{login}",
        f":{login}.tmi.twitch.tv 366 {login} #{login} :End of /NAMES list",
    ]


async def test_too_many_joins(door, connect, new_name):
    """Section 9: 20 in 10 s of one user, whatever the connection; who meets the limit is told, and may come later."""
    login, other = new_name(), new_name()
    first, second = await (await connect(door)).login(login), await (await connect(door)).login(login)
    await first.send("JOIN " + ",".join(f"#{login}_{number}" for number in range(15)))
    await first.expect(rf" 366 \S+ #{login}_14 ")
    await second.send("JOIN " + ",".join(f"#{other}_{number}" for number in range(6)))
    refused = await second.expect("NOTICE")
    assert refused.tags["msg-id"] == "join_ratelimit"
    name = refused.params[0][1:]
    assert refused.params[1] == f"You are joining channels too quickly. Try to join {name} again in 10 seconds."
    answered = second.received
    async with asyncio.timeout(10):
        while sum(" 366 " in line or " NOTICE " in line for line in answered) < 6:
            await second.fence()
    assert sum(" 366 " in line for line in answered) == 5
    async with asyncio.timeout(20):
        while True:
            await second.send(f"JOIN #{name}")
            if (await second.expect(f"( 366 | NOTICE #{name})")).command == "366":
                break
            await asyncio.sleep(1.0)

"""Catching up with CHATHISTORY (IRCv3 "chathistory"): what was missed comes back, what was taken back does not."""

from __future__ import annotations

from tests.support.irc import CHAT, Client, parse
from tests.wire.conftest import edge_doors

IRCV3 = ("batch", "draft/chathistory", "message-tags", "server-time")


async def batch(client: Client) -> list[str]:
    """The texts of the next batch."""
    opened = await client.expect(r"^:tmi\.twitch\.tv BATCH \+")
    reference = opened.params[0][1:]
    lines = [parse(line) for line in await client.collect_until(rf"^:tmi\.twitch\.tv BATCH -{reference}$")]
    assert all(line.tags["batch"] == reference and line.tags["msgid"] and line.tags["time"] for line in lines)
    return [line.params[-1] for line in lines]


async def test_a_client_that_comes_back_misses_nothing(stack, connect, new_name):
    """AFTER the last id that it saw, on another edge than before; deleted lines and those of banned users stay away."""
    first, second = edge_doors(stack)
    owner, bob, eve, reader = (new_name() for _ in range(4))
    channel = f"#{owner}"
    speakers = {login: await (await connect(first)).login(login) for login in (owner, bob, eve)}
    client = await (await (await connect(first)).login(reader, capabilities=(*CHAT, *IRCV3))).join(channel)
    await speakers[owner].say(channel, "seen")
    last = (await client.hear(channel)).tags["msgid"]
    await client.close()

    await speakers[owner].say(channel, "one")
    regretted = (await speakers[bob].say(channel, "two")).tags["id"]
    await speakers[eve].say(channel, "three")
    await speakers[owner].say(channel, "four")
    await speakers[owner].say(channel, f"/delete {regretted}")
    await speakers[owner].say(channel, f"/ban {eve}")
    back = await (await (await connect(second)).login(reader, capabilities=IRCV3)).join(channel)
    await back.send(f"CHATHISTORY AFTER {channel} msgid={last} 100")
    assert await batch(back) == ["one", "four"]
    await back.send(f"CHATHISTORY LATEST {channel} * 2", f"CHATHISTORY BEFORE {channel} msgid={last} 5")
    assert await batch(back) == ["one", "four"]
    assert await batch(back) == []


async def test_a_cleared_channel_is_empty(stack, connect, new_name):
    """But for what was said since."""
    _, second = edge_doors(stack)
    owner = new_name()
    client = await (await (await connect(second)).login(owner, capabilities=(*CHAT, *IRCV3))).join(f"#{owner}")
    for text in ("before", "/clear", "after"):
        await client.say(f"#{owner}", text)
    await client.send(f"CHATHISTORY LATEST #{owner} * 10")
    assert await batch(client) == ["after"]


async def test_twitchs_clients_see_nothing_of_it(tcp, connect, new_name):
    """No tag, no numeric, no offer, and the command is unknown."""
    login = new_name()
    client = await (await (await connect(tcp)).login(login)).join(f"#{login}")
    await client.send(f"CHATHISTORY LATEST #{login} * 10")
    assert await client.line() == f":tmi.twitch.tv 421 {login} CHATHISTORY :Unknown command"
    said = "\n".join(client.received)
    assert not any(word in said for word in (" 005 ", "NEW", "msgid=", "time="))

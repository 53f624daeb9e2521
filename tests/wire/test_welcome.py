"""The log-in that succeeds (tmi_protocol.md section 3; clients.md 1 to 16)."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from tests.support.irc import ALL, parse

SUBSETS = [subset for size in range(len(ALL) + 1) for subset in combinations(ALL, size)]


def welcome(login: str) -> list[str]:
    return [
        f":tmi.twitch.tv 001 {login} :Welcome, GLHF!",
        f":tmi.twitch.tv 002 {login} :Your host is tmi.twitch.tv",
        f":tmi.twitch.tv 003 {login} :This server is rather new",
        f":tmi.twitch.tv 004 {login} :-",
        f":tmi.twitch.tv 375 {login} :-",
        f":tmi.twitch.tv 372 {login} :You are in a maze of twisty passages, all alike.",
        f":tmi.twitch.tv 376 {login} :>",
    ]


@pytest.mark.parametrize("capabilities", SUBSETS, ids=lambda names: "+".join(name[10:] for name in names) or "none")
async def test_the_welcome_has_its_exact_bytes_for_every_subset_of_capabilities(door, connect, new_name, capabilities):
    """Section 16 item 1, section 3: the ACK in the order asked, seven lines, GLOBALUSERSTATE where it was asked for."""
    login = new_name()
    client = await connect(door)
    if capabilities:
        await client.send(f"CAP REQ :{' '.join(capabilities)}")
    await client.send("PASS oauth:token", f"NICK {login}")
    expected = [f":tmi.twitch.tv CAP * ACK :{' '.join(capabilities)}"] if capabilities else []
    expected += welcome(login)
    if "twitch.tv/commands" in capabilities:
        tags = f"@badge-info=;badges=;color=;display-name={login};emote-sets=0;turbo=0;user-id=ID;user-type= "
        expected.append((tags if "twitch.tv/tags" in capabilities else "") + ":tmi.twitch.tv GLOBALUSERSTATE")
    await client.expect(" 376 ")
    await client.fence()  # nothing else comes after it
    said = [re.sub(r"user-id=[1-9]\d*;", "user-id=ID;", line) for line in client.received[:-1]]
    assert said == expected


async def test_an_anonymous_login_needs_no_password_and_gets_no_globaluserstate(door, connect):
    """Section 3, clients.md 4."""
    client = await connect(door)
    await client.send(f"CAP REQ :{' '.join(ALL)}", "NICK justinfan64537")
    await client.expect(" ACK ")
    assert await client.fence() == welcome("justinfan64537")


async def test_an_anonymous_login_may_bring_any_password(door, connect):
    """Section 3: tmi.js sends SCHMOOPIIE."""
    client = await connect(door)
    await client.send("PASS SCHMOOPIIE", "NICK justinfan1")
    assert await client.lines(7) == welcome("justinfan1")


async def test_the_login_is_folded_to_lower_case_everywhere(tcp, connect, new_name):
    """clients.md 7: the first parameter of 001 is the client's own nick from then on."""
    login = new_name()
    client = await connect(tcp)
    await client.send("PASS oauth:token", f"NICK {login.upper()}", f"JOIN #{login.upper()}")
    await client.lines(7)
    assert await client.line() == f":{login}!{login}@{login}.tmi.twitch.tv JOIN #{login}"


@pytest.mark.parametrize(
    "lines",
    [
        ("CAP LS 302", "PASS oauth:x", "NICK {u}", "USER {u} 0 * {u}"),
        ("PASS oauth:x", "USER {u} 0 * :{u}", "NICK {u}"),
        ("PASS :oauth:x", "CAP LS 302", "USER {u} 0 * :{u}", "NICK {u}"),
        ("CAP LS 302", "JOIN :", "CAP END", "PASS oauth:x", "NICK {u}", "USER {u} {u} host :{u}"),
        ("CAP REQ :twitch.tv/commands", "PASS oauth:x", "NICK {u}"),
    ],
    ids=["irc-framework", "irc3", "miniirc", "irssi", "dank"],
)
async def test_the_lines_of_a_login_may_come_in_the_order_of_any_client(tcp, connect, new_name, lines):
    """clients.md 1, 2, 3 and 5."""
    client = await connect(tcp)
    await client.send(*(line.format(u=new_name()) for line in lines))
    assert parse((await client.expect(" 001 ")).raw).params[1] == "Welcome, GLHF!"


async def test_the_ack_comes_before_the_welcome_when_it_was_asked_for_before(tcp, connect, new_name):
    """clients.md 13: the order on the wire is the order received."""
    client = await connect(tcp)
    await client.send_bytes(
        f"CAP REQ :twitch.tv/tags\r\nPASS oauth:x\r\nNICK {new_name()}\r\nCAP REQ :twitch.tv/commands\r\n".encode()
    )
    assert " ACK :twitch.tv/tags" in await client.line()
    assert " 001 " in await client.line()
    await client.expect(" 376 ")
    assert await client.line() == ":tmi.twitch.tv CAP * ACK :twitch.tv/commands"


async def test_capabilities_asked_for_after_the_login_apply_from_then_on(door, connect, new_name):
    """clients.md 14."""
    login = new_name()
    client = await (await connect(door)).login(login, capabilities=())
    await client.send("CAP REQ :twitch.tv/tags twitch.tv/commands")
    assert await client.line() == ":tmi.twitch.tv CAP * ACK :twitch.tv/tags twitch.tv/commands"
    await client.send(f"JOIN #{login}")
    assert (await client.expect(" ROOMSTATE ")).tags["room-id"].isdecimal()


async def test_one_login_may_have_several_connections(tcp, websocket, connect, new_name):
    """clients.md 10: dank-twitch-irc speaks through connections that joined nothing."""
    login = new_name()
    first = await (await connect(tcp)).login(login)
    await (await connect(websocket)).login(login)
    assert await first.fence() == []
    assert not first.closed

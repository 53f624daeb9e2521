"""The log-in that fails: one NOTICE in the exact words, then the end (tmi_protocol.md section 3, section 16 item 3)."""

from __future__ import annotations

import pytest

from tests.support.irc import Door
from tests.wire.conftest import tcp_door, websocket_door


@pytest.fixture(params=["tcp", "websocket"])
def token_door(request, token_stack) -> Door:
    return tcp_door(token_stack) if request.param == "tcp" else websocket_door(token_stack)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (("NICK some_user", "PASS oauth:x"), "Improperly formatted auth"),
        (("PASS x", "NICK some_user"), "Improperly formatted auth"),
        (("PASS oauth:", "NICK some_user"), "Improperly formatted auth"),
        (("PASS oauth:x", "NICK"), "Invalid NICK"),
        (("PASS oauth:x", "NICK b@d"), "Invalid NICK"),
        (("PASS oauth:x", f"NICK {'x' * 26}"), "Invalid NICK"),
    ],
    ids=["order", "prefix", "empty token", "no nick", "bad nick", "long nick"],
)
async def test_a_malformed_login_gets_one_notice_and_the_end(door, connect, lines, text):
    """Section 3; clients.md 9: never with a tag."""
    client = await connect(door)
    await client.send("CAP REQ :twitch.tv/tags twitch.tv/commands")
    await client.line()
    await client.send(*lines)
    assert await client.end() == [f":tmi.twitch.tv NOTICE * :{text}"]


async def test_a_second_nick_gets_one_notice_and_the_end(door, connect, new_name):
    """Section 3: NICK already set, then disconnect."""
    client = await (await connect(door)).login(new_name())
    await client.send("NICK other")
    assert await client.end() == [":tmi.twitch.tv NOTICE * :NICK already set"]


async def test_an_unknown_token_gets_one_notice_and_the_end(token_door, token_stack, connect, new_name):
    """Section 3, with tokens checked."""
    login = new_name()
    token_stack.run("user", "add", login)
    client = await connect(token_door)
    await client.send("PASS oauth:0123456789abcdef", f"NICK {login}")
    assert await client.end() == [":tmi.twitch.tv NOTICE * :Login authentication failed"]


async def test_a_token_of_somebody_else_gets_one_notice_and_the_end(token_door, token_stack, connect, new_name):
    """Section 3: refused, expired, or not of this nick."""
    mine, theirs = new_name(), new_name()
    token = token_stack.run("user", "add", mine).stdout.strip()
    token_stack.run("user", "add", theirs)
    client = await connect(token_door)
    await client.send(f"PASS oauth:{token}", f"NICK {theirs}")
    assert await client.end() == [":tmi.twitch.tv NOTICE * :Login authentication failed"]


async def test_a_known_token_lets_its_user_in(token_door, token_stack, connect, new_name):
    """Section 3; clients.md 3: tmi.js lower-cases the token that it sends."""
    login = new_name()
    token = token_stack.run("user", "add", login).stdout.strip()
    client = await connect(token_door)
    await client.send(f"PASS oauth:{token.lower()}", f"NICK {login}")
    assert await client.line() == f":tmi.twitch.tv 001 {login} :Welcome, GLHF!"

"""Lines, segments and frames; PING, CAP and what is unknown (tmi_protocol.md sections 1, 2, 4 and 5)."""

from __future__ import annotations

import aiohttp
import pytest


async def test_two_commands_in_one_segment_are_two_commands(door, connect, new_name):
    """Section 16 item 12, section 1; clients.md 41 and 43."""
    client = await (await connect(door)).login(new_name())
    await client.send_bytes(b"PING :one\r\nPING :two\r\n")
    assert await client.lines(2) == [":tmi.twitch.tv PONG tmi.twitch.tv :one", ":tmi.twitch.tv PONG tmi.twitch.tv :two"]


async def test_one_command_over_three_segments_is_one_command(tcp, connect, new_name):
    """Section 16 item 12; clients.md 43: each piece is sent once the one before has arrived."""
    client = await (await connect(tcp)).login(new_name())
    await client.send_bytes(b"PING :before\r\nPI")
    await client.expect("before")
    await client.send_bytes(b"NG :cut in ")
    await client.send_bytes(b"three\r\n")
    assert await client.line() == ":tmi.twitch.tv PONG tmi.twitch.tv :cut in three"


async def test_the_end_of_a_frame_ends_the_line(websocket, connect, new_name):
    """clients.md 41: tmi.js, irc-framework and twitchAPI send no CRLF at all."""
    client = await connect(websocket)
    for line in ("PASS oauth:x", f"NICK {new_name()}", "PING :here"):
        await client.send_bytes(line.encode())
    await client.expect(" 376 ")
    assert await client.line() == ":tmi.twitch.tv PONG tmi.twitch.tv :here"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\n\r\n\n"], ids=["LF", "CRLF", "empty lines"])
async def test_lines_end_in_crlf_or_lf_and_empty_ones_are_nothing(door, connect, new_name, end):
    """clients.md 41 and 43."""
    client = await connect(door)
    await client.send_bytes(f"PASS oauth:x{end}NICK {new_name()}{end}PING :here{end}".encode())
    await client.expect(" 376 ")
    assert await client.line() == ":tmi.twitch.tv PONG tmi.twitch.tv :here"


async def test_commands_may_be_written_in_any_case(tcp, connect, new_name):
    """clients.md 43."""
    client = await connect(tcp)
    await client.send("pass oauth:x", f"nick {new_name()}", "piNg :here")
    assert "PONG tmi.twitch.tv :here" in (await client.expect("PONG")).raw


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("PING", "PONG :tmi.twitch.tv"),
        ("PING asd", ":tmi.twitch.tv PONG tmi.twitch.tv :asd"),
        ("PING :asd def", ":tmi.twitch.tv PONG tmi.twitch.tv :asd def"),
        ("PING asd def", ":tmi.twitch.tv PONG tmi.twitch.tv :asd"),
        ("PING tmi.twitch.tv", ":tmi.twitch.tv PONG tmi.twitch.tv :tmi.twitch.tv"),
    ],
)
async def test_the_forms_of_ping(door, connect, new_name, line, answer):
    """Section 16 item 14, section 4; clients.md 35, 36: the bare one without a prefix, all that tmi.js knows."""
    client = await connect(door)
    await client.send(line)
    assert await client.line() == answer, "before the log-in"
    await client.login(new_name())
    await client.send(line)
    assert await client.line() == answer, "after it"


async def test_a_pong_in_any_form_stays_without_answer(tcp, connect, new_name):
    """clients.md 34."""
    client = await (await connect(tcp)).login(new_name())
    await client.send("PONG", "PONG tmi.twitch.tv", "PONG :tmi.twitch.tv")
    assert await client.fence() == []


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("CAP LS", "LS :twitch.tv/tags twitch.tv/commands twitch.tv/membership"),
        ("CAP LS 302", "LS :twitch.tv/tags twitch.tv/commands twitch.tv/membership"),
        ("CAP REQ :twitch.tv/membership twitch.tv/tags", "ACK :twitch.tv/membership twitch.tv/tags"),
        ("CAP REQ twitch.tv/tags", "ACK :twitch.tv/tags"),
        ("CAP REQ :twitch.tv/foo", "NAK :twitch.tv/foo"),
        ("CAP REQ :twitch.tv/tags twitch.tv/foo", "NAK :twitch.tv/tags twitch.tv/foo"),
    ],
)
async def test_the_forms_of_cap(door, connect, new_name, line, answer):
    """Section 2; clients.md 11 and 12, before and after the log-in alike."""
    client = await connect(door)
    await client.send(line)
    assert await client.line() == f":tmi.twitch.tv CAP * {answer}", "before the log-in"
    await client.login(new_name(), capabilities=())
    await client.send(line)
    assert await client.line() == f":tmi.twitch.tv CAP * {answer}", "after it"


async def test_cap_list_tells_what_is_on_and_a_minus_turns_off(tcp, connect, new_name):
    """clients.md 15; a refused list sets nothing (clients.md 12)."""
    client = await (await connect(tcp)).login(new_name(), capabilities=("twitch.tv/tags", "twitch.tv/commands"))
    await client.send("CAP REQ :-twitch.tv/tags", "CAP REQ :twitch.tv/membership nonsense", "CAP LIST")
    assert await client.lines(3) == [
        ":tmi.twitch.tv CAP * ACK :-twitch.tv/tags",
        ":tmi.twitch.tv CAP * NAK :twitch.tv/membership nonsense",
        ":tmi.twitch.tv CAP * LIST :twitch.tv/commands",
    ]


async def test_cap_end_and_user_stay_without_reply(door, connect, new_name):
    """clients.md 2 and 15."""
    client = await connect(door)
    await client.send("CAP END", "USER a b c :d")
    assert await client.fence() == []
    await client.login(new_name(), capabilities=())
    await client.send("CAP END", "USER a b c :d", "PASS oauth:again")
    assert await client.fence() == []


@pytest.mark.parametrize("command", ["LIST", "TOPIC", "INVITE", "KICK", "WHO", "AWAY", "OPER", "WHISPER", "FLY"])
async def test_an_unknown_command_is_named_and_the_session_goes_on(tcp, connect, new_name, command):
    """Section 16 item 12, section 5: 421."""
    login = new_name()
    client = await (await connect(tcp)).login(login)
    await client.send(f"{command.lower()} #some thing")
    assert await client.fence() == [f":tmi.twitch.tv 421 {login} {command} :Unknown command"]


async def test_mode_stays_without_answer(tcp, connect, new_name):
    """Section 5: irssi, WeeChat and pydle send it after each join."""
    login = new_name()
    client = await (await connect(tcp)).login(login)
    await client.send(f"MODE {login} +i", f"MODE #{login}")
    assert await client.fence() == []


@pytest.mark.parametrize("nick", ["somebody", "<unregistered>"])
async def test_whois_knows_nobody_and_names_who_was_asked_for(tcp, connect, new_name, nick):
    """clients.md 44: stock pydle asks for "<unregistered>" first, and waits until it is told of that very name."""
    login = new_name()
    client = await (await connect(tcp)).login(login)
    await client.send(f"WHOIS {nick}")
    assert await client.fence() == [
        f":tmi.twitch.tv 401 {login} {nick} :No such nick",
        f":tmi.twitch.tv 318 {login} {nick} :End of /WHOIS list",
    ]


async def test_early_commands_do_not_close_the_connection(tcp, connect, new_name):
    """clients.md 5: irssi sends "JOIN :" as a probe before NICK."""
    client = await connect(tcp)
    await client.send("JOIN :", "PRIVMSG #a :b", "FLY")
    await client.fence()
    await client.login(new_name())


async def test_quit_closes_the_connection(door, connect, new_name):
    """Section 5."""
    client = await (await connect(door)).login(new_name())
    await client.send("QUIT :bye")
    assert await client.end() == []


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["irc"], "irc"), ([], None), (["chat", "irc"], "irc"), (["something.else"], None)],
    ids=["irc", "none", "irc among others", "unknown"],
)
async def test_the_subprotocol_irc_is_chosen_only_when_offered_and_nobody_is_refused(websocket, offered, chosen):
    """clients.md 38."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"ws://{websocket.host}:{websocket.port}/", protocols=offered) as socket,
    ):
        await socket.send_str("PING :here")
        message = await socket.receive(timeout=15)
        assert socket.protocol == chosen
        assert message.type is aiohttp.WSMsgType.TEXT
        assert message.data == ":tmi.twitch.tv PONG tmi.twitch.tv :here\r\n"

"""Bad bytes end one session at most: a clear answer or a clean close, and nobody else notices.

Two bystanders chat through the same edges around every test; conftest.py searches the logs for tracebacks at the end.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.irc import DEADLINE_S, Door
from tests.wire.raw_websocket import BINARY, CLOSE, PING, PONG, TEXT, RawWebSocket, frame

TOO_LONG = ":tmi.twitch.tv 417 {} :Input line was too long"


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def opened(door: Door) -> AsyncIterator[Streams]:
    """A bare socket, within the deadline."""
    reader, writer = await asyncio.open_connection(door.host, door.port)
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.fixture(autouse=True)
async def bystanders(connect, tcp, websocket, new_name):
    """They talk before and after, over both transports, and lose nothing."""
    login = new_name()
    channel = f"#{login}"
    speaker = await (await (await connect(tcp)).login(login)).join(channel)
    listener = await (await (await connect(websocket)).login(new_name())).join(channel)
    await speaker.say(channel, "before")
    assert (await listener.hear(channel)).params[1] == "before"
    yield
    assert (await speaker.say(channel, "after")).command == "USERSTATE"
    assert (await listener.hear(channel)).params[1] == "after"


async def test_a_line_too_long_is_told_and_the_session_goes_on(door, connect, new_name):
    """417, as Ergo and InspIRCd have it; the line is lost as a whole."""
    login = new_name()
    client = await (await connect(door)).login(login)
    await client.send(f"PRIVMSG #{login} :{'x' * 4000}")
    assert await client.fence() == [TOO_LONG.format(login)]


async def test_tags_too_long_are_told_and_the_session_goes_on(door, connect, new_name):
    """IRCv3 message tags: 8,191 bytes."""
    login = new_name()
    client = await (await connect(door)).login(login)
    await client.send(f"@a={'x' * 9000} PRIVMSG #{login} :hello")
    assert await client.fence() == [TOO_LONG.format(login)]


async def test_lines_too_long_again_and_again_end_the_session(door, connect, new_name):
    """The third is the last."""
    login = new_name()
    client = await (await connect(door)).login(login)
    await client.send(*["x" * 3000] * 3)
    assert await client.end() == [TOO_LONG.format(login)] * 3 + ["ERROR :Input lines were too long, again and again."]


async def test_a_line_of_10_mb_costs_one_answer(tcp, connect, new_name):
    """It is never held in memory as a whole; what follows it is understood again."""
    login = new_name()
    client = await (await connect(tcp)).login(login)
    for _ in range(10):
        await client.send_bytes(b"x" * 1_000_000)
    await client.send_bytes(b"\r\n")
    assert await client.fence() == [TOO_LONG.format(login)]


async def test_a_message_that_is_no_utf8_is_refused(tcp, connect, new_name):
    """It must not go out changed."""
    login = new_name()
    client = await (await connect(tcp)).login(login)
    await client.send_bytes(f"PRIVMSG #{login} :".encode() + b"\xff\xfe broken \xc3\x28\r\n")
    assert (await client.answer(f"#{login}")).tags["msg-id"] == "msg_bad_characters"
    assert (await client.say(f"#{login}", "better")).command == "USERSTATE"


async def test_a_message_with_nul_is_refused(door, connect, new_name):
    """NUL is never inside a line of IRC."""
    login = new_name()
    client = await (await connect(door)).login(login)
    await client.send(f"PRIVMSG #{login} :a\0b")
    assert (await client.answer(f"#{login}")).tags["msg-id"] == "msg_bad_characters"
    assert (await client.say(f"#{login}", "better")).command == "USERSTATE"


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe\xfd", b"\0\0\0", b"NICK \xff\xff", b"JOIN #\xff", b"@\xff=\xff PING \xff", b":", b"@", b"@a", b": :"],
)
async def test_bytes_that_are_no_line_leave_the_session_as_it_was(tcp, connect, new_name, data):
    """But for a NICK, which is the second and so the end of any session."""
    client = await (await connect(tcp)).login(new_name())
    await client.send_bytes(data + b"\r\n")
    if data.startswith(b"NICK"):
        assert await client.end() == [":tmi.twitch.tv NOTICE * :NICK already set"]
    else:
        await client.fence()


@pytest.mark.parametrize(
    "line",
    [
        "JOIN",
        "JOIN :",
        "JOIN ,,,",
        "JOIN #",
        "JOIN nonsense",
        "JOIN #a*b",
        "JOIN #ünï",
        "JOIN 0",
        f"JOIN #{'x' * 60}",
        "JOIN ##,#,&a",
    ],
)
async def test_a_join_of_nonsense_joins_nothing_and_breaks_nothing(door, connect, new_name, line):
    """The session goes on, and a real join works."""
    login = new_name()
    client = await (await connect(door)).login(login)
    await client.send(line)
    assert [said for said in await client.fence() if said.startswith(f":{login}")] == []
    await client.join(f"#{login}")


async def test_too_many_lines_before_the_login_end_the_session(door, connect):
    """ARCHITECTURE 6: 16 lines."""
    client = await connect(door)
    await client.send(*[f"CAP LS {number}" for number in range(17)])
    assert (await client.end())[-1] == "ERROR :Too many lines before the login was done."


async def test_a_flood_of_garbage_ends_at_most_its_own_session(tcp, connect, new_name):
    """200 kB from a fixed seed, line ends among them; QUIT is understood after it when the session still lives."""
    noise = random.Random(20140213)
    client = await (await connect(tcp)).login(new_name())
    for _ in range(50):
        await client.send_bytes(noise.randbytes(4096))
    await client.send("", "QUIT")
    await client.end()


async def test_garbage_instead_of_a_login_is_turned_away(tcp):
    """Whatever it is answered, the connection ends; nothing is left that could be logged in."""
    noise = random.Random(1988)
    async with opened(tcp) as (reader, writer):
        writer.write(noise.randbytes(65536))
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass


async def test_a_tls_hello_on_the_plain_port_is_answered_in_words(tcp):
    """A real ClientHello, as made by a client whose TLS switch is on by mistake."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    async with opened(tcp) as (reader, writer):
        writer.write(outgoing.read())
        answer = await reader.read()
    assert answer == b"ERROR :This port does not speak TLS: connect without it, or to the TLS port.\r\n"


# WebSocket


@pytest.fixture
async def raw(websocket):
    socket = await RawWebSocket.connect(websocket)
    yield socket
    await socket.close()


async def test_a_binary_frame_is_told_and_ends_the_session(raw):
    """clients.md 39: text frames only."""
    await raw.send(frame(BINARY, b"PING :here\r\n"))
    frames = await raw.frames()
    assert frames[0] == (TEXT, b"ERROR :Send text frames: binary ones are not understood here.\r\n")
    assert frames[-1][0] == CLOSE


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x3, b"?"), 1002),
        (frame(TEXT, b"PING", reserved=0b100), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", final=False), 1002),
        (frame(0x0, b"continued from nothing"), 1002),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, b"x" * 70_000)[:14], 1009),
    ],
    ids=["opcode", "reserved bit", "long ping", "ping in parts", "continuation", "no UTF-8", "head of 70 kB"],
)
async def test_a_bad_frame_ends_its_session_with_the_code_of_the_standard(raw, data, code):
    """RFC 6455 section 7.4.1."""
    await raw.send(data)
    frames = await raw.frames()
    assert frames, "closed without a word"
    opcode, payload = frames[-1]
    assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, code)


async def test_half_a_frame_and_then_nothing_ends_with_its_connection(raw):
    """A client that dies while it sends."""
    await raw.send(frame(TEXT, b"PING :never complete")[:-3])
    raw.writer.write_eof()
    frames = await raw.frames()
    assert all(opcode == CLOSE for opcode, _ in frames)


async def test_a_message_in_fragments_is_put_together_first(raw):
    """clients.md 41; a ping may come between the parts (RFC 6455 section 5.4)."""
    await raw.send(frame(TEXT, b"PING :in ", final=False))
    await raw.send(frame(PING, b"still there?"))
    await raw.send(frame(0x0, b"parts"))
    assert await raw.next_frame() == (PONG, b"still there?")
    assert await raw.next_frame() == (TEXT, b":tmi.twitch.tv PONG tmi.twitch.tv :in parts\r\n")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"NICK somebody\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=["TLS", "IRC", "no key"],
)
async def test_what_is_no_handshake_is_answered_with_400(websocket, request_bytes):
    """HTTP's own answer to what it cannot read."""
    async with opened(websocket) as (reader, writer):
        writer.write(request_bytes)
        writer.write_eof()
        answer = await reader.read()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), answer

"""Chat for a stack under test: members in some channels of a stack, speakers who talk at a steady pace."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from tests.support.irc import Client, Door


async def talk(doors: Sequence[Door], channels: Sequence[str], *, members: int, pause_s: float, seconds: float) -> None:
    """Each channel's owner speaks in it every `pause_s`; `members` users, spread over doors and channels, listen."""
    async with AsyncExitStack() as stack:
        door = itertools.cycle(doors)

        async def enter(nick: str, channel: str) -> Client:
            client = await stack.enter_async_context(await Client.connect(next(door)))
            await client.login(nick)
            await client.join(channel)
            return client

        owners = [await enter(channel.removeprefix("#"), channel) for channel in channels]
        for number in range(members):
            nick = f"justinfan{1000 + number}" if number % 5 == 0 else f"member{number}"
            await enter(nick, channels[number % len(channels)])
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        for number in itertools.count():
            if loop.time() > end:
                break
            for channel, owner in zip(channels, owners, strict=True):
                await owner.send(f"PRIVMSG {channel} :line {number} of {channel}")
            await asyncio.sleep(pause_s)


async def read_nothing(address: str, channel: str, *, seconds: float) -> None:
    """A member that asks for more than it reads, until the edge at `address` (IRC over TCP) ends it or time is up."""
    loop = asyncio.get_running_loop()
    reader = await _connected(address)
    with reader, suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(seconds):
            await loop.sock_sendall(reader, f"NICK justinfan4711\r\nJOIN {channel}\r\n".encode())
            await asyncio.sleep(2)
            for _ in range(300):
                await loop.sock_sendall(reader, (b"PING :" + b"x" * 400 + b"\r\n") * 10)
            await asyncio.sleep(seconds)


async def _connected(address: str) -> socket.socket:
    """As soon as somebody listens there; little fits into its own buffer."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(15):
        while True:
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            reader.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(reader, (host, int(port)))
            except ConnectionRefusedError:
                reader.close()
                await asyncio.sleep(0.1)
            else:
                return reader

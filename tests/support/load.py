"""Chat for a stack under test: members in some channels of a stack, speakers who talk at a steady pace."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import AsyncExitStack

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

"""TwitchIO 2: WebSocket only. Its host is a module constant; told the user's name beforehand, it does not ask
id.twitch.tv for it."""

from __future__ import annotations

import asyncio

import aiohttp
import twitchio
import twitchio.websocket
from driver import commands, report, target

TARGET = target()
NAME = TARGET.channel.removeprefix("#")


class Driver(twitchio.Client):
    async def event_join(self, channel: twitchio.Channel, user: twitchio.User) -> None:
        if user.name == TARGET.login:
            report("joined")

    async def event_part(self, user: twitchio.User) -> None:
        if user.name == TARGET.login:
            report("parted")

    async def event_message(self, message: twitchio.Message) -> None:
        if message.echo:
            return  # made up by TwitchIO itself; only what the server sent counts
        report("heard", **{"from": message.author.name}, channel=f"#{message.channel.name}", text=message.content,
               tags={key: message.tags[key] for key in ("id", "display-name", "user-id", "room-id", "tmi-sent-ts")})

    async def event_error(self, error: Exception, data: str | None = None) -> None:
        report("failed", doing="read", why=f"{error!r} {data!r}")


async def main() -> None:
    twitchio.websocket.HOST = f"ws://{TARGET.host}:{TARGET.port}/"
    client = Driver(TARGET.token, initial_channels=[NAME])
    client._http.nick = TARGET.login
    client._http.session = aiohttp.ClientSession()
    await client.connect()
    async for verb, text in commands():
        if verb == "say":
            channel = client.get_channel(NAME)
            await channel.send(text)
            report("said", text=text)
        elif verb == "part":
            await client.part_channels([NAME])
        else:
            break
    await client.close()


asyncio.run(main())

"""pydle: TCP, asyncio, IRCv3. It sends WHOIS for everyone it meets and waits for the answer (on Twitch: for ever)."""

from __future__ import annotations

import asyncio

import pydle
from driver import commands, report, target

TARGET = target()


class Driver(pydle.Client):
    async def on_capability_twitch_tv_tags_available(self, value: object) -> bool:
        return True

    on_capability_twitch_tv_commands_available = on_capability_twitch_tv_tags_available
    on_capability_twitch_tv_membership_available = on_capability_twitch_tv_tags_available

    async def on_connect(self) -> None:
        await super().on_connect()
        await self.join(TARGET.channel)

    async def on_join(self, channel: str, user: str) -> None:
        if user == TARGET.login:
            report("joined")

    async def on_part(self, channel: str, user: str, message: str | None = None) -> None:
        if user == TARGET.login:
            report("parted")

    async def on_raw_privmsg(self, message: object) -> None:
        sender = message.source.partition("!")[0]
        report("heard", **{"from": sender}, channel=message.params[0], text=message.params[1], tags=message.tags)
        await super().on_raw_privmsg(message)


async def main() -> None:
    client = Driver(TARGET.login, username=TARGET.login, realname=TARGET.login)
    await client.connect(TARGET.host, TARGET.port, password=TARGET.token, tls=False)
    async for verb, text in commands():
        if verb == "say":
            await client.message(TARGET.channel, text)
            report("said", text=text)
        elif verb == "part":
            await client.part(TARGET.channel)
        else:
            break
    await client.quit()


asyncio.run(main())

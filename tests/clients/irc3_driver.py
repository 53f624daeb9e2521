"""irc3: TCP, asyncio, regular expressions for each command; it sends USER before NICK and waits for 376."""

from __future__ import annotations

import asyncio

import irc3
from driver import commands, report, target
from irc3 import rfc

TARGET = target()


@irc3.plugin
class Driver:
    def __init__(self, bot: irc3.IrcBot) -> None:
        self.bot = bot

    @irc3.event(rfc.CONNECTED)
    def connected(self, **_: object) -> None:
        self.bot.send("CAP REQ :twitch.tv/tags twitch.tv/commands twitch.tv/membership")
        self.bot.join(TARGET.channel)

    @irc3.event(rfc.JOIN)
    def join(self, mask: irc3.utils.IrcString, **_: object) -> None:
        if mask.nick == TARGET.login:
            report("joined")

    @irc3.event(rfc.PART)
    def part(self, mask: irc3.utils.IrcString, **_: object) -> None:
        if mask.nick == TARGET.login:
            report("parted")

    @irc3.event(rfc.PRIVMSG)
    def privmsg(
        self, mask: irc3.utils.IrcString, target: str, data: str, tags: str | None = None, **_: object
    ) -> None:
        pairs = (pair.partition("=") for pair in (tags or "").split(";") if pair)
        parsed = {key: value for key, _, value in pairs}
        report("heard", **{"from": str(mask.nick)}, channel=str(target), text=data, tags=parsed)


async def main() -> None:
    bot = irc3.IrcBot(
        nick=TARGET.login, username=TARGET.login, realname=TARGET.login, host=TARGET.host, port=TARGET.port,
        ssl=False, password=TARGET.token, includes=["irc3.plugins.core"], loop=asyncio.get_running_loop(),
    )
    bot.include(__name__)
    bot.create_connection()
    async for verb, text in commands():
        if verb == "say":
            await bot.privmsg(TARGET.channel, text)
            report("said", text=text)
        elif verb == "part":
            bot.part(TARGET.channel)
        else:
            break
    bot.quit("bye")


asyncio.run(main())

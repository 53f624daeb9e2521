"""bottom: TCP, asyncio. It knows neither CAP nor tags: what it is sent must be plain IRC.

Its last release for this Python still hands a loop to each ``asyncio.Event`` it makes, which Python has refused since
3.10: the client is given its table of events from outside. Nothing that touches the wire is changed."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import bottom
from driver import commands, report, target

TARGET = target()


async def main() -> None:
    client = bottom.Client(host=TARGET.host, port=TARGET.port, ssl=False, loop=asyncio.get_running_loop())
    client._events = defaultdict(asyncio.Event)

    @client.on("CLIENT_CONNECT")
    async def connected(**_: object) -> None:
        client.send("PASS", password=TARGET.token)
        client.send("NICK", nick=TARGET.login)
        client.send("USER", user=TARGET.login, realname=TARGET.login)

    @client.on("RPL_ENDOFMOTD")
    async def welcomed(**_: object) -> None:
        client.send("JOIN", channel=TARGET.channel)

    @client.on("PING")
    async def ping(message: str, **_: object) -> None:
        client.send("PONG", message=message)

    @client.on("JOIN")
    async def join(nick: str, **_: object) -> None:
        if nick == TARGET.login:
            report("joined")

    @client.on("PART")
    async def part(nick: str, **_: object) -> None:
        if nick == TARGET.login:
            report("parted")

    @client.on("PRIVMSG")
    async def privmsg(nick: str, target: str, message: str, **_: object) -> None:
        report("heard", **{"from": nick}, channel=target, text=message, tags={})

    await client.connect()
    async for verb, text in commands():
        if verb == "say":
            client.send("PRIVMSG", target=TARGET.channel, message=text)
            report("said", text=text)
        elif verb == "part":
            client.send("PART", channel=TARGET.channel)
        else:
            break
    client.send("QUIT")
    await client.disconnect()


asyncio.run(main())

"""miniirc: TCP, one thread. It writes ``PASS :oauth:...`` and asks for CAP LS before it says who it is."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import miniirc
from driver import report, target

TARGET = target()

client = miniirc.IRC(
    TARGET.host, TARGET.port, TARGET.login, ssl=False, server_password=TARGET.token, auto_connect=False, persist=False,
    executor=ThreadPoolExecutor(1),  # by default each line gets a thread of its own, and their order is lost
    ircv3_caps={"twitch.tv/tags", "twitch.tv/commands", "twitch.tv/membership"},
)


@client.Handler("001", colon=False)
def welcome(irc: miniirc.IRC, hostmask: tuple[str, str, str], args: list[str]) -> None:
    irc.send("JOIN", TARGET.channel)


@client.Handler("JOIN", colon=False)
def join(irc: miniirc.IRC, hostmask: tuple[str, str, str], args: list[str]) -> None:
    if hostmask[0] == TARGET.login:
        report("joined")


@client.Handler("PART", colon=False)
def part(irc: miniirc.IRC, hostmask: tuple[str, str, str], args: list[str]) -> None:
    if hostmask[0] == TARGET.login:
        report("parted")


@client.Handler("PRIVMSG", colon=False, ircv3=True)
def privmsg(irc: miniirc.IRC, hostmask: tuple[str, str, str], tags: dict[str, str], args: list[str]) -> None:
    report("heard", **{"from": hostmask[0]}, channel=args[0], text=args[1], tags=tags)


client.connect()
for line in sys.stdin:
    verb, _, text = line.rstrip("\n").partition(" ")
    if verb == "say":
        client.msg(TARGET.channel, text)
        report("said", text=text)
    elif verb == "part":
        client.send("PART", TARGET.channel)
    else:
        break
client.disconnect("bye")

"""irc (python-irc): TCP, its own select loop. Like most bots it asks for capabilities one by one, after the log-in."""

from __future__ import annotations

import select
import sys

import irc.client
from driver import report, target

TARGET = target()


def on_welcome(connection: irc.client.ServerConnection, _: irc.client.Event) -> None:
    for capability in ("membership", "tags", "commands"):
        connection.cap("REQ", f"twitch.tv/{capability}")
    connection.join(TARGET.channel)


def on_join(_: irc.client.ServerConnection, event: irc.client.Event) -> None:
    if event.source.nick == TARGET.login:
        report("joined")


def on_part(_: irc.client.ServerConnection, event: irc.client.Event) -> None:
    if event.source.nick == TARGET.login:
        report("parted")


def on_pubmsg(_: irc.client.ServerConnection, event: irc.client.Event) -> None:
    report("heard", **{"from": event.source.nick}, channel=event.target, text=event.arguments[0],
           tags={tag["key"]: tag["value"] for tag in event.tags})


def main() -> None:
    reactor = irc.client.Reactor()
    connection = reactor.server().connect(TARGET.host, TARGET.port, TARGET.login, password=TARGET.token)
    for name in ("welcome", "join", "part", "pubmsg"):
        connection.add_global_handler(name, globals()[f"on_{name}"])
    while True:
        reactor.process_once(timeout=0.02)
        while select.select([sys.stdin], [], [], 0)[0]:
            verb, _, text = sys.stdin.readline().rstrip("\n").partition(" ")
            if verb == "say":
                connection.privmsg(TARGET.channel, text)
                report("said", text=text)
            elif verb == "part":
                connection.part(TARGET.channel)
            else:
                connection.quit("bye")
                connection.close()
                return


sys.stdin.reconfigure(line_buffering=True)
main()

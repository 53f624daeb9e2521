"""The commands of the dialect: for each its handler and what has to hold before it is called (tmi_protocol.md 5).

A handler is `(session, message) -> effects`. The session checks the preconditions once, here stated; so handlers hold
only the interesting part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.irc.message import Message
from edge.effects import Effect
from edge.handlers import channels, history, messages, registration

if TYPE_CHECKING:
    from edge.session import Session


@dataclass(frozen=True, slots=True)
class Command:
    handler: Callable[[Session, Message], list[Effect]]
    least_params: int          # fewer are answered with 461
    registered: bool           # True: answered with 451 before the login is done


COMMANDS = {
    "PASS": Command(registration.pass_, 1, registered=False),
    "NICK": Command(registration.nick, 0, registered=False),
    "USER": Command(registration.user, 0, registered=False),
    "CAP": Command(registration.cap, 1, registered=False),
    "PING": Command(registration.ping, 0, registered=False),
    "PONG": Command(registration.pong, 0, registered=False),
    "QUIT": Command(registration.quit_, 0, registered=False),
    "JOIN": Command(channels.join, 1, registered=True),
    "PART": Command(channels.part, 1, registered=True),
    "NAMES": Command(channels.names, 0, registered=True),
    "MODE": Command(channels.mode, 0, registered=True),
    "WHOIS": Command(channels.whois, 1, registered=True),
    "PRIVMSG": Command(messages.privmsg, 1, registered=True),
    "CHATHISTORY": Command(history.chathistory, 0, registered=True),
}

# Instead of the above for lines that were not clean text. All other commands take the line with U+FFFD in the place
# of what could not be read; a message must not go out changed.
GARBLED = {**COMMANDS, "PRIVMSG": Command(messages.garbled, 1, registered=True)}

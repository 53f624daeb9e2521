"""Being in channels: JOIN, PART, NAMES, MODE, WHOIS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.irc import numerics
from common.irc.message import Message
from common.names import fold_channel
from edge import render
from edge.effects import Effect, Join, Part

if TYPE_CHECKING:
    from edge.session import Session

MAX_CHANNELS = 100  # per session, joins under way included (ARCHITECTURE 6)


# JOIN #<channel>[,#<channel>...] [<key>]
def join(session: Session, message: Message) -> list[Effect]:
    """Each channel by itself; one that the session is in, or is about to be in, stays without reply (clients.md 20)."""
    effects: list[Effect] = []
    for name in _list(message):
        channel = fold_channel(name)
        if channel is None:
            effects.append(no_such_channel(session))
        elif channel in session.channels:
            continue
        elif channel not in session.joins and len(session.channels) + len(session.joins) >= MAX_CHANNELS:
            text = f"You are in {MAX_CHANNELS} channels, which is the most. Leave one to join {channel}."
            effects.append(render.notice(channel, "msg_channel_limit", text, session.capabilities))
        elif session.joins.ask(channel):
            effects.append(Join(channel))
    return effects


# PART #<channel>[,#<channel>...] [:<reason>]
def part(session: Session, message: Message) -> list[Effect]:
    """Echoed at once, also for a join that clue has not answered yet: twitchAPI waits for it without end."""
    effects: list[Effect] = []
    for name in _list(message):
        channel = fold_channel(name)
        if channel is not None and (channel in session.channels or session.joins.give_up(channel)):
            session.channels.discard(channel)
            effects += (Part(channel), render.part(session.login, channel))
        else:
            text = "You're not on that channel"
            effects.append(render.numeric(numerics.ERR_NOTONCHANNEL, session.login, text, channel or "*"))
    return effects


# NAMES [#<channel>[,#<channel>...]]
def names(session: Session, message: Message) -> list[Effect]:
    """Of channels that the session is in, each once; of others nothing but the end."""
    return session.list_names(tuple(dict.fromkeys(fold_channel(name) or "*" for name in _list(message))) or ("*",))


# MODE <target> [<modes>]
def mode(session: Session, message: Message) -> list[Effect]:
    """Accepted without an answer: irssi, WeeChat and pydle send it after each join (clients.md 44)."""
    return []


# WHOIS [<server>] <login>
def whois(session: Session, message: Message) -> list[Effect]:
    """Nobody is known; stock pydle waits for these two lines before it goes on (clients.md 44)."""
    asked = message.params[-1]  # pydle asks for "<unregistered>" and waits for that very name
    if not asked or asked[0] == ":" or " " in asked:
        asked = "*"
    return [
        render.numeric(numerics.ERR_NOSUCHNICK, session.login, "No such nick", asked),
        render.numeric(numerics.RPL_ENDOFWHOIS, session.login, "End of /WHOIS list", asked),
    ]


def no_such_channel(session: Session) -> bytes:
    """For a name that no channel can have. To "*": clients refuse a NOTICE to anything else than that or a channel."""
    text = "This channel does not exist or has been suspended."
    return render.notice("*", "msg_channel_suspended", text, session.capabilities)


def _list(message: Message) -> list[str]:
    """The parts of the first parameter, each once, in order."""
    names = message.params[0].split(",") if message.params else []
    return [name for name in dict.fromkeys(names) if name]

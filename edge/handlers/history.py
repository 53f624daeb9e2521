"""Catching up: CHATHISTORY (IRCv3 "chathistory", a draft), for clients that negotiated it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from common.irc import numerics
from common.irc.message import Message
from common.names import fold_channel
from edge import render
from edge.effects import Effect, ReadHistory
from edge.history import MAX_MESSAGES, Direction, Query, Selector
from edge.render import Capability

if TYPE_CHECKING:
    from edge.session import Session

# Of one session: a client that comes back asks once for each of its channels.
MAX_QUERIES = 100

_SUBCOMMANDS = {direction.value: direction for direction in Direction}


# CHATHISTORY LATEST <channel> <* | timestamp=<time> | msgid=<id>> <limit>
# CHATHISTORY BEFORE | AFTER | AROUND <channel> <timestamp=<time> | msgid=<id>> <limit>
# CHATHISTORY BETWEEN <channel> <timestamp=<time> | msgid=<id>> <timestamp=<time> | msgid=<id>> <limit>
def chathistory(session: Session, message: Message) -> list[Effect]:
    """Of channels that the session is in: who may not join may not read either."""
    if Capability.CHATHISTORY not in session.capabilities:
        text = "Unknown command"  # as for any other client of Twitch's dialect
        return [render.numeric(numerics.ERR_UNKNOWNCOMMAND, session.login, text, message.command)]
    params = message.params
    name = params[0].upper() if params else "*"
    direction = _SUBCOMMANDS.get(name)
    if direction is None:
        return [refusal("INVALID_PARAMS", _word(name), "Unknown subcommand")]
    selectors = 2 if direction is Direction.BETWEEN else 1
    if len(params) < 3 + selectors:
        return [refusal("INVALID_PARAMS", name, "Insufficient parameters")]
    channel = fold_channel(params[1])
    if channel is None or channel not in session.channels:
        return [refusal("INVALID_TARGET", f"{name} {_word(params[1])}", "You are not in that channel")]
    limit = params[2 + selectors]
    if not (limit.isascii() and limit.isdecimal() and limit.strip("0")):
        return [refusal("INVALID_PARAMS", f"{name} {channel}", "The limit is a number above 0")]
    first = second = None
    if direction is not Direction.LATEST or params[2] != "*":
        first = _selector(params[2])
        second = _selector(params[3]) if direction is Direction.BETWEEN else None
        if first is None or (direction is Direction.BETWEEN and second is None):
            text = "Give msgid=<id> or timestamp=YYYY-MM-DDThh:mm:ss.sssZ"
            return [refusal("INVALID_PARAMS", f"{name} {channel}", text)]
    if session.queries >= MAX_QUERIES:
        return [refusal("MESSAGE_ERROR", f"{name} {channel}", "Too many questions at once. Wait for the answers")]
    session.queries += 1
    return [ReadHistory(Query(channel, direction, min(int(limit[:9]), MAX_MESSAGES), first, second))]


def refusal(code: str, context: str, text: str) -> bytes:
    return render.fail("CHATHISTORY", code, context, text)


def _selector(text: str) -> Selector | None:
    kind, _, value = text.partition("=")
    if kind == "msgid" and value:
        return Selector(value)
    if kind == "timestamp":
        try:
            moment = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%f%z")
        except ValueError:
            return None
        return Selector("", round(moment.timestamp() * 1000))
    return None


def _word(text: str) -> str:
    """Of a client's own text, what can stand as a middle parameter."""
    return text if text and text[0] != ":" and " " not in text else "*"

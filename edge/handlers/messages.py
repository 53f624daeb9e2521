"""Speaking: PRIVMSG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.irc import numerics
from common.irc.message import Message
from common.names import fold_channel
from edge import render
from edge.effects import Effect, Submit
from edge.handlers.channels import no_such_channel

if TYPE_CHECKING:
    from edge.session import Session

# Both tags go out to every reader again; what real clients send is a UUID or 32 hexadecimal digits.
MAX_TAG_VALUE = 64

_BAD_CHARACTERS = (
    "Your message was not sent because it contained too many unprocessable characters. "
    "If you believe this is an error, please rephrase and try again."
)
_ANONYMOUS = "Your message was not sent because you are connected anonymously. Log in to chat."


# [@client-nonce=<nonce>;reply-parent-msg-id=<id>;+tallgrass/trace] PRIVMSG #<channel> :<text>
def privmsg(session: Session, message: Message) -> list[Effect]:
    """To any channel, joined or not (clients.md 24). Slash commands, "/me" among them, are read by clue."""
    params = message.params
    channel = params[0] if params[0] in session.channels else fold_channel(params[0])
    if channel is None:
        return [no_such_channel(session)]
    if session.user is None:
        return [render.notice(channel, "no_permission", _ANONYMOUS, session.capabilities)]
    if len(params) < 2 or not params[1].strip():
        # Twitch says nothing; here nobody waits in vain for a message that was none.
        return [render.numeric(numerics.ERR_NOTEXTTOSEND, session.login, "No text to send")]
    nonce = parent = ""
    trace = False
    if message.raw_tags:
        tags = message.tags
        trace = "+tallgrass/trace" in tags
        nonce, parent = _bounded(tags.get("client-nonce", "")), _bounded(tags.get("reply-parent-msg-id", ""))
    return [Submit(channel, params[1], nonce, parent, trace)]


# The same, when the line held invalid UTF-8 or NUL
def garbled(session: Session, message: Message) -> list[Effect]:
    channel = fold_channel(message.params[0])
    if channel is None:
        return [no_such_channel(session)]
    return [render.notice(channel, "msg_bad_characters", _BAD_CHARACTERS, session.capabilities)]


def _bounded(value: str) -> str:
    return value if len(value) <= MAX_TAG_VALUE else ""

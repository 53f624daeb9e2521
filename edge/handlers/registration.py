"""Who speaks, and in which form: PASS, NICK, USER, CAP, PING, PONG, QUIT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.irc import numerics
from common.irc.message import Message
from common.names import fold_login, is_anonymous
from edge import render
from edge.disconnect import Disconnect
from edge.effects import CapabilitiesChanged, Effect
from edge.render import Capability

if TYPE_CHECKING:
    from edge.session import Session

_TOKEN_PREFIX = "oauth:"

_OF_TWITCH = {
    "twitch.tv/tags": Capability.TAGS,
    "twitch.tv/commands": Capability.COMMANDS,
    "twitch.tv/membership": Capability.MEMBERSHIP,
}
_OF_IRCV3 = {
    "batch": Capability.BATCH,
    "draft/chathistory": Capability.CHATHISTORY,
    "message-tags": Capability.MESSAGE_TAGS,
    "server-time": Capability.SERVER_TIME,
}
_CAPABILITIES = {**_OF_TWITCH, **_OF_IRCV3}
_IRCV3_VERSION = 302  # of CAP LS


# PASS oauth:<token>
def pass_(session: Session, message: Message) -> list[Effect]:
    """Kept until NICK; without effect after the login."""
    session.password = message.params[0]
    return []


# NICK <login>
def nick(session: Session, message: Message) -> list[Effect]:
    """Logs in at once: many clients send neither USER nor CAP END (clients.md 1)."""
    if session.login:
        return session.refuse_login("NICK already set", Disconnect.NICK_ALREADY_SET)
    typed = message.params[0] if message.params else ""
    login = fold_login(typed)
    if login is None:
        return session.refuse_login("Invalid NICK", Disconnect.INVALID_NICK)
    if is_anonymous(login):
        return session.open(login, None)
    password = session.password
    token = password[len(_TOKEN_PREFIX) :] if password.lower().startswith(_TOKEN_PREFIX) else ""
    if not token:
        return session.refuse_login("Improperly formatted auth", Disconnect.IMPROPER_AUTH)
    return session.authenticate(typed, token)


# USER <anything>
def user(session: Session, message: Message) -> list[Effect]:
    """Ignored, before and after NICK (clients.md 2)."""
    return []


# CAP LS [<version>] | CAP LIST | CAP REQ :<[-]name> ... | CAP END
def cap(session: Session, message: Message) -> list[Effect]:
    """LS names Twitch's three, to everybody in the line that clients know (clients.md 11). What there is beside them
    follows the welcome as CAP NEW, for those who said with LS 302 that they know it (IRCv3 "cap-notify").
    """
    subcommand = message.params[0].upper()
    if subcommand == "REQ":
        return _cap_req(session, " ".join(message.params[1:]))
    if subcommand == "LS":
        session.notify = _speaks_ircv3(message)
        return [render.cap("LS", " ".join(_OF_TWITCH))]
    if subcommand == "LIST":
        enabled = [name for name, flag in _CAPABILITIES.items() if flag & session.capabilities]
        return [render.cap("LIST", " ".join(enabled))]
    if subcommand == "END":
        return []
    return [render.numeric(numerics.ERR_INVALIDCAPCMD, session.login, "Invalid CAP command", "*")]


def offer() -> bytes:
    """What a client that speaks IRCv3 can ask for, too."""
    return render.cap("NEW", " ".join(_OF_IRCV3))


def _speaks_ircv3(message: Message) -> bool:
    version = message.params[1] if len(message.params) > 1 else ""
    return version.isdecimal() and int(version[:9]) >= _IRCV3_VERSION


def _cap_req(session: Session, request: str) -> list[Effect]:
    """All or nothing, and the list goes back exactly as it came: twurple compares it (clients.md 12)."""
    capabilities = session.capabilities
    for word in request.split():
        flag = _CAPABILITIES.get(word.removeprefix("-"))
        if flag is None:
            return [render.cap("NAK", request)]
        capabilities = capabilities & ~flag if word.startswith("-") else capabilities | flag
    effects: list[Effect] = [render.cap("ACK", request)]
    if capabilities != session.capabilities:
        session.capabilities = capabilities
        effects.append(CapabilitiesChanged())
    return effects


# PING [:<token>]
def ping(session: Session, message: Message) -> list[Effect]:
    return [render.pong(message.params[0]) if message.params else render.PONG_WITHOUT_TOKEN]


# PONG [<anything>]
def pong(session: Session, message: Message) -> list[Effect]:
    """The connection takes any line as a sign of life (clients.md 34)."""
    return []


# QUIT [:<text>]
def quit_(session: Session, message: Message) -> list[Effect]:
    return session.close(Disconnect.QUIT)

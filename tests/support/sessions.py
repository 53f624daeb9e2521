"""Builders for the pure session core: sessions in a known state, and answers of clue."""

from __future__ import annotations

from common.pb.chat_pb2 import Chatter, RoomState
from common.pb.clue_pb2 import JoinResult, LoginResult
from edge.effects import Effect
from edge.render import NO_CAPABILITIES, Capability
from edge.session import Session

EVERYTHING = Capability.TAGS | Capability.COMMANDS | Capability.MEMBERSHIP


def chatter(login: str = "bob", **fields: object) -> Chatter:
    return Chatter(**{"user_id": 12345678, "login": login, "display_name": login.title(), **fields})


def accepted(login: str = "bob") -> LoginResult:
    return LoginResult(outcome=LoginResult.ACCEPTED, user=chatter(login))


def admitted(room_id: int = 77, *, anonymous: bool = False) -> JoinResult:
    return JoinResult(
        outcome=JoinResult.ADMITTED,
        room=RoomState(room_id=room_id, followers_only_min=-1),
        chatter=None if anonymous else chatter(),
    )


def open_session(capabilities: Capability = NO_CAPABILITIES) -> Session:
    """Logged in as bob, in no channel."""
    session = Session(1)
    session.feed(b"PASS oauth:t")
    session.feed(b"NICK bob")
    session.capabilities = capabilities
    session.authenticated(accepted())
    return session


def anonymous_session(capabilities: Capability = NO_CAPABILITIES) -> Session:
    session = Session(1)
    session.feed(b"NICK justinfan1")
    session.capabilities = capabilities
    return session


def member(*channels: str, capabilities: Capability = NO_CAPABILITIES) -> Session:
    """Logged in as bob, in these channels."""
    session = open_session(capabilities)
    for channel in channels:
        session.feed(b"JOIN " + channel.encode())
        session.joined(channel, admitted())
    return session


def sent(effects: list[Effect]) -> list[str]:
    """The lines among the effects, without their ends."""
    data = b"".join(effect for effect in effects if isinstance(effect, bytes))
    assert data == b"" or data.endswith(b"\r\n")
    return data.decode().split("\r\n")[:-1]


def asked(effects: list[Effect]) -> list[Effect]:
    """The effects that are not lines."""
    return [effect for effect in effects if not isinstance(effect, bytes)]

"""What the session core may ask of its connection, in the order of carrying out.

Bytes are whole CRLF lines to send; everything else is one of these values.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.disconnect import Disconnect
from edge.history import Query


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Ask clue who this is; answer with `Session.authenticated`. Lines that come meanwhile still go to `feed`."""

    nick: str                  # valid, as typed
    token: str                 # without "oauth:", never empty


@dataclass(frozen=True, slots=True)
class Join:
    """Get the channel's facts; answer with `Session.joined`, exactly once for each Join."""

    channel: str


@dataclass(frozen=True, slots=True)
class Joined:
    """The session is in the channel now, and told so: what enters its log after `head` belongs on its screen."""

    channel: str
    head: int


@dataclass(frozen=True, slots=True)
class Part:
    """The session left the channel, or gave up a Join that is under way (which is answered all the same)."""

    channel: str


@dataclass(frozen=True, slots=True)
class Submit:
    """Send a text to clue; answer with `Session.verdict`. The session may be outside of the channel."""

    channel: str
    text: str                  # as sent: clue trims, cuts and reads "/me"
    client_nonce: str          # "": none
    reply_parent_id: str       # id of the message that is answered; "": none
    trace: bool = False        # the sender wants its way to be logged (edge/tracing.py)


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """Send the 353 of those who are in the channel before the session, as far as they are known at this moment."""

    channel: str


@dataclass(frozen=True, slots=True)
class Names:
    """Find out who is in channels; answer with `Session.named`. Lines that come meanwhile still go to `feed`."""

    channels: tuple[str, ...]  # at least one that the session is in


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """Read the channel's log; answer with `Session.history`, exactly once for each."""

    query: Query


@dataclass(frozen=True, slots=True)
class CapabilitiesChanged:
    """What this session may be sent has changed: it now belongs to other readers of its channels."""


@dataclass(frozen=True, slots=True)
class Close:
    """Send what the reason says, if anything, and close. Always the last effect."""

    reason: Disconnect


Effect = (
    bytes
    | Authenticate
    | Join
    | Joined
    | Part
    | Submit
    | AlreadyThere
    | Names
    | ReadHistory
    | CapabilitiesChanged
    | Close
)

"""The table of reasons to end a connection: metrics, logs and the wire all use these entries.

Each has a code from the private range of RFC 6455 section 7.4.2, and what the ERROR line tells the user ("": nothing).
Codes from 4000 say: come back, later or elsewhere; codes from 4100: not before something is changed at your end. The
texts hold none of the words at which clients stop reconnecting (clients.md 9): those are in the NOTICE of a failed
login.
"""

from __future__ import annotations

import enum


@enum.unique
class Disconnect(enum.Enum):
    SERVER_STOPPING = (4000, "The server is going away. Please connect again.")
    SERVER_FULL = (4001, "The server is full. Please try again in a minute.")
    # An ERROR line and no NOTICE: before 001 clients take any NOTICE for a wrong password, and some give up for good.
    LOGIN_UNAVAILABLE = (4002, "Chat is unavailable at the moment. Please try again in a minute.")
    INTERNAL_ERROR = (4003, "Something went wrong at our end. Please connect again.")
    PING_TIMEOUT = (4004, "Ping timeout: nothing was heard from you.")
    SLOW_READER = (4005, "You were reading too slowly.")
    REGISTRATION_TIMEOUT = (4006, "You did not log in in time.")
    TOO_MANY_SESSIONS = (4007, "Too many connections from your address.")
    QUIT = (4100, "")
    LOGIN_REFUSED = (4101, "")
    IMPROPER_AUTH = (4102, "")
    INVALID_NICK = (4103, "")
    NICK_ALREADY_SET = (4104, "")
    TOO_MANY_LINES = (4105, "Too many lines before the login was done.")
    LINES_TOO_LONG = (4106, "Input lines were too long, again and again.")
    BINARY_FRAME = (4107, "Send text frames: binary ones are not understood here.")
    TLS_ON_PLAIN_PORT = (4108, "This port does not speak TLS: connect without it, or to the TLS port.")
    BAD_PROXY_HEADER = (4109, "The PROXY header cannot be read: it has to be version 1.")

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    @property
    def may_return(self) -> bool:
        """Whether coming back can help without a change at the client's end."""
        return self.code < 4100

    def line(self) -> bytes:
        """The ERROR line for the user; b"" when the reason needs no words."""
        return f"ERROR :{self.text}\r\n".encode() if self.text else b""

"""The table of reasons."""

from __future__ import annotations

import pytest

from edge.disconnect import Disconnect

# What makes tmi.js (client.js, NOTICE) and twurple give up for good.
GIVING_UP = [
    "Login unsuccessful",
    "Login authentication failed",
    "Error logging in",
    "Improperly formatted",
    "Invalid NICK",
]


@pytest.mark.parametrize("reason", Disconnect)
def test_a_reason_is_one_error_line_or_none(reason):
    """A line as plain IRC clients show it, ended by CRLF."""
    line = reason.line()
    assert line == (f"ERROR :{reason.text}\r\n".encode() if reason.text else b"")
    assert line.count(b"\n") <= 1


@pytest.mark.parametrize("reason", Disconnect)
def test_no_reason_makes_clients_give_up(reason):
    """Those words belong to failed logins alone (clients.md 9)."""
    assert not any(words.lower() in reason.text.lower() for words in GIVING_UP)


def test_codes_are_distinct_and_private():
    """RFC 6455 section 7.4.2: 4000 to 4999."""
    codes = [reason.code for reason in Disconnect]
    assert len(set(codes)) == len(codes)
    assert all(4000 <= code < 5000 for code in codes)


@pytest.mark.parametrize(
    ("reason", "may_return"),
    [
        (Disconnect.SERVER_STOPPING, True),
        (Disconnect.LOGIN_UNAVAILABLE, True),
        (Disconnect.PING_TIMEOUT, True),
        (Disconnect.LOGIN_REFUSED, False),
        (Disconnect.QUIT, False),
        (Disconnect.BINARY_FRAME, False),
    ],
)
def test_a_reason_says_whether_to_come_back(reason, may_return):
    """Yes, when the cause is not the client's to change."""
    assert reason.may_return is may_return

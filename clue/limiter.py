"""How many messages a user may send: the numbers, and which of them a message meets.

Of the docs (a privileged message also fills the lower bound) and the measurement (it does not), we follow the docs
(tmi_protocol section 9); that choice is allow.lua's one counter. The window is fixed, not sliding, as measured.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account may send. A bound of 0: no limit."""

    ordinary: int = 20  # messages a window where the sender is not broadcaster, mod or VIP
    privileged: int = 100  # messages a window where it is one of these
    window_ms: int = 30_000
    floor_ms: int = 1_000  # between two messages of an unprivileged user in one channel; 0: none
    lockout_ms: int = (
        0  # for who went over `ordinary`, every ordinary message is refused for so long, and told; 0: none
    )
    joins: int = 20  # attempts a window, of one user
    verified_joins: int = 2_000  # likewise, of staff and admins: there are no other verified accounts
    duplicates: bool = True  # refuse a text equal to the sender's last one there, for 30 s


ON = Limits()
OFF = Limits(ordinary=0, privileged=0, floor_ms=0, joins=0, verified_joins=0, duplicates=False)

JOINS_WINDOW_MS = 10_000

WHISPERS_A_S, WHISPERS_A_MIN = 3, 100  # tmi_protocol section 9; new recipients are not counted

REQUESTS_A_MIN = 800  # to the HTTP API, of one user, messages apart: as many points as Twitch's API gives

"""Bans from a channel for good, as its log tells them: whoever is inside is out (tmi_protocol.md 6 and 12).

A time-out leaves its user inside. Every edge reads the same log, so every session of the user goes, wherever it is.
"""

from __future__ import annotations

from functools import partial

from common.pb.chat_pb2 import Banned
from edge.hub import Hub

# Bans remembered, for joins that clue answered before them: those are answered within seconds.
_REMEMBERED = 10_000


class Expulsions:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._bans: dict[tuple[str, int], int] = {}  # channel and user to the ban's seq; the oldest stands first

    def banned(self, name: str, seq: int, ban: Banned) -> None:
        """A ban was published to the hub just now. The banned see it, and all before it; then they are out."""
        if ban.until_ms:
            return
        key = (name, ban.user_id)
        self._bans.pop(key, None)
        self._bans[key] = seq
        if len(self._bans) > _REMEMBERED:
            del self._bans[next(iter(self._bans))]
        channel = self._hub.channels.get(name)
        if channel is not None:
            for connection in self._hub.users.get(ban.login, ()):
                if channel.has(connection):
                    channel.afterwards(partial(connection.expel, name))

    def since(self, name: str, user_id: int, head: int) -> bool:
        """Whether the user was banned after `head`, the place in the log at which it was let in."""
        return self._bans.get((name, user_id), 0) > head

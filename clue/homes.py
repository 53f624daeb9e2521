"""Where a channel lives: what its own head says (home.lua), else the directory's list, else its name. Pure.

Inboxes "@..." and temporary rooms "#_..." live on one cluster, all other channels on another, unless they were moved.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from clue.scripts import Here
from common.errors import RemoteError
from common.pb import clue_pb2

TEST = "test"  # the cluster that shares nothing: nothing is moved to it
DIRECTORY = "directory"  # whose Redis the shared directory is in; no cluster's name

_MOVE = re.compile(r"[0-9]{13}-[0-9a-z]{1,32}", re.ASCII).fullmatch


class Home(NamedTuple):
    """`move`: the one that took the channel there; "": it was always there."""

    cluster: str
    move: str = ""

    def stored(self) -> str:
        """As Redis keeps it."""
        return f"{self.cluster} {self.move}" if self.move else self.cluster


class LivesElsewhere(RemoteError):
    """The channel's home is another cluster: ask there. Nothing was done here."""

    def __init__(self, channel: str, home: Home) -> None:
        super().__init__(f"cluster {home.cluster}", channel, f"{channel} lives on cluster {home.cluster}: ask there")
        self.channel = channel
        self.home = home


class Homes:
    """`listed` is replaced as the directory changes. A cluster alone has all channels."""

    def __init__(self, cluster: str, default_home: str = "", inbox_home: str = "") -> None:
        """Homes: "" for this cluster."""
        self.cluster = cluster
        self.default_home = default_home or cluster
        self.inbox_home = inbox_home or cluster
        self.listed: dict[str, Home] = {}
        self._here = Here(cluster, "")
        self._all_here = self.default_home == self.inbox_home == cluster

    def by_name(self, name: str) -> str:
        """The cluster where `name` ("#channel", "@login") lives if it was never moved."""
        return self.inbox_home if name[:1] == "@" or is_room(name) else self.default_home

    def of(self, name: str) -> Home:
        """As far as is known without asking the head."""
        return self.listed.get(name) or Home(self.by_name(name))

    def here(self, name: str) -> Here:
        """For the scripts. The list counts only where nothing is stored: where a shard has lost all, it is right."""
        if self._all_here and not self.listed:
            return self._here
        home = self.of(name)
        return self._here if home.cluster == self.cluster else Here(self.cluster, home.stored())

    def check(self, name: str, stored: bytes | None) -> None:
        """Raises LivesElsewhere. `stored`: the head's field home."""
        home = read_home(stored) if stored else self.of(name)
        if home.cluster != self.cluster:
            raise LivesElsewhere(name, home)


def read_home(stored: bytes) -> Home:
    cluster, _, move = stored.decode().partition(" ")
    return Home(cluster, move)


def failure(channel: str, reply: object) -> RemoteError | None:
    """Of what a script answered that begins with home.lua: its shard's error, or LivesElsewhere; None: it was done."""
    if isinstance(reply, bytes):
        return LivesElsewhere(channel, read_home(reply))
    return reply if isinstance(reply, RemoteError) else None


def elsewhere(home: Home) -> clue_pb2.Elsewhere:
    return clue_pb2.Elsewhere(cluster=home.cluster, move=home.move)


def is_room(channel: str) -> bool:
    """Whether it is a temporary room's name."""
    return channel.startswith("#_")


def is_move(text: str) -> bool:
    """Whether it is a move's token: "<13 digits of UNIX ms>-<random>". A later one is greater."""
    return _MOVE(text) is not None

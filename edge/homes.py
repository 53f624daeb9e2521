"""Where channels live: what the directory says, and what clues have answered since. Pure.

A channel that was moved is told apart by its move's token: of two, the later one is greater. The directory's word is a
few seconds old; an answer "elsewhere" is newer when its token is greater, and holds until the directory knows as much.
"""

from __future__ import annotations

from typing import NamedTuple

from common.pb.clue_pb2 import Directory, Elsewhere

CORRECTIONS = 10_000  # kept; the oldest goes first, and costs a redirect when it is needed again

_ROOM, _INBOX = "#_", "@"


class Home(NamedTuple):
    cluster: str
    move: str  # that took the channel there; "": it has always lived there


class Homes:
    """`own`: the cluster of whoever asks, where everything lives until a directory has said more."""

    def __init__(self, own: str) -> None:
        self.own = own
        self.version = 0  # of the listed homes; 0: nothing is known of them
        self._default = Home(own, "")
        self._inboxes = Home(own, "")
        self._listed: dict[str, Home] = {}
        self._corrections: dict[str, Home] = {}

    @property
    def corrections(self) -> int:
        return len(self._corrections)

    @property
    def listed(self) -> int:
        return len(self._listed)

    def of(self, channel: str) -> str:
        """The cluster to ask about a channel or an inbox."""
        return self.at(channel).cluster

    def at(self, channel: str) -> Home:
        known = self._corrections.get(channel)
        return known if known is not None else self._said(channel)

    def learn(self, directory: Directory) -> bool:
        """The own cluster's directory. True: some channels may have another home now."""
        before = self._default, self._inboxes, self.version
        self._default = Home(directory.default_home or self.own, "")
        self._inboxes = Home(directory.inbox_home or self.own, "")
        if directory.homes_version not in (0, self.version):
            self.version = directory.homes_version
            self._listed = {home.channel: Home(home.cluster, home.move) for home in directory.homes}
            for channel, home in list(self._corrections.items()):
                if home.move <= self._said(channel).move:
                    del self._corrections[channel]
        return before != (self._default, self._inboxes, self.version)

    def correct(self, channel: str, elsewhere: Elsewhere) -> bool:
        """A clue said so. True: that is news, and `of` says the same from now on. False: something later is known, or
        it was known.
        """
        known, told = self.at(channel), Home(elsewhere.cluster, elsewhere.move)
        if told == known or told.move < known.move:
            return False
        self._corrections.pop(channel, None)
        if told != self._said(channel):
            self._corrections[channel] = told
            if len(self._corrections) > CORRECTIONS:
                del self._corrections[next(iter(self._corrections))]
        return True

    def _said(self, channel: str) -> Home:
        """What the directory says."""
        home = self._listed.get(channel)
        if home is not None:
            return home
        return self._inboxes if channel.startswith((_INBOX, _ROOM)) else self._default

"""Who is in which channel: what this edge has to report of its own sessions, and what readers were told of everybody's.

Pure. Reports are differences since the last one, by lane; one that was lost, or that clue knows nothing of (a new edge,
a server that lost its memory), is followed by a full one. Logins count, not sessions: somebody with two connections
comes once, and goes with the last of them. Anonymous sessions are nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from common.pb.clue_pb2 import ChannelPresence, Chatters
from common.sharding import LANES, lane
from edge import render


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is in a channel, over all edges, at one moment."""

    channel: str
    count: int
    logins: tuple[str, ...]  # sorted; those with a role alone when not `complete`
    complete: bool  # False: above 1,000 chatters
    moderators: frozenset[str]
    vips: frozenset[str]

    @classmethod
    def of(cls, chatters: Chatters) -> Roster:
        return cls(
            chatters.channel,
            chatters.count,
            tuple(chatters.logins),
            chatters.complete,
            frozenset(chatters.moderators),
            frozenset(chatters.vips),
        )

    @property
    def owner(self) -> str:
        return self.channel[1:]

    @property
    def operators(self) -> frozenset[str]:
        """Those whom MODE shows as such: the broadcaster, when there, and the moderators."""
        return self.moderators | {self.owner} if self.owner in self.logins else self.moderators

    @property
    def names(self) -> Collection[str]:
        """Whom NAMES lists: all; in a large channel its operators (tmi_protocol.md 6)."""
        return self.logins if self.complete else sorted(self.operators)


class Movement:
    """JOINs, PARTs and MODEs of others for the readers of a channel, as lines. One's own are not for oneself."""

    __slots__ = ("lines", "own")

    def __init__(self, channel: str, before: Roster | None, now: Roster) -> None:
        known, there = set(before.logins) if before else set(), set(now.logins)
        left = [login for login in before.logins if login not in there] if before else []
        joined = [login for login in now.logins if login not in known]
        self.own = {login: render.part(login, channel) for login in left}
        self.own.update((login, render.join(login, channel)) for login in joined)
        were, are = before.operators if before else frozenset[str](), now.operators
        modes = [render.mode(channel, "-o", login) for login in sorted((were - are) & there)]
        modes += [render.mode(channel, "+o", login) for login in sorted(are - were)]
        self.lines = b"".join((*self.own.values(), *modes))

    def without(self, login: str) -> bytes:
        own = self.own.get(login)
        return self.lines.replace(own, b"", 1) if own else self.lines


class LocalChannel:
    """One channel with members on this edge."""

    __slots__ = ("_changes", "_full", "_logins", "_lost", "_sessions", "known", "name", "told")

    def __init__(self, name: str) -> None:
        self.name = name
        self.known: Roster | None = None  # the newest; None: nobody here has to know
        self.told: Roster | None = None  # the newest complete one: what readers have been told
        self._logins: dict[str, int] = {}  # sessions of each
        self._sessions = 0  # anonymous ones too
        self._changes: dict[str, bool] = {}  # since the last report: came (True), or went
        self._full = True  # the next report names everybody
        self._lost = False  # the last one did not arrive

    def enter(self, login: str) -> None:
        self._sessions += 1
        if login:
            count = self._logins.get(login, 0)
            self._logins[login] = count + 1
            if not count and self._changes.pop(login, True):
                self._changes[login] = True

    def leave(self, login: str) -> None:
        self._sessions -= 1
        if login:
            count = self._logins[login] - 1
            if count:
                self._logins[login] = count
                return
            del self._logins[login]
            if not self._changes.pop(login, False):
                self._changes[login] = False

    @property
    def over(self) -> bool:
        """Nobody is here, and nothing is left to report."""
        return not self._sessions and not self._changes and not self._lost

    def report(self) -> ChannelPresence | None:
        """What clue has to hear; None: only anonymous sessions are and were here."""
        changes, self._changes = self._changes, {}
        full, self._full = self._full, False
        lost, self._lost = self._lost, False
        if full and self._logins:
            return ChannelPresence(channel=self.name, joined=self._logins, full=True)
        if not self._logins:
            # The set at clue ends with its last login: whoever comes next begins a new one.
            self._full = True
            return ChannelPresence(channel=self.name, full=True) if changes or lost else None
        joined = [login for login, came in changes.items() if came]
        left = [login for login, came in changes.items() if not came]
        return ChannelPresence(channel=self.name, joined=joined, left=left)

    def lost(self) -> None:
        """The last report did not arrive, or made no sense to clue."""
        self._full = self._lost = True

    def learn(self, roster: Roster) -> Movement | None:
        """A new list; returns what readers have to be told. Nothing of a large channel; when it is no longer large,
        the difference to what they were told before.
        """
        self.known = roster
        if not roster.complete:
            return None
        movement = Movement(self.name, self.told, roster)
        self.told = roster
        return movement if movement.lines else None

    def forget(self) -> None:
        """No reader is left."""
        self.known = self.told = None


class Presence:
    """All channels with members on this edge, by lane."""

    def __init__(self) -> None:
        self._channels: dict[str, LocalChannel] = {}
        self._lanes: list[dict[str, LocalChannel]] = [{} for _ in range(LANES)]

    def get(self, name: str) -> LocalChannel | None:
        return self._channels.get(name)

    def of_lane(self, number: int) -> Iterator[LocalChannel]:
        return iter(self._lanes[number].values())

    def enter(self, name: str, login: str) -> None:
        """A session came in; `login` "": an anonymous one."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = self._lanes[lane(name)][name] = LocalChannel(name)
        channel.enter(login)

    def leave(self, name: str, login: str) -> None:
        self._channels[name].leave(login)

    def report(self, number: int) -> list[ChannelPresence]:
        """What has to be reported of one lane. Channels that are over are forgotten once that was reported."""
        channels = self._lanes[number]
        for name in [name for name, channel in channels.items() if channel.over]:
            del channels[name], self._channels[name]
        return [report for channel in channels.values() if (report := channel.report()) is not None]

    def lost(self, names: Iterable[str]) -> None:
        """The reports of these channels did not arrive: the next ones are full."""
        for name in names:
            channel = self._channels.get(name)
            if channel is not None:
                channel.lost()

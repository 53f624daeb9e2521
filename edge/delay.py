"""The delay of a channel for all but its moderators (tmi_protocol section 11): messages stand between the log and the
hub for 2, 4 or 6 seconds, in which moderators see them already and can take them back.

Promises: 1. moderators get each message once, when it comes; 2. others get it once, when its time has passed, in the
order of the log; 3. what is taken back meanwhile (a message, an author, the whole chat) never reaches others, nor does
the CLEARMSG, which has its text; 4. what is not delayed waits for nothing.

Nothing is held, looked up or timed for a channel without delayed messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from common.clock import Clock
from common.metrics import Metrics
from common.pb.chat_pb2 import Chatter, Publication
from edge.hub import Hub
from edge.render import render

if TYPE_CHECKING:
    from edge.connection import Connection

HELD = 20_000  # publications of one channel; above it the oldest goes out before its time
_KNOWN = 10_000  # channels whose moderators are remembered


class _Held(NamedTuple):
    publication: Publication
    due: float  # of the loop's clock
    shown: Collection[Connection]  # who has it already


class Delays:
    def __init__(self, hub: Hub, *, clock: Clock, metrics: Metrics) -> None:
        self._hub = hub
        self._clock = clock
        self._metrics = metrics
        self._held: dict[str, deque[_Held]] = {}
        self._clearing: set[str] = set()  # channels whose CLEARCHAT the hub has not written yet
        self._moderators: dict[str, set[str]] = {}  # logins, as far as they have been here, by channel

    def joins(self, channel: str, chatter: Chatter) -> None:
        """This user is let in; `chatter` as clue sees it there."""
        if chatter.mod or chatter.user_type or channel == "#" + chatter.login:
            if channel not in self._moderators and len(self._moderators) >= _KNOWN:
                self._forget()
            self._moderators.setdefault(channel, set()).add(chatter.login)

    def moderates(self, channel: str, login: str) -> bool:
        """Only of who has joined here."""
        return login in self._moderators.get(channel, ())

    def publish(self, channel: str, publications: list[Publication]) -> None:
        """To the hub, now or later."""
        if channel not in self._held and not any(publication.line.delay_s for publication in publications):
            self._hub.publish(channel, publications)
            return
        if channel not in self._hub.channels:
            return
        for publication in publications:
            body = publication.WhichOneof("body")
            if body == "line" and publication.line.delay_s:
                self._hold(channel, publication)
            elif body == "deleted" and self._take_back(channel, publication):
                self._show(channel, publication)
            else:
                if body == "banned":
                    self._drop(channel, author=publication.banned.user_id)
                elif body == "cleared":
                    self._drop(channel)
                    self._clearing.add(channel)
                    self._hub.channels[channel].afterwards(partial(self._clearing.discard, channel))
                self._hub.publish(channel, [publication])

    def changed(self, channel: str, publication: Publication) -> None:
        """Somebody's roles have."""
        roles, known = publication.roles, self._moderators.setdefault(channel, set())
        if "mod" in roles.roles:
            known.add(roles.login)
        elif channel != "#" + roles.login:
            known.discard(roles.login)
        if not known:
            del self._moderators[channel]

    # -- holding ------------------------------------------------------------------------------------------------

    def _hold(self, channel: str, publication: Publication) -> None:
        loop = self._hub.loop
        held = self._held.get(channel)
        if held is None:
            held = self._held[channel] = deque()
            loop.call_soon(self._release, channel)
        delay_s = publication.line.delay_s
        # What comes late (a gap was filled) has waited already, by clue's clock.
        left = publication.ts_ms / 1e3 + delay_s - self._clock.unix_ms() / 1e3
        due = loop.time() + min(max(0.0, left), delay_s)
        held.append(_Held(publication, max(due, held[-1].due if held else due), self._show(channel, publication)))
        self._metrics.counters["delay.held"] += 1
        if len(held) > HELD:
            self._metrics.counters["delay.overflows"] += 1
            self._out(channel, [held.popleft()])

    def _show(self, channel: str, publication: Publication) -> list[Connection]:
        """To the moderators, at once: not behind what the hub still has, but for a clearing of the chat. Returns their
        connections.
        """
        shown = [
            connection
            for login in self._moderators.get(channel, ())
            for connection in self._hub.users.get(login, ())
            if channel in connection.session.channels and not connection.slow
        ]

        def write() -> None:
            for connection in shown:
                if not connection.closed:
                    line = render(publication, channel, connection.session.capabilities)
                    if line:
                        connection.transport.send(line)

        if channel in self._clearing:
            self._hub.channels[channel].afterwards(write)
        else:
            write()
        return shown

    def _release(self, channel: str) -> None:
        """Let out what is due, and come again for the next."""
        loop, held = self._hub.loop, self._held[channel]
        due = []
        while held and held[0].due <= loop.time():
            due.append(held.popleft())
        if due:
            self._out(channel, due)
        if held:
            loop.call_at(held[0].due, self._release, channel)
        else:
            del self._held[channel]

    def _out(self, channel: str, held: list[_Held]) -> None:
        members = self._hub.channels.get(channel)
        if members is None:
            return
        for one in held:
            if one.shown:
                self._hub.shown[one.publication.id] = one.shown
        self._hub.publish(channel, [one.publication for one in held])

        def written() -> None:
            for one in held:
                self._hub.shown.pop(one.publication.id, None)

        members.afterwards(written)

    def _take_back(self, channel: str, publication: Publication) -> bool:
        """Its message, if it is held."""
        held, message_id = self._held.get(channel, ()), publication.deleted.message_id
        for at, one in enumerate(held):
            if one.publication.id == message_id:
                del self._held[channel][at]
                self._metrics.counters["delay.dropped"] += 1
                return True
        return False

    def _drop(self, channel: str, author: int = 0) -> None:
        """What this user said; 0: what everybody did."""
        held = self._held.get(channel)
        if held:
            kept = [one for one in held if author and one.publication.line.author.user_id != author]
            self._metrics.counters["delay.dropped"] += len(held) - len(kept)
            held.clear()
            held.extend(kept)

    def _forget(self) -> None:
        """The moderators of channels that nobody here is in."""
        for channel in [channel for channel in self._moderators if channel not in self._hub.channels]:
            del self._moderators[channel]

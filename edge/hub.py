"""Who is in which channel on this edge, and the coalesced broadcast to them (ARCHITECTURE 3.7).

A channel keeps its members in dense arrays, one per variant (capabilities that change the bytes, and the framing), so
that a pass is a plain loop over bound `write` methods. Publications wait in `pending` until the next pass: a quiet
channel's pass starts at once, a busy one's as late as the cost of its last pass justifies. A pass over many members
is cut into slices, between which the loop serves everybody else.

Promises: 1. each member gets each publication that arrives while it is a member once, in the order of `publish`;
2. the connection that sent a line does not get it; 3. a member that does not read is passed over, counted, and nobody
waits for it; 4. `publish` never blocks.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from common.metrics import Metrics
from common.pb.chat_pb2 import Publication
from edge.presence import Movement
from edge.render import RENDERED, Capability, render
from edge.transports.websocket_frames import text_frame

if TYPE_CHECKING:
    from edge.connection import Connection

Write = Callable[[bytes], None]

# Members per slice: about 2.5 ms of socket writes at 5 µs each.
SLICE = 512
# A channel rests for this many times what its last pass cost: one hot channel then takes at most a fifth of the core
# by being written too often, and a single-message pass over 1,000 members (5 ms) repeats every 25 ms.
REST = 4.0

# Readers of JOIN and PART stand apart from others of the same bytes: what only they get is written to no one else.
_GROUPED = RENDERED | Capability.MEMBERSHIP
# As plain numbers: operators of an IntFlag take 0.5 µs, and a pass over a quiet channel takes 10.
_RENDERED_BITS, _MEMBERSHIP_BIT = int(RENDERED), int(Capability.MEMBERSHIP)
_RANKS = 5  # of the largest channels, for the metrics
_WEBSOCKET = 256  # above the capability bits in a variant's number


def variant_of(connection: Connection) -> int:
    capabilities = int(connection.session.capabilities & _GROUPED)
    return capabilities | _WEBSOCKET if connection.transport.websocket else capabilities


class Group:
    """The members of one channel that get the same bytes. `writers[i]` writes to `members[i]`."""

    __slots__ = ("index", "members", "writers")

    def __init__(self) -> None:
        self.members: list[Connection] = []
        self.writers: list[Write] = []
        self.index: dict[Connection, int] = {}

    def add(self, member: Connection) -> None:
        self.index[member] = len(self.members)
        self.members.append(member)
        self.writers.append(member.transport.write)

    def remove(self, member: Connection) -> None:
        """Fill the gap with the last one: the arrays stay dense."""
        at = self.index.pop(member)
        last, writer = self.members.pop(), self.writers.pop()
        if last is not member:
            self.members[at], self.writers[at] = last, writer
            self.index[last] = at


class Pass:
    """One walk over the members that were there when it began."""

    __slots__ = ("_at", "_todo", "afterwards", "closed", "cpu_s", "decided_ms", "deliveries", "publications")

    def __init__(self, publications: list[Publication]) -> None:
        # The loop's CPU, not the clock: a busy machine stretches the clock, and longer rests would not relieve it.
        self.cpu_s = time.thread_time()
        self.publications = len(publications)
        self.decided_ms = publications[0].ts_ms if publications else 0  # by clue's clock
        self.deliveries = 0
        self.closed = 0
        self.afterwards: list[Callable[[], None]] = []
        self._todo: list[tuple[list[Write], bytes]] = []
        self._at = 0

    def add(self, writers: list[Write], data: bytes) -> None:
        self._todo.append((writers, data))

    def forget(self, write: Write) -> None:
        """A member parted: it shall get nothing more of this pass."""
        for number, (writers, _) in enumerate(self._todo):
            start = self._at if number == len(self._todo) - 1 else 0
            try:
                writers[writers.index(write, start)] = _discard
            except ValueError:
                continue

    def slice(self) -> bool:
        """Write to the next members; False when all have been written to."""
        if not self._todo:
            return False
        writers, data = self._todo[-1]
        chunk = writers[self._at : self._at + SLICE]
        self._at += SLICE
        if self._at >= len(writers):
            self._todo.pop()
            self._at = 0
        rest: Iterator[Write] = iter(chunk)
        while True:
            try:
                for write in rest:
                    write(data)
                return bool(self._todo)
            except (RuntimeError, OSError):  # its socket is gone; connection_lost follows. Go on with the next
                self.closed += 1


class Channel:
    """One channel's members on this edge, and what waits for them."""

    __slots__ = (
        "_afterwards", "_cost_s", "_hub", "_last_end", "_movements", "_pass", "_pending", "_timer",
        "groups", "name", "slow",
    )  # fmt: skip

    def __init__(self, name: str, hub: Hub) -> None:
        self.name = name
        self.groups: dict[int, Group] = {}
        self.slow: set[Connection] = set()  # members that do not read: passed over
        self._hub = hub
        self._pending: list[Publication] = []
        self._movements: list[Movement] = []
        self._afterwards: list[Callable[[], None]] = []
        self._pass: Pass | None = None
        self._timer: asyncio.Handle | None = None
        self._cost_s = 0.0
        self._last_end = 0.0

    def __len__(self) -> int:
        return sum(len(group.members) for group in self.groups.values()) + len(self.slow)

    def has(self, member: Connection) -> bool:
        return member in self.slow or any(member in group.index for group in self.groups.values())

    def add(self, member: Connection) -> None:
        variant = variant_of(member)
        group = self.groups.get(variant)
        if group is None:
            group = self.groups[variant] = Group()
        group.add(member)

    def remove(self, member: Connection) -> None:
        if not self._take_out(member):
            self.slow.discard(member)
        elif self._pass is not None and not member.closed:
            self._pass.forget(member.transport.write)

    def regroup(self, member: Connection) -> None:
        """Its capabilities changed; a pass under way still reaches it in the old form."""
        if self._take_out(member):
            self.add(member)

    def _take_out(self, member: Connection) -> bool:
        for variant, group in self.groups.items():
            if member in group.index:
                group.remove(member)
                if not group.members:
                    del self.groups[variant]
                return True
        return False

    def suspend(self, member: Connection) -> None:
        """Its buffer is over the bound: pass it over from now on."""
        self.remove(member)
        self.slow.add(member)

    def resume(self, member: Connection) -> None:
        if member in self.slow:
            self.slow.remove(member)
            self.add(member)

    @property
    def tells_movements(self) -> bool:
        """Some members have the membership capability."""
        return any(variant & _MEMBERSHIP_BIT for variant in self.groups)

    def publish(self, publications: list[Publication]) -> None:
        self._pending.extend(publications)
        self._wake()

    def tell(self, movement: Movement) -> None:
        """To members with the membership capability alone."""
        self._movements.append(movement)
        self._wake()

    def afterwards(self, call: Callable[[], None]) -> None:
        """Call it when what was published so far has been written to the members."""
        self._afterwards.append(call)
        self._wake()

    def _wake(self) -> None:
        if self._pass is None and self._timer is None:
            self._schedule()

    # -- passes -------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        hub = self._hub
        wait = self._last_end + min(REST * self._cost_s, hub.coalesce_max_s) - hub.loop.time()
        self._timer = hub.loop.call_later(wait, self._begin) if wait > 0 else hub.loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._timer = None
        publications, self._pending = self._pending, []
        movements, self._movements = self._movements, []
        self._pass = self._plan(publications, movements)
        self._pass.afterwards, self._afterwards = self._afterwards, []
        self._continue()

    def _continue(self) -> None:
        running = self._pass
        assert running is not None
        # uvloop writes to the sockets after this iteration's callbacks: the next slice, and the end, must come after.
        self._hub.loop.call_soon(self._continue if running.slice() else self._end)

    def _end(self) -> None:
        running, self._pass = self._pass, None
        assert running is not None
        self._last_end = self._hub.loop.time()
        self._cost_s = time.thread_time() - running.cpu_s
        counters = self._hub.metrics.counters
        counters["broadcast.passes"] += 1
        counters["broadcast.publications"] += running.publications
        counters["broadcast.deliveries"] += running.deliveries
        self._hub.metrics.timing("broadcast.pass_ms", self._cost_s * 1e3)
        if running.decided_ms:
            self._hub.metrics.timing("broadcast.delay_ms", time.time() * 1e3 - running.decided_ms)
        if running.closed:
            counters["broadcast.closed"] += running.closed
        for call in running.afterwards:
            call()
        if self._pending or self._movements or self._afterwards:
            self._wake()

    def _plan(self, publications: list[Publication], movements: list[Movement]) -> Pass:
        """Decide who gets which bytes; nothing is written yet."""
        plan = Pass(publications)
        own = self._own(publications, movements)
        moved = b"".join(movement.lines for movement in movements)
        rendered: dict[int, list[bytes]] = {}
        for variant, group in self.groups.items():
            bits = variant & _RENDERED_BITS
            lines = rendered.get(bits)
            if lines is None:
                capabilities = Capability(bits)
                lines = rendered[bits] = [render(publication, self.name, capabilities) for publication in publications]
            tells = movements if variant & _MEMBERSHIP_BIT else ()
            data = b"".join(lines) + moved if tells else b"".join(lines)
            if not data:
                continue
            frame = text_frame if variant & _WEBSOCKET else _as_it_is
            writers = group.writers.copy()
            for member, sent in own.items():
                at = group.index.get(member)
                if at is not None:
                    rest = b"".join(line for number, line in enumerate(lines) if number not in sent)
                    rest += b"".join(movement.without(member.session.login) for movement in tells)
                    writers[at] = _instead(writers[at], frame(rest)) if rest else _discard
            plan.add(writers, frame(data))
            plan.deliveries += len(writers) * len(publications)
        if self.slow:
            self._hub.metrics.counters["broadcast.skipped"] += len(self.slow) * len(publications)
        return plan

    def _own(self, publications: list[Publication], movements: list[Movement]) -> dict[Connection, set[int]]:
        """The connections of this edge that sent some of these lines, and which; and those that the movements name."""
        own: dict[Connection, set[int]] = {}
        hub = self._hub
        for number, publication in enumerate(publications):
            line = publication.line  # for other bodies an empty one: its edge_run is 0, which no edge has
            if line.edge_run == hub.run:
                sender = hub.sessions.get(line.session)
                if sender is not None:
                    own.setdefault(sender, set()).add(number)
        for movement in movements:
            for login in movement.own:
                for connection in hub.users.get(login, ()):
                    own.setdefault(connection, set())
        return own


class Hub:
    """The channels that have members on this edge, and all connections by session number and by login."""

    __slots__ = ("channels", "coalesce_max_s", "loop", "metrics", "run", "sessions", "users")

    def __init__(self, run: int, metrics: Metrics, *, coalesce_max_s: float) -> None:
        self.run = run
        self.metrics = metrics
        self.coalesce_max_s = coalesce_max_s
        self.loop = asyncio.get_running_loop()
        self.channels: dict[str, Channel] = {}
        self.sessions: dict[int, Connection] = {}
        self.users: dict[str, list[Connection]] = {}  # kept by edge/inbox.py; anonymous ones are not in it
        metrics.gauges(self._gauges)

    def join(self, name: str, member: Connection) -> bool:
        """True: the first one here."""
        channel = self.channels.get(name)
        first = channel is None
        if channel is None:
            channel = self.channels[name] = Channel(name, self)
        channel.add(member)
        return first

    def part(self, name: str, member: Connection) -> bool:
        """True: the last one is gone."""
        channel = self.channels[name]
        channel.remove(member)
        if channel:
            return False
        del self.channels[name]
        return True

    def _gauges(self) -> dict[str, float]:
        """By rank, not by name: channels are too many for a name each."""
        largest = heapq.nlargest(_RANKS, map(len, self.channels.values()))
        return {
            "channels": len(self.channels),
            **{f"channels.largest.{rank}.members": members for rank, members in enumerate(largest, 1)},
        }

    def publish(self, name: str, publications: list[Publication]) -> None:
        channel = self.channels.get(name)
        if channel is not None:
            channel.publish(publications)


def _as_it_is(data: bytes) -> bytes:
    return data


def _discard(data: bytes) -> None:
    pass


def _instead(write: Write, own: bytes) -> Write:
    """A sender's place in the pass: the same lines without its own."""

    def write_own(_: bytes) -> None:
        write(own)

    return write_own

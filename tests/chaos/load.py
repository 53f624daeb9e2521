"""The load of the fault suite: many raw IRC connections in one process, which remember what they saw and were told.

A message is its number: the text is "t<run> <number> <padding>", so a line that arrives is known by one search. Each
connection speaks in one channel, one message at a time (the next only after the answer to the last), so an answer can
belong to one message only. A connection that ends is followed by another one at the edge with the fewest.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from array import array
from collections import Counter

from common.sharding import LANES, lane
from ops.checker import Fate
from tests.support.eventually import eventually

_PADDING = "the quick brown fox jumps over the lazy dog while the whole world walks into one channel " * 2
_ID = re.compile(rb"[@;]id=([0-9a-f-]{36})[; ]")
_DENIED_SHARE = 0.05  # messages that have to be refused: an unknown slash command
_LATE_VERDICT_S = 6.0
_SPACING_S = 1.7      # 17.6 messages in 30 s, where 20 are allowed
_LOGIN_S = 15.0


class Ledger:
    """What is known of each message, by number (from 1), since the last `forget`."""

    def __init__(self, run: str) -> None:
        self.pattern = re.compile(rb" PRIVMSG #\S+ :t" + run.encode() + rb" (\d+) ")
        self.text = f"t{run} "
        self.count = 0       # numbers given out
        self.forget()

    def forget(self) -> None:
        self.sent_at: dict[int, float] = {}
        self.author: dict[int, Connection] = {}
        self.fates: dict[int, Fate] = {}
        self.ids: dict[int, bytes] = {}
        self.last_seen: dict[int, float] = {}
        self.notices: Counter[str] = Counter()
        self.verdict_s: list[float] = []
        self.cut_gracefully = 0  # connections that a stopping edge closed with a message unanswered

    def open_messages(self) -> int:
        return sum(1 for fate in self.fates.values() if fate is Fate.UNANSWERED)

    def late_verdicts(self) -> int:
        return sum(1 for seconds in self.verdict_s if seconds > _LATE_VERDICT_S)


class Connection(asyncio.Protocol):
    """One life of one connection."""

    def __init__(self, load: Load, seat: Seat, edge: str) -> None:
        self.load = load
        self.seat = seat
        self.edge = edge
        self.seen: array[int] = array("q")
        self.seen_at: array[float] = array("d")
        self.rooms = 0                   # joins that were answered
        self.ready_at = 0.0              # its join was answered; 0: not yet
        self.whole = False               # it was in the channel when the present count began
        self.leaving = False             # the edge said RECONNECT
        self.closed = False
        self.heard_at = 0.0              # when a message came last
        self.longest_gap = 0.0           # between two messages, since `Load.watch_gaps`
        self.waiting = 0                 # number of the message without an answer; 0: none
        self.decided = asyncio.Event()   # it is in, or it has ended
        self.transport: asyncio.Transport | None = None
        self._rest = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        seat = self.seat
        capabilities = b"CAP REQ :twitch.tv/tags twitch.tv/commands\r\n"
        words = f"PASS oauth:x\r\nNICK {seat.login}\r\nJOIN {','.join((seat.channel, *self.load.also))}\r\n"
        transport.write(capabilities + words.encode())

    def data_received(self, data: bytes) -> None:
        """Messages are found in one search of all that has come: two thousand members hear 200,000 a second."""
        data = self._rest + data
        end = data.rfind(b"\r\n") + 2
        if end < 2:
            self._rest = data
            return
        self._rest = data[end:]
        whole = data[:end]
        ledger = self.load.ledger
        numbers = [int(number) for number in ledger.pattern.findall(whole)]
        now = time.monotonic()
        if numbers:
            self.seen.extend(numbers)
            self.seen_at.extend([now] * len(numbers))
            ledger.last_seen.update(dict.fromkeys(numbers, now))
            self.longest_gap = max(self.longest_gap, now - self.heard_at)
            self.heard_at = now
        if whole.count(b"\r\n") != len(numbers):
            search = ledger.pattern.search
            for line in whole.split(b"\r\n"):
                if line and search(line) is None:
                    self._other(line, now)

    def connection_lost(self, error) -> None:
        self.closed = True
        self.decided.set()
        if self.waiting:
            self.load.ledger.fates[self.waiting] = Fate.CUT_OFF
            if self.leaving:
                self.load.ledger.cut_gracefully += 1
            self.waiting = 0
        self.seat.lost(self)

    def say(self, number: int, text: str) -> None:
        self.waiting = number
        assert self.transport is not None
        self.transport.write(f"PRIVMSG {self.seat.channel} :{text}\r\n".encode())

    def _other(self, line: bytes, now: float) -> None:
        if b" USERSTATE " in line:
            found = _ID.search(line)
            if found is not None:
                self._answered(Fate.ALLOWED, now)
                self.load.ledger.ids[self._last] = found[1]
        elif b" NOTICE " in line:
            if not self.ready_at:
                assert self.transport is not None
                self.transport.close()  # the login or the join was refused: the seat tries again
                return
            words = line.rpartition(b" :")[2].decode()
            self.load.ledger.notices[words] += 1
            self._answered(Fate.UNCONFIRMED if "could not be confirmed" in words else Fate.DENIED, now)
        elif b" ROOMSTATE " in line:
            self.rooms += 1
            if not self.ready_at:
                self.ready_at = now
                self.decided.set()
                self.seat.entered(self)
        elif line.startswith(b"PING"):
            assert self.transport is not None
            self.transport.write(b"PONG :tmi.twitch.tv\r\n")
        elif line.endswith(b" RECONNECT"):
            self.leaving = True

    def _answered(self, fate: Fate, now: float) -> None:
        number, self.waiting = self.waiting, 0
        self._last = number
        self.seat.spoke_at = now  # by our clock; clue may have counted it at any moment until now
        if number:
            ledger = self.load.ledger
            ledger.fates[number] = fate
            ledger.verdict_s.append(now - ledger.sent_at[number])


class Seat:
    """One user in one channel, and the connection it has at the moment."""

    def __init__(self, load: Load, number: int, channel: str, edge: str) -> None:
        self.load = load
        self.login = f"load{number}"
        self.channel = channel
        self.edge = edge                 # where it began
        self.connection: Connection | None = None
        self.spoke_at = 0.0
        self._task: asyncio.Task | None = None

    def can_speak(self, now: float) -> bool:
        """Not faster than the rules for users allow, whatever happens to the others."""
        connection = self.connection
        return (
            connection is not None
            and not connection.waiting
            and not connection.leaving
            and now - self.spoke_at >= _SPACING_S
        )

    def connect(self, edge: str | None = None) -> None:
        self._task = asyncio.get_running_loop().create_task(self._connect(edge))

    def entered(self, connection: Connection) -> None:
        self.connection = connection
        self.load.lives.append(connection)

    def lost(self, connection: Connection) -> None:
        self.connection = None
        self.load.closed += 1
        if not self.load.over:
            self.connect()

    async def _connect(self, edge: str | None) -> None:
        """At `edge`, or where there are fewest; again and again, with pauses, until it worked."""
        load = self.load
        while not load.over:
            if edge is None:
                await asyncio.sleep(load.random.uniform(0.05, 0.5))
            name = edge or load.emptiest()
            edge = None
            host, _, port = load.edges[name].rpartition(":")
            try:
                transport, life = await asyncio.get_running_loop().create_connection(
                    lambda name=name: Connection(load, self, name), host, int(port)
                )
            except OSError:
                continue
            # One that ends before it is in is followed up by `lost`.
            try:
                async with asyncio.timeout(_LOGIN_S):
                    await life.decided.wait()
            except TimeoutError:
                transport.abort()
            return


def spread_channels(count: int) -> list[str]:
    """Names whose lanes lie apart, so that every clue, exchange and shard has its part of the load."""
    names: list[str] = []
    candidates = iter(f"#chaos{n}" for n in range(1_000_000))
    for index in range(count):
        wanted = index * LANES // count % LANES
        names.append(next(name for name in candidates if lane(name) == wanted))
    return names


class Load:
    """`edges`: name to HOST:PORT of IRC. Seeded: who speaks when, and what is refused, repeat with the seed."""

    def __init__(self, edges: dict[str, str], *, connections: int, channels: int, rate: float, seed: int) -> None:
        self.edges = edges
        self.rate = rate
        self.random = random.Random(seed)
        self.ledger = Ledger(f"{seed:x}x{time.time_ns() // 1_000_000:x}")
        self.lives: list[Connection] = []    # those that have been in since `begin`
        self.closed = 0
        self.over = False
        self.skipped = 0                     # messages that nobody was free to send
        self.channels = spread_channels(channels)
        self.also: list[str] = []            # where everybody is besides, and nobody speaks
        names = sorted(edges)
        self.seats = [
            Seat(self, n, self.channels[n % channels], names[n // channels % len(names)]) for n in range(connections)
        ]
        self._by_channel = {c: [s for s in self.seats if s.channel == c] for c in self.channels}
        self._turn = dict.fromkeys(self.channels, 0)
        self._talking: asyncio.Task | None = None

    async def enter(self, within_s: float = 60.0) -> None:
        """Everybody connects and joins, in waves."""
        for start in range(0, len(self.seats), 50):
            for seat in self.seats[start : start + 50]:
                seat.connect(seat.edge)
            wave = self.seats[start : start + 50]
            await eventually(lambda wave=wave: all(seat.connection for seat in wave), within_s)

    async def settled(self, within_s: float = 30.0) -> None:
        """Everybody is in."""
        await eventually(lambda: all(seat.connection for seat in self.seats), within_s)

    def begin(self) -> None:
        """Forget what was; who is in now has to see all from now on."""
        self.ledger.forget()
        self.closed = self.skipped = 0
        self.lives = [seat.connection for seat in self.seats if seat.connection is not None]
        for life in self.lives:
            life.seen = array("q")
            life.seen_at = array("d")
            life.whole = True

    async def join_also(self, channel: str) -> None:
        """Whoever is in another channel too is not asked to follow one that moves."""
        self.also.append(channel)
        for seat in self.seats:
            assert seat.connection is not None
            assert seat.connection.transport is not None
            seat.connection.transport.write(f"JOIN {channel}\r\n".encode())
        await eventually(lambda: all(s.connection and s.connection.rooms > len(self.also) for s in self.seats), 30)

    async def part_also(self, channel: str) -> None:
        self.also.remove(channel)
        for seat in self.seats:
            if seat.connection is not None and seat.connection.transport is not None:
                seat.connection.transport.write(f"PART {channel}\r\n".encode())
                seat.connection.rooms -= 1

    async def say(self, text: str) -> None:
        """A line that is no message of the load; whether it gets there, its readers have to tell."""
        now = time.monotonic()
        free = (s for s in self.seats if s.connection is not None and not s.connection.waiting)
        seat = min(free, key=lambda s: s.spoke_at)
        seat.spoke_at = now
        assert seat.connection is not None
        seat.connection.say(0, text)

    def talk(self) -> None:
        self._talking = asyncio.get_running_loop().create_task(self._talk())

    async def hush(self) -> None:
        if self._talking is not None:
            self._talking.cancel()
            await asyncio.gather(self._talking, return_exceptions=True)

    def watch_gaps(self) -> None:
        """From now on: the longest time that each connection hears nothing."""
        now = time.monotonic()
        for seat in self.seats:
            if seat.connection is not None:
                seat.connection.heard_at = now
                seat.connection.longest_gap = 0.0

    def gaps(self) -> list[float]:
        """Seconds, of each connection."""
        return [seat.connection.longest_gap for seat in self.seats if seat.connection is not None]

    async def leave(self) -> None:
        self.over = True
        await self.hush()
        for seat in self.seats:
            if seat._task is not None:
                seat._task.cancel()
            if seat.connection is not None and seat.connection.transport is not None:
                seat.connection.transport.abort()

    def emptiest(self) -> str:
        counts = Counter(s.connection.edge for s in self.seats if s.connection is not None)
        return min(self.edges, key=lambda name: (counts[name] + self.random.random() * 20))

    async def _talk(self) -> None:
        begun = time.monotonic()
        due = 0
        while True:
            await asyncio.sleep(0.01)
            until = int((time.monotonic() - begun) * self.rate)
            while due < until:
                self._post(self.channels[due % len(self.channels)])
                due += 1

    def _post(self, channel: str) -> None:
        """The next free member of the channel speaks."""
        seats = self._by_channel[channel]
        turn = self._turn[channel]
        now = time.monotonic()
        for step in range(len(seats)):
            seat = seats[(turn + step) % len(seats)]
            if seat.can_speak(now):
                break
        else:
            self.skipped += 1
            return
        self._turn[channel] = (turn + step + 1) % len(seats)
        ledger = self.ledger
        ledger.count += 1
        number = ledger.count
        ledger.sent_at[number] = seat.spoke_at = now
        ledger.author[number] = seat.connection
        ledger.fates[number] = Fate.UNANSWERED
        text = f"{ledger.text}{number} {_PADDING[: self.random.randrange(1, 150)]}."
        if self.random.random() < _DENIED_SHARE:
            text = f"/nosuchcommand {text}"
        seat.connection.say(number, text)


class SlowReader:
    """A member of all channels that has stopped reading. `gone`: the edge has cut it off."""

    def __init__(self, address: str, number: int, channels: list[str]) -> None:
        self._address = address
        self._number = number
        self._channels = channels
        self._socket: socket.socket | None = None

    async def enter(self) -> None:
        loop = asyncio.get_running_loop()
        host, _, port = self._address.rpartition(":")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._socket.setblocking(False)
        await loop.sock_connect(self._socket, (host, int(port)))
        capabilities = "CAP REQ :twitch.tv/tags twitch.tv/commands\r\n"
        words = f"{capabilities}NICK justinfan{self._number}\r\nJOIN {','.join(self._channels)}\r\n"
        await loop.sock_sendall(self._socket, words.encode())
        got = b""
        async with asyncio.timeout(15):
            while got.count(b" ROOMSTATE ") < len(self._channels):
                piece = await loop.sock_recv(self._socket, 4_096)
                if not piece:
                    raise ConnectionError("the edge closed the slow reader before it was slow")
                got += piece

    @property
    def gone(self) -> bool:
        assert self._socket is not None
        state = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state != 1  # TCP_ESTABLISHED

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

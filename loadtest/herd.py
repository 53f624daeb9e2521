"""Hundreds of viewers served by one greenlet, so that tens of thousands fit on one core.

Strategy: each viewer has a bare non-blocking socket in one of two epolls of its herd. Viewers who enter, and the
sampled ones for good, are in the first: gevent's hub watches that epoll's own descriptor (an epoll is readable when one
of its sockets is), so a herd costs the hub one watcher. Once it is in, a viewer who is not sampled goes to the second:
its bytes are thrown away in the kernel (MSG_TRUNC: counted, not copied), and it is looked at once a second or, when
much comes, more often, which saves a system call per viewer and pass. The kernel's receive buffer meanwhile takes what
comes, as on the machine of a real viewer. Delays are taken from the sampled viewers, to the moment at which the kernel
had the bytes for them (SO_TIMESTAMPNS): how late this process comes to read them is no part of a delay.

gevent hides epoll from patched programs, and its sockets are objects of Python: the originals are asked for.
"""

from __future__ import annotations

import errno
import math
import random
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import gevent
from gevent import monkey
from gevent.socket import wait_read

from common.irc.linebuffer import LineBuffer
from common.irc.message import MessageError, parse
from common.irc.numerics import RPL_ENDOFNAMES, RPL_WELCOME
from loadtest import marks
from loadtest.audit import FIRST, PING, PING_BYTES, PING_FRAME_BYTES, Counted, Findings, Track, compare_bytes
from loadtest.irc_client import IP_BIND_ADDRESS_NO_PORT, ROOM_NOTICES, entrance, now, wire_for
from loadtest.plan import Seat
from loadtest.timing import Recorder
from loadtest.wire import MAX_READ, WireClosed

_select: Any = monkey.get_original("select", "epoll")
_socket: Any = monkey.get_original("socket", "socket")

REST_S = 1.0                 # measured in docs/load.md
PENDING_AT_MOST = 24 * 1024  # bytes that may wait for one viewer: a receive buffer must never be what makes it slow
ENTERING_AT_MOST = 64        # connections under way of one herd while the crowd gathers; a storm has no such bound
ENTER_S = 30.0               # a viewer who is not in by then tries again
AGAIN_S = 1.0                # from a lost connection to the next try, spread by half
PONG_S = 100.0               # bytes thrown away may hold a PING; edges ask every 240 s
# A storm's connections end within this time. Closing 15,000 sockets in one go takes the load both cores for 0.4 s: it
# would measure how long the edges did not run [measured: they waited 411 ms for a core], which no network does to them.
SCATTER_S = 1.0
SAMPLE_EVERY = 100
SLICE = 4                    # sockets served in one turn, 0.3 ms: who enters must not blind another herd's samples

_EPOLLIN, _EPOLLOUT = 1, 4
_AF_INET, _SOCK_STREAM, _SOCK_NONBLOCK = 2, 1, 0o4000
_IPPROTO_TCP, _TCP_NODELAY, _SOL_SOCKET, _SO_ERROR = 6, 1, 1, 4
_MSG_TRUNC = 0x20
_SO_TIMESTAMPNS = 35         # <asm-generic/socket.h>; a note of that name comes with what is received
_TIMESPEC = struct.Struct("qq")
_NOTES = 64                  # bytes, room for one such note
_SINK = bytearray(1 << 20)   # never written to: the kernel only looks at its size
_PONG = b"PONG :tmi.twitch.tv\r\n"
_NEWS = (b" PRIVMSG ", b" ROOMSTATE ", b" NOTICE ", b" 001 ", b" 366 ", b"ERROR ")  # the others need not be parsed

_OUT, _CONNECTING, _ENTERING, _WATCHING, _SILENT = range(5)


class Control:
    """What the director has said so far; shared by all users of a process."""

    def __init__(self) -> None:
        self.speaking = False    # chatters speak
        self.ever_spoken = False
        self.stopping = False


class Viewer:
    """One session. `received` and `position` count bytes inside TLS since the connection began, without PINGs that were
    seen; `position` ends at the last whole line (TCP) or frame (WebSocket), `received` at the last byte."""

    __slots__ = (
        "after", "begun", "channels", "counts_frames", "fd", "joined", "label", "lines", "position", "received",
        "run_up", "sampled", "seat", "since", "sock", "state", "track", "wire",
    )  # fmt: skip

    def __init__(self, seat: Seat, channels: list[str], sampled: bool) -> None:
        self.seat = seat
        self.channels = channels
        self.sampled = sampled
        self.label = ""           # what it is counted under; given by its herd
        self.state = _OUT
        self.sock: Any = None
        self.fd = -1
        self.counts_frames = seat.websocket
        self.track: Track | None = None
        self.since = 0.0          # when it went out last: what a return is measured from
        self.begun = 0.0          # when this connection began
        self.after = -1           # number of the line after which bytes are counted
        self.run_up = 0           # position at that place
        self.joined = 0

    @property
    def kind(self) -> tuple[str, bool, str]:
        """Viewers of one kind get the same bytes. Frames differ from edge to edge, lines do not."""
        return self.channels[0], self.seat.tagged, self.seat.edge if self.counts_frames else ""

    @property
    def countable(self) -> bool:
        """Frames of an edge that HAProxy chose cannot be compared with anybody's."""
        return len(self.channels) == 1 and not (self.counts_frames and not self.seat.edge)


class Herd:
    """`run` serves until the control says stop. Everything happens on that greenlet but `scatter` and `move`, which
    another greenlet of the process calls between two of its turns."""

    def __init__(
        self,
        viewers: Iterable[Viewer],
        *,
        run: str,
        label: str,
        recorder: Recorder,
        control: Control,
        fire: Callable[[str, float, str], None],
        stays: bool = False,
    ) -> None:
        """`fire(name, ms, error)` reports logins and joins to locust. `stays`: neither scatters nor moves, and delays
        are those of who stayed."""
        self.viewers = list(viewers)
        self.label = label
        self.stays = stays
        for viewer in self.viewers:
            viewer.label = label
        self.old_tracks: list[tuple[Viewer, Track]] = []
        self._run = run
        self._recorder = recorder
        self._control = control
        self._fire = fire
        self._live = _select()
        self._sink = _select()
        self._by_fd: dict[int, Viewer] = {}
        self._waiting: list[tuple[float, Viewer]] = [(0.0, viewer) for viewer in self.viewers]
        self._entering: set[Viewer] = set()
        self._bound = ENTERING_AT_MOST
        self._next_pong = now() + random.uniform(0.5, 1.0) * PONG_S
        self._moves: list[tuple[float, Viewer, str]] = []
        self._ends: deque[tuple[float, Viewer]] = deque()
        self._scattered = 0.0
        self._rest_s = REST_S / 4
        self._handed = 0            # bytes of silent viewers that the recorder does not know yet
        self._ahead = _ahead()

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        next_sweep = now() + random.uniform(0, self._rest_s)
        next_second = now() + 1.0
        while not self._control.stopping:
            at = now()
            while self._ends and self._ends[0][0] <= at:
                self._end(self._ends.popleft()[1], at)
            self._enter_more(at)
            if at >= next_sweep:
                self.sweep()
                next_sweep = at + self._rest_s
            if at >= next_second:
                self._each_second(at)
                next_second = at + 1.0
            next_end = self._ends[0][0] if self._ends else next_second
            self._wait(min(next_sweep, next_second, next_end) - now())
            for fd, mask in self._live.poll(0, SLICE):
                viewer = self._by_fd.get(fd)
                if viewer is not None:
                    self._ready(viewer, mask)

    def close(self) -> None:
        for viewer in self.viewers:
            if viewer.sock is not None:
                viewer.sock.close()
                viewer.sock = None
                viewer.state = _OUT
        self._live.close()
        self._sink.close()

    def _wait(self, seconds: float) -> None:
        if len(self._entering) < self._bound and any(due <= now() for due, _ in self._waiting):
            gevent.sleep(0)
            return
        try:
            wait_read(self._live.fileno(), timeout=max(0.0, seconds), timeout_exc=_WaitedLongEnough)
        except _WaitedLongEnough:
            pass

    def _each_second(self, at: float) -> None:
        self._ahead = _ahead()
        for viewer in list(self._entering):
            if at - viewer.begun > ENTER_S:
                self._lost(viewer, f"not in after {ENTER_S:g} s")
        while self._moves and self._moves[0][0] <= at:
            _, viewer, channel = self._moves.pop(0)
            self._move(viewer, channel)
        if at >= self._next_pong:
            self._next_pong = at + PONG_S
            for viewer in self.viewers:
                if viewer.state == _SILENT:
                    self._write(viewer, _PONG)

    # -- entering ---------------------------------------------------------------------------------------------------

    def _enter_more(self, at: float) -> None:
        if not self._waiting:
            return
        later, begun = [], 0
        for due, viewer in self._waiting:
            if due > at or begun >= SLICE or len(self._entering) >= self._bound:
                later.append((due, viewer))
            else:
                begun += 1
                self._connect(viewer, at)
        self._waiting = later

    def _connect(self, viewer: Viewer, at: float) -> None:
        sock = _socket(_AF_INET, _SOCK_STREAM | _SOCK_NONBLOCK)
        sock.setblocking(False)
        sock.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)
        sock.setsockopt(0, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.setsockopt(_SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.bind((viewer.seat.source, 0))
        viewer.sock, viewer.fd = sock, sock.fileno()
        viewer.state = _CONNECTING
        viewer.begun = at
        viewer.since = viewer.since or at
        viewer.wire = wire_for(viewer.seat)
        viewer.lines = LineBuffer()
        viewer.received = viewer.position = viewer.run_up = viewer.joined = 0
        viewer.after = -1
        viewer.track = None
        self._entering.add(viewer)
        self._by_fd[viewer.fd] = viewer
        code = sock.connect_ex((viewer.seat.host, viewer.seat.port))
        if code not in (0, errno.EINPROGRESS):
            self._lost(viewer, f"connect: {errno.errorcode.get(code, code)}")
            return
        self._live.register(viewer.fd, _EPOLLOUT)

    def _connected(self, viewer: Viewer) -> None:
        code = viewer.sock.getsockopt(_SOL_SOCKET, _SO_ERROR)
        if code:
            self._lost(viewer, f"connect: {errno.errorcode.get(code, code)}")
            return
        viewer.state = _ENTERING
        self._live.modify(viewer.fd, _EPOLLIN)
        viewer.wire.begin()
        viewer.wire.send(entrance(viewer.seat, viewer.channels))
        self._flush(viewer)

    def _entered(self, viewer: Viewer, at: float) -> None:
        """It is in all its channels. `position` is where the line that told so ended."""
        self._entering.discard(viewer)
        viewer.state = _WATCHING
        self._fire("join", (at - viewer.begun) * 1e3, "")
        self._recorder.delay(f"enter {viewer.label}", (at - viewer.since) * 1e3, at)
        self._recorder.count(f"entered {viewer.label}")
        viewer.since = 0.0
        early = not self._control.ever_spoken
        if viewer.sampled:
            viewer.track = Track(from_start=early, join_end=viewer.position)
        elif early:
            self._fall_silent(viewer, FIRST, viewer.position)

    def _fall_silent(self, viewer: Viewer, after: int, position: int) -> None:
        """From now on its bytes are only counted: those behind line number `after`, which ends at `position`."""
        viewer.state, viewer.after, viewer.run_up = _SILENT, after, position
        if not viewer.seat.tls:  # TLS has to be read to be counted: it stays in the first epoll
            self._live.unregister(viewer.fd)
            self._sink.register(viewer.fd, _EPOLLIN)

    # -- reading ----------------------------------------------------------------------------------------------------

    def _ready(self, viewer: Viewer, mask: int) -> None:
        if viewer.state == _CONNECTING:
            self._connected(viewer)
            return
        try:
            data, notes, _, _ = viewer.sock.recvmsg(MAX_READ, _NOTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(viewer, error.strerror or str(error))
            return
        if not data:
            self._lost(viewer, "closed by the server")
            return
        at = self._arrived(notes)
        try:
            for unit, size in viewer.wire.feed(data):
                viewer.received += size
                if viewer.state == _SILENT:
                    self._handed += size
                else:
                    self._take(viewer, unit, size, at)
            self._flush(viewer)
        except WireClosed as closed:
            self._lost(viewer, str(closed))

    def _arrived(self, notes: list[tuple[int, int, bytes]]) -> float:
        """When the kernel had the last of the bytes; now, when it does not say."""
        at = now()
        for level, kind, value in notes:
            if (level, kind) == (_SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                return min(at, seconds + nanoseconds * 1e-9 - self._ahead)
        return at

    def _take(self, viewer: Viewer, unit: bytes, size: int, at: float) -> None:
        """A unit's lines. In frames all lines end where the frame ends."""
        frames = viewer.counts_frames
        if frames:
            viewer.position += size
        last, after_last = -1, 0
        track = viewer.track
        for line in viewer.lines.feed(unit):
            if not isinstance(line, bytes):
                continue
            if line == PING:
                viewer.received -= PING_FRAME_BYTES if frames else PING_BYTES
                if frames:
                    viewer.position -= PING_FRAME_BYTES
                viewer.wire.send(_PONG)
                continue
            if not frames:
                viewer.position += len(line) + 2
            number = self._line(viewer, line, at)
            if number is not None and viewer.state == _WATCHING:
                last, after_last = number, viewer.position
                if track is None:
                    track = viewer.track
                if track is not None:
                    track.numbers.append(number)
                    track.ends.append(viewer.position)
                elif not frames:
                    break  # what follows is only counted
        if track is not None:
            track.received = viewer.received
        elif last >= 0 and viewer.state == _WATCHING:
            self._fall_silent(viewer, last, after_last)

    def _line(self, viewer: Viewer, line: bytes, at: float) -> int | None:
        """The number of a chatter's line; None for any other line."""
        if not any(word in line for word in _NEWS):
            return None
        try:
            message = parse(line)
        except MessageError:
            return None
        command = message.command
        if command == "PRIVMSG":
            found = marks.read(message.params[-1], self._run)
            if found is None:
                return None
            number, sent = found
            self._recorder.delay("deliver stayed" if self.stays else f"deliver {viewer.label}", (at - sent) * 1e3, at)
            self._recorder.count(f"sampled {viewer.label}")
            self._recorder.count("sampled bytes", len(line) + 2)
            return number
        if viewer.state == _ENTERING:
            self._entering_line(viewer, command, message.params, at)
        elif command == "ERROR":
            self._recorder.count(f"error: {message.params[-1][:60] if message.params else ''}")
        return None

    def _entering_line(self, viewer: Viewer, command: str, params: tuple[str, ...], at: float) -> None:
        if command == RPL_WELCOME:
            self._fire("login", (at - viewer.begun) * 1e3, "")
        elif command == ("ROOMSTATE" if viewer.seat.tagged else RPL_ENDOFNAMES):
            # Who moves still hears of the channel that it leaves.
            viewer.joined += params[0 if viewer.seat.tagged else 1] in viewer.channels
            if viewer.joined == len(viewer.channels):
                self._entered(viewer, at)
        elif command in ("NOTICE", "ERROR"):
            words = params[-1] if params else command
            if not words.startswith(ROOM_NOTICES):
                self._recorder.count(f"turned-away {viewer.label}")
                self._lost(viewer, words)

    def sweep(self) -> None:
        """Throw away what has come for silent viewers."""
        ready = self._sink.poll(0, len(self.viewers) + 1)
        handed = sum(self._throw_away(self._by_fd[fd]) for fd, _ in ready)
        if handed:
            self._handed += handed
            self._rest_s = min(REST_S, self._rest_s * 2, self._rest_s * PENDING_AT_MOST * len(ready) / handed)
        if self._handed:
            self._recorder.count(f"bytes {self.label}", self._handed)
            self._handed = 0

    def _throw_away(self, viewer: Viewer) -> int:
        """How many bytes there were."""
        try:
            n: int = viewer.sock.recv_into(_SINK, len(_SINK), _MSG_TRUNC)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lost(viewer, error.strerror or str(error))
            return 0
        if not n:
            self._lost(viewer, "closed by the server")
        viewer.received += n
        return n

    # -- leaving ----------------------------------------------------------------------------------------------------

    def _lost(self, viewer: Viewer, why: str) -> None:
        if viewer.state in (_CONNECTING, _ENTERING):
            self._fire("join", (now() - viewer.begun) * 1e3, why)
            self._recorder.count(f"refused {viewer.label}")
        else:
            self._recorder.count(f"disconnected {viewer.label}")
            self._fire("stay", (now() - viewer.begun) * 1e3, why)
        self._recorder.count(f"lost: {why[:80]}")
        self._drop(viewer)
        self._waiting.append((now() + AGAIN_S * random.uniform(0.5, 1.5), viewer))

    def _drop(self, viewer: Viewer) -> None:
        self._entering.discard(viewer)
        if viewer.state in (_WATCHING, _SILENT):
            self._recorder.count(f"left {viewer.label}")
        if viewer.track is not None:
            viewer.track.complete = False
            self.old_tracks.append((viewer, viewer.track))
            viewer.track = None
        self._by_fd.pop(viewer.fd, None)
        viewer.sock.close()  # which also takes it out of the epolls
        viewer.sock = None
        viewer.state = _OUT
        viewer.since = viewer.since or now()

    def scatter(self) -> None:
        """All connections end, and each comes back at once. A return is counted from now on, for all."""
        self._scattered = now()
        self._bound = len(self.viewers)
        self._ends = deque(
            (self._scattered + SCATTER_S * number / len(self.viewers), viewer)
            for number, viewer in enumerate(random.sample(self.viewers, len(self.viewers)))
        )

    def _end(self, viewer: Viewer, at: float) -> None:
        if viewer.sock is None:
            return  # on its way back already
        self._drop(viewer)
        viewer.since = self._scattered
        self._waiting.append((at, viewer))

    def move(self, channel: str, over_s: float) -> None:
        """Everybody goes to `channel`, at random moments of the next `over_s` seconds; but for those over WebSocket and
        TLS, whose bytes cannot be told apart once some of them were thrown away."""
        at = now()
        moves = [
            (at + random.uniform(0, over_s), viewer) for viewer in self.viewers
            if not viewer.counts_frames and not viewer.seat.tls
        ]  # fmt: skip
        self._moves = [(due, viewer, channel) for due, viewer in sorted(moves, key=lambda move: move[0])]

    def _move(self, viewer: Viewer, channel: str) -> None:
        if viewer.state not in (_WATCHING, _SILENT):
            return
        if viewer.state == _SILENT:
            # What waits came earlier than the note of its last byte would say.
            self._handed += self._throw_away(viewer)
            if viewer.state != _SILENT:
                return
        old, viewer.channels = viewer.channels, [channel]
        if viewer.state == _SILENT:
            self._sink.unregister(viewer.fd)
            self._live.register(viewer.fd, _EPOLLIN)
            # Bytes were thrown away, so the next ones begin inside a line: up to its end it is nobody's.
            viewer.lines = LineBuffer()
            viewer.position = viewer.received
        if viewer.track is not None:
            viewer.track.complete = False
            self.old_tracks.append((viewer, viewer.track))
            viewer.track = None
        self._recorder.count(f"left {viewer.label}")
        viewer.label = channel.removeprefix("#")
        viewer.state, viewer.joined, viewer.after = _ENTERING, 0, -1
        viewer.begun = viewer.since = now()
        self._entering.add(viewer)
        self._write(viewer, f"PART {','.join(old)}\r\nJOIN {channel}\r\n".encode())

    # -- writing ----------------------------------------------------------------------------------------------------

    def _write(self, viewer: Viewer, lines: bytes) -> None:
        viewer.wire.send(lines)
        self._flush(viewer)

    def _flush(self, viewer: Viewer) -> None:
        if viewer.sock is None:
            return
        out = viewer.wire.outgoing()
        if out:
            try:
                viewer.sock.send(out)  # a few hundred bytes into an empty buffer
            except OSError as error:
                self._lost(viewer, error.strerror or str(error))

    # -- what is known ----------------------------------------------------------------------------------------------

    @property
    def inside(self) -> int:
        return sum(viewer.state in (_WATCHING, _SILENT) for viewer in self.viewers)

    def tracks(self) -> list[Track]:
        """All that sampled viewers noted, old connections included."""
        return [track for _, track in self.old_tracks] + [v.track for v in self.viewers if v.track is not None]


class _WaitedLongEnough(Exception):
    """Nothing has come, but it is time for something else."""


def _ahead() -> float:
    """Seconds from our clock, which counts from the machine's start, to the kernel's notes, which count from 1970."""
    return time.time() - now()


def tracks_by_channel(herds: Iterable[Herd]) -> dict[str, list[Track]]:
    """All that sampled viewers of single channels noted, old connections included."""
    found: dict[str, list[Track]] = {}
    for herd in herds:
        current = [(viewer, viewer.track) for viewer in herd.viewers if viewer.track is not None]
        for viewer, track in [*herd.old_tracks, *current]:
            if len(viewer.channels) == 1:
                found.setdefault(viewer.channels[0], []).append(track)
    return found


def count_findings(herds: Iterable[Herd]) -> dict[str, Findings]:
    """The byte check, by channel."""
    herds = list(herds)
    tracks: dict[tuple[str, bool, str], list[Track]] = {}
    counted: dict[tuple[str, bool, str], list[Counted]] = {}
    found: dict[str, Findings] = {}
    at = now()
    for herd in herds:
        for viewer in herd.viewers:
            if viewer.track is not None and viewer.countable:
                tracks.setdefault(viewer.kind, []).append(viewer.track)
            elif viewer.state == _SILENT:
                if not viewer.countable:
                    found.setdefault(viewer.channels[0], Findings()).add(Findings(counted=1, unknown=1))
                    continue
                counted.setdefault(viewer.kind, []).append(
                    Counted(
                        viewer.after,
                        viewer.received - viewer.run_up,
                        PING_FRAME_BYTES if viewer.counts_frames else PING_BYTES,
                        1 + math.floor((at - viewer.begun) / 240),
                    )
                )
    for kind, viewers in counted.items():
        found.setdefault(kind[0], Findings()).add(compare_bytes(tracks.get(kind, []), viewers))
    return found

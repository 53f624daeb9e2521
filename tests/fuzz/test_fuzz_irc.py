"""Random and mutated bytes through line buffer, parser and session core: only documented outcomes.

TALLGRASS_FUZZ_LINES sets how many lines (default 20,000), TALLGRASS_FUZZ_SEED which ones (default: new each time, and
printed when it fails).
"""

from __future__ import annotations

import os
import random
import time

from common.irc.linebuffer import MAX_REST, TOO_LONG, LineBuffer
from common.irc.message import MessageError, parse
from common.pb.clue_pb2 import JoinResult, LoginResult, Verdict
from edge.effects import Authenticate, Close, Join, Submit
from edge.session import Phase, Session
from tests.support.sessions import accepted, admitted, chatter

LINES = int(os.environ.get("TALLGRASS_FUZZ_LINES", "20000"))
SEED = int(os.environ.get("TALLGRASS_FUZZ_SEED", str(random.SystemRandom().randrange(2**32))))

CORPUS = [
    b"PASS oauth:tok", b"PASS :oauth:tok", b"NICK bob", b"NICK justinfan12", b"USER bob 0 * :bob", b"CAP LS 302",
    b"CAP REQ :twitch.tv/tags twitch.tv/commands", b"CAP REQ -twitch.tv/tags", b"CAP LIST", b"CAP END", b"PING",
    b"PING :tok en", b"PONG :tmi.twitch.tv", b"JOIN #a,#b key", b"JOIN :", b"PART #a :bye", b"NAMES #a", b"MODE #a +i",
    b"WHOIS bob", b"PRIVMSG #a :hello world", b"PRIVMSG #a word", "PRIVMSG #a :héllo 😀 世界".encode(),
    b"@client-nonce=ab;reply-parent-msg-id=x PRIVMSG #a :\x01ACTION waves\x01", b":pre!f@x PRIVMSG #b :/me hi", b"QUIT",
]  # fmt: skip
PIECES = [b"", b" ", b":", b" :", b"@", b";", b"=", b"\\", b",", b"#", b"\0", b"\r", b"\n", b"\r\n", b"\xff", b"\xc3",
          b"\xed\xa0\x80", b"x" * 300, b"x" * (MAX_REST + 1), "\u212a\u00a0\ufeff".encode()]  # fmt: skip


def mutated(rng: random.Random) -> bytes:
    line = bytearray(rng.choice(CORPUS))
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        at = rng.randrange(len(line) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            line[at:at] = rng.choice(PIECES)
        elif kind == 1:
            line[at:at] = rng.randbytes(rng.randrange(8))
        elif kind == 2:
            del line[at : at + rng.randrange(1, 6)]
        else:
            line[at : at + 1] = rng.choice(CORPUS)
    return bytes(line)


def answers(rng: random.Random, session: Session, effects: list) -> list:
    """Answer what the session asks clue, in some way; returns what it says then."""
    said = []
    for effect in effects:
        if isinstance(effect, Authenticate):
            result = accepted() if rng.random() < 0.9 else LoginResult(outcome=rng.randrange(5))
            said += session.authenticated(result)
        elif isinstance(effect, Join):
            said += session.joined(effect.channel, admitted() if rng.random() < 0.8 else JoinResult(outcome=3))
        elif isinstance(effect, Submit):
            verdict = Verdict(outcome=rng.randrange(5), denial="msg_duplicate", notice="no", chatter=chatter())
            said += session.verdict(effect.channel, verdict, "id")
    return said + answers(rng, session, said) if said else said


def check(effects: list) -> None:
    """Whole lines that parse, and nothing after a Close."""
    for number, effect in enumerate(effects):
        if isinstance(effect, bytes):
            assert effect.endswith(b"\r\n")
            for line in effect[:-2].split(b"\r\n"):
                assert parse(line).command
        if isinstance(effect, Close):
            assert number == len(effects) - 1


def test_the_core_answers_any_bytes():
    """Nothing but documented errors and well-formed effects, whatever comes."""
    rng = random.Random(SEED)
    session, buffer, done, ended, started = Session(1), LineBuffer(), 0, 0, time.perf_counter()
    try:
        while done < LINES:
            stream = mutated(rng) + rng.choice((b"\r\n", b"\n", b""))
            cut = rng.randrange(len(stream) + 1)
            for line in [*buffer.feed(stream[:cut]), *buffer.feed(stream[cut:])]:
                done += 1
                if line is TOO_LONG:
                    effects = session.line_too_long()
                else:
                    try:
                        parse(line)
                    except MessageError:
                        pass
                    effects = session.feed(line)
                check(effects)
                check(answers(rng, session, effects))
                if session.phase is Phase.CLOSING or rng.random() < 0.001:
                    session, buffer, ended = Session(ended), LineBuffer(), ended + 1
                    break
    except BaseException:
        print(f"TALLGRASS_FUZZ_SEED={SEED}, line {done}")
        raise
    seconds = time.perf_counter() - started
    print(f"{done} lines, {ended} sessions, {done / seconds:,.0f} lines/s, seed {SEED}")
    assert ended > 0

"""Group commit: what waits for one channel's shard goes into its log with one commit.lua (ARCHITECTURE 3.2).

A commit is open from its first group until the shard writes the pipeline that it is in; groups that come meanwhile join
it. When the answer is there, its new entries are handed to the publisher at once, in the order of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from clue import keys, scripts
from clue.changes import Write
from clue.homes import Homes, failure
from clue.recent import RecentLines
from clue.redis_shards import Shards
from clue.scripts import Argument, Command
from clue.verdict import Denial, from_code
from common.clock import Clock
from common.errors import RemoteError
from common.pb import chat_pb2

ITEMS = 1_000  # of one commit.lua, which keeps its server busy for about 10 ms with so many


class Accepted(NamedTuple):
    """A submission that may go into the log, unless commit.lua finds what hinders it (see there what these mean).

    Without a user id there is nothing that could.
    """

    publication: bytes
    user_id: int | str = ""
    floor_ms: int | str = ""
    text_hash: bytes = b""
    unique: str = ""
    suffix: bytes = b""


class Action(NamedTuple):
    """Something done to the channel. `token` is kept as its result: no spaces, no "@", and "=" in front."""

    token: str
    writes: tuple[Write, ...] = ()
    publications: tuple[bytes, ...] = ()


class Done(NamedTuple):
    """The result of an Action, with the first and last seq of what it appended (0: nothing)."""

    token: str
    first: int
    last: int


Decision = Accepted | Action | Denial
Result = int | Done | Denial  # a seq, and what became of the others


@dataclass(slots=True)
class Group:
    """One batch's submissions of one channel, as decided on `version` of its state ("": on none).

    `edge_run` tells who counts the batches; "": this is none, and would be done again when repeated.
    """

    edge_run: int | str
    batch: int
    version: str
    decisions: Sequence[Decision]
    traced: Mapping[int, str] = field(default_factory=dict)  # index of those that are followed to their id


@dataclass(slots=True)
class Stale:
    """The channel's state has changed: nothing was done."""


@dataclass(slots=True)
class Superseded:
    """A later batch of that edge was committed: nothing was done, nor ever will be."""


@dataclass(slots=True)
class Frozen:
    """The channel is in the last moment of a move: nothing was done, try again."""


@dataclass(slots=True)
class Committed:
    """`results`: for each item its seq or its denial. `repeat`: they are those of an earlier try of the batch."""

    results: list[Result]
    repeat: bool
    published: asyncio.Future[bool] | None  # of what was appended now; None: nothing was


Outcome = Committed | Stale | Superseded | Frozen


class _Commit:
    """One commit.lua that has not been written yet."""

    __slots__ = ("channel", "groups", "size", "waiting")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.groups: list[Group] = []
        self.waiting: list[asyncio.Future[Outcome]] = []
        self.size = 0


class Commits:
    """`publish` takes a channel and a serialized Entries, and answers whether (a future) an exchange took them."""

    def __init__(
        self,
        shards: Shards,
        homes: Homes,
        clock: Clock,
        recent: RecentLines,
        publish: Callable[[str, bytes, Sequence[chat_pb2.Traced]], asyncio.Future[bool]],
    ) -> None:
        self._shards = shards
        self._homes = homes
        self._clock = clock
        self._recent = recent
        self._publish = publish
        self._open: dict[str, _Commit] = {}

    def put(self, channel: str, group: Group) -> asyncio.Future[Outcome]:
        """Raises RemoteError (through the future) when the shard did not answer: it may be done or not; and
        LivesElsewhere: it was not.
        """
        commit = self._open.get(channel)
        if commit is None or commit.size + len(group.decisions) > ITEMS:
            commit = _Commit(channel)
            self._send(commit)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        commit.groups.append(group)
        commit.waiting.append(future)
        commit.size += len(group.decisions)
        return future

    def _send(self, commit: _Commit) -> None:
        self._open[commit.channel] = commit
        call = self._shards.at(keys.of_channel(commit.channel).head).call((lambda: self._seal(commit),))
        call.add_done_callback(lambda done: self._done(commit, done))

    def _seal(self, commit: _Commit) -> Command:
        """The moment the pipeline is written: who comes later goes into the next commit."""
        self._close(commit)
        # A caller that went away (its edge's deadline has passed) cannot be told: do not commit behind its back.
        present = [i for i, future in enumerate(commit.waiting) if not future.done()]
        if len(present) < len(commit.waiting):
            commit.groups = [commit.groups[i] for i in present]
            commit.waiting = [commit.waiting[i] for i in present]
        groups = []
        for group in commit.groups:
            arguments: list[Argument] = [group.edge_run, group.batch, group.version, len(group.decisions)]
            for decision in group.decisions:
                if isinstance(decision, Accepted):
                    if decision.user_id == "":
                        arguments += ("+", decision.publication)
                    else:
                        arguments.append("*")
                        arguments += decision
                elif isinstance(decision, Denial):
                    arguments += ("-", decision.code())
                else:
                    arguments += _arguments(decision)
            groups.append(arguments)
        return scripts.commit(commit.channel, self._clock.unix_ms(), groups, self._homes.here(commit.channel))

    def _close(self, commit: _Commit) -> None:
        if self._open.get(commit.channel) is commit:
            del self._open[commit.channel]

    def _done(self, commit: _Commit, call: asyncio.Future[list[object]]) -> None:
        self._close(commit)
        error: BaseException | None = None
        if call.cancelled():
            error = RemoteError("redis", "commit", "the call was cancelled")
        else:
            error = call.exception()
            if error is None:
                error = failure(commit.channel, call.result()[0])
        if error is not None:
            for future in commit.waiting:
                if not future.done():
                    future.set_exception(error)
                    future.exception()
            return
        reply: list[bytes] = call.result()[0]  # type: ignore[assignment]
        for future, outcome in zip(commit.waiting, self._outcomes(commit, reply), strict=True):
            if not future.done():
                future.set_result(outcome)

    def _outcomes(self, commit: _Commit, reply: Sequence[bytes]) -> list[Outcome]:
        prev = int(reply[0])
        entries = chat_pb2.Entries()
        traced: list[chat_pb2.Traced] = []
        outcomes: list[Outcome] = []
        for group, text in zip(commit.groups, reply[1:], strict=True):
            kind, *codes = text.decode().split(" ")
            if kind == "V":
                outcomes.append(Stale())
            elif kind == "S":
                outcomes.append(Superseded())
            elif kind == "F":
                outcomes.append(Frozen())
            else:
                results = [_result(code) for code in codes]
                outcomes.append(Committed(results, kind == "R", None))
                if kind == "N":
                    for decision, result, code in zip(group.decisions, results, codes, strict=True):
                        for seq, publication in _appended(decision, result, code):
                            entries.entry.add(seq=seq, prev=prev, publication=publication)
                            prev = seq
                    if group.traced:
                        traced += followed(group, results)
        if entries.entry:
            stored = entries.SerializeToString()
            self._recent.put(commit.channel, stored)
            published = self._publish(commit.channel, stored, traced)
            for outcome in outcomes:
                if isinstance(outcome, Committed) and not outcome.repeat:
                    outcome.published = published
        return outcomes


def followed(group: Group, results: Sequence[Result]) -> list[chat_pb2.Traced]:
    """Those of the group's followed messages that are in the log."""
    placed = ((message_id, results[i]) for i, message_id in group.traced.items())
    return [chat_pb2.Traced(id=message_id, seq=seq) for message_id, seq in placed if isinstance(seq, int)]


def _arguments(action: Action) -> list[Argument]:
    operations: list[Argument] = []
    for write in action.writes:
        operations += ("s" if write.state else "w", scripts.COMMIT_KEYS[write.hash], write.field, write.value)
    for publication in action.publications:
        operations += ("p", publication)
    return ["!", action.token, len(operations), *operations]


def _result(code: str) -> Result:
    if code[0] == "-":
        return from_code(code[1:])
    if code[0] == "=":
        token, _, appended = code.partition("@")
        first, _, last = appended.partition("-")
        return Done(token, int(first or 0), int(last or 0))
    return int(code.removesuffix("f"))


def _appended(decision: Decision, result: Result, code: str) -> Iterable[tuple[int, bytes]]:
    """Seq and publication of each entry."""
    if isinstance(decision, Accepted) and isinstance(result, int):
        first_message = code[-1] == "f"
        return ((result, decision.publication + (_bytes_of(decision.suffix) if first_message else b"")),)
    if isinstance(decision, Action) and isinstance(result, Done):
        return enumerate(decision.publications, result.first)
    return ()


def _bytes_of(suffix: bytes) -> bytes:
    return suffix.partition(b" ")[2]

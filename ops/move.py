"""The steps of moving a channel to another cluster: what to ask whom next. Pure; ops/mover.py carries it out.

    look     who has the channel? A home that says "elsewhere" is followed, and what it names is settled first: so a
             move whose mover died is finished before another begins
    begin    at the old home: changes are noted from now on
    copy     page by page, old home to new, while chat goes on
    changes  what was written meanwhile, round after round, until a round is small
    freeze   at the old home: commits wait, for freeze_ms at most
    last     the last round
    switch   at the old home: the point of no return. Refused when the freeze has ended by itself: changes and freeze
             again
    settle   at the new home: it answers for the channel
    finish   at the new home: the directory, and the entry that asks sessions to follow

Every call may be repeated. A mover may die between any two: before the switch the old home goes on (the freeze ends by
itself) and the copy is worth nothing; after it the new home goes on. A second move to the same cluster does the rest.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from common.errors import TallgrassError
from common.pb import clue_pb2

FREEZE_MS = 300             # two times the longest pause measured; twice as long after each refused switch
MAX_FREEZE_MS = 5_000       # edges wait for so long before they tell a sender
SMALL_ROUND = 32 * 1024     # bytes of changes that are quickly read while commits wait
MAX_ROUNDS = 12             # a channel that is never small is frozen all the same
MAX_FREEZES = 6
MAX_HOPS = 4                # from home to home, when the channel moves while we look


class MoveError(TallgrassError):
    """It cannot be done, or not any more; the text says what is the case now."""


class Stage(enum.Enum):
    LOOK = "look"
    BEGIN = "begin"
    COPY = "copy"
    CHANGES = "changes"
    FREEZE = "freeze"
    LAST = "last"
    SWITCH = "switch"
    SETTLE = "settle"
    FINISH = "finish"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Call:
    """Ask the Control service (Settle: the Clue service) of that cluster."""

    cluster: str
    method: str
    request: Any


@dataclass(slots=True)
class Figures:
    """Of what was carried over."""

    pages: int = 0
    entries: int = 0
    bytes: int = 0
    rounds: int = 0
    freezes: int = 0


@dataclass(slots=True)
class Move:
    """One move. Carry `due` out and give its answer to `answered`, or to `refused`; over when `due` is None.

    `told` collects a line of text for each step done. Both raise MoveError.
    """

    channel: str
    to: str
    token: str              # "<UNIX ms, 13 digits>-<random>"
    start: str              # cluster where to look first
    redirect: str = "none"
    within_s: int = 30
    brought_by: str = ""    # the move that brought it where it is, as far as known (the directory's, at first)
    dry_run: bool = False
    freeze_ms: int = FREEZE_MS
    old: str = ""
    stage: Stage = Stage.LOOK
    told: list[str] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)
    size: clue_pb2.MoveReply | None = None
    _hops: int = 0
    _cursor: str = ""
    _page: clue_pb2.ChannelPage | None = None   # read, and to be stored
    _number: int = 0                            # of pages stored
    _round_bytes: int = 0
    _round_entries: int = 0
    _settling: str = ""     # while looking: the home that has to be settled first

    def __post_init__(self) -> None:
        self.old = self.start

    @property
    def due(self) -> Call | None:
        if self._page is not None:
            return Call(self.to, "StoreChannel", self._store())
        match self.stage:
            case Stage.LOOK if self._settling:
                return Call(
                    self.old, "Settle", clue_pb2.SettleRequest(channel=self.channel, move=self._settling)
                )
            case Stage.LOOK:
                return Call(self.old, "BeginMove", clue_pb2.MoveStep(channel=self.channel))
            case Stage.BEGIN:
                return Call(self.old, "BeginMove", self._step())
            case Stage.COPY | Stage.CHANGES | Stage.LAST:
                return Call(self.old, "ReadChannel", self._read())
            case Stage.FREEZE:
                return Call(self.old, "FreezeChannel", self._step())
            case Stage.SWITCH:
                return Call(self.old, "SwitchChannel", self._step())
            case Stage.SETTLE:
                return Call(self.to, "Settle", clue_pb2.SettleRequest(channel=self.channel, move=self.token))
            case Stage.FINISH:
                request = clue_pb2.FinishMoveRequest(
                    channel=self.channel, move=self.token, redirect=self.redirect, within_s=self.within_s
                )
                return Call(self.to, "FinishMove", request)
            case _:
                return None

    @property
    def abortable(self) -> bool:
        """A move that begins now and ends before its switch leaves something to tidy up at the old home."""
        return self.stage in (Stage.COPY, Stage.CHANGES, Stage.FREEZE, Stage.LAST)

    @property
    def frozen(self) -> bool:
        """Commits wait for us."""
        return self.stage in (Stage.LAST, Stage.SWITCH, Stage.SETTLE)

    def answered(self, reply: Any) -> None:
        if self._page is not None:
            self._stored()
            return
        match self.stage:
            case Stage.LOOK if self._settling:
                self._settling = ""
            case Stage.LOOK:
                self._looked(reply)
            case Stage.BEGIN:
                if reply.elsewhere.cluster:  # somebody moved it between our look and now
                    self._follow(reply.elsewhere)
                    return
                self.stage = Stage.COPY
                self._tell("begin", f"at {self.old}: {_sizes(reply)}")
            case Stage.COPY | Stage.CHANGES | Stage.LAST:
                self._still_there(reply.elsewhere)
                self._page = reply
            case Stage.FREEZE:
                self._still_there(reply.elsewhere)
                self.figures.freezes += 1
                self._tell("freeze", f"at {self.old}, for {self.freeze_ms} ms at most")
                self._begin_round(Stage.LAST)
            case Stage.SWITCH:
                if reply.elsewhere.cluster and (reply.elsewhere.cluster, reply.elsewhere.move) != (self.to, self.token):
                    self._still_there(reply.elsewhere)
                self._tell("switch", f"at {self.old}: it lives on {self.to} from now on")
                self.stage = Stage.SETTLE
            case Stage.SETTLE:
                if reply.elsewhere.cluster:
                    raise MoveError(f"{self.channel} went on to {reply.elsewhere.cluster} by another move")
                self._tell("settle", f"at {self.to}")
                self.stage = Stage.FINISH
            case Stage.FINISH:
                self._tell("finish", f"the directory says {self.to}; sessions asked to follow: {self.redirect}")
                self.stage = Stage.DONE

    def refused(self, text: str) -> None:
        """The step cannot be done as things are."""
        if self.stage is not Stage.SWITCH:
            raise MoveError(f"{self.stage.value}: {text}")
        # The freeze ended before we were through: what was written since has to be carried over, too.
        if self.figures.freezes >= MAX_FREEZES:
            raise MoveError(f"{self.channel} was frozen {MAX_FREEZES} times, never long enough for its changes: {text}")
        self._tell("switch", f"refused ({text}); once more")
        self.freeze_ms = min(2 * self.freeze_ms, MAX_FREEZE_MS)
        self._begin_round(Stage.CHANGES)

    # -- who has it -------------------------------------------------------------------------------------------------

    def _looked(self, reply: clue_pb2.MoveReply) -> None:
        if reply.elsewhere.cluster:
            self._follow(reply.elsewhere)
            return
        self.size = reply
        if self.old != self.to:
            doing = f"; a move to {reply.moving_to} is under way" if reply.moving else ""
            self._tell("look", f"{self.channel} lives on {self.old}: {_sizes(reply)}{doing}")
            self.stage = Stage.DONE if self.dry_run else Stage.BEGIN
        elif self.brought_by and not self.dry_run:
            self._tell("look", f"{self.channel} lives on {self.to} already: {_sizes(reply)}")
            self.token = self.brought_by
            self.stage = Stage.FINISH
        else:
            self._tell("look", f"{self.channel} lives on {self.to} already: {_sizes(reply)}")
            self.stage = Stage.DONE

    def _follow(self, elsewhere: clue_pb2.Elsewhere) -> None:
        self._hops += 1
        if self._hops > MAX_HOPS:
            raise MoveError(f"{self.channel} is sent from home to home: is it being moved by somebody else?")
        self.old = elsewhere.cluster
        self.brought_by = self._settling = elsewhere.move
        self.stage = Stage.LOOK

    def _still_there(self, elsewhere: clue_pb2.Elsewhere) -> None:
        if elsewhere.cluster:
            raise MoveError(f"{self.channel} went to {elsewhere.cluster} by another move meanwhile")

    # -- what is carried over ---------------------------------------------------------------------------------------

    def _step(self) -> clue_pb2.MoveStep:
        return clue_pb2.MoveStep(channel=self.channel, move=self.token, to=self.to, freeze_ms=self.freeze_ms)

    def _read(self) -> clue_pb2.ReadChannelRequest:
        return clue_pb2.ReadChannelRequest(
            channel=self.channel, move=self.token, cursor=self._cursor,
            changes=self.stage is not Stage.COPY, round=0 if self.stage is Stage.COPY else self.figures.rounds,
        )  # fmt: skip

    def _store(self) -> clue_pb2.StoreChannelRequest:
        request = clue_pb2.StoreChannelRequest(
            channel=self.channel, move=self.token, first=self._number == 0, page=self._page, number=self._number + 1
        )
        setattr(request, "from", self.old)
        return request

    def _stored(self) -> None:
        page, self._page = self._page, None
        assert page is not None
        self._number += 1
        size = sum(len(part) for piece in page.pieces for part in (*piece.fields, *piece.removed))
        entries = sum(len(piece.fields) // 3 for piece in page.pieces if piece.kind == "stream")
        self._round_bytes += size
        self._round_entries += entries
        self.figures.pages += 1
        self.figures.bytes += size
        self.figures.entries += entries
        self._cursor = page.cursor
        if not page.cursor:
            self._round_done()

    def _round_done(self) -> None:
        what = f"{self._round_entries} entries, {_bytes(self._round_bytes)}"
        if self.stage is Stage.COPY:
            self._tell("copy", f"{self.old} to {self.to}: {what} in {self.figures.pages} pages")
            self._begin_round(Stage.CHANGES)
        elif self.stage is Stage.LAST:
            self._tell("last", what)
            self.stage = Stage.SWITCH
        else:
            self._tell("changes", f"round {self.figures.rounds}: {what}")
            if self._round_bytes <= SMALL_ROUND or self.figures.rounds >= MAX_ROUNDS:
                self.stage = Stage.FREEZE
            else:
                self._begin_round(Stage.CHANGES)

    def _begin_round(self, stage: Stage) -> None:
        self.stage = stage
        self.figures.rounds += 1
        self._cursor = ""
        self._round_bytes = self._round_entries = 0

    def _tell(self, step: str, text: str) -> None:
        self.told.append(f"{step:8}{text}")


def _sizes(reply: clue_pb2.MoveReply) -> str:
    return f"{reply.entries:,} entries in the log, {reply.members:,} members, about {_bytes(reply.bytes)}"


def _bytes(count: int) -> str:
    return f"{count / 1024:,.0f} KB" if count < 10 * 1024 * 1024 else f"{count / 1024 / 1024:,.0f} MB"

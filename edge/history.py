"""What of a channel's log a client may see again, and which part of it was asked for (IRCv3 "chathistory"). Pure.

The log's order is the order of everything here. A timestamp is compared with each entry's own: two clues' clocks may
stand against the log's order.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.pb.chat_pb2 import Publication

# The most of one answer: whoever wants more asks again. 200 lines are 60 kB, and 1 ms of this edge.
MAX_MESSAGES = 200
LONGEST_DELAY_S = 6  # tmi_protocol section 11


class Direction(enum.Enum):
    LATEST = "LATEST"
    BEFORE = "BEFORE"
    AFTER = "AFTER"
    AROUND = "AROUND"
    BETWEEN = "BETWEEN"


@dataclass(frozen=True, slots=True)
class Selector:
    """A place in the log: that of a message, or, when `msgid` is "", a moment."""

    msgid: str
    ts_ms: int = 0  # UNIX milliseconds


@dataclass(frozen=True, slots=True)
class Query:
    channel: str
    direction: Direction
    limit: int  # 1 to MAX_MESSAGES
    first: Selector | None  # None for LATEST with "*"
    second: Selector | None = None  # of BETWEEN


class NotInLog(Exception):
    """The message that a selector names is not in the log, or no longer."""


class History:
    """A channel's log at one moment, oldest entry first."""

    __slots__ = ("_log", "_visible")

    def __init__(self, log: Sequence[Publication]) -> None:
        self._log = log
        self._visible = visible(log)

    def __len__(self) -> int:
        """Entries of the log, seen or not."""
        return len(self._log)

    def shown(self, now_ms: int) -> History:
        """Without what is still held back from all but moderators (edge/delay.py)."""
        held = 0
        for publication in reversed(self._log):
            if publication.ts_ms < now_ms - LONGEST_DELAY_S * 1000:
                break
            held += publication.line.delay_s > 0
        if not held:
            return self
        return History(
            [one for one in self._log if not one.line.delay_s or one.ts_ms + one.line.delay_s * 1000 <= now_ms]
        )

    def select(self, query: Query, *, user_notices: bool) -> list[Publication]:
        """The messages that the query asks for, oldest first; USERNOTICEs among them when `user_notices`.

        Raises NotInLog.
        """
        log = self._log
        places = self._visible if user_notices else [at for at in self._visible if log[at].HasField("line")]
        return [log[at] for at in self._choose(places, query)]

    def _choose(self, places: list[int], query: Query) -> list[int]:
        first, second, limit = query.first, query.second, query.limit
        if first is None:
            return places[-limit:]
        after, before = self._after(first), self._before(first)
        if query.direction is Direction.LATEST:
            return [at for at in places if after(at)][-limit:]
        if query.direction is Direction.BEFORE:
            return [at for at in places if before(at)][-limit:]
        if query.direction is Direction.AFTER:
            return [at for at in places if after(at)][:limit]
        if query.direction is Direction.AROUND or second is None:
            earlier = [at for at in places if before(at)][-(limit // 2) :] if limit > 1 else []
            return earlier + [at for at in places if not before(at)][: limit - len(earlier)]
        # From the first on, in the direction of the second: backwards, those nearest to the first are the newest.
        if self._position(first) <= self._position(second):
            ends = self._before(second)
            return [at for at in places if after(at) and ends(at)][:limit]
        ends = self._after(second)
        return [at for at in places if before(at) and ends(at)][-limit:]

    def _after(self, selector: Selector) -> Callable[[int], bool]:
        if selector.msgid:
            place = self._place(selector.msgid)
            return lambda at: at > place
        return lambda at: self._log[at].ts_ms > selector.ts_ms

    def _before(self, selector: Selector) -> Callable[[int], bool]:
        if selector.msgid:
            place = self._place(selector.msgid)
            return lambda at: at < place
        return lambda at: self._log[at].ts_ms < selector.ts_ms

    def _position(self, selector: Selector) -> int:
        if selector.msgid:
            return self._place(selector.msgid)
        return sum(publication.ts_ms < selector.ts_ms for publication in self._log)

    def _place(self, msgid: str) -> int:
        """Also of a message that was taken back: the client that asks for what followed it has seen it."""
        for at, publication in enumerate(self._log):
            if publication.id == msgid:
                return at
        raise NotInLog(msgid)


def visible(log: Sequence[Publication]) -> list[int]:
    """The places, in rising order, of what was said and not taken back since: by its id, by clearing the channel, by a
    ban or a time-out of its author. From the end to the beginning: what takes back comes after what it takes back.
    """
    deleted: set[str] = set()
    silenced: set[int] = set()
    places: list[int] = []
    for at in range(len(log) - 1, -1, -1):
        publication = log[at]
        body = publication.WhichOneof("body")
        if body == "line" or body == "user_notice":
            author = publication.line.author if body == "line" else publication.user_notice.author
            if publication.id not in deleted and author.user_id not in silenced:
                places.append(at)
        elif body == "deleted":
            deleted.add(publication.deleted.message_id)
        elif body == "banned":
            silenced.add(publication.banned.user_id)
        elif body == "cleared":
            break
    places.reverse()
    return places

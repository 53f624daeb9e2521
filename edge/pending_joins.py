"""The joins of one session that clue has not answered yet: replies go out in the order asked, whatever comes first.

Pure. A join that its session gave up keeps its place until its answer comes, so that each question has one answer;
asking again before that takes the same place.
"""

from __future__ import annotations

from common.pb.clue_pb2 import JoinResult


class _Join:
    __slots__ = ("result", "wanted")

    def __init__(self) -> None:
        self.wanted = True
        self.result: JoinResult | None = None


class PendingJoins:
    __slots__ = ("_joins",)

    def __init__(self) -> None:
        self._joins: dict[str, _Join] = {}  # in the order asked

    def __len__(self) -> int:
        """Places taken, given-up ones too: JOIN and PART in turn cannot pile up questions."""
        return len(self._joins)

    def __contains__(self, channel: str) -> bool:
        """Whether a question about the channel is under way, wanted or given up."""
        return channel in self._joins

    def ask(self, channel: str) -> bool:
        """The session wants in. True: clue has to be asked; False: an answer is coming already."""
        join = self._joins.get(channel)
        if join is not None:
            join.wanted = True
            return False
        self._joins[channel] = _Join()
        return True

    def give_up(self, channel: str) -> bool:
        """The session does not want in any more. False: it did not anyway."""
        join = self._joins.get(channel)
        if join is None or not join.wanted:
            return False
        join.wanted = False
        return True

    def answer(self, channel: str, result: JoinResult) -> list[tuple[str, JoinResult]]:
        """Clue's answer; returns what is due now, without what was given up."""
        join = self._joins.get(channel)
        if join is not None:
            join.result = result
        due = []
        for name, first in list(self._joins.items()):
            if first.result is None:
                break
            del self._joins[name]
            if first.wanted:
                due.append((name, first.result))
        return due

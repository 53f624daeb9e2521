"""edge/history.py: what comes back, and which part of it was asked for."""

from __future__ import annotations

import pytest

from common.pb.chat_pb2 import (
    Banned,
    Chatter,
    Cleared,
    Deleted,
    Line,
    Publication,
    RoomChanged,
    Unbanned,
    UserNotice,
)
from edge.history import Direction, History, NotInLog, Query, Selector, visible


def said(text, *, by=1, ts=0):
    return Publication(id=text, ts_ms=ts, line=Line(text=text, author=Chatter(user_id=by)))


def announced(text, *, by=1):
    return Publication(id=text, user_notice=UserNotice(text=text, msg_id="announcement", author=Chatter(user_id=by)))


def deleted(message_id):
    return Publication(id=f"x{message_id}", deleted=Deleted(message_id=message_id))


def banned(user_id, duration_s=0):
    return Publication(banned=Banned(user_id=user_id, duration_s=duration_s))


CLEARED = Publication(cleared=Cleared())


@pytest.mark.parametrize(
    ("log", "seen"),
    [
        ([], ""),
        ([said("a"), said("b")], "ab"),
        ([said("a"), said("b"), deleted("a")], "b"),
        ([deleted("a"), said("b")], "b"),
        ([said("a"), CLEARED, said("b")], "b"),
        ([said("a", by=1), said("b", by=2), banned(1), said("c", by=1)], "bc"),
        ([said("a", by=1), said("b", by=2), banned(1, 60)], "b"),
        ([said("a", by=1), banned(1), Publication(unbanned=Unbanned(user_id=1))], ""),
        ([announced("a"), said("b"), deleted("a")], "b"),
        ([announced("a", by=1), announced("b", by=2), banned(2)], "a"),
        ([said("a"), Publication(room=RoomChanged()), said("b")], "ab"),
    ],
)
def test_what_was_taken_back_does_not_come_back(log, seen):
    """By its id, by clearing the channel, by a ban or a time-out of its author: each of what came before it alone."""
    assert "".join(log[at].id for at in visible(log)) == seen


def test_many_deletions_cost_one_walk():
    """A log of nothing but deletions of each line: nothing is left."""
    lines = [said(str(number)) for number in range(500)]
    assert visible([*lines, *(deleted(line.id) for line in lines)]) == []


LOG = History([said(name, ts=10 * number) for number, name in enumerate("abcdefgh")])  # a at 0, h at 70


def asked(direction, limit, first=None, second=None, *, history=LOG):
    def selector(value):
        return Selector(value) if isinstance(value, str) else Selector("", value)

    query = Query(
        "#c",
        Direction(direction),
        limit,
        None if first is None else selector(first),
        None if second is None else selector(second),
    )
    return "".join(publication.id for publication in history.select(query, user_notices=True))


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (("LATEST", 3), "fgh"),
        (("LATEST", 100), "abcdefgh"),
        (("LATEST", 3, "b"), "fgh"),
        (("LATEST", 100, "f"), "gh"),
        (("LATEST", 100, "h"), ""),
        (("LATEST", 100, 50), "gh"),
        (("BEFORE", 2, "d"), "bc"),
        (("BEFORE", 2, "a"), ""),
        (("BEFORE", 2, 30), "bc"),
        (("BEFORE", 2, 31), "cd"),
        (("AFTER", 2, "d"), "ef"),
        (("AFTER", 100, "d"), "efgh"),
        (("AFTER", 2, 30), "ef"),
        (("AFTER", 2, 29), "de"),
        (("AFTER", 2, -1), "ab"),
        (("AROUND", 4, "d"), "bcde"),
        (("AROUND", 1, "d"), "d"),
        (("AROUND", 4, "a"), "abcd"),
        (("BETWEEN", 100, "b", "f"), "cde"),
        (("BETWEEN", 2, "b", "f"), "cd"),
        (("BETWEEN", 2, "f", "b"), "de"),
        (("BETWEEN", 2, 10, 50), "cd"),
        (("BETWEEN", 2, 50, 10), "de"),
        (("BETWEEN", 2, "b", 50), "cd"),
        (("BETWEEN", 2, 50, "b"), "de"),
        (("BETWEEN", 2, "c", "c"), ""),
    ],
)
def test_selectors_exclude_what_they_name(question, answer):
    """IRCv3 "chathistory": a limit keeps what is nearest to the first selector, or the newest; oldest first, always."""
    assert asked(*question) == answer


@pytest.mark.parametrize("direction", ["LATEST", "BEFORE", "AFTER", "AROUND", "BETWEEN"])
def test_an_id_that_is_not_in_the_log_is_told(direction):
    """Not an empty answer, after which a client would believe that it has everything."""
    with pytest.raises(NotInLog):
        asked(direction, 5, "nothing", "a")


def test_a_message_that_was_taken_back_is_still_a_place():
    """A client that saw it asks for what followed it."""
    history = History([said("a"), said("b"), deleted("b"), said("c")])
    assert asked("AFTER", 5, "b", history=history) == "c"


def test_user_notices_are_for_those_who_know_them():
    """Others get lines alone, and none of their places is taken."""
    history = History([said("a"), announced("b")])
    query = Query("#c", Direction.LATEST, 1, None)
    assert [p.id for p in history.select(query, user_notices=True)] == ["b"]
    assert [p.id for p in history.select(query, user_notices=False)] == ["a"]

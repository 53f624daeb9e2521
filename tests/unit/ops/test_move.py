"""The order of a move's steps, and what becomes of it when a step is refused, sent elsewhere or repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.pb import clue_pb2
from ops.move import MAX_FREEZE_MS, MAX_FREEZES, Move, MoveError, Stage

REPLY = clue_pb2.MoveReply(entries=10, members=3, bytes=2_000)
LAST_PAGE = clue_pb2.ChannelPage(pieces=[clue_pb2.Piece(key="log", kind="stream", fields=[b"1", b"0", b"x"])])
BIG_PAGE = clue_pb2.ChannelPage(pieces=[clue_pb2.Piece(key="log", kind="stream", fields=[b"1", b"0", b"x" * 99_000])])
Answer = Callable[[str, Any], Any]


def elsewhere(cluster: str, move: str = "") -> clue_pb2.MoveReply:
    return clue_pb2.MoveReply(elsewhere=clue_pb2.Elsewhere(cluster=cluster, move=move))


def answer(method: str, request: Any) -> Any:
    if method == "ReadChannel":
        return LAST_PAGE
    return clue_pb2.SettleReply(available=True) if method == "Settle" else REPLY


def make(**changes: Any) -> Move:
    return Move("#tpp", "event", "2-b", "main", **changes)


def run(move: Move, answers: Answer = answer) -> list[tuple[str, str]]:
    """To its end; what was asked, of whom."""
    asked = []
    while (call := move.due) is not None:
        asked.append((call.method, call.cluster))
        assert len(asked) < 200
        move.answered(answers(call.method, call.request))
    return asked


def until(move: Move, stage: Stage, answers: Answer = answer) -> None:
    while move.stage is not stage:
        call = move.due
        assert call is not None
        move.answered(answers(call.method, call.request))


def test_the_steps_and_whom_they_ask() -> None:
    move = make()
    assert run(move) == [
        ("BeginMove", "main"), ("BeginMove", "main"),
        ("ReadChannel", "main"), ("StoreChannel", "event"),
        ("ReadChannel", "main"), ("StoreChannel", "event"),
        ("FreezeChannel", "main"),
        ("ReadChannel", "main"), ("StoreChannel", "event"),
        ("SwitchChannel", "main"), ("Settle", "event"), ("FinishMove", "event"),
    ]  # fmt: skip
    assert (move.stage, move.figures.entries, move.figures.freezes) == (Stage.DONE, 3, 1)
    assert [line.split()[0] for line in move.told] == [
        "look", "begin", "copy", "changes", "freeze", "last", "switch", "settle", "finish",
    ]  # fmt: skip


def test_the_first_page_empties_the_place_and_pages_are_counted() -> None:
    move = make()
    stored = []

    def answers(method: str, request: Any) -> Any:
        if method == "StoreChannel":
            stored.append((request.first, request.number, getattr(request, "from"), request.move))
        return answer(method, request)

    run(move, answers)
    assert stored == [(True, 1, "main", "2-b"), (False, 2, "main", "2-b"), (False, 3, "main", "2-b")]


def test_pages_are_read_from_where_the_last_one_ended() -> None:
    move = make()
    cursors = []

    def answers(method: str, request: Any) -> Any:
        if method == "ReadChannel" and not request.changes:
            cursors.append(request.cursor)
            return clue_pb2.ChannelPage(cursor={"": "bans:5", "bans:5": "log:7", "log:7": ""}[request.cursor])
        return answer(method, request)

    run(move, answers)
    assert cursors == ["", "bans:5", "log:7"]


def test_rounds_of_changes_go_on_until_one_is_small_and_are_numbered() -> None:
    move = make()
    rounds = []

    def answers(method: str, request: Any) -> Any:
        if method == "ReadChannel" and request.changes:
            rounds.append(request.round)
            return BIG_PAGE if len(rounds) < 4 else LAST_PAGE
        return answer(method, request)

    run(move, answers)
    assert rounds == [1, 2, 3, 4, 5]  # the fifth while it was frozen
    assert move.figures.freezes == 1


def test_a_channel_that_is_never_small_is_frozen_all_the_same() -> None:
    move = make()
    asked = run(move, lambda method, request: BIG_PAGE if method == "ReadChannel" else answer(method, request))
    assert move.stage is Stage.DONE
    assert len([one for one in asked if one[0] == "ReadChannel"]) == 1 + 12 + 1


def test_a_freeze_that_ended_by_itself_is_made_again_and_longer() -> None:
    move = make()
    until(move, Stage.SWITCH)
    move.refused("it is not frozen")
    assert move.stage is Stage.CHANGES
    assert move.freeze_ms == 600
    run(move)
    assert (move.stage, move.figures.freezes) == (Stage.DONE, 2)


def test_it_is_given_up_when_no_freeze_is_long_enough() -> None:
    move = make()
    for _ in range(MAX_FREEZES - 1):
        until(move, Stage.SWITCH)
        move.refused("it is not frozen")
    until(move, Stage.SWITCH)
    assert move.freeze_ms == MAX_FREEZE_MS
    with pytest.raises(MoveError, match="never long enough"):
        move.refused("it is not frozen")


@pytest.mark.parametrize("stage", [Stage.BEGIN, Stage.COPY, Stage.CHANGES, Stage.FREEZE, Stage.LAST, Stage.FINISH])
def test_a_refused_step_ends_the_move_and_says_which(stage: Stage) -> None:
    move = make()
    until(move, stage)
    with pytest.raises(MoveError, match=f"{stage.value}: a later move has begun"):
        move.refused("a later move has begun")


@pytest.mark.parametrize("stage", [Stage.COPY, Stage.CHANGES, Stage.FREEZE, Stage.LAST])
def test_one_that_another_move_took_away_meanwhile_is_told(stage: Stage) -> None:
    move = make()
    until(move, stage)
    call = move.due
    assert call is not None
    away = clue_pb2.Elsewhere(cluster="group", move="9-z")
    with pytest.raises(MoveError, match="went to group by another move"):
        move.answered(
            clue_pb2.ChannelPage(elsewhere=away) if call.method == "ReadChannel" else clue_pb2.MoveReply(elsewhere=away)
        )


def test_a_channel_that_is_elsewhere_is_followed_after_its_new_home_has_settled() -> None:
    """A mover that died after the switch is thereby made good, before another move begins."""
    move = make()
    replies = iter([elsewhere("group", "1-a"), clue_pb2.SettleReply(available=True)])
    asked = run(move, lambda method, request: next(replies, None) or answer(method, request))
    assert asked[:4] == [("BeginMove", "main"), ("Settle", "group"), ("BeginMove", "group"), ("BeginMove", "group")]
    assert ("SwitchChannel", "group") in asked


def test_a_second_move_to_the_same_cluster_finishes_the_first_ones_with_its_token() -> None:
    move = make()
    tokens = []
    replies = iter([elsewhere("event", "1-a"), clue_pb2.SettleReply(available=True)])

    def answers(method: str, request: Any) -> Any:
        tokens.append((method, request.move))
        return next(replies, None) or answer(method, request)

    run(move, answers)
    assert tokens == [("BeginMove", ""), ("Settle", "1-a"), ("BeginMove", ""), ("FinishMove", "1-a")]


def test_a_channel_that_was_never_moved_is_left_where_it_is() -> None:
    move = Move("#tpp", "main", "2-b", "main")
    assert run(move) == [("BeginMove", "main")]
    assert "lives on main already" in move.told[0]


def test_homes_that_point_at_each_other_are_not_followed_for_ever() -> None:
    move = make()
    other = {"main": "event", "event": "main"}
    with pytest.raises(MoveError, match="from home to home"):
        run(move, lambda method, request: elsewhere(other[move.old]))


def test_a_dry_run_only_looks() -> None:
    move = make(dry_run=True)
    asked = []

    def answers(method: str, request: Any) -> Any:
        asked.append((method, request.move))
        return REPLY

    run(move, answers)
    assert asked == [("BeginMove", "")]
    assert "lives on main: 10 entries in the log, 3 members" in move.told[0]


def test_a_switch_that_was_done_already_is_not_a_move_by_somebody_else() -> None:
    """Its first answer was lost."""
    move = make()
    until(move, Stage.SWITCH)
    move.answered(elsewhere("event", "2-b"))
    assert move.stage is Stage.SETTLE


def test_a_switch_that_another_move_won_is_told() -> None:
    move = make()
    until(move, Stage.SWITCH)
    with pytest.raises(MoveError, match="went to group by another move"):
        move.answered(elsewhere("group", "3-c"))

from array import array
from types import SimpleNamespace

import pytest

from tests.chaos.moves import Moves


def test_what_moves_add_is_the_difference_of_what_is_felt_with_and_without():
    """Of the worst hundredth; a machine on which it was quieter with a move than without adds nothing."""
    moves = Moves(gaps_s=[0.1] * 98 + [0.3, 0.4], still_s=[0.1] * 98 + [0.15, 0.2])
    assert moves.added_s == pytest.approx(0.15)
    assert not moves.noisy
    assert Moves(gaps_s=[0.1], still_s=[0.2]).added_s == 0


def test_a_machine_that_is_too_busy_without_a_move_says_nothing_about_moves():
    assert Moves(gaps_s=[0.3], still_s=[0.3]).noisy


def test_a_delay_belongs_to_the_time_in_which_its_message_was_sent():
    """Not to that in which it arrived; what was sent in neither is left out."""
    moves = Moves(spans=[(10.0, 11.0)], still_spans=[(11.0, 12.0)])
    life = SimpleNamespace(seen=array("q", [1, 2, 3]), seen_at=array("d", [9.5, 11.5, 11.7]))
    load = SimpleNamespace(ledger=SimpleNamespace(sent_at={1: 9.0, 2: 10.9, 3: 11.5}), lives=[life])
    moves.time(load)
    assert moves.delays_s == pytest.approx([0.6])
    assert moves.still_delays_s == pytest.approx([0.2])

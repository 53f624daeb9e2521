"""One channel's entries into order."""

import pytest

from common.pb.chat_pb2 import Entry
from edge.sequencer import HELD, Jump, Loss, Sequencer


def entry(seq, prev=None):
    return Entry(seq=seq, prev=seq - 1 if prev is None else prev, publication=b"%d" % seq)


def entries(*seqs):
    return [entry(seq) for seq in seqs]


def seqs(ready):
    return [item.seq for item in ready]


@pytest.fixture
def sequencer():
    """Begun at 10."""
    made = Sequencer()
    made.begin(10, 0.0)
    return made


def test_what_follows_is_ready(sequencer):
    """Entries without a gap come out as they came in, with their publication."""
    ready = sequencer.feed(entries(11, 12), 1.0)
    assert ready == [(11, b"11"), (12, b"12")]
    assert sequencer.last == 12
    assert sequencer.hole_since is None


def test_repeats_are_dropped_and_counted(sequencer):
    """An entry at or under last comes out no second time."""
    sequencer.feed(entries(11, 12), 1.0)
    assert sequencer.feed(entries(9, 11, 12, 13), 2.0) == [(13, b"13")]
    assert sequencer.repeats == 3


def test_numbers_may_jump_when_prev_is_not_above_last(sequencer):
    """A log that goes on at a higher number has no hole: prev decides, not the number."""
    assert seqs(sequencer.feed([entry(5_000_000, prev=10)], 1.0)) == [5_000_000]
    assert seqs(sequencer.feed([entry(9_000_000, prev=7)], 1.0)) == [9_000_000]
    assert sequencer.hole_since is None


def test_a_log_that_goes_on_before_what_we_have_is_told(sequencer):
    """A prev below last: the log has lost what we gave out after it; a prev that is last tells nothing."""
    sequencer.feed([entry(11), entry(5_000, prev=11)], 1.0)
    assert sequencer.jumps == []
    assert seqs(sequencer.feed([entry(9_000, prev=11), entry(9_001)], 1.0)) == [9_000, 9_001]
    assert sequencer.jumps == [Jump(after=11, seen=5_000, to=9_000)]


def test_a_jump_is_told_when_a_replay_brings_it(sequencer):
    """The entry that names an earlier predecessor comes out of the log instead of over a link."""
    sequencer.feed(entries(11, 12), 1.0)
    sequencer.head(9_001, 2.0)
    mark = sequencer.asking()
    assert seqs(sequencer.replayed([entry(9_000, prev=11), entry(9_001)], mark, False, 3.0)) == [9_000, 9_001]
    assert sequencer.jumps == [Jump(after=11, seen=12, to=9_000)]
    assert sequencer.losses == []


def test_an_overtaking_entry_waits_for_the_late_one(sequencer):
    """Held while its predecessor is missing; the late one sets both free, in order."""
    assert sequencer.feed(entries(12, 13), 1.0) == []
    assert sequencer.hole_since == 1.0
    assert seqs(sequencer.feed(entries(11), 1.5)) == [11, 12, 13]
    assert sequencer.hole_since is None
    assert sequencer.held == 0


def test_a_hole_keeps_its_age_and_the_next_one_gets_its_own(sequencer):
    """hole_since stays while last stays, and starts anew when the hole after a new last is another."""
    sequencer.feed(entries(12), 1.0)
    sequencer.feed(entries(15), 2.0)
    assert sequencer.hole_since == 1.0
    assert seqs(sequencer.feed(entries(11), 3.0)) == [11, 12]
    assert sequencer.hole_since == 3.0


def test_before_begin_everything_is_held():
    """Nothing comes out before begin; then what is above the head does, and the older is dropped."""
    sequencer = Sequencer()
    assert sequencer.feed(entries(4, 5, 6), 1.0) == []
    assert sequencer.hole_since is None
    assert seqs(sequencer.begin(5, 2.0)) == [6]
    assert sequencer.last == 6


def test_begin_can_find_a_hole():
    """An entry that came before begin and does not follow the head is a hole."""
    sequencer = Sequencer()
    sequencer.feed(entries(8), 1.0)
    assert sequencer.begin(5, 2.0) == []
    assert sequencer.hole_since == 2.0


def test_a_replay_fills_the_hole(sequencer):
    """The missing entries from the log come out, then the held ones, and what was held comes once."""
    sequencer.feed(entries(14, 15), 1.0)
    mark = sequencer.asking()
    assert mark == 15
    ready = sequencer.replayed(entries(11, 12, 13, 14), mark, False, 2.0)
    assert seqs(ready) == [11, 12, 13, 14, 15]
    assert sequencer.losses == []
    assert sequencer.hole_since is None


def test_a_delivery_may_come_while_the_replay_is_under_way(sequencer):
    """What was delivered between asking and the answer is neither lost nor repeated."""
    sequencer.feed(entries(13), 1.0)
    mark = sequencer.asking()
    assert seqs(sequencer.feed(entries(11), 1.1)) == [11]
    assert sequencer.feed(entries(16), 1.2) == []
    assert seqs(sequencer.replayed(entries(11, 12, 13, 14), mark, False, 2.0)) == [12, 13, 14]
    assert sequencer.losses == []
    assert sequencer.hole_since == 2.0


def test_what_left_the_log_is_stepped_over_and_reported(sequencer):
    """When the replay's first entry does not follow, the gap before it is a loss."""
    sequencer.feed(entries(50), 1.0)
    mark = sequencer.asking()
    assert seqs(sequencer.replayed(entries(40, 41), mark, True, 2.0)) == [40, 41]
    assert sequencer.losses == [Loss(10, 40)]
    assert sequencer.hole_since == 2.0


def test_held_entries_inside_the_gap_still_come_out_in_order(sequencer):
    """A held entry that the log has lost since is given out in its place."""
    sequencer.feed(entries(20), 1.0)
    assert seqs(sequencer.replayed(entries(40), sequencer.asking(), False, 2.0)) == [20, 40]
    assert sequencer.losses == [Loss(10, 20), Loss(20, 40)]


def test_an_entry_newer_than_the_question_is_not_called_lost(sequencer):
    """A held entry above the mark waits for another replay: the log may have got it after it was asked."""
    sequencer.feed(entries(12), 1.0)
    mark = sequencer.asking()
    sequencer.feed(entries(20), 1.1)
    assert seqs(sequencer.replayed(entries(11, 12), mark, False, 2.0)) == [11, 12]
    assert sequencer.losses == []
    assert sequencer.hole_since == 2.0


def test_a_head_above_last_is_a_hole(sequencer):
    """A higher head is a hole even when nothing is held; equal and lower heads are none."""
    assert sequencer.head(10, 1.0) is False
    assert sequencer.head(3, 1.0) is False
    assert sequencer.hole_since is None
    assert sequencer.head(12, 2.0) is True
    assert sequencer.hole_since == 2.0
    assert seqs(sequencer.feed(entries(11, 12), 3.0)) == [11, 12]
    assert sequencer.hole_since is None


def test_a_head_whose_entries_left_the_log_is_a_loss_once(sequencer):
    """A complete, empty replay ends the hole that a head opened; the same head opens no second one."""
    sequencer.head(30, 1.0)
    assert sequencer.replayed([], sequencer.asking(), False, 2.0) == []
    assert sequencer.losses == [Loss(10, 31)]
    assert sequencer.hole_since is None
    assert sequencer.head(30, 3.0) is False
    assert seqs(sequencer.feed(entries(31), 4.0)) == [31]


def test_the_held_are_bounded_and_what_was_dropped_stays_a_hole(sequencer):
    """Past the bound new ones are dropped and counted, and the hole does not close before they came again."""
    sequencer.feed(entries(*range(12, 12 + HELD + 3)), 1.0)
    assert sequencer.held == HELD
    assert sequencer.overflowed == 3
    last_held = 11 + HELD
    assert seqs(sequencer.feed(entries(11), 2.0))[-1] == last_held
    assert sequencer.hole_since == 2.0
    mark = sequencer.asking()
    assert seqs(sequencer.replayed(entries(*range(last_held + 1, last_held + 4)), mark, False, 3.0)) == [
        last_held + 1,
        last_held + 2,
        last_held + 3,
    ]
    assert sequencer.hole_since is None

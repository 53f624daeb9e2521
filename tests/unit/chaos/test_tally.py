import random

import pytest

from tests.chaos.tally import COUNTING, ENDED, PING, Judge, Marks, Tally

BEGIN = b":ann!ann@ann PRIVMSG #tpp :mark1 0\r\n"
END = b":ann!ann@ann PRIVMSG #tpp :mark2 0\r\n"
ENTRY = b":x 353 reader = #tpp :reader\r\n:x 366 reader #tpp :End of /NAMES list\r\n"


def line(number):
    return b":user%d!a@b PRIVMSG #tpp :t1 %d %s.\r\n" % (number % 7, number, b"words " * (number % 11))


LINES = [line(number) for number in range(1, 301)]


def tally_of(lines, *, owner="reader", marks=None, end=END, keep=False, pieces=None, whole=True):
    """One reader that was told `lines` between the marks, a tenth of a second from one to the next."""
    marks = marks or Marks()
    made = Tally(marks, owner, keep=keep)
    made.feed(ENTRY, 0.0)
    if whole:
        marks.begin, marks.end, marks.counting = b" :mark1 ", b"", False
        made.look()
        made.feed(BEGIN, 0.0)
    else:
        made.state = COUNTING
    marks.counting = True
    for at, one in enumerate(lines):
        made.feed(one, at / 10)
    marks.end = b" :mark2 "
    if end:
        made.feed(end, len(lines) / 10)
    return made


def judged(tally):
    return Judge(b"".join(LINES)).find(tally)


def test_who_got_the_same_bytes_is_not_found():
    tally = tally_of(LINES)
    assert (tally.whole, tally.state) == (True, ENDED)
    assert judged(tally) is None
    assert Judge(b"".join(LINES)).lines(tally) == 300


def test_how_the_bytes_were_cut_into_reads_does_not_matter():
    """Marks, lines and PINGs may begin in one read and end in another."""
    stream = BEGIN + b"".join(LINES[:100]) + PING + b"".join(LINES[100:]) + END
    dice = random.Random(5)
    for _ in range(200):
        marks = Marks(begin=b" :mark1 ", end=b" :mark2 ")
        tally = Tally(marks, "reader", keep=True)
        tally.feed(ENTRY, 0.0)
        pings, at = 0, 0
        while at < len(stream):
            size = dice.choice((1, 3, 20, 700, 9_000))
            pings += tally.feed(stream[at : at + size], at / 1_000)
            at += size
        assert pings == 1
        assert bytes(tally.kept) == b"".join(LINES)
        assert judged(tally) is None


def test_ping_in_a_message_is_counted_as_what_it_is():
    """Only the line that is a PING is left out."""
    said = [b":a!a@a PRIVMSG #tpp :PING :tmi.twitch.tv\r\n"]
    tally = tally_of(said)
    assert tally.count == len(said[0])
    assert Judge(said[0]).find(tally) is None


@pytest.mark.parametrize("at", [0, 1, 150, 298, 299])
def test_a_lost_line_is_found_and_named(at):
    found = judged(tally_of(LINES[:at] + LINES[at + 1 :]))
    assert (found.missing, found.repeated, found.out_of_order) == (1, 0, 0)
    assert found.bytes_off == -len(LINES[at])
    if at < 299:
        assert b" %d " % (at + 1) in found.where.encode()


def test_a_lost_run_of_lines_is_counted():
    found = judged(tally_of(LINES[:40] + LINES[73:]))
    assert (found.owner, found.missing, found.repeated) == ("reader", 33, 0)


def test_a_repeated_line_is_found_and_named():
    """At once, or later."""
    for late in (0, 5):
        found = judged(tally_of([*LINES[: 100 + late], LINES[99], *LINES[100 + late :]]))
        assert (found.missing, found.repeated, found.out_of_order) == (0, 1, 0)
        assert found.bytes_off == len(LINES[99])
        assert " 100 " in found.where


def test_a_repeated_bundle_is_counted():
    found = judged(tally_of(LINES[:120] + LINES[112:]))
    assert (found.missing, found.repeated) == (0, 8)


def test_two_lines_that_changed_places_are_out_of_order():
    changed = list(LINES)
    changed[200], changed[201] = changed[201], changed[200]
    found = judged(tally_of(changed))
    assert (found.missing, found.repeated, found.out_of_order, found.bytes_off) == (0, 0, 1, 0)
    assert " 201 " in found.where


def test_bytes_that_no_slip_explains_are_found_all_the_same():
    changed = list(LINES)
    changed[100] = changed[100].replace(b"t1", b"t2")
    found = judged(tally_of(changed))
    assert found.out_of_order == 1
    assert "byte" in found.where


def test_a_line_behind_the_end_mark_is_a_repeat():
    tally = tally_of(LINES)
    tally.feed(LINES[-1], 40.0)
    assert judged(tally).repeated == 1


def test_a_reader_that_never_saw_the_end_mark_is_found():
    found = judged(tally_of(LINES, end=b""))
    assert found.missing == 1
    assert "the end mark never came" in found.where


def test_a_reader_that_was_cut_off_is_right_up_to_there():
    cut = tally_of(LINES[:77], end=b"")
    cut.feed(LINES[77][:20], 8.0)  # half a line is nobody's
    cut.closed = True
    assert judged(cut) is None
    hurt = tally_of(LINES[:30] + LINES[31:77], end=b"")
    hurt.closed = True
    assert judged(hurt).missing == 1


def test_a_reader_that_came_later_is_right_from_its_first_line_on():
    assert judged(tally_of(LINES[60:], whole=False)) is None
    assert judged(tally_of(LINES[60:100] + LINES[101:], whole=False)).missing == 1
    assert judged(tally_of([line(1_000), *LINES[60:]], whole=False)).foreign == 1

"""ops/logs.py: lines of several processes taken apart and brought into one order."""

import datetime

import pytest

from common.errors import ConfigError
from ops import logs
from ops.logs import Tail, merge, parse


def _unix(hour, minute, second, millisecond=0):
    return datetime.datetime(2026, 3, 1, hour, minute, second, millisecond * 1000, tzinfo=datetime.UTC).timestamp()


def test_a_line_of_a_service():
    """Time and level are read; who wrote it is said once, by the name of the process."""
    line = parse("edge-1", '2026-03-01T12:00:01.250Z warning edge/edge-1@main link_down remote=x cause="a b"', None)
    assert line == logs.Line(_unix(12, 0, 1, 250), "edge-1", "warning", 'warning link_down remote=x cause="a b"')


def test_a_line_in_json():
    """With --log-format json the same view comes out."""
    raw = (
        '{"time": "2026-03-01T12:00:01.250Z", "level": "error", "service": "edge", "instance": "edge-1", '
        '"cluster": "main", "event": "link_down", "remote": "x", "cause": "a b"}'
    )
    assert parse("edge-1", raw, None).text == 'error   link_down remote=x cause="a b"'
    assert parse("edge-1", raw, None).level == "error"


def test_lines_of_redis_and_haproxy(monkeypatch):
    """Their own forms of a time are understood; Redis writes local time."""
    redis = parse("redis-1", "301:M 01 Mar 2026 12:00:02.000 # WARNING overcommit_memory is off", None)
    assert redis.at == datetime.datetime(2026, 3, 1, 12, 0, 2).timestamp()
    assert (redis.level, redis.text) == ("warning", "WARNING overcommit_memory is off")
    assert parse("haproxy", "2026-03-01T13:00:00.5+01:00 Server x is DOWN", None).at == _unix(12, 0, 0, 500)


def test_a_traceback_stays_with_its_line():
    """A line without a time has that of the line before."""
    first = parse("edge-1", "2026-03-01T12:00:01.250Z error   edge/edge-1@main deliver_failed", None)
    assert parse("edge-1", "Traceback (most recent call last):", first).at == first.at


def test_files_are_merged_by_time(tmp_path):
    """What several processes wrote comes in the order in which it happened; half a line waits for its other half."""
    one, two = tmp_path / "a.log", tmp_path / "b.log"
    one.write_text("2026-03-01T12:00:01Z info x/a@main one\n2026-03-01T12:00:03Z info x/a@main three\n")
    two.write_text("2026-03-01T12:00:02Z info x/b@main two\n2026-03-01T12:00:04Z in")
    tails = [Tail("a", one), Tail("b", two)]
    assert [line.text.split()[-1] for line in merge(tails)] == ["one", "two", "three"]
    with two.open("a") as file:
        file.write("fo x/b@main four\n")
    assert [line.text for line in merge(tails)] == ["info four"]
    assert merge(tails) == []


def test_a_new_stack_begins_a_new_file(tmp_path):
    """A file that was replaced is read from its beginning."""
    path = tmp_path / "a.log"
    path.write_text("2026-03-01T12:00:01Z info    x/a@main one\n")
    tail = Tail("a", path)
    assert len(tail.read()) == 1
    path.rename(tmp_path / "a.log.old")
    assert tail.read() == []
    path.write_text("2026-03-01T12:00:02Z info    x/a@main new and longer than before\n")
    assert [line.text for line in tail.read()] == ["info    new and longer than before"]


def test_where_there_are_no_logs(tmp_path):
    """The error says where it looked and what to do."""
    with pytest.raises(ConfigError, match=r"no logs in .*logs: name the stack's folder with --data DIR"):
        logs._tails(logs.DataFolder(tmp_path), [])


def test_a_name_chooses_one_or_all_of_a_service(tmp_path):
    """clue means clue-1 and clue-2; an unknown name is told with those that are there."""
    (tmp_path / "logs").mkdir()
    for name in ("clue-1", "clue-2", "edge-1"):
        (tmp_path / "logs" / f"{name}.log").write_text("")
    folder = logs.DataFolder(tmp_path)
    assert [tail.name for tail in logs._tails(folder, ["clue"])] == ["clue-1", "clue-2"]
    assert [tail.name for tail in logs._tails(folder, ["edge-1"])] == ["edge-1"]
    with pytest.raises(ConfigError, match=r"no process 'edge-7' has a log there: clue-1, clue-2, edge-1"):
        logs._tails(folder, ["edge-7"])

"""ops/top.py: datagrams in, one screen out."""

import io
import socket

import pytest
from rich.console import Console

from common.errors import ConfigError
from ops import top
from ops.status import Channel
from ops.top import Board, screen

_SECOND = b"""\
tallgrass.main.edge.edge-1.sessions:1200|g
tallgrass.main.edge.edge-1.submit.taken:40|c
tallgrass.main.edge.edge-1.submit.ms.max:12.5|g
tallgrass.main.edge.edge-2.submit.ms.max:99.5|g
tallgrass.main.clue.clue-1.redis.0.up:1|g
tallgrass.main.clue.clue-1.redis.1.up:0|g
tallgrass.main.clue.clue-1.redis.0.ms.max:3|g
tallgrass.main.exchange.exchange-1.link.edge-1.up:0|g"""


def _shown(board, now):
    console = Console(file=io.StringIO(), width=200)
    console.print(screen(board, now))
    return console.file.getvalue()


def test_counters_are_rates_and_end():
    """A counter is what came in the last second, and stands still when it is not sent; an instance can go."""
    board = Board()
    board.take(_SECOND, 10.0)
    assert board.value("edge", "edge-1", "submit.taken", 10.5) == 40
    assert board.value("edge", "edge-1", "submit.taken", 12.0) == 0
    assert board.value("edge", "edge-1", "sessions", 12.0) is None
    assert board.instances("edge", 12.0) == ["edge-1", "edge-2"]
    assert board.instances("edge", 20.0) == []


def test_what_was_never_counted_is_zero_and_what_was_never_measured_is_unknown():
    """A listed counter of an instance that is there is 0; a gauge is None."""
    board = Board()
    board.take(_SECOND, 10.0)
    assert board.value("edge", "edge-1", "submit.expired", 10.0) == 0
    assert board.value("edge", "edge-1", "process.fds", 10.0) is None
    assert board.value("edge", "edge-9", "submit.expired", 10.0) is None


def test_over_all_instances():
    """Totals, the worst, and the values of a place in a name."""
    board = Board()
    board.take(_SECOND, 10.0)
    assert board.total("edge", ("submit.taken", "sessions"), 10.0) == 1240
    assert board.worst("edge", "submit.ms.max", 10.0) == 99.5
    assert board.places("clue", "redis.", ".up", 10.0) == ["0", "1"]


def test_the_screen_names_what_is_down():
    """Hops, edges, shards and links have their rows; a shard out of reach and a link that is down say so."""
    board = Board()
    board.take(_SECOND, 10.0)
    text = _shown(board, 10.0)
    for part in ("tallgrass main", "1,200 sessions", "edge to clue", "edge-1", "redis 1", "1 of 1 clues: NO", "DOWN"):
        assert part in text


def test_what_is_not_ours_is_passed_over():
    """Bytes from anybody do not end it."""
    board = Board()
    board.take(b"\xff\xfe\nx\ntallgrass.main.edge.edge-1.sessions:many|g\nother.a.b.c.d:1|c", 1.0)
    assert board.instances("edge", 1.0) == []
    assert "waiting" in _shown(board, 1.0)


def test_a_second_top_is_refused():
    """Two would each see a part: the second one says why it ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
        first.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*first.getsockname())
        with pytest.raises(ConfigError, match="another `tallgrass top` shows this stack"):
            top._listen(address)


def test_the_largest_channels_have_names_when_the_directory_tells():
    """Members, rate and home of each; else members by rank."""
    board = Board()
    board.take(_SECOND + b"\ntallgrass.event.edge.edge-9.channels.largest.1.members:77|g", 10.0)
    assert "77" in _shown(board, 10.0)
    board.channels = [Channel("#tpp", 45_678, 99.5, "event"), Channel("#ann", 12, 0.0, "main")]
    text = _shown(board, 10.0)
    (row,) = [line for line in text.splitlines() if "#tpp" in line]
    assert row.split() == ["#tpp", "45,678", "99.5", "event"]
    assert "tallgrass event, main" in text

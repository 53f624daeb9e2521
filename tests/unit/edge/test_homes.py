"""edge/homes.py: the directory's word on where channels live, and what clues say against it."""

import pytest

from common.pb.clue_pb2 import Directory, Elsewhere, Home
from edge import homes as module
from edge.homes import Homes

T1, T2, T3 = "1700000000001-aaaaaaaa", "1700000000002-00000000", "1700000000003-00000000"


def directory(version=1, default="main", inboxes="group", **moved):
    """`moved`: channel without "#" to (cluster, move)."""
    listed = [Home(channel=f"#{name}", cluster=cluster, move=move) for name, (cluster, move) in moved.items()]
    return Directory(homes=listed, homes_version=version, default_home=default, inbox_home=inboxes, available=True)


@pytest.fixture
def homes():
    made = Homes("event")
    made.learn(directory(tpp=("event", T2)))
    return made


def test_without_a_directory_everything_lives_here():
    """A cluster alone: channels, inboxes and rooms."""
    homes = Homes("main")
    assert {homes.of(name) for name in ("#a", "@bob", "#_room")} == {"main"}
    assert not homes.learn(Directory(available=True))
    assert {homes.of(name) for name in ("#a", "@bob", "#_room")} == {"main"}


@pytest.mark.parametrize(
    ("channel", "home"), [("#a", "main"), ("#tpp", "event"), ("@bob", "group"), ("#_room", "group")]
)
def test_the_directory_says_where_a_channel_lives(homes, channel, home):
    """Listed channels; else inboxes and temporary rooms on the cluster that has them, all others on the default one."""
    assert homes.of(channel) == home


def test_learning_tells_whether_something_changed(homes):
    """The same again is no news; homes are empty when their version is the known one, and stay."""
    assert not homes.learn(directory())
    assert homes.of("#tpp") == "event"
    assert homes.learn(directory(version=2))
    assert homes.of("#tpp") == "main"
    assert homes.learn(directory(version=2, inboxes="main"))
    assert homes.of("@bob") == "main"


def test_homes_that_are_not_known_there_are_kept(homes):
    """Version 0: a clue that has just started without the directory."""
    homes.learn(directory(version=0))
    assert homes.of("#tpp") == "event"
    assert homes.version == 1


def test_a_clue_knows_better_than_the_directory(homes):
    """Its move is later: from now on the channel is asked for where it says."""
    assert homes.correct("#tpp", Elsewhere(cluster="main", move=T3))
    assert homes.of("#tpp") == "main"
    assert homes.correct("#other", Elsewhere(cluster="group", move=T1))
    assert homes.of("#other") == "group"
    assert homes.corrections == 2


@pytest.mark.parametrize("move", [T1, ""])
def test_an_older_move_corrects_nothing(homes, move):
    """A clue that heard of nothing later than what the directory knows."""
    assert not homes.correct("#tpp", Elsewhere(cluster="main", move=move))
    assert homes.of("#tpp") == "event"


def test_what_is_known_is_no_news(homes):
    """Neither what the directory says nor what was told before."""
    assert not homes.correct("#tpp", Elsewhere(cluster="event", move=T2))
    assert homes.correct("#tpp", Elsewhere(cluster="main", move=T3))
    assert not homes.correct("#tpp", Elsewhere(cluster="main", move=T3))


def test_the_directory_catches_up(homes):
    """A correction goes once the directory knows of a move as late."""
    homes.correct("#tpp", Elsewhere(cluster="main", move=T3))
    homes.learn(directory(version=2, tpp=("event", T2)))
    assert homes.of("#tpp") == "main"
    homes.learn(directory(version=3, tpp=("main", T3)))
    assert (homes.of("#tpp"), homes.corrections) == ("main", 0)


def test_corrections_are_bounded(homes, monkeypatch):
    """The oldest goes: its next question is redirected again."""
    monkeypatch.setattr(module, "CORRECTIONS", 2)
    for number in range(3):
        homes.correct(f"#c{number}", Elsewhere(cluster="event", move=T1))
    assert [homes.of(f"#c{number}") for number in range(3)] == ["main", "event", "event"]

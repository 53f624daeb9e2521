"""Where a channel lives: by its name, by the list, by what is stored."""

import pytest

from clue.homes import Home, Homes, LivesElsewhere, failure, is_move, is_room, read_home
from clue.scripts import Here
from common.errors import RemoteError

MOVE = "1800000000000-0a"


def test_a_cluster_alone_has_all():
    """Nothing lives elsewhere."""
    homes = Homes("main")
    for name in ("#chan", "@bob", "#_room", ""):
        assert homes.by_name(name) == "main"
        assert homes.here(name) == Here("main", "")
        homes.check(name, None)


@pytest.mark.parametrize(
    ("name", "home"), [("#chan", "main"), ("@bob", "group"), ("#_room", "group"), ("#room_", "main")]
)
def test_by_name(name, home):
    """Inboxes and temporary rooms live on a cluster of their own."""
    homes = Homes("event", "main", "group")
    assert homes.of(name) == Home(home)
    assert homes.here(name) == Here("event", home)


def test_the_list_counts_more_than_the_name():
    """With the move that took the channel there; its own cluster is "here"."""
    homes = Homes("event", "main", "group")
    homes.listed = {"#chan": Home("event", MOVE), "#other": Home("group", MOVE)}
    assert homes.here("#chan") == Here("event", "")
    assert homes.here("#other") == Here("event", f"group {MOVE}")


def test_what_is_stored_counts_most():
    """More than list and name."""
    homes = Homes("main", "main", "main")
    homes.listed = {"#chan": Home("event", MOVE)}
    homes.check("#chan", b"main")
    with pytest.raises(LivesElsewhere) as caught:
        homes.check("#other", f"group {MOVE}".encode())
    assert caught.value.home == Home("group", MOVE)
    assert str(caught.value) == "#other at cluster group: #other lives on cluster group: ask there"


def test_what_scripts_answer():
    """Bytes are a home, an error stays one, all else was done."""
    error = RemoteError("redis-0", "EVALSHA", "gone")
    assert failure("#chan", error) is error
    away = failure("#chan", f"event {MOVE}".encode())
    assert isinstance(away, LivesElsewhere)
    assert away.home == Home("event", MOVE)
    assert failure("#chan", [b"0"]) is None


@pytest.mark.parametrize("home", [Home("main"), Home("event", MOVE)])
def test_homes_are_stored(home):
    """And read as they were."""
    assert read_home(home.stored().encode()) == home


@pytest.mark.parametrize(
    ("text", "valid"),
    [(MOVE, True), ("180000000000-0a", False), (MOVE + " event", False), ("", False), ("1800000000000-", False)],
)
def test_tokens(text, valid):
    """Their time has always as many digits, so that they are compared as text."""
    assert is_move(text) == valid


@pytest.mark.parametrize(("name", "room"), [("#_den", True), ("#den", False), ("@_den", False), ("_den", False)])
def test_rooms(name, room):
    """By the underscore that no user's channel of Twitch begins with."""
    assert is_room(name) == room

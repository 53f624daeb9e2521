"""What a change does to a channel's state, and when it does nothing (ARCHITECTURE 3.12)."""

import pytest

from clue.changes import ban_change, role_change, unban_change
from clue.facts import Channel, Member, Profile
from common.pb import chat_pb2

BOB = Profile(7, "bob", "Bob", "", "1")
ROOM = Channel("#chan", "1", chat_pb2.RoomState(room_id=3))
NOW = 1_000_000


def member(*roles, until=None):
    return Member(until, frozenset(roles), False)


@pytest.mark.parametrize(
    ("held", "role", "value"),
    [
        ((), "mod", "mod"),
        (("mod",), "mod", None),
        (("sub",), "mod", "mod,sub"),
        (("mod", "sub"), "vip", "vip,sub"),
        (("vip",), "mod", "mod"),
        (("mod", "sub"), "none", ""),
        ((), "none", None),
    ],
)
def test_role(held, role, value):
    """One role is granted; a mod is no VIP and the other way round; none takes all."""
    change = role_change(ROOM, BOB, member(*held), role, NOW)
    assert (None if change is None else change.value) == value
    if change is not None:
        assert (change.state_key, change.field) == ("{#chan}:roles", "7")
        assert list(change.publication.roles.roles) == [name for name in value.split(",") if name]


@pytest.mark.parametrize(
    ("until", "duration_s", "value"),
    [(None, 0, "0"), (0, 0, None), (NOW + 5, 0, "0"), (None, 60, str(NOW + 60_000)), (0, 60, str(NOW + 60_000))],
)
def test_ban(until, duration_s, value):
    """Banning the banned changes nothing."""
    change = ban_change(ROOM, BOB, member(until=until), duration_s, "why", NOW)
    assert (None if change is None else change.value) == value
    if change is not None:
        assert change.publication.banned == chat_pb2.Banned(
            user_id=7, login="bob", until_ms=int(value), duration_s=duration_s, reason="why"
        )
        assert (change.publication.room_id, change.publication.ts_ms) == (3, NOW)


@pytest.mark.parametrize(("until", "changes"), [(None, False), (0, True), (NOW + 1, True), (NOW, False)])
def test_unban(until, changes):
    """Only who is banned, or timed out still, can be unbanned."""
    change = unban_change(ROOM, BOB, member(until=until), NOW)
    assert (change is not None) is changes

"""What a change does to a channel's state, and when it does nothing (ARCHITECTURE 3.12)."""

import pytest

from clue.changes import Write, applied, ban_change, both, mode_change, role_change, role_removal, unban_change
from clue.facts import Channel, Member, Modes, Profile, Roles
from common.pb import chat_pb2

BOB = Profile(7, "bob", "Bob", "", "1")
ROOM = Channel("#chan", "1", {b"room_id": b"3"})
NOW = 1_000_000


def member(*roles, until=None):
    return Member(until, Roles(frozenset(roles), 5 if "follower" in roles else 0, "bob"), False)


@pytest.mark.parametrize(
    ("held", "role", "value"),
    [
        ((), "mod", "mod bob"),
        (("mod",), "mod", None),
        (("sub",), "mod", "mod,sub bob"),
        (("mod", "sub"), "vip", "vip,sub bob"),
        (("vip",), "mod", "mod bob"),
        (("sub",), "follower", f"sub,follower={NOW} bob"),
        (("follower",), "sub", "sub,follower=5 bob"),
        (("mod", "sub"), "none", ""),
        ((), "none", None),
    ],
)
def test_role(held, role, value):
    """One role is granted; a mod is no VIP and the other way round; none takes all; followers follow from then on."""
    change = role_change(ROOM, BOB, member(*held), role, NOW)
    if value is None:
        assert change is None
        return
    assert change.writes == (Write("roles", "7", value),)
    [publication] = change.publications
    assert [name.split("=")[0] for name in value.removesuffix(" bob").split(",") if name] == list(
        publication.roles.roles
    )


def test_role_removal():
    """One role is taken, and others stay."""
    assert role_removal(ROOM, BOB, member("mod", "sub"), "mod", NOW).writes == (Write("roles", "7", "sub bob"),)
    assert role_removal(ROOM, BOB, member("sub"), "mod", NOW) is None


@pytest.mark.parametrize(
    ("until", "duration_s", "value"),
    [(None, 0, 0), (0, 0, None), (NOW + 5, 0, 0), (None, 60, NOW + 60_000), (0, 60, NOW + 60_000)],
)
def test_ban(until, duration_s, value):
    """Banning the banned changes nothing."""
    change = ban_change(ROOM, BOB, member(until=until), duration_s, "why not", NOW, "al")
    if value is None:
        assert change is None
        return
    assert change.writes == (Write("bans", "7", f"{value} bob al {NOW} why not"),)
    [publication] = change.publications
    assert publication.banned == chat_pb2.Banned(
        user_id=7, login="bob", until_ms=value, duration_s=duration_s, reason="why not"
    )
    assert (publication.room_id, publication.ts_ms) == (3, NOW)


def test_ban_takes_the_rank():
    """Who is banned for ever is no mod any more; a time-out leaves roles alone."""
    change = ban_change(ROOM, BOB, member("mod", "sub"), 0, "", NOW)
    assert [write.value for write in change.writes] == ["sub bob", f"0 bob - {NOW} "]
    assert [publication.WhichOneof("body") for publication in change.publications] == ["roles", "banned"]
    assert len(ban_change(ROOM, BOB, member("mod"), 60, "", NOW).writes) == 1


@pytest.mark.parametrize(("until", "changes"), [(None, False), (0, True), (NOW + 1, True), (NOW, False)])
def test_unban(until, changes):
    """Only who is banned, or timed out still, can be unbanned."""
    change = unban_change(ROOM, BOB, member(until=until), NOW)
    assert (change is not None) is changes


def test_modes():
    """Readers are told the room's new state and which of it is new; what is so already is left out."""
    change = mode_change(ROOM, {"slow_s": 30, "subs_only": 0, "followers_only_min": 0}, NOW)
    assert change.writes == (Write("room", "slow_s", "30"), Write("room", "followers_only_min", "0"))
    [publication] = change.publications
    assert list(publication.room.changed) == ["slow", "followers-only"]
    assert publication.room.state == chat_pb2.RoomState(room_id=3, slow_s=30, followers_only_min=0)
    assert mode_change(ROOM, {"slow_s": 0, "followers_only_min": -1}, NOW) is None


def test_applied():
    """A change holds at once for what is decided after it, in one's own copy only."""
    shared = Channel("#chan", "1", {b"room_id": b"3", b"raid": b"x"})
    shared.members = {7: member("vip")}
    own = shared.copy((7,))
    roles = {}
    change = both(ban_change(own, BOB, own.members[7], 0, "", NOW), mode_change(own, {"slow_s": 30}, NOW))
    applied(own, change, roles)
    applied(own, change._replace(writes=(Write("room", "raid", ""),)), roles)
    assert (own.members[7].banned_until_ms, own.members[7].privileged, roles) == (0, False, {7: Roles()})
    assert (own.modes, own.room.slow_s, own.fields) == (Modes(slow_s=30), 30, {b"room_id": b"3", b"slow_s": b"30"})
    assert (shared.members[7].banned_until_ms, shared.members[7].privileged) == (None, True)
    assert (shared.modes, shared.fields) == (Modes(), {b"room_id": b"3", b"raid": b"x"})

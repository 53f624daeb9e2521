"""What is known of users and channels, and the cache's bounds."""

import pytest

from clue.facts import (
    Channel,
    FactsCache,
    Member,
    Modes,
    Profile,
    ProfileCache,
    Roles,
    chatter,
    read_channel,
    read_profile,
    read_roles,
)
from common.pb import chat_pb2

BOB = Profile(7, "bob", "Bob", "#FF0000", "1")


@pytest.mark.parametrize(
    ("roles", "channel", "badges", "flags"),
    [
        ((), "#chan", "", {}),
        ((), "#bob", "broadcaster/1", {}),
        (
            ("mod", "vip", "sub"),
            "#bob",
            "broadcaster/1,subscriber/0",
            {"subscriber": True, "badge_info": "subscriber/1"},
        ),
        (("mod",), "#chan", "moderator/1", {"mod": True, "user_type": "mod"}),
        (("vip",), "#chan", "vip/1", {"vip": True}),
        (
            ("sub", "mod"),
            "#chan",
            "moderator/1,subscriber/0",
            {"mod": True, "user_type": "mod", "subscriber": True, "badge_info": "subscriber/1"},
        ),
        (("follower",), "#chan", "", {}),
    ],
)
def test_chatter(roles, channel, badges, flags):
    """Badges stand in Twitch's order; the broadcaster is no mod."""
    assert chatter(BOB, roles, channel) == chat_pb2.Chatter(
        user_id=7, login="bob", display_name="Bob", color="#FF0000", badges=badges, **flags
    )


def test_member_follows_profile():
    """A renamed user is shown with the new name at once."""
    member = Member(None, Roles(), False)
    assert member.chatter(BOB, "#chan").display_name == "Bob"
    assert member.chatter(BOB._replace(display_name="BOB", version="2"), "#chan").display_name == "BOB"


def test_read_profile():
    """No id, no user."""
    assert read_profile([b"7", b"bob", b"Bob", b"", b"12", b"staff"]) == Profile(7, "bob", "Bob", "", "12", "staff")
    assert read_profile([None] * 6) is None
    assert read_profile([b""] * 6) is None


@pytest.mark.parametrize(
    ("login", "ban", "roles", "banned_until_ms", "privileged"),
    [
        ("bob", b"", b"", None, False),
        ("bob", b"0 bob - 5 why", b"sub,follower bob", 0, False),
        ("bob", b"99 bob al 5 ", b"mod bob", 99, True),
        ("bob", b"", b"vip bob", None, True),
        ("chan", b"0 chan - 5 ", b"", None, True),
    ],
)
def test_read_channel(login, ban, roles, banned_until_ms, privileged):
    """Mods, VIPs and the broadcaster are privileged; the broadcaster cannot be banned."""
    reply = [b"5", b"42", [b"room_id", b"3", b"slow_s", b"10"], [ban, roles, b"20000"]]
    facts = read_channel("#chan", [(7, login)], reply)
    assert (facts.head, facts.channel.version, facts.channel.room.slow_s) == (42, "5", 10)
    assert facts.channel.room.followers_only_min == -1
    member = facts.channel.members[7]
    assert (member.banned_until_ms, member.privileged, member.first_day) == (banned_until_ms, privileged, 20_000)


def test_read_channel_of_a_known_version():
    """The room is taken from what is known when it was left out because its version still holds."""
    known = Channel("#chan", "5", {b"room_id": b"3", b"slow_s": b"10"})
    assert read_channel("#chan", (), [b"5", b"42", [], []], known).channel.modes == Modes(slow_s=10)
    other = read_channel("#chan", (), [b"6", b"42", [b"room_id", b"3"], []], known)
    assert other.channel.modes == Modes()


@pytest.mark.parametrize(
    ("stored", "roles"),
    [
        ("", Roles()),
        ("mod,sub bob", Roles(frozenset({"mod", "sub"}), 0, "bob")),
        ("vip,follower=1700000000000 bob", Roles(frozenset({"vip", "follower"}), 1_700_000_000_000, "bob")),
        ("follower bob", Roles(frozenset({"follower"}), 0, "bob")),
    ],
)
def test_roles_round_trip(stored, roles):
    """Roles are read as they were stored."""
    assert read_roles(stored.encode()) == roles
    assert roles.stored() == stored


def channel(name, version, *user_ids):
    made = Channel(name, version, {b"room_id": b"1"})
    made.members = {user_id: Member(None, Roles(), False) for user_id in user_ids}
    return made


def test_cache_adds_members():
    """Members read at the same version are added to those known."""
    cache = FactsCache()
    cache.put(channel("#a", "1", 1))
    assert set(cache.put(channel("#a", "1", 2)).members) == {1, 2}


def test_cache_replaces_versions():
    """Another version replaces all that was known, also an older one (a server that lost writes)."""
    cache = FactsCache()
    cache.put(channel("#a", "2", 1))
    assert set(cache.put(channel("#a", "1", 2)).members) == {2}


def test_cache_bound():
    """The channel not used for longest goes first."""
    cache = FactsCache(bound=6)
    for name in ("#a", "#b", "#c"):
        cache.put(channel(name, "1", 1))
    cache.get("#a")
    cache.put(channel("#d", "1", 1))
    assert [name for name in ("#a", "#b", "#c", "#d") if cache.get(name)] == ["#a", "#c", "#d"]


def test_cache_of_one_channel():
    """A channel past the bound keeps what was read last, and does not shrink what others are deciding on."""
    cache = FactsCache(bound=3)
    held = cache.put(channel("#a", "1", 1, 2))
    now = cache.put(channel("#a", "1", 3, 4))
    assert set(held.members) >= {1, 2}
    assert set(now.members) == {3, 4}


def test_cache_drop_is_of_a_version():
    """A late drop does not cost what was read since."""
    cache = FactsCache()
    cache.put(channel("#a", "2"))
    cache.drop("#a", "1")
    assert cache.get("#a") is not None
    cache.drop("#a", "2")
    assert cache.get("#a") is None


def test_profile_cache_bound():
    """The oldest profile goes first."""
    cache = ProfileCache(bound=1)
    cache.put(BOB)
    cache.put(BOB._replace(login="al"))
    assert cache.get("bob") is None
    assert cache.get("al") is not None

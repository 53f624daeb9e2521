"""edge/presence.py: what is reported, and what readers are told."""

from __future__ import annotations

import pytest

from common.pb.clue_pb2 import Chatters
from common.sharding import lane
from edge.presence import LocalChannel, Movement, Presence, Roster


def roster(*logins, complete=True, moderators=(), count=0):
    return Roster.of(
        Chatters(
            channel="#c",
            available=True,
            count=count or len(logins),
            logins=logins,
            complete=complete,
            moderators=moderators,
        )
    )


def report(channel):
    """joined, left, full; None: nothing."""
    said = channel.report()
    return None if said is None else (sorted(said.joined), sorted(said.left), said.full)


@pytest.fixture
def channel():
    """#c, in which ann and bob were reported."""
    channel = LocalChannel("#c")
    channel.enter("ann")
    channel.enter("bob")
    assert report(channel) == (["ann", "bob"], [], True)
    return channel


def test_later_reports_are_differences(channel):
    """Nothing changed is a report too: it keeps the set alive."""
    assert report(channel) == ([], [], False)
    channel.enter("cat")
    channel.leave("ann")
    assert report(channel) == (["cat"], ["ann"], False)


def test_coming_and_going_between_two_reports_is_nothing(channel):
    """Neither for one who was not there, nor for one who was."""
    channel.enter("cat")
    channel.leave("cat")
    channel.leave("ann")
    channel.enter("ann")
    assert report(channel) == ([], [], False)


def test_a_login_is_there_until_its_last_session_left(channel):
    """Two connections of one user are one chatter."""
    channel.enter("ann")
    channel.leave("ann")
    assert report(channel) == ([], [], False)
    channel.leave("ann")
    assert report(channel) == ([], ["ann"], False)


def test_a_lost_report_is_followed_by_a_full_one(channel):
    """With what changed meanwhile."""
    channel.enter("cat")
    channel.report()
    channel.leave("bob")
    channel.lost()
    assert report(channel) == (["ann", "cat"], [], True)
    assert report(channel) == ([], [], False)


def test_the_last_to_leave_ends_the_set(channel):
    """And whoever comes next begins a new one."""
    channel.leave("ann")
    channel.leave("bob")
    assert not channel.over
    assert report(channel) == ([], [], True)
    assert channel.over
    assert report(channel) is None
    channel.enter("cat")
    assert report(channel) == (["cat"], [], True)


def test_the_end_of_a_set_is_reported_until_it_arrived(channel):
    """A lost one is repeated."""
    channel.leave("ann")
    channel.leave("bob")
    channel.report()
    channel.lost()
    assert not channel.over
    assert report(channel) == ([], [], True)
    assert channel.over


def test_the_anonymous_are_nobody():
    """A channel with none but them is not reported, and not over either."""
    channel = LocalChannel("#c")
    channel.enter("")
    assert report(channel) is None
    assert not channel.over
    channel.leave("")
    assert channel.over


def test_a_lane_reports_its_own_channels_and_forgets_those_that_are_over():
    """Each channel belongs to the lane of its name."""
    presence = Presence()
    presence.enter("#a", "ann")
    presence.enter("#b", "ann")
    assert lane("#a") != lane("#b")
    assert [said.channel for said in presence.report(lane("#a"))] == ["#a"]
    presence.leave("#a", "ann")
    assert [said.channel for said in presence.report(lane("#a"))] == ["#a"]
    assert presence.report(lane("#a")) == []
    assert presence.get("#a") is None
    assert presence.get("#b") is not None


def test_a_lost_report_of_a_channel_that_is_gone_is_no_matter():
    """It may have been forgotten meanwhile."""
    Presence().lost(["#a"])


def test_the_first_list_is_told_as_joins_and_modes():
    """The broadcaster, when there, and moderators are operators."""
    movement = Movement("#c", None, roster("ann", "c", "mod", moderators=["mod"]))
    assert movement.lines.decode().split("\r\n")[:-1] == [
        ":ann!ann@ann.tmi.twitch.tv JOIN #c",
        ":c!c@c.tmi.twitch.tv JOIN #c",
        ":mod!mod@mod.tmi.twitch.tv JOIN #c",
        ":jtv MODE #c +o c",
        ":jtv MODE #c +o mod",
    ]


def test_a_later_list_is_told_as_its_difference():
    """Who went first; a MODE for who is there still."""
    before = roster("ann", "bob", "eve", moderators=["ann", "eve"])
    movement = Movement("#c", before, roster("ann", "bob", "cat", moderators=["bob"]))
    assert movement.lines.decode().split("\r\n")[:-1] == [
        ":eve!eve@eve.tmi.twitch.tv PART #c",
        ":cat!cat@cat.tmi.twitch.tv JOIN #c",
        ":jtv MODE #c -o ann",
        ":jtv MODE #c +o bob",
    ]


def test_ones_own_line_is_left_out():
    """The client has seen itself join."""
    movement = Movement("#c", None, roster("ann", "bob"))
    assert movement.without("ann") == b":bob!bob@bob.tmi.twitch.tv JOIN #c\r\n"
    assert movement.without("nobody") == movement.lines


def test_a_large_channel_is_not_told_and_lists_its_operators():
    """Until it is no longer large: then the difference to what was told last."""
    channel = LocalChannel("#c")
    assert channel.learn(roster("ann", "bob")) is not None
    assert channel.learn(roster("mod", "vip", complete=False, moderators=["mod"], count=5_000)) is None
    assert list(channel.known.names) == ["mod"]
    movement = channel.learn(roster("bob", "cat"))
    assert movement.lines.count(b"\r\n") == 2
    assert sorted(movement.own) == ["ann", "cat"]


def test_the_same_list_again_tells_nothing():
    """No movement, no bytes."""
    channel = LocalChannel("#c")
    assert channel.learn(roster("ann")) is not None
    assert channel.learn(roster("ann")) is None


def test_without_readers_nothing_is_known():
    """The next reader is told everything again."""
    channel = LocalChannel("#c")
    channel.learn(roster("ann"))
    channel.forget()
    assert channel.known is None
    assert channel.learn(roster("ann")).own.keys() == {"ann"}

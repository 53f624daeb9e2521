"""edge/connection.py: what a connection that is gone leaves behind, and when."""

import asyncio
from types import SimpleNamespace

import pytest

from common.metrics import Metrics
from edge.connection import Connection
from edge.hub import Hub
from edge.turnstile import Turnstile


class Edge:
    """The services of an edge, as far as leaving needs them; `told` is what they were told, in order."""

    def __init__(self):
        self.told = []
        self.hub = Hub(1, Metrics(), coalesce_max_s=0.01)
        self.turnstile = Turnstile()
        self.wheel = SimpleNamespace(now=0.0)
        self.membership = SimpleNamespace(leave=lambda connection, name: self.told.append(("left", name)))
        self.follower = SimpleNamespace(release=lambda name: self.told.append(("released", name)))
        self.inboxes = SimpleNamespace(leave=lambda connection: self.told.append(("inbox", connection.session.login)))

    def member(self, login, *channels):
        connection = Connection(len(self.told), SimpleNamespace(websocket=False, stream=None), self)
        connection.session.login = login
        for name in channels:
            connection.session.channels.add(name)
            self.hub.join(name, connection)
        return connection


@pytest.fixture
async def edge():
    return Edge()


async def test_who_is_gone_is_in_no_pass(edge):
    """At once, however many others wait at the turnstile; the rest comes in its turn."""
    gone, stays = edge.member("ann", "#a", "#b"), edge.member("bob", "#b")
    edge.turnstile.put(lambda: edge.told.append("somebody else"))
    gone.lost()
    assert "#a" not in edge.hub.channels
    assert not edge.hub.channels["#b"].has(gone)
    assert edge.hub.channels["#b"].has(stays)
    assert edge.told == []
    await asyncio.sleep(0)
    assert (edge.told[0], edge.told[-1]) == ("somebody else", ("inbox", "ann"))
    assert sorted(edge.told[1:-1]) == [("left", "#a"), ("left", "#b"), ("released", "#a")]


async def test_a_channel_that_was_entered_again_meanwhile_is_still_followed(edge):
    """The last one left, and the next one came before its turn."""
    edge.member("ann", "#a").lost()
    edge.member("bob", "#a")
    await asyncio.sleep(0)
    assert edge.told == [("left", "#a"), ("inbox", "ann")]


async def test_who_only_asked_to_join_has_nothing_to_leave(edge):
    """Its channel is another's."""
    edge.member("bob", "#a")
    asked = edge.member("ann")
    asked.session.channels.add("#a")
    asked.lost()
    asked.lost()
    await asyncio.sleep(0)
    assert edge.told == [("inbox", "ann")]

"""edge/expulsions.py: who is banned for good is out."""

from types import SimpleNamespace

import pytest

from common.metrics import Metrics
from common.pb.chat_pb2 import Banned
from edge import expulsions as module
from edge.expulsions import Expulsions
from edge.hub import Hub
from edge.render import Capability
from tests.support.eventually import eventually


class Member:
    def __init__(self):
        self.expelled = []
        self.closed = False
        self.session = SimpleNamespace(number=1, capabilities=Capability(0))
        self.transport = SimpleNamespace(websocket=False, write=lambda data: None, stream=None)

    def expel(self, channel):
        self.expelled.append(channel)


@pytest.fixture
async def hub():
    return Hub(1, Metrics(), coalesce_max_s=0.01)


@pytest.fixture
def expulsions(hub):
    return Expulsions(hub)


async def test_the_sessions_that_are_inside_are_out(hub, expulsions):
    """Those of the user, and of that channel."""
    inside, outside, other = Member(), Member(), Member()
    hub.users = {"eve": [inside, outside], "bob": [other]}
    hub.join("#c", inside)
    hub.join("#c", other)
    hub.join("#d", outside)
    expulsions.banned("#c", 5, Banned(user_id=9, login="eve"))
    await eventually(lambda: inside.expelled)
    assert (inside.expelled, outside.expelled, other.expelled) == (["#c"], [], [])


async def test_a_time_out_expels_nobody(hub, expulsions):
    """And is no reason to be let in no more."""
    member = Member()
    hub.users = {"eve": [member]}
    hub.join("#c", member)
    expulsions.banned("#c", 5, Banned(user_id=9, login="eve", until_ms=1, duration_s=1))
    called = []
    hub.channels["#c"].afterwards(lambda: called.append(True))
    await eventually(lambda: called)
    assert member.expelled == []
    assert not expulsions.since("#c", 9, 4)


async def test_a_ban_holds_for_joins_that_were_answered_before_it(expulsions):
    """By the place in the log: later ones have been decided with it."""
    expulsions.banned("#c", 5, Banned(user_id=9, login="eve"))
    assert expulsions.since("#c", 9, 4)
    assert not expulsions.since("#c", 9, 5)
    assert not expulsions.since("#d", 9, 4)
    assert not expulsions.since("#c", 8, 4)


async def test_old_bans_are_forgotten(expulsions, monkeypatch):
    """The memory is bounded."""
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    for user_id in (1, 2, 1, 3):
        expulsions.banned("#c", user_id, Banned(user_id=user_id, login="x"))
    assert [expulsions.since("#c", user_id, 0) for user_id in (1, 2, 3)] == [True, False, True]

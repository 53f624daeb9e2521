"""edge/delay.py: moderators at once, others later, and what is taken back meanwhile never."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from common.clock import SystemClock
from common.metrics import Metrics
from common.pb.chat_pb2 import Banned, Chatter, Cleared, Deleted, Line, Publication, RolesChanged
from edge import delay as delay_module
from edge.delay import Delays
from edge.hub import Hub
from edge.render import Capability


class Member:
    """A connection as hub and delays see it; `got` are the texts and commands written to it."""

    def __init__(self, hub, login, number):
        self.session = SimpleNamespace(
            number=number, capabilities=Capability.COMMANDS, channels={"#al"}, login=login
        )
        self.closed = self.slow = False
        self.written = []
        write = self.written.append
        self.transport = SimpleNamespace(websocket=False, write=write, send=write, stream=None)
        hub.users.setdefault(login, []).append(self)
        hub.sessions[number] = self
        hub.join("#al", self)

    @property
    def got(self):
        lines = [line.split(" ", 3) for line in b"".join(self.written).decode().split("\r\n") if line]
        return [line[3][1:] if line[1] == "PRIVMSG" else line[1] for line in lines]


@pytest.fixture
async def scene():
    """A moderator, the owner and a viewer; the delays hold for a fraction of what they say."""
    scene = SimpleNamespace(hub=Hub(7, Metrics(), coalesce_max_s=0.01))
    scene.delays = Delays(scene.hub, clock=SystemClock(), metrics=scene.hub.metrics)
    scene.mod, scene.owner, scene.viewer = (
        Member(scene.hub, login, number) for number, login in enumerate(("mo", "al", "vi"), 1)
    )
    for login, mod in (("mo", True), ("al", False), ("vi", False)):
        scene.delays.joins("#al", Chatter(login=login, mod=mod))
    return scene


def line(text, *, delay_s=2, age_s=1.8, author=5):
    """One whose delay ends in 0.2 s."""
    return Publication(
        id=text,
        ts_ms=int((time.time() - age_s) * 1000),
        line=Line(text=text, author=Chatter(login="bob", user_id=author), delay_s=delay_s),
    )


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_moderators_see_it_at_once_and_others_later(scene):
    """Each once, in order."""
    scene.delays.publish("#al", [line("one"), line("two")])
    await until(lambda: scene.mod.got == scene.owner.got == ["one", "two"])
    assert scene.viewer.got == []
    await until(lambda: scene.viewer.got == ["one", "two"])
    await until(lambda: not scene.hub.shown and not scene.delays._held)
    assert scene.mod.got == scene.owner.got == ["one", "two"]


async def test_what_is_not_delayed_overtakes(scene):
    """A moderator's own message is seen by all before a delayed one of earlier."""
    scene.delays.publish("#al", [line("slow"), line("quick", delay_s=0)])
    await until(lambda: scene.viewer.got == ["quick"])
    await until(lambda: scene.viewer.got == ["quick", "slow"])
    assert scene.mod.got == ["slow", "quick"]


async def test_taken_back(scene):
    """Neither the message nor the CLEARMSG reaches others; one that they have seen is taken back for all."""
    taken = Publication(id="x", deleted=Deleted(message_id="bad", login="bob", text="bad"))
    scene.delays.publish("#al", [line("bad"), line("good")])
    scene.delays.publish("#al", [taken])
    await until(lambda: scene.viewer.got == ["good"])
    assert scene.mod.got == ["bad", "good", "CLEARMSG"]
    scene.delays.publish("#al", [Publication(id="y", deleted=Deleted(message_id="good", login="bob", text="good"))])
    await until(lambda: scene.viewer.got == ["good", "CLEARMSG"])


async def test_a_ban_drops_what_its_user_said(scene):
    """And nobody else's."""
    scene.delays.publish("#al", [line("a"), line("b", author=6), line("c")])
    scene.delays.publish("#al", [Publication(id="x", banned=Banned(user_id=5, login="bob"))])
    await until(lambda: scene.viewer.got == ["CLEARCHAT", "b"])


async def test_clear_drops_all(scene):
    """What comes after it is shown; to moderators, too, after it."""
    scene.delays.publish("#al", [line("a"), Publication(id="x", cleared=Cleared()), line("b")])
    await until(lambda: scene.viewer.got == ["CLEARCHAT", "b"])
    assert scene.mod.got == ["a", "CLEARCHAT", "b"]


async def test_roles_change(scene):
    """Who becomes a moderator sees at once what comes then; who was one does no more; the owner always is one."""
    for login, roles in (("vi", ["mod"]), ("mo", []), ("al", [])):
        scene.delays.changed("#al", Publication(roles=RolesChanged(login=login, roles=roles)))
    scene.delays.publish("#al", [line("one")])
    await until(lambda: scene.viewer.got == scene.owner.got == ["one"])
    assert scene.mod.got == []
    await until(lambda: scene.mod.got == ["one"])


async def test_a_channel_without_delay_holds_nothing(scene):
    """It goes straight to the hub."""
    scene.delays.publish("#al", [line("one", delay_s=0)])
    assert not scene.delays._held
    await until(lambda: scene.viewer.got == ["one"])


async def test_too_many_go_out_early(scene, monkeypatch):
    """The oldest, and counted."""
    monkeypatch.setattr(delay_module, "HELD", 2)
    scene.delays.publish("#al", [line(text, age_s=0) for text in "abc"])
    await until(lambda: scene.viewer.got == ["a"])
    assert scene.hub.metrics.counters["delay.overflows"] == 1

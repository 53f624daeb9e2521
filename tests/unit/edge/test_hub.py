"""edge/hub.py: every member once, in order, the sender not at all; nobody waits for a slow one."""

import asyncio
import itertools
import time
from types import SimpleNamespace

import pytest

from common.metrics import Metrics
from common.pb.chat_pb2 import Chatter, Line, Publication
from common.pb.clue_pb2 import Chatters
from edge import hub as hub_module
from edge.hub import Hub
from edge.presence import Movement, Roster
from edge.render import Capability

RUN = 77
MEMBERSHIP = Capability.MEMBERSHIP


class Member:
    """A connection as the hub sees it; keeps what was written to it."""

    def __init__(self, number=0, capabilities=Capability(0), websocket=False):
        self.session = SimpleNamespace(number=number, capabilities=capabilities)
        self.written = []
        self.closed = False
        self.transport = SimpleNamespace(websocket=websocket, write=self.written.append, stream=None)

    @property
    def texts(self):
        """The texts of the PRIVMSGs it got, in order."""
        lines = b"".join(self.written).split(b"\r\n")
        return [line.partition(b" PRIVMSG #c :")[2].decode() for line in lines if b"PRIVMSG" in line]


class FakeLoop:
    """Keeps what was asked for: seconds from now, 0 for at once."""

    def __init__(self):
        self.now, self.waits = 100.0, []

    def time(self):
        return self.now

    def call_soon(self, call):
        self.waits.append(0.0)

    def call_later(self, wait, call):
        self.waits.append(wait)


def line(text, *, session=0, run=1):
    return Publication(
        id=text, line=Line(text=text, author=Chatter(login="bob", user_id=1), edge_run=run, session=session)
    )


@pytest.fixture
async def hub():
    return Hub(RUN, Metrics(), coalesce_max_s=0.01)


def slices_of(monkeypatch, members):
    """One in each turn, of that size."""
    monkeypatch.setattr(hub_module, "SLICE", members)
    monkeypatch.setattr(hub_module, "LARGEST_SLICE", members)
    monkeypatch.setattr(hub_module, "ALONE_S", 60.0)
    monkeypatch.setattr(hub_module, "SHARE", 0.0)


async def settle(hub):
    """Until no channel has a pass under way or a timer set."""
    async with asyncio.timeout(5):
        while any(c._pass or c._timer or c._pending or c._movements or c._afterwards for c in hub.channels.values()):
            await asyncio.sleep(0.001)


async def test_members_get_each_publication_once_in_order(hub):
    """Two publishes before the loop turns are one write of two lines."""
    member = Member()
    hub.join("#c", member)
    hub.publish("#c", [line("a")])
    hub.publish("#c", [line("b"), line("c")])
    await settle(hub)
    assert member.texts == ["a", "b", "c"]
    assert len(member.written) == 1


async def test_the_sender_gets_all_but_its_own(hub):
    """The sending connection is passed over for its own lines only; another of the same account is not."""
    sender, other = Member(number=5), Member(number=6)
    hub.sessions = {5: sender, 6: other}
    for member in (sender, other):
        hub.join("#c", member)
    hub.publish("#c", [line("mine", session=5, run=RUN), line("theirs"), line("mine too", session=5, run=RUN)])
    await settle(hub)
    assert sender.texts == ["theirs"]
    assert other.texts == ["mine", "theirs", "mine too"]


async def test_a_session_number_of_another_edge_is_not_the_sender(hub):
    """Session numbers repeat between edges; the run tells them apart."""
    member = Member(number=5)
    hub.sessions = {5: member}
    hub.join("#c", member)
    hub.publish("#c", [line("from elsewhere", session=5, run=RUN + 1)])
    await settle(hub)
    assert member.texts == ["from elsewhere"]


async def test_each_variant_gets_its_own_bytes(hub):
    """Tags only for those who asked; WebSocket members get frames."""
    plain, tagged = Member(), Member(capabilities=Capability.TAGS)
    framed = Member(capabilities=Capability.TAGS, websocket=True)
    for member in (plain, tagged, framed):
        hub.join("#c", member)
    hub.publish("#c", [line("hi")])
    await settle(hub)
    assert b"".join(plain.written).startswith(b":bob!")
    assert b"".join(tagged.written).startswith(b"@badge-info=")
    assert b"".join(framed.written)[0] == 0x81
    assert b"".join(framed.written).endswith(b"".join(tagged.written))


@pytest.mark.parametrize(("alone_s", "slices"), [(0.0, [10] * 10), (60.0, [20, 40, 40])])
async def test_large_channels_are_written_in_slices(hub, monkeypatch, alone_s, slices):
    """Between two slices the loop serves others; while there are none, slices grow. All members are reached."""
    monkeypatch.setattr(hub_module, "SLICE", 10)
    monkeypatch.setattr(hub_module, "LARGEST_SLICE", 40)
    monkeypatch.setattr(hub_module, "ALONE_S", alone_s)
    monkeypatch.setattr(hub_module, "SHARE", 0.0)
    members = [Member() for _ in range(100)]
    for member in members:
        hub.join("#c", member)
    hub.publish("#c", [line("a")])
    reached = [0]
    while reached[-1] < len(members):
        await asyncio.sleep(0)
        reached.append(sum(bool(member.written) for member in members))
    assert [now - before for before, now in itertools.pairwise(reached) if now > before] == slices
    assert all(member.texts == ["a"] for member in members)


async def test_a_slice_waits_for_a_turn_that_brings_nothing_else(hub, monkeypatch):
    """But not for ever. Slices of another channel are nothing else: two passes do not wait for each other."""
    slices_of(monkeypatch, 1)
    monkeypatch.setattr(hub_module, "ALONE_S", 0.001)
    monkeypatch.setattr(hub_module, "LONG_TURN_S", 0.012)
    now = 100.0
    clock = SimpleNamespace(monotonic=lambda: now, thread_time=time.thread_time, time=time.time)
    monkeypatch.setattr(hub_module, "time", clock)

    class Slow(list):
        def append(self, data):
            nonlocal now
            now += 0.003
            super().append(data)

    members = {name: [Member() for _ in range(10)] for name in ("#c", "#d")}
    for name, those in members.items():
        for member in those:
            member.written = Slow()
            member.transport.write = member.written.append
            hub.join(name, member)
        hub.publish(name, [line("a")])
    reached = []
    for brings in (0.0, 0.002, 0.002, 0.0, 0.002, 0.002, 0.002, 0.002, 0.002):
        now += brings
        await asyncio.sleep(0)
        reached.append([sum(map(bool, (member.written for member in those))) for those in members.values()])
    assert [of_c for of_c, _ in reached] == [of_d for _, of_d in reached] == [1, 1, 1, 2, 2, 2, 2, 2, 3]
    monkeypatch.undo()
    await settle(hub)
    assert all(len(member.written) == 1 for those in members.values() for member in those)


async def test_a_pass_in_a_busy_loop_makes_up_for_its_waiting(hub, monkeypatch):
    """Turns of 20 ms, a hundred slices: it does not take a hundred turns."""
    monkeypatch.setattr(hub_module, "SLICE", 1)
    members = [Member() for _ in range(100)]
    for member in members:
        hub.join("#c", member)
    hub.publish("#c", [line("a")])
    turns = 0
    while any(not member.written for member in members):
        turns += 1
        time.sleep(0.02)  # noqa: ASYNC251 - what others do in this turn
        await asyncio.sleep(0)
    assert turns < 20
    assert all(member.texts == ["a"] for member in members)


async def test_joining_and_leaving_during_a_pass_repeats_and_loses_nothing(hub, monkeypatch):
    """The arrays are reordered while a pass walks over them; each who stays gets every line once."""
    slices_of(monkeypatch, 7)
    stay = [Member() for _ in range(50)]
    leave = [Member() for _ in range(50)]
    for pair in zip(leave, stay, strict=True):
        for member in pair:  # one who stays is last: it fills the first gap, where the pass has been
            hub.join("#c", member)
    hub.publish("#c", [line("a")])
    await asyncio.sleep(0)
    for member in leave:
        hub.part("#c", member)
        hub.join("#c", Member())
        await asyncio.sleep(0)
    hub.publish("#c", [line("b")])
    await settle(hub)
    assert all(member.texts == ["a", "b"] for member in stay)
    assert all("b" not in member.texts for member in leave)


async def test_nothing_follows_a_part(hub, monkeypatch):
    """Who parts while a pass is under way gets nothing more of it."""
    slices_of(monkeypatch, 1)
    first, second = Member(), Member()
    hub.join("#c", first)
    hub.join("#c", second)
    hub.publish("#c", [line("a")])
    while not first.written:
        await asyncio.sleep(0)
    hub.part("#c", second)
    await settle(hub)
    assert second.texts == []


async def test_a_socket_that_is_gone_does_not_stop_the_pass(hub):
    """A write that raises is counted; the members after it are served."""
    members = [Member() for _ in range(3)]

    def gone(_):
        raise RuntimeError("the handler is closed")

    members[1].transport.write = gone
    for member in members:
        hub.join("#c", member)
    hub.publish("#c", [line("a")])
    await settle(hub)
    assert [member.texts for member in members] == [["a"], [], ["a"]]
    assert hub.metrics.counters["broadcast.closed"] == 1


async def test_a_slow_member_is_passed_over_and_counted(hub):
    """Suspended it gets nothing and is counted as skipped; resumed it gets what comes from then on."""
    slow, quick = Member(), Member()
    hub.join("#c", slow)
    hub.join("#c", quick)
    hub.channels["#c"].suspend(slow)
    hub.publish("#c", [line("a"), line("b")])
    await settle(hub)
    hub.channels["#c"].resume(slow)
    hub.publish("#c", [line("c")])
    await settle(hub)
    assert quick.texts == ["a", "b", "c"]
    assert slow.texts == ["c"]
    assert hub.metrics.counters["broadcast.skipped"] == 2


async def test_a_change_of_capabilities_moves_the_member(hub):
    """From then on it gets the other form, and still everything once."""
    member = Member()
    hub.join("#c", member)
    hub.publish("#c", [line("a")])
    await settle(hub)
    member.session.capabilities = Capability.TAGS
    hub.channels["#c"].regroup(member)
    hub.publish("#c", [line("b")])
    await settle(hub)
    assert member.texts == ["a", "b"]
    assert member.written[-1].startswith(b"@")


async def test_first_and_last_are_told(hub):
    """join answers whether it was the first, part whether it was the last; an empty channel is forgotten."""
    one, two = Member(), Member()
    assert hub.join("#c", one)
    assert not hub.join("#c", two)
    assert not hub.part("#c", one)
    assert hub.part("#c", two)
    assert hub.channels == {}


async def test_a_busy_channel_is_coalesced(hub):
    """Publications that come during a rest are one write."""
    member = Member()
    hub.join("#c", member)
    hub.publish("#c", [line("0")])
    await settle(hub)
    hub.coalesce_max_s = 0.5  # far above what the loop below can take
    hub.channels["#c"]._cost_s = 1.0  # as after an expensive pass
    for number in range(1, 6):
        hub.publish("#c", [line(str(number))])
        await asyncio.sleep(0)
    await settle(hub)
    assert member.texts == [str(number) for number in range(6)]
    assert len(member.written) == 2


async def test_a_channel_that_was_quiet_is_served_at_once(hub):
    """However expensive its last pass was."""
    member = Member()
    hub.join("#c", member)
    channel = hub.channels["#c"]
    channel._cost_s, channel._last_end = 1.0, hub.loop.time() - 60.0
    hub.coalesce_max_s = 30.0
    hub.publish("#c", [line("a")])
    for _ in range(5):
        await asyncio.sleep(0)
    assert member.texts == ["a"]


@pytest.mark.parametrize(("apart_s", "wait_s"), [(0.040, 0.0), (0.010, 0.018 - 0.005)])
async def test_a_line_waits_only_where_another_is_expected(hub, apart_s, wait_s):
    """Bundles that come less often than a pass gathers for are shown at once, however late the last pass ended."""
    loop = hub.loop = FakeLoop()
    hub.coalesce_max_s = 0.1
    hub.join("#c", Member())
    channel = hub.channels["#c"]
    for number in range(30):
        channel._cost_s, channel._last_end = 0.010, loop.now - 0.011
        hub.publish("#c", [line(str(number))])
        waited = loop.waits.pop()
        channel._begin()
        channel._pass = None
        loop.now += apart_s
    assert waited == pytest.approx(wait_s, abs=1e-3)


async def test_a_cheap_channel_does_not_wait(hub):
    """A pass over a few members has nothing to save, also right after another."""
    member = Member()
    hub.join("#c", member)
    hub.coalesce_max_s = 30.0
    hub.publish("#c", [line("a")])
    await settle(hub)
    hub.channels["#c"]._cost_s = hub_module.CHEAP_S
    hub.publish("#c", [line("b")])
    for _ in range(5):
        await asyncio.sleep(0)
    assert member.texts == ["a", "b"]


@pytest.mark.parametrize(
    ("cost_s", "ended_s_ago", "patience_s"),
    [
        (0.0005, 0.0, 0.0),  # little to save
        (0.010, 5.0, hub_module.BUNDLE_S),
        (0.100, 0.005, 0.060 - 0.005 - hub_module.AHEAD_S),  # it rests for another 55 ms
        (0.200, 0.001, 0.060 - 0.001 - hub_module.AHEAD_S),
        (0.100, 0.050, 0.0),  # the next pass begins before the line is back
    ],
)
async def test_lines_wait_for_each_other_where_passes_are_dear(hub, cost_s, ended_s_ago, patience_s):
    """A dear channel's are back before the next pass."""
    loop = hub.loop = FakeLoop()
    hub.coalesce_max_s = 0.060
    hub.join("#c", Member())
    channel = hub.channels["#c"]
    channel._cost_s, channel._last_end = cost_s, loop.now - ended_s_ago
    assert channel.patience_s == pytest.approx(patience_s)


async def test_during_a_dear_pass_lines_wait_for_each_other(hub):
    """It will take as long as the last one, by its CPU, and then the core rests."""
    hub.coalesce_max_s = 0.060
    hub.join("#c", Member())
    channel = hub.channels["#c"]
    channel._cost_s, channel._pass = 0.100, channel._plan([line("a")], [])
    assert channel.patience_s == hub_module.BUNDLE_S
    channel._pass.cpu_s -= 0.095
    assert channel.patience_s == pytest.approx(0.005 + 0.060 - hub_module.AHEAD_S, abs=0.004)
    channel._pass.cpu_s -= 1.0  # overdue
    assert channel.patience_s == pytest.approx(0.060 - hub_module.AHEAD_S)


def movement(*logins):
    return Movement("#c", None, Roster.of(Chatters(channel="#c", logins=logins, complete=True)))


async def test_movements_are_for_readers_of_membership_alone(hub):
    """After the lines of the same pass; whoever is named does not see its own."""
    plain, reader, named = Member(), Member(capabilities=MEMBERSHIP), Member(capabilities=MEMBERSHIP)
    named.session.login = "ann"
    hub.users["ann"] = [named]
    for member in (plain, reader, named):
        hub.join("#c", member)
    hub.publish("#c", [line("a")])
    hub.channels["#c"].tell(movement("ann", "bob"))
    await settle(hub)
    ann, bob = (f":{login}!{login}@{login}.tmi.twitch.tv JOIN #c\r\n".encode() for login in ("ann", "bob"))
    said = b":bob!bob@bob.tmi.twitch.tv PRIVMSG #c :a\r\n"
    assert b"".join(plain.written) == said
    assert b"".join(reader.written) == said + ann + bob
    assert b"".join(named.written) == said + bob


async def test_a_movement_alone_makes_a_pass(hub):
    """A quiet channel's readers need not wait for a line."""
    reader = Member(capabilities=MEMBERSHIP)
    hub.join("#c", reader)
    assert hub.channels["#c"].tells_movements
    hub.channels["#c"].tell(movement("ann"))
    await settle(hub)
    assert b"".join(reader.written).endswith(b" JOIN #c\r\n")


async def test_what_comes_afterwards_comes_after_what_was_published(hub, monkeypatch):
    """Also when a pass is under way: what waits for the next one is written before."""
    slices_of(monkeypatch, 1)
    members = [Member(), Member()]
    for member in members:
        hub.join("#c", member)
    seen = []
    hub.publish("#c", [line("a")])
    while not members[0].written:
        await asyncio.sleep(0)
    hub.publish("#c", [line("b")])
    hub.channels["#c"].afterwards(lambda: seen.extend(member.texts for member in members))
    await settle(hub)
    assert seen == [["a", "b"], ["a", "b"]]


async def test_afterwards_in_a_quiet_channel_is_soon(hub):
    """There is nothing to wait for."""
    hub.join("#c", Member())
    called = asyncio.Event()
    hub.channels["#c"].afterwards(called.set)
    async with asyncio.timeout(5):
        await called.wait()

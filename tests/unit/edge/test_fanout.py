"""edge/fanout.py and what the hub makes of it, on real sockets and their streams, in both forms."""

import asyncio
import os
import socket
from array import array
from types import SimpleNamespace

import pytest
import uvloop

from common.log import Log
from common.metrics import Metrics
from common.pb.chat_pb2 import Chatter, Line, Publication
from edge import fanout
from edge import hub as hub_module
from edge.hub import Hub
from edge.render import Capability
from edge.transports.sockets import Sockets
from edge.turnstile import Turnstile

RUN = 77
MORE_THAN_THE_KERNEL_TAKES = 4_000_000


@pytest.fixture(params=["compiled", "python"])
def form(request, monkeypatch):
    """Both forms of `send`; the hub uses the one asked for."""
    if request.param == "compiled":
        send = pytest.importorskip("edge._fanout", reason="edge/_fanout.c is not compiled here").send
    else:
        send = fanout.send_in_python
    monkeypatch.setattr(fanout, "send", send)
    return send


class User(asyncio.Protocol):
    """A member's socket on our side, and its other end; `lost` once the stream is."""

    def __init__(self):
        self.session = SimpleNamespace(number=0, capabilities=Capability(0))
        self.closed = False
        self.lost = asyncio.Event()

    def connect(self, address):
        self.far = socket.socket(socket.AF_UNIX)
        self.far.connect(address)
        self.far.setblocking(False)

    def connection_made(self, transport):
        self.stream, self.fd = transport, transport.fd
        self.transport = SimpleNamespace(websocket=False, stream=transport, write=transport.write)

    def connection_lost(self, error):
        self.lost.set()

    async def read(self, size):
        """So many bytes from the other end."""
        got = b""
        async with asyncio.timeout(10):
            while len(got) < size:
                got += await asyncio.get_running_loop().sock_recv(self.far, size - len(got))
        return got

    def read_now(self):
        """What is there without waiting."""
        try:
            return self.far.recv(1_000_000)
        except BlockingIOError:
            return b""


def on_uvloop(test):
    """Run `test(form, users, hub)` on a loop as the edge has it, with four users in one channel."""

    def run(form):
        async def main():
            users = [User() for _ in range(4)]
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("")
                listener.listen()
                sockets, waiting = Sockets(Turnstile(), Log()), iter(users)
                sockets.listen(listener, lambda: next(waiting))
                for user in users:
                    user.connect(listener.getsockname())
                async with asyncio.timeout(10):
                    while not hasattr(users[-1], "stream"):
                        await asyncio.sleep(0.001)
                sockets.close()
            hub = Hub(RUN, Metrics(), coalesce_max_s=0.01)
            for user in users:
                hub.join("#c", user)
            try:
                await test(form, users, hub)
            finally:
                for user in users:
                    user.stream.abort()
                    user.far.close()
                for user in users:
                    await user.lost.wait()

        uvloop.run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def arrays(users):
    return array("i", [user.fd for user in users]), [user.stream for user in users]


@on_uvloop
async def test_everybody_in_the_range_gets_the_bytes(form, users, hub):
    """Those outside of start and stop get none; nothing is left to do."""
    assert form(*arrays(users), 1, 3, b"hello") == []
    assert [user.read_now() for user in users] == [b"", b"hello", b"hello", b""]


@on_uvloop
async def test_what_a_full_socket_did_not_take_is_told(form, users, hub):
    """Place and bytes taken; the same user takes nothing more, the others everything."""
    data = b"x" * MORE_THAN_THE_KERNEL_TAKES
    ((at, taken),) = form(*arrays(users), 2, 3, data)
    assert at == 2
    assert 0 < taken < len(data)
    assert form(*arrays(users), 0, 4, b"y") == [(2, 0)]
    assert await users[2].read(taken) == data[:taken]


@on_uvloop
async def test_a_socket_without_descriptor_is_left_to_its_stream(form, users, hub):
    """-1 stands for what is not a plain socket."""
    fds, streams = arrays(users)
    fds[1], streams[1] = -1, None
    assert form(fds, streams, 0, 4, b"a") == [(1, 0)]
    assert [user.read_now() for user in users] == [b"a", b"", b"a", b"a"]


@on_uvloop
async def test_older_bytes_of_the_stream_go_first(form, users, hub):
    """Nothing is sent past what the stream still holds, also when the socket has room again."""
    user = users[0]
    user.stream.write(b"x" * MORE_THAN_THE_KERNEL_TAKES)
    assert user.stream.get_write_buffer_size()
    user.far.recv(1_000_000)
    assert form(*arrays(users), 0, 1, b"y") == [(0, 0)]


@on_uvloop
async def test_a_closing_stream_gets_nothing(form, users, hub):
    """Its descriptor may belong to somebody else as soon as the loop turns."""
    users[0].stream.close()
    assert form(*arrays(users), 0, 2, b"a") == [(0, 0)]
    assert users[0].read_now() == b""


@on_uvloop
async def test_a_socket_that_is_gone_does_not_raise(form, users, hub):
    """EPIPE and ECONNRESET are left to the stream's own write."""
    users[0].far.close()
    assert form(*arrays(users), 0, 2, b"a") == [(0, 0)]
    assert users[1].read_now() == b"a"
    users[0].stream.write(b"a")
    async with asyncio.timeout(10):
        await users[0].lost.wait()


@on_uvloop
async def test_a_range_outside_of_the_arrays_is_refused(form, users, hub):
    """Never beyond the arrays: a number there could be any descriptor."""
    with pytest.raises(IndexError):
        form(*arrays(users), 3, 5, b"a")


# -- the hub ------------------------------------------------------------------------------------------------------


def line(text, session=0):
    return Publication(
        id=text, line=Line(text=text, author=Chatter(login="bob", user_id=1), edge_run=RUN, session=session)
    )


def said(*texts):
    return b"".join(f":bob!bob@bob.tmi.twitch.tv PRIVMSG #c :{text}\r\n".encode() for text in texts)


async def settle(hub):
    """Until no channel has a pass under way or waits for one."""
    async with asyncio.timeout(10):
        while any(channel._pass or channel._timer for channel in hub.channels.values()):
            await asyncio.sleep(0.001)


@on_uvloop
async def test_a_pass_and_a_reply_keep_their_order(form, users, hub):
    """What was written before a pass comes before it, what is written after it comes after."""
    for user in users:
        user.stream.write(b"before\r\n")
    hub.publish("#c", [line("a")])
    await settle(hub)
    for user in users:
        user.stream.write(b"after\r\n")
    assert [user.read_now() for user in users] == [b"before\r\n" + said("a") + b"after\r\n"] * 4


@on_uvloop
async def test_a_member_that_reads_slowly_gets_everything_in_order(form, users, hub):
    """Lines that the kernel takes in part, or not at all, are completed by the stream."""
    texts = [f"{number:04}" + "x" * 700_000 for number in range(4)]
    for text in texts:
        hub.publish("#c", [line(text)])
        await settle(hub)
    for user in users:
        assert user.stream.get_write_buffer_size()
    for user in users:
        assert await user.read(len(said(*texts))) == said(*texts)


@on_uvloop
async def test_the_sender_does_not_get_its_own(form, users, hub):
    """Its socket is passed over for its own line, and gets the rest of the same pass."""
    hub.sessions[5] = users[1]
    hub.publish("#c", [line("mine", session=5), line("theirs")])
    await settle(hub)
    assert [user.read_now() for user in users] == [
        said("mine", "theirs"), said("theirs"), said("mine", "theirs"), said("mine", "theirs"),
    ]  # fmt: skip


@on_uvloop
async def test_who_fills_a_gap_keeps_its_own_socket(form, users, hub):
    """The arrays stay dense when somebody parts, and in step."""
    hub.part("#c", users[0])
    hub.publish("#c", [line("a")])
    await settle(hub)
    assert [user.read_now() for user in users] == [b"", said("a"), said("a"), said("a")]


@on_uvloop
async def test_nobody_gets_what_was_meant_for_a_closed_socket(form, users, hub):
    """A descriptor that is handed out again during a pass belongs to somebody else."""
    channel, last = hub.channels["#c"], users[3]
    stranger, other = socket.socketpair()
    other.setblocking(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_module, "SLICE", 1)
        patch.setattr(hub_module, "SHARE", 0.0)
        channel._pass = running = channel._plan([line("a")], [])
        assert running.slice()
        hub.part("#c", last)
        last.stream.abort()
        await last.lost.wait()
        await asyncio.sleep(0.01)  # the loop closes the descriptor in a later turn
        os.dup2(stranger.fileno(), last.fd)
        try:
            while running.slice():
                pass
            with pytest.raises(BlockingIOError):
                other.recv(1)
        finally:
            os.close(last.fd)
            stranger.close()
            other.close()
    assert [user.read_now() for user in users[:3]] == [said("a")] * 3


@on_uvloop
async def test_a_connection_that_was_reset_is_lost_and_the_pass_goes_on(form, users, hub):
    """The member's stream learns of the error; everybody else has the line."""
    users[1].far.close()
    hub.publish("#c", [line("a")])
    await settle(hub)
    assert [users[at].read_now() for at in (0, 2, 3)] == [said("a")] * 3
    async with asyncio.timeout(10):
        await users[1].lost.wait()

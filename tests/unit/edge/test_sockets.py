"""edge/transports/sockets.py on real TCP sockets and uvloop."""

import asyncio
import resource
import socket
import struct
from types import SimpleNamespace

import pytest
import uvloop

from edge.transports.sockets import Sockets
from edge.turnstile import Turnstile
from tests.support.eventually import eventually

MORE_THAN_THE_KERNEL_TAKES = 12_000_000
RESET = struct.pack("ii", 1, 0)


class Served(asyncio.Protocol):
    """Notes what its stream tells, in order; lines of one kind are joined."""

    all: list["Served"]
    order: list[tuple["Served", str]]  # who was made and who was lost

    def __init__(self):
        self.got = b""
        self.told = []
        self.all.append(self)

    def connection_made(self, transport):
        self.stream = transport
        self.told.append("made")
        self.order.append((self, "made"))

    def data_received(self, data):
        self.got += data
        self.lost_before = sum(one.told[-1] == "lost" for one in self.all)
        if b"raise" in data:
            raise ValueError("a bug")

    def eof_received(self):
        self.told.append("eof")
        return False

    def pause_writing(self):
        self.told.append("pause")

    def resume_writing(self):
        self.told.append("resume")

    def connection_lost(self, error):
        self.told.append("reset" if isinstance(error, ConnectionResetError) else "lost")
        self.order.append((self, "lost"))


class Place:
    """A listener on a free port, and everybody who came."""

    def __init__(self):
        self.served = []
        self.order = []
        self.complaints = []
        kind = type("Here", (Served,), {"all": self.served, "order": self.order})
        log = SimpleNamespace(warning=lambda event, **fields: self.complaints.append(event))
        self.sockets = Sockets(Turnstile(), log)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2_000)
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sockets.listen(self.listener, kind)
        self.clients = []

    def connect(self):
        client = socket.create_connection(self.listener.getsockname(), timeout=10)
        client.setblocking(False)
        self.clients.append(client)
        return client

    async def user(self):
        """A connection: our end and theirs."""
        client = self.connect()
        await eventually(lambda: len(self.served) == len(self.clients) and "made" in self.served[-1].told)
        return self.served[-1], client

    async def close(self):
        self.sockets.close()
        for one in self.served:
            one.stream.abort()
        for client in self.clients:
            client.close()
        await eventually(lambda: all(one.told[-1] in ("lost", "reset") for one in self.served))
        await eventually(lambda: not len(self.sockets.turnstile))


async def read(client, size):
    got = b""
    async with asyncio.timeout(10):
        while len(got) < size:
            part = await asyncio.get_running_loop().sock_recv(client, size - len(got))
            if not part:
                break
            got += part
    return got


def on_uvloop(test):
    def run():
        async def main():
            place = Place()
            try:
                await test(place)
            finally:
                await place.close()

        uvloop.run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


@on_uvloop
async def test_bytes_go_both_ways(place):
    """And small writes are not held back (TCP_NODELAY comes from the listener)."""
    served, client = await place.user()
    client.send(b"hello")
    await eventually(lambda: served.got == b"hello")
    served.stream.write(b"welcome")
    assert await read(client, 7) == b"welcome"
    assert served.stream.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert served.stream.get_extra_info("peername") == client.getsockname()
    assert served.stream.get_extra_info("sslcontext") is None


@on_uvloop
async def test_more_than_a_turn_takes_is_taken_in_several(place):
    """An edge-triggered event comes once for all of it."""
    served, client = await place.user()
    data = bytes(range(256)) * 4_000
    await asyncio.get_running_loop().sock_sendall(client, data)
    await eventually(lambda: len(served.got) == len(data))
    assert served.got == data


@on_uvloop
async def test_what_the_kernel_does_not_take_follows_in_order(place):
    """The protocol is told to pause above the bound, and to resume when a quarter of it is left."""
    served, client = await place.user()
    served.stream.set_write_buffer_limits(high=1_000)
    data = bytes(range(256)) * (MORE_THAN_THE_KERNEL_TAKES // 256)
    served.stream.write(data)
    served.stream.write(b"end")
    assert served.stream.busy
    assert served.stream.get_write_buffer_size() > 1_000
    assert served.told == ["made", "pause"]
    assert await read(client, len(data) + 3) == data + b"end"
    await eventually(lambda: served.told == ["made", "pause", "resume"])
    assert not served.stream.busy
    assert not served.stream.get_write_buffer_size()


@on_uvloop
async def test_close_sends_what_is_buffered_first(place):
    """And takes nothing more."""
    served, client = await place.user()
    data = b"x" * MORE_THAN_THE_KERNEL_TAKES
    served.stream.write(data)
    served.stream.close()
    served.stream.write(b"more")
    assert served.stream.is_closing()
    assert served.stream.busy
    assert served.told[-1] != "lost"
    assert len(await read(client, len(data) + 4)) == len(data)
    await eventually(lambda: served.told[-1] == "lost")


@on_uvloop
async def test_abort_forgets_what_is_buffered(place):
    """The user who reads nothing is rid of at once."""
    served, _ = await place.user()
    served.stream.write(b"x" * MORE_THAN_THE_KERNEL_TAKES)
    served.stream.abort()
    await eventually(lambda: served.told[-1] == "lost")
    assert served.stream.get_write_buffer_size() == 0


@on_uvloop
async def test_last_lines_are_taken_before_the_end(place):
    """QUIT and a close in one moment."""
    served, client = await place.user()
    client.send(b"QUIT")
    client.close()
    await eventually(lambda: served.told == ["made", "eof", "lost"])
    assert served.got == b"QUIT"


@on_uvloop
async def test_last_lines_longer_than_a_turn_are_taken_before_the_end(place):
    served, client = await place.user()
    data = b"x" * 500_000
    await asyncio.get_running_loop().sock_sendall(client, data)
    client.close()
    await eventually(lambda: served.told == ["made", "eof", "lost"])
    assert served.got == data


@on_uvloop
async def test_who_sends_no_more_still_gets_what_is_buffered(place):
    """A half-closed connection is closed when the rest is written."""
    served, client = await place.user()
    data = b"x" * MORE_THAN_THE_KERNEL_TAKES
    served.stream.write(data)
    client.shutdown(socket.SHUT_WR)
    await eventually(lambda: "eof" in served.told)
    assert served.told[-1] != "lost"
    assert len(await read(client, len(data))) == len(data)
    await eventually(lambda: served.told[-1] == "lost")


@on_uvloop
async def test_a_reset_is_told_as_such(place):
    served, client = await place.user()
    reset(client)
    await eventually(lambda: served.told == ["made", "reset"])
    assert served.stream.busy


@on_uvloop
async def test_a_reset_ends_a_close_that_waits_for_a_reader(place):
    """Nothing can be flushed to who is gone."""
    served, client = await place.user()
    served.stream.write(b"x" * MORE_THAN_THE_KERNEL_TAKES)
    served.stream.close()
    reset(client)
    await eventually(lambda: served.told[-1] in ("lost", "reset"))


@on_uvloop
async def test_writing_to_who_is_gone_is_harmless(place):
    """The stream notices by itself; the protocol is told later, once, and not from within its own write."""
    served, client = await place.user()
    reset(client)
    told = None
    for _ in range(3):
        served.stream.write(b"a")
        told = told or list(served.told)
    assert told == ["made"]
    await eventually(lambda: len(served.told) > 1)
    await asyncio.sleep(0)
    assert len(served.told) == 2


@on_uvloop
async def test_a_protocol_that_raises_loses_its_own_socket_only(place):
    """And says so."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["exception"]))
    bad, bad_client = await place.user()
    good, good_client = await place.user()
    bad_client.send(b"raise")
    good_client.send(b"good")
    await eventually(lambda: bad.told[-1] == "lost" and good.got == b"good")
    assert [repr(error) for error in complaints] == ["ValueError('a bug')"]
    assert good.told == ["made"]


@on_uvloop
async def test_reading_can_pause(place):
    """What came meanwhile is taken when it resumes, though it was told of only once; the end, too."""
    served, client = await place.user()
    served.stream.pause_reading()
    assert not served.stream.is_reading()
    client.send(b"meanwhile")
    client.close()
    other, other_client = await place.user()
    other_client.send(b"a")
    await eventually(lambda: other.got == b"a")
    assert served.got == b""
    served.stream.resume_reading()
    await eventually(lambda: served.told == ["made", "eof", "lost"])
    assert served.got == b"meanwhile"


@on_uvloop
async def test_who_went_is_lost_before_who_came_back_is_let_in(place):
    """By the thousand, each coming back at once: never is one counted twice."""
    count = 500
    for _ in range(count):
        place.connect()
    await eventually(lambda: len(place.served) == count)
    most = 0
    kind = place.sockets._listeners[place.listener.fileno()][1]

    def newcomer():
        nonlocal most
        here = sum(one.told[-1:] == ["made"] for one in place.served)
        most = max(most, here + 1)
        return kind()

    place.sockets._listeners[place.listener.fileno()] = place.listener, newcomer
    await eventually(lambda: all(one.told == ["made"] for one in place.served))
    before = list(place.clients)
    for client in before:
        client.close()
        place.connect()
    await eventually(lambda: len(place.served) == 2 * count and place.served[-1].told == ["made"])
    assert most == count
    assert all(one.told == ["made", "eof", "lost"] for one in place.served[:count])


@on_uvloop
async def test_who_went_after_the_last_look_is_lost_before_who_came_after(place):
    """Also when there was somebody to accept already: first accept, then look who has ended, then let in."""
    here, client = await place.user()
    place.connect()
    place.sockets._ready()
    client.close()
    place.connect()
    place.sockets._ready()
    await eventually(lambda: len(place.served) == 3)
    assert place.order.index((here, "lost")) < place.order.index((place.served[1], "made"))


@on_uvloop
async def test_open_sockets_are_heard_while_thousands_end(place):
    """A line is taken in the turn in which it came, though the turnstile has much to do."""
    count = 1_000
    for _ in range(count):
        place.connect()
    await eventually(lambda: len(place.served) == count and place.served[-1].told == ["made"])
    talker, client = await place.user()
    for gone in place.clients[:count]:
        gone.close()
    client.send(b"still here")
    await eventually(lambda: talker.got == b"still here")
    assert talker.lost_before < count / 2
    await eventually(lambda: sum(one.told[-1] == "lost" for one in place.served) == count)


@on_uvloop
async def test_without_descriptors_nobody_comes_in_until_there_are_some(place):
    """Those who are in are served meanwhile, and the loop does not spin."""
    served, client = await place.user()
    late = socket.socket()
    late.setblocking(False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (late.fileno(), hard))
    try:
        with pytest.raises(BlockingIOError):
            late.connect(place.listener.getsockname())
        await eventually(lambda: place.complaints)
        client.send(b"a")
        await eventually(lambda: served.got == b"a")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    place.clients.append(late)
    await eventually(lambda: len(place.served) == 2 and place.served[-1].told == ["made"])
    assert place.complaints == ["accept_failed"]


@on_uvloop
async def test_after_close_nobody_comes_in_and_who_is_in_stays(place):
    served, client = await place.user()
    address = place.listener.getsockname()
    place.sockets.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=1)
    client.send(b"a")
    await eventually(lambda: served.got == b"a")

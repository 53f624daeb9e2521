import select
import socket

import pytest

from loadtest.herd import _ENTERING as ENTERING
from loadtest.herd import Control, Herd, Viewer
from loadtest.irc_client import now
from loadtest.plan import Seat
from loadtest.timing import Recorder

SO_TIMESTAMPNS = 35


@pytest.fixture
def herd():
    made = Herd([], run="k", label="tpp", recorder=Recorder(now), control=Control(), fire=lambda *_: None)
    yield made
    made.close()


def test_a_line_has_arrived_when_the_kernel_had_it(herd):
    """However late it is read: the kernel's note is between the write and the moment at which it could be read."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as reader:
        reader.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        writer, _ = listener.accept()
        with writer:
            notes, deadline = [], now() + 5
            while not notes:  # the kernel begins to note times a moment after the first who asks for them
                written = now()
                assert written < deadline
                writer.send(b"up\r\n")
                select.select([reader], [], [])
                readable = now()
                _, notes, _, _ = reader.recvmsg(100, 64)
            arrived = herd._arrived(notes)
    assert written - 0.001 < arrived < readable


def test_without_a_note_it_is_the_moment_of_reading(herd):
    """A kernel that does not tell costs precision, not the measurement."""
    before = now()
    assert before <= herd._arrived([]) <= now()


def test_news_of_another_channel_lets_nobody_in(herd):
    """Who moves still hears modes of the room that it leaves: neither its admission nor a refusal."""
    viewer = Viewer(Seat("127.0.0.1", 1, "127.0.0.1", "a", "edge-1"), ["#raided"], sampled=True)
    viewer.state, viewer.joined, viewer.position = ENTERING, 0, 0
    herd._entering_line(viewer, "ROOMSTATE", ("#tpp",), now())
    herd._entering_line(viewer, "NOTICE", ("#tpp", "This room is now in slow mode. You may send ..."), now())
    assert viewer.state == ENTERING
    herd._entering_line(viewer, "ROOMSTATE", ("#raided",), now())
    assert viewer.state > ENTERING

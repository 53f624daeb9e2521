"""The crowd's own process, against a server that says one thing to everybody but one."""

import asyncio
import os
import re
import socket
import sys
from contextlib import asynccontextmanager

from tests.chaos.crowd_link import CrowdLink
from tests.chaos.next_door import between, connections

NUMBER = r" PRIVMSG #\S+ :t7 (\d+) "


class Server:
    def __init__(self):
        self.readers = {}
        self.entered = []
        self.answered = []

    async def serve(self, reader, writer):
        async for line in reader:
            if line.startswith(b"NICK"):
                login = line.split()[1].decode()
            elif line.startswith(b"JOIN"):
                self.entered.append(login)
                self.readers[login] = writer
                writer.write(b":x 353 a = #tpp :a\r\n:x 366 a #tpp :End of /NAMES list\r\n")
            elif line.startswith(b"PONG"):
                self.answered.append(login)
        writer.close()

    def broadcast(self, *lines, but=()):
        for login, writer in self.readers.items():
            if login not in but:
                writer.write(b"".join(lines))

    async def say(self, text):
        self.broadcast(f":ann!ann@ann PRIVMSG #tpp :{text}\r\n".encode())


def message(number):
    return b":ann!ann@ann PRIVMSG #tpp :t7 %d hello\r\n" % number


@asynccontextmanager
async def crowded(count):
    server, crowd = Server(), CrowdLink("7")
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        await crowd.enter({"edge-1": f"127.0.0.1:{port}"}, "#tpp", count, NUMBER, 20)
        yield server, crowd
    finally:
        await crowd.leave()
        listener.close()
        await listener.wait_closed()


async def episode(server, crowd, talk):
    await crowd.begin(server.say)
    await talk()
    assert await crowd.end(server.say)
    return await crowd.judge([1, 2, 3, 4, 5], {n: float(n) for n in range(1, 6)})


async def test_what_everybody_got_is_right_also_in_a_second_episode():
    async with crowded(12) as (server, crowd):

        async def talk():
            server.broadcast(message(1), message(2))
            server.broadcast(b"PING :tmi.twitch.tv\r\n", but=("crowd3",))
            server.broadcast(*(message(n) for n in (3, 4, 5)))

        for _ in range(2):
            sight = await episode(server, crowd, talk)
            assert (sight.readers, sight.blind, sight.missing, sight.lines) == (12, 0, 0, 60), sight.details
        assert sorted(set(server.answered)) == sorted(f"crowd{n}" for n in range(12) if n != 3)


async def test_the_one_who_lacks_a_line_is_named():
    async with crowded(12) as (server, crowd):

        async def talk():
            server.broadcast(message(1), message(2))
            server.broadcast(message(3), but=("crowd5",))
            server.broadcast(message(4), message(5))

        sight = await episode(server, crowd, talk)
        assert (sight.blind, sight.missing, sight.repeated, sight.lines) == (1, 1, 0, 55)
        (detail,) = sight.details
        assert detail.startswith("crowd5 at edge-1: 1 missing")
        assert ":t7 3 hello" in detail


async def test_what_nobody_got_is_missing_at_those_who_are_read_line_by_line():
    """All agree, and all are wrong: the log knows."""
    async with crowded(4) as (server, crowd):

        async def talk():
            server.broadcast(*(message(n) for n in (1, 2, 4, 5)))

        sight = await episode(server, crowd, talk)
        assert (sight.blind, sight.missing) == (1, 1)
        assert "read line by line" in sight.details[0]


async def test_who_was_cut_off_comes_back_and_is_judged_in_two_lives():
    async with crowded(6) as (server, crowd):

        async def talk():
            server.broadcast(message(1), message(2))
            server.readers.pop("crowd4").close()
            async with asyncio.timeout(10):
                while server.entered.count("crowd4") < 2:
                    await asyncio.sleep(0.01)
            await crowd.settled()
            server.broadcast(*(message(n) for n in (3, 4, 5)))

        await crowd.begin(server.say)
        await talk()
        assert await crowd.end(server.say)
        sight = await crowd.judge([1, 2, 3, 4, 5], dict.fromkeys(range(1, 6), 0.0))
        assert (sight.readers, sight.closed, sight.blind, sight.lines) == (7, 1, 0, 30), sight.details
        lacking = await crowd.judge([1, 2, 3, 4, 5], dict.fromkeys(range(1, 6), 1e12))
        assert lacking.missing == 2, "1 and 2 were sent after it had come back, if these times are right"


async def test_silence_is_measured_for_every_reader():
    async with crowded(5) as (server, crowd):
        await crowd.begin(server.say)
        await crowd.watch()
        server.broadcast(message(1), but=("crowd2",))
        await asyncio.sleep(0.3)
        server.broadcast(message(2))
        await asyncio.sleep(0.05)
        gaps = await crowd.gaps()
        assert len(gaps) == 5
        assert all(gap >= 0.25 for gap in gaps)


async def test_a_connection_between_processes_of_two_clusters_is_seen():
    """By both ends, and not when each is connected to somebody else."""
    program = "import socket,sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(port), stdin=asyncio.subprocess.PIPE
        )
        try:
            accepted, _ = await asyncio.to_thread(listener.accept)
            with accepted:
                theirs, ours = connections([child.pid]), connections([os.getpid()])
                ((local, remote),) = theirs
                assert (local[0], remote) == (bytes((127, 0, 0, 1)), (bytes((127, 0, 0, 1)), port))
                assert between(theirs, ours) == [(local, remote)]
                assert between(theirs, theirs) == []
        finally:
            child.stdin.close()
            await child.wait()


def test_the_pattern_of_a_number_is_that_of_the_load():
    assert re.search(NUMBER.encode(), message(17))[1] == b"17"

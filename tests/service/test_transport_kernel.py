"""edge/transports/kernel.py on real sockets: what a user who does not read leaves behind in the kernel."""

import asyncio
import socket

import uvloop

from edge.transports import kernel
from tests.support.eventually import eventually

_ESTABLISHED = 1


class Sender(asyncio.Protocol):
    """Writes more than any kernel takes."""

    def __init__(self):
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        kernel.bound_send_buffer(transport)
        transport.write(b"x" * 8_000_000)


async def _stuck():
    """A sender, and the socket of a user who reads nothing."""
    sender = Sender()
    server = await asyncio.get_running_loop().create_server(lambda: sender, "127.0.0.1", 0)
    user = socket.socket()
    user.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    user.setblocking(False)
    await asyncio.get_running_loop().sock_connect(user, server.sockets[0].getsockname())
    await eventually(lambda: sender.transport is not None)
    return server, sender.transport, user


def test_the_kernel_takes_no_more_than_its_bound():
    """What the kernel does not take stays with us, where the bound of a member's buffer counts it."""

    async def main():
        server, transport, user = await _stuck()
        try:
            assert transport.get_write_buffer_size() > 8_000_000 - 4 * kernel.SEND_BUFFER
        finally:
            transport.abort()
            user.close()
            server.close()

    uvloop.run(main())


def test_a_reset_reaches_a_user_whose_window_is_full():
    """After a reset the user's end is over at once, although it has not read what came before."""

    async def main():
        server, transport, user = await _stuck()
        try:
            state = lambda: user.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]  # noqa: E731
            assert state() == _ESTABLISHED
            kernel.reset(transport)
            await eventually(lambda: state() != _ESTABLISHED, 3.0)
        finally:
            user.close()
            server.close()

    uvloop.run(main())

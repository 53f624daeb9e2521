"""IRC over WebSocket on aiohttp: the end of a frame ends a line (clients.md 38 to 42).

Compression stays off: it would cost a context per connection and a pass could not share its frame. Frames to members
are prebuilt and go straight to the socket's transport, which measured a third cheaper than `send_str`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import WSCloseCode, WSMsgType, web

from common.irc.linebuffer import LineBuffer
from edge.disconnect import Disconnect
from edge.transports.kernel import bound_send_buffer, reset
from edge.transports.sockets import Stream
from edge.transports.websocket_frames import text_frame

if TYPE_CHECKING:
    from edge.connection import Connection
    from edge.door import Door

# Several lines at their limit in one frame; above it aiohttp closes with 1009.
MAX_FRAME = 64 * 1024
_CLOSE_S = 2.0
_PROTOCOLS = ("irc", "text.ircv3.net")


class WebSocketTransport:
    __slots__ = ("_bound", "_closing", "_socket", "_transport", "connection", "peer")

    websocket = True

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, peer: str, bound: int) -> None:
        self.connection: Connection | None = None
        self.peer = peer
        self._socket = socket
        self._transport = transport
        self._bound = bound
        self._closing: asyncio.Task[None] | None = None
        bound_send_buffer(transport)

    @property
    def stream(self) -> Stream | None:
        return self._transport if isinstance(self._transport, Stream) else None

    def write(self, frame: bytes) -> None:
        # aiohttp keeps pause_writing to itself, so the bound is looked at here.
        transport = self._transport
        if transport.get_write_buffer_size() > self._bound and self.connection is not None:
            self.connection.slow_down()
        else:
            transport.write(frame)

    def send(self, lines: bytes) -> None:
        if self._closing is None and not self._transport.is_closing():
            self._transport.write(text_frame(lines))

    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())

    def abort(self) -> None:
        reset(self._transport)

    async def finish(self) -> None:
        """Close and wait for it."""
        self.close()
        assert self._closing is not None
        await self._closing

    async def _close(self) -> None:
        if self._transport.is_closing():
            return  # nobody is there to hear it
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._socket.close()
        except (TimeoutError, ConnectionError):
            reset(self._transport)


def chosen_protocol(offered: str) -> tuple[str, ...]:
    """The subprotocol to answer with: one of ours that was offered, or none (never refuse; clients.md 38)."""
    names = [name.strip() for name in offered.split(",")]
    return tuple(name for name in names if name in _PROTOCOLS)[:1]


def _forget_handshake(request: web.BaseRequest, socket: web.WebSocketResponse) -> None:
    """aiohttp keeps the answer's headers and its HTTP parser for as long as the socket lives: 2 of 17 KB [measured]."""
    socket.headers.clear()
    protocol = request.protocol
    # As aiohttp does it itself when a connection is lost; after an upgrade nothing asks the parser. Other versions have
    # other names, and keep it.
    if getattr(protocol, "_upgraded", False) and hasattr(protocol, "_parser"):
        protocol._parser = None


async def serve(request: web.BaseRequest, door: Door, peer_host: str | None) -> web.StreamResponse:
    """One WebSocket connection from handshake to close. `peer_host` is None behind a proxy that named nobody."""
    protocols = chosen_protocol(request.headers.get("Sec-WebSocket-Protocol", ""))
    socket = web.WebSocketResponse(
        protocols=protocols, compress=False, max_msg_size=MAX_FRAME, timeout=_CLOSE_S, autoclose=True, autoping=True
    )
    if not socket.can_prepare(request).ok:
        return web.Response(status=400, text="This address speaks IRC over WebSocket. Connect with a chat client.\n")
    await socket.prepare(request)
    if request.transport is None:
        return socket
    remote = request.transport.get_extra_info("peername") or ("?", 0)
    peer = f"{peer_host or remote[0]}:{remote[1]}"
    transport = WebSocketTransport(socket, request.transport, peer, door.config.write_buffer)
    connection = door.enter(transport, peer_host)
    if connection is None:
        await socket.close(code=WSCloseCode.TRY_AGAIN_LATER)
        return socket
    transport.connection = connection
    _forget_handshake(request, socket)
    buffer = LineBuffer()
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                connection.received(buffer.frame(message.data.encode()))
            elif message.type is WSMsgType.BINARY:
                connection.disconnect(Disconnect.BINARY_FRAME)
            if connection.closed:
                break
    finally:
        connection.lost()
        transport.connection = None
        await transport.finish()
    return socket

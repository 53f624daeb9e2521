"""What the kernel keeps of what we wrote to a user's socket.

Left alone it grows the send buffer to 4 MB (net.ipv4.tcp_wmem), before our own bound begins to count, and keeps it
for minutes after a close that the user's full window holds up [measured: a member that reads nothing, FIN-WAIT-1 with
2.8 MB].
"""

from __future__ import annotations

import asyncio
import socket
import struct

SEND_BUFFER = 131_072  # bytes; Linux doubles it for its own bookkeeping. 1.3 MB/s at a round trip of 100 ms

_RESET = struct.pack("ii", 1, 0)  # linger: on, 0 s


def bound_send_buffer(transport: asyncio.Transport) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


def reset(transport: asyncio.Transport) -> None:
    """Close now: the kernel forgets what is unsent, and the user's end learns it although its window is full."""
    if not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()

"""One buffer to many sockets: the inner loop of a pass (edge/hub.py).

`send` is compiled (edge/_fanout.c) where the install found a C compiler, and else `send_in_python`; `FORM` says which.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.transports.sockets import Stream


def send_in_python(
    fds: array[int], streams: list[Stream | None], start: int, stop: int, data: bytes, /
) -> list[tuple[int, int]]:
    """Send `data` to the sockets at start..stop; never blocks, and never raises for a socket.

    Answers with place and bytes taken of all that did not take everything. The caller hands what is left to the
    stream's own `write`, which queues it, or meets the socket's error itself. Nothing is sent where the descriptor is
    -1, and where the stream is `busy`: it holds older bytes, which go first, or closes (its descriptor may be another's
    soon).
    """
    size = len(data)
    left: list[tuple[int, int]] = []
    for at in range(start, stop):
        fd, stream = fds[at], streams[at]
        taken = 0
        if fd >= 0 and stream is not None and not stream.busy:
            try:
                taken = os.write(fd, data)
            except OSError:  # full, or gone
                pass
        if taken < size:
            left.append((at, taken))
    return left


try:
    from edge._fanout import send as send
except ImportError:
    send, FORM = send_in_python, "python"
else:
    FORM = "compiled"

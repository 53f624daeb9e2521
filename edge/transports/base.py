"""What a connection sees of its socket, whichever kind it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge.transports.sockets import Stream


class Transport(Protocol):
    """Contract: 1. never blocks; 2. never reorders; 3. `write` takes bytes that are framed already (the hub frames a
    pass once for all its members), `send` takes whole CRLF lines and frames them itself; 4. writing after the socket
    is gone is harmless, though `write` may raise RuntimeError."""

    peer: str                          # "address:port" of the user, as the PROXY header or the socket says
    websocket: bool                    # members are grouped by it: it decides the framing

    @property
    def write(self) -> Callable[[bytes], None]: ...

    @property
    def stream(self) -> Stream | None:
        """The plain socket below, to which a pass may send past us; None: its bytes are not ours (TLS)."""

    def send(self, lines: bytes) -> None: ...

    def buffered(self) -> int:
        """Bytes written but not yet taken by the kernel."""

    def close(self) -> None:
        """Send what is buffered, then close."""

    def abort(self) -> None:
        """Close now and forget what is buffered."""

"""Between a socket's bytes and IRC's: plain TCP, TLS and WebSocket, without any input or output of their own.

A wire is fed what was received and asked what is to be sent, so the same ones serve the herd, which polls thousands of
sockets by itself, and the blocking client of one user. Wires nest: WebSocket over TLS is one around the other.
"""

from __future__ import annotations

import ssl
from typing import Protocol

MAX_READ = 1 << 16


class WireClosed(Exception):
    """The other end closed, or answered with something else than this protocol."""


class Wire(Protocol):
    """`feed` gives units of IRC bytes with the size that each had on the wire inside TLS (what it takes to count bytes
    without looking at them); a unit is a whole frame, or what came at once."""

    def begin(self) -> None: ...

    def send(self, lines: bytes) -> None: ...

    def feed(self, data: bytes) -> list[tuple[bytes, int]]: ...

    def outgoing(self) -> bytes:
        """What has to be written to the socket now; each byte is given once."""


class PlainWire:
    __slots__ = ("_out",)

    def __init__(self) -> None:
        self._out = b""

    def begin(self) -> None:
        pass

    def send(self, lines: bytes) -> None:
        self._out += lines

    def feed(self, data: bytes) -> list[tuple[bytes, int]]:
        return [(data, len(data))]

    def outgoing(self) -> bytes:
        out, self._out = self._out, b""
        return out


class TlsWire:
    """TLS around another wire; certificates of a test stack are self-signed and not checked."""

    def __init__(self, inner: Wire, host: str) -> None:
        self._inner = inner
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self._tls = _context().wrap_bio(self._received, self._to_send, server_hostname=host)
        self._shaken = False

    def begin(self) -> None:
        self._inner.begin()
        self._advance()

    def send(self, lines: bytes) -> None:
        self._inner.send(lines)

    def feed(self, data: bytes) -> list[tuple[bytes, int]]:
        self._received.write(data)
        if not self._shaken and not self._advance():
            return []
        units: list[tuple[bytes, int]] = []
        while True:
            try:
                clear = self._tls.read(MAX_READ)
            except ssl.SSLWantReadError:
                return units
            except ssl.SSLError as error:
                raise WireClosed(str(error)) from None
            if not clear:
                raise WireClosed("TLS was closed")
            units += self._inner.feed(clear)

    def outgoing(self) -> bytes:
        if self._shaken:
            inner = self._inner.outgoing()
            if inner:
                self._tls.write(inner)
        return self._to_send.read()

    def _advance(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise WireClosed(f"TLS handshake: {error}") from None
        self._shaken = True
        return True


_shared_context: ssl.SSLContext | None = None


def _context() -> ssl.SSLContext:
    global _shared_context
    if _shared_context is None:
        _shared_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _shared_context.check_hostname = False
        _shared_context.verify_mode = ssl.CERT_NONE
    return _shared_context

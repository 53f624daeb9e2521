import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Ping, RejectConnection, Request, TextMessage

from loadtest.websocket_client import WebSocketWire, frame_size
from loadtest.wire import PlainWire, TlsWire, WireClosed
from ops.selfsigned import ensure_pair


class Server:
    """A real WebSocket server's protocol, without a socket."""

    def __init__(self):
        self.connection = WSConnection(ConnectionType.SERVER)
        self.lines = ""

    def feed(self, data):
        """What it answers."""
        out = b""
        if data:
            self.connection.receive_data(data)
        for event in self.connection.events():
            if isinstance(event, Request):
                out += self.connection.send(AcceptConnection(subprotocol="irc"))
            elif isinstance(event, TextMessage):
                self.lines += event.data
        return out

    def say(self, text):
        return self.connection.send(TextMessage(data=text))


@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=8), st.integers(1, 50))
def test_frames_come_out_whole_however_they_are_cut(texts, size):
    """Each frame is one unit with its size on the wire; all sizes together are the bytes that came."""
    wire, server = WebSocketWire("h"), Server()
    wire.begin()
    stream = server.feed(wire.outgoing())
    stream += b"".join(server.say(text) for text in texts)
    units = [unit for at in range(0, len(stream), size) for unit in wire.feed(stream[at : at + size])]
    assert [payload.decode() for payload, _ in units] == texts
    assert sum(bytes_ for _, bytes_ in units) == len(stream)


def test_lines_wait_for_the_handshake():
    """What is sent early reaches the server once it has agreed, in order."""
    wire, server = WebSocketWire("h"), Server()
    wire.begin()
    wire.send(b"NICK a\r\n")
    request = wire.outgoing()
    assert b"NICK" not in request
    wire.feed(server.feed(request))
    wire.send(b"JOIN #c\r\n")
    server.feed(wire.outgoing())
    assert server.lines == "NICK a\r\nJOIN #c\r\n"


def test_a_ping_is_answered():
    """The wire answers a ping frame by itself."""
    wire, server = WebSocketWire("h"), Server()
    wire.begin()
    wire.feed(server.feed(wire.outgoing()))
    assert wire.feed(server.connection.send(Ping(payload=b"x"))) == []
    assert wire.outgoing()[0] == 0x8A


def test_a_server_without_websocket_is_an_error():
    """A refusal names its HTTP status."""
    wire, server = WebSocketWire("h"), WSConnection(ConnectionType.SERVER)
    wire.begin()
    server.receive_data(wire.outgoing())
    list(server.events())
    with pytest.raises(WireClosed, match="HTTP 404"):
        wire.feed(server.send(RejectConnection(status_code=404)))


@pytest.mark.parametrize(("payload", "size"), [(0, 2), (125, 127), (126, 130), (65_535, 65_539), (65_536, 65_546)])
def test_the_size_of_a_frame(payload, size):
    """As RFC 6455 section 5.2 has it."""
    assert frame_size(payload) == size


def test_tls_carries_both_directions(tmp_path):
    """A real TLS server's protocol reads what is sent and is read, byte by byte."""
    import datetime

    certificate, key = ensure_pair(tmp_path, datetime.datetime.now(datetime.UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(received, to_send, server_side=True)
    wire = TlsWire(PlainWire(), "h")
    wire.begin()
    wire.send(b"NICK a\r\n")
    shaken, units, got = False, [], b""
    for _ in range(20):
        received.write(wire.outgoing())
        try:
            if not shaken:
                server.do_handshake()
                shaken = True
                server.write(b"PING :x\r\n")
            got += server.read(100)
        except ssl.SSLWantReadError:
            pass
        for byte in to_send.read():
            units += wire.feed(bytes((byte,)))
    assert got == b"NICK a\r\n"
    assert b"".join(data for data, _ in units) == b"PING :x\r\n"

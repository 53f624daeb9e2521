import socket

import pytest

from common.errors import ConfigError
from ops.ports import free_port, require_free


def listen(port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


def test_a_free_port_can_be_listened_on_at_once() -> None:
    """A server that sets SO_REUSEADDR binds the port it was given."""
    with listen(free_port()) as server:
        assert server.getsockname()[1] >= 20_000


def test_a_port_given_out_is_held() -> None:
    """Nobody without SO_REUSEADDR, such as the next search, gets the same port."""
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))


def test_a_taken_port_is_told_with_its_option() -> None:
    """The error names address and option."""
    with listen(free_port()) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} .*--irc-port"):
            require_free("127.0.0.1", port, "--irc-port")


def test_port_zero_finds_one() -> None:
    assert require_free("127.0.0.1", 0, "--irc-port") > 0


def test_a_free_wanted_port_is_kept() -> None:
    port = free_port()
    assert require_free("127.0.0.1", port, "--irc-port") == port

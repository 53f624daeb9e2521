"""Ports of one machine: free ones found and held until their service binds them."""

from __future__ import annotations

import random
import socket

from common.errors import ConfigError

# Below Linux' range for outgoing connections (32,768 and up), so that no connection takes the port of a service
# while it restarts.
_FIRST, _LAST = 20_000, 32_000


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free on `host`, and is given to no other caller of this function for about a minute.

    The pause holds it: a connection to the port, closed first by the listening side, leaves it in TIME-WAIT. A plain
    bind is refused then, one with SO_REUSEADDR (which every server we start uses) is not.
    """
    for _ in range(1_000):
        port = random.randint(_FIRST, _LAST)
        try:
            _hold(host, port)
        except OSError:
            continue
        return port
    raise ConfigError(f"no free port found on {host} between {_FIRST} and {_LAST}: is the address this machine's?")


def require_free(host: str, port: int, option: str) -> int:
    """`port` itself when it can be bound on `host`; 0 asks for any.

    Raises ConfigError naming the option when it is taken.
    """
    if port == 0:
        return free_port(host)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)  # two may bind with SO_REUSEADDR; only one may listen
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be used ({error.strerror}): choose another with {option} (0 takes a free one)"
            ) from None
    return port


def _hold(host: str, port: int) -> None:
    with socket.socket() as listener:
        listener.bind((host, port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after bind: what we accept inherits it
        listener.listen(1)
        with socket.create_connection((host, port), timeout=2) as client:
            accepted, _ = listener.accept()
            accepted.close()
            client.recv(1)

"""A whole stack for the session, and connections to its public door over either transport."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.irc import Client, Door
from tests.support.stack import RunningStack, running_stack

Connect = Callable[[Door], Awaitable[Client]]


def _checked(stack: RunningStack) -> Iterator[RunningStack]:
    """The stack; at the end, that nothing in it broke on what the tests sent."""
    yield stack
    assert stack.stop() == 0
    logs = stack.logs(lines=1_000_000)
    assert "Traceback" not in logs, logs[max(0, logs.index("Traceback") - 2000) :][:6000]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("wire") / "data", "--edges", "2") as running:
        yield from _checked(running)


@pytest.fixture(scope="session")
def token_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One where only known tokens let in."""
    options = ("--auth", "token", "--edges", "1", "--clues", "1", "--exchanges", "1")
    with running_stack(tmp_path_factory.mktemp("wire-token") / "data", *options) as running:
        yield from _checked(running)


def tcp_door(stack: RunningStack) -> Door:
    host, _, port = stack.irc.rpartition(":")
    return Door("tcp", host, int(port))


def websocket_door(stack: RunningStack) -> Door:
    url = urlsplit(stack.ws)
    assert url.hostname
    assert url.port
    return Door("websocket", url.hostname, url.port)


def edge_doors(stack: RunningStack) -> tuple[Door, Door]:
    """TCP into the first edge, WebSocket into the second, past the public door."""
    first, second = (stack.service(name)["addresses"] for name in sorted(stack.edges)[:2])
    (irc_host, _, irc_port), (http_host, _, http_port) = first["irc"].rpartition(":"), second["http"].rpartition(":")
    return Door("tcp", irc_host, int(irc_port)), Door("websocket", http_host, int(http_port))


@pytest.fixture
def tcp(stack: RunningStack) -> Door:
    return tcp_door(stack)


@pytest.fixture
def websocket(stack: RunningStack) -> Door:
    return websocket_door(stack)


@pytest.fixture(params=["tcp", "websocket"])
def door(request: pytest.FixtureRequest, stack: RunningStack) -> Door:
    """The public door, once over each transport."""
    return tcp_door(stack) if request.param == "tcp" else websocket_door(stack)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    clients: list[Client] = []

    async def connect(door: Door) -> Client:
        clients.append(await Client.connect(door))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()


@pytest.fixture(scope="session")
def new_name() -> Callable[[], str]:
    """Logins that no other test has used: limits and logs of one test do not reach the next."""
    numbers = itertools.count(1)
    return lambda: f"wire_user_{next(numbers)}"

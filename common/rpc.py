"""gRPC as we use it: kept-alive channels and servers, each option with its reason, in one place."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

# gRPC's event engine, its default, wakes threads of its own several times for each call. Without it a line costs all
# services 6 to 20 % less CPU, and an edge's fan-out 3 %, since they share its core. [10,000 members at 50/s and 20
# others beside them, five turns: the edge x 0.97 (0.94 to 0.98), the others' p99 x 0.82 (0.81 to 1.09)] Read at the
# first channel or server; a version that knows these names no more says so and goes on.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

import grpc
import grpc.aio

from common.errors import RemoteError

Metadata = tuple[tuple[str, str], ...]

LANE_HEADER = "x-lane"  # HAProxy hashes on it in both inner pools
CONTROL_TOKEN_HEADER = "x-control-token"

_MAX_MESSAGE = 32 * 1024 * 1024  # a replay of 1,000 entries at their largest

_OPTIONS: list[tuple[str, int]] = [
    # A dead peer is noticed within 10 + 5 s even when no call is under way (the seed: no keep-alive, connect per call).
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
]

_CLIENT_OPTIONS: list[tuple[str, int]] = [
    *_OPTIONS,
    # Come back soon after a restart: the first retry after 100 ms, then at most each second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Despite its name this bounds one attempt to connect: with 100 ms a server 1.5 s late was never reached [measured].
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Each of our channels is a connection of its own: lanes and links must not share one socket by accident.
    ("grpc.use_local_subchannel_pool", 1),
    # Our own retries carry the batch number; the library's would be invisible.
    ("grpc.enable_retries", 0),
    # Never through an http_proxy of the environment: these are inner addresses.
    ("grpc.enable_http_proxy", 0),
]

_SERVER_OPTIONS: list[tuple[str, int]] = [
    *_OPTIONS,
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    # Two processes on one port would split the lanes in silence.
    ("grpc.so_reuseport", 0),
]


def channel(address: str) -> grpc.aio.Channel:
    """A kept-alive channel to HOST:PORT; it connects by itself, now and after every loss."""
    return grpc.aio.insecure_channel(address, options=_CLIENT_OPTIONS)


class Service:
    """A service behind one address or several (two HAProxies): one is used until a call over it fails, then the next.

    All callers move together, so a lane keeps meeting one server for as long as its way is whole.
    """

    def __init__(self, name: str, addresses: str, stub: Callable[[grpc.aio.Channel], Any]) -> None:
        """`addresses`: HOST:PORT[,HOST:PORT]; `stub` is the generated stub's class."""
        self._remotes = [f"{name}@{address}" for address in addresses.split(",")]
        self._channels = [channel(address) for address in addresses.split(",")]
        self._stubs = [stub(grpc_channel) for grpc_channel in self._channels]
        self._used = 0

    @property
    def remote(self) -> str:
        """Who is asked now: "clue@127.0.0.1:4100"."""
        return self._remotes[self._used]

    async def call(self, method: str, request: Any, *, timeout: float, metadata: Metadata = ()) -> Any:
        """One unary call. Raises RemoteError."""
        used = self._used
        try:
            return await getattr(self._stubs[used], method)(request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise self.failed(used, method, error) from error

    def open(self, method: str, metadata: Metadata) -> tuple[Any, int]:
        """A stream, and the way it goes: to be given to `failed`."""
        return getattr(self._stubs[self._used], method)(metadata=metadata), self._used

    def failed(self, way: int, operation: str, error: BaseException) -> RemoteError:
        """Everybody goes another way from now on, where there is one. Gives the error to raise."""
        if self._used == way:
            self._used = (way + 1) % len(self._stubs)
        return remote_error(self._remotes[way], operation, error)

    async def close(self) -> None:
        for grpc_channel in self._channels:
            await grpc_channel.close()


def server() -> grpc.aio.Server:
    return grpc.aio.server(options=_SERVER_OPTIONS)


def lane_metadata(lane: int, attempt: int = 1) -> Metadata:
    """Metadata that HAProxy balances on. A retry hashes differently, so that it can meet another server."""
    return ((LANE_HEADER, str(lane) if attempt == 1 else f"{lane}.{attempt}"),)


def remote_error(remote: str, operation: str, error: BaseException) -> RemoteError:
    """The border: a gRPC (or time-out) error as ours."""
    if isinstance(error, grpc.aio.AioRpcError):
        return RemoteError(remote, operation, f"{error.code().name}: {error.details()}")
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return RemoteError(remote, operation, "timed out")
    return RemoteError(remote, operation, f"{type(error).__name__}: {error}")

"""Is it ready? Each probe asks the real thing once and answers within about a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import grpc

from common import rpc
from common.errors import TallgrassError
from common.pb import exchange_pb2, exchange_pb2_grpc
from ops.control import Control, Target
from ops.redis_server import ping

_TIMEOUT_S = 1.0

Probe = Callable[[], Awaitable[bool]]


def redis(port: int) -> Probe:
    """It answers, and its data is loaded."""
    return lambda: ping(port)


def listening(address: str) -> Probe:
    """Somebody accepts connections at HOST:PORT."""
    host, _, port = address.rpartition(":")

    async def probe() -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host, int(port))
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    return probe


def clue(address: str, token: str) -> Probe:
    """It answers an operator, from Redis."""
    control = Control(Target(address, token, None), timeout_s=_TIMEOUT_S)

    async def probe() -> bool:
        try:
            return (await control.directory()).available
        except TallgrassError:
            return False

    return probe


def exchange(address: str, edges: int) -> Probe:
    """It is linked to this many edges: an empty publish says to how many."""

    async def probe() -> bool:
        async with rpc.channel(address) as link:
            try:
                reply = await exchange_pb2_grpc.ExchangeStub(link).Publish(
                    exchange_pb2.PublishRequest(), timeout=_TIMEOUT_S
                )
            except grpc.aio.AioRpcError:
                return False
        return int(reply.edges) >= edges

    return probe


def http(url: str) -> Probe:
    """GET answers 200."""

    async def probe() -> bool:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return probe

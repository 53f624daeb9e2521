"""A small exchange in a process of its own, for tests of what stands before it: `python -m tests.support.grpc_stand_in
PORT NUMBER`. It answers Publish with its number, after `hold` in the metadata (seconds)."""

import asyncio
import sys
from typing import Any

import grpc.aio

from common import rpc
from common.pb import exchange_pb2, exchange_pb2_grpc


class StandIn(exchange_pb2_grpc.ExchangeServicer):
    def __init__(self, number: int) -> None:
        self._number = number

    async def Publish(self, request: Any, context: Any) -> exchange_pb2.PublishReply:
        metadata = dict(context.invocation_metadata())
        await asyncio.sleep(float(metadata.get("hold", 0)))
        return exchange_pb2.PublishReply(edges=self._number)


async def serve(port: int, number: int) -> grpc.aio.Server:
    server = rpc.server()
    exchange_pb2_grpc.add_ExchangeServicer_to_server(StandIn(number), server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server


async def main() -> None:
    server = await serve(int(sys.argv[1]), int(sys.argv[2]))
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())

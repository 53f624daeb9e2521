"""common/rpc.py's Service over real gRPC: several ways to one service, one in use until it fails."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from common import rpc
from common.errors import RemoteError
from common.pb import clue_pb2, clue_pb2_grpc
from tests.support.ports import free_port


class Clue(clue_pb2_grpc.ClueServicer):
    def __init__(self, name):
        self.name = name

    async def Heads(self, request, context):
        return clue_pb2.HeadsReply(heads=[clue_pb2.Head(channel=self.name)])


@asynccontextmanager
async def clue(name, port=0):
    server = rpc.server()
    clue_pb2_grpc.add_ClueServicer_to_server(Clue(name), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def who(service):
    reply = await service.call("Heads", clue_pb2.HeadsRequest(), timeout=2.0)
    return reply.heads[0].channel


async def test_a_call_that_fails_moves_everybody_to_the_next_address():
    """The first address is used until a call over it fails; the error names it, and the next call goes elsewhere."""
    gone = free_port()
    async with clue("second") as port:
        service = rpc.Service("clue", f"127.0.0.1:{gone},127.0.0.1:{port}", clue_pb2_grpc.ClueStub)
        with pytest.raises(RemoteError) as failed:
            await who(service)
        assert failed.value.remote == f"clue@127.0.0.1:{gone}"
        assert await who(service) == "second"
        assert service.remote == f"clue@127.0.0.1:{port}"
        await service.close()


async def test_the_way_in_use_is_kept_while_it_works():
    """Another way that is there changes nothing: lanes keep meeting one server."""
    async with clue("first") as one, clue("second") as two:
        service = rpc.Service("clue", f"127.0.0.1:{one},127.0.0.1:{two}", clue_pb2_grpc.ClueStub)
        assert [await who(service) for _ in range(5)] == ["first"] * 5
        await service.close()


async def test_one_address_is_tried_again():
    """With a single way a failure is an error, and the next call tries it again."""
    port = free_port()
    service = rpc.Service("clue", f"127.0.0.1:{port}", clue_pb2_grpc.ClueStub)
    with pytest.raises(RemoteError):
        await who(service)
    async with clue("back", port), asyncio.timeout(10):
        while True:
            try:
                assert await who(service) == "back"
                break
            except RemoteError:
                await asyncio.sleep(0.02)  # the channel's own backoff before it connects again
    await service.close()

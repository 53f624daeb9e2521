"""A clue in this process over real Redis, with an exchange of our own that keeps what it is given."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc.aio

from clue.config import ClueConfig
from clue.server import running
from common import rpc
from common.pb import chat_pb2, clue_pb2, clue_pb2_grpc, exchange_pb2, exchange_pb2_grpc
from common.sharding import lane

CONTROL_TOKEN = "control"


class KeepingExchange(exchange_pb2_grpc.ExchangeServicer):
    """Keeps what it takes. While `refusing` it takes nothing."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, chat_pb2.Entry]] = []
        self.lanes: list[str] = []
        self.refusing = False

    async def Publish(self, request: exchange_pb2.PublishRequest, context: Any) -> exchange_pb2.PublishReply:
        if self.refusing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "refusing")
        self.lanes.append(dict(context.invocation_metadata())[rpc.LANE_HEADER])
        for channel in request.channels:
            entries = chat_pb2.Entries.FromString(channel.entries)
            self.taken += [(channel.channel, entry) for entry in entries.entry]
        return exchange_pb2.PublishReply(edges=1)

    def texts(self) -> list[str]:
        return [chat_pb2.Publication.FromString(entry.publication).line.text for _, entry in self.taken]


@asynccontextmanager
async def exchange() -> AsyncIterator[tuple[KeepingExchange, str]]:
    """The exchange and its address."""
    servicer = KeepingExchange()
    server = rpc.server()
    exchange_pb2_grpc.add_ExchangeServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


class Clue:
    """Calls to one running clue. As an edge it has a run and counts its batches."""

    def __init__(self, address: str, metrics: Any, edge_run: int = 1) -> None:
        self.address = address
        self.metrics = metrics
        self.grpc_channel = rpc.channel(address)
        self.stub = clue_pb2_grpc.ClueStub(self.grpc_channel)  # type: ignore[no-untyped-call]
        self.control = clue_pb2_grpc.ControlStub(self.grpc_channel)  # type: ignore[no-untyped-call]
        self._edge_run = edge_run
        self._batches = itertools.count(1)

    async def login(self, *nicks: str) -> list[int]:
        """User ids of accounts, made by logging in (open mode)."""
        logins = [clue_pb2.Login(nick=nick, token="x") for nick in nicks]
        reply = await self.stub.Authenticate(clue_pb2.AuthenticateRequest(logins=logins))
        return [result.user.user_id for result in reply.results]

    async def say(self, channel: str, user: tuple[int, str], *texts: str) -> list[clue_pb2.Verdict]:
        return await self.submit(self.batch({channel: [(*user, text) for text in texts]}))

    def batch(
        self, channels: dict[str, list[tuple[int, str, str]]], *, edge_run: int = 0, number: int = 0, attempt: int = 1
    ) -> clue_pb2.SubmitRequest:
        """`channels`: for each, user id, login and text. Without a number: the next one of this clue's own edge."""
        return clue_pb2.SubmitRequest(
            edge_run=edge_run or self._edge_run,
            batch=number or next(self._batches),
            attempt=attempt,
            lane=lane(next(iter(channels))),
            channels=[
                clue_pb2.ChannelSubmissions(
                    channel=name,
                    submissions=[
                        clue_pb2.Submission(id=str(uuid.uuid4()), user_id=user_id, login=login, text=text, session=i)
                        for i, (user_id, login, text) in enumerate(said)
                    ],
                )
                for name, said in channels.items()
            ],
        )

    async def submit(self, request: clue_pb2.SubmitRequest) -> list[clue_pb2.Verdict]:
        return list((await self.stub.Submit(request, timeout=10)).verdicts)

    async def join(self, channel: str, user_id: int = 0, login: str = "") -> clue_pb2.JoinResult:
        query = clue_pb2.JoinQuery(channel=channel, user_id=user_id, login=login)
        return (await self.stub.Join(clue_pb2.JoinRequest(joins=[query]))).results[0]

    async def replay(self, channel: str, after_seq: int = 0, limit: int = 0) -> tuple[list[chat_pb2.Entry], bool]:
        """Entries, and whether there are more."""
        reply = await self.stub.Replay(clue_pb2.ReplayRequest(channel=channel, after_seq=after_seq, limit=limit))
        assert reply.available
        return list(chat_pb2.Entries.FromString(reply.entries).entry), reply.more

    async def operate(self, method: str, request: Any, *, token: str = CONTROL_TOKEN) -> Any:
        """A call of the Control service."""
        return await getattr(self.control, method)(request, metadata=((rpc.CONTROL_TOKEN_HEADER, token),))


@asynccontextmanager
async def clues(count: int, redis: list[str], exchange_address: str, **settings: Any) -> AsyncIterator[list[Clue]]:
    """Clues of one cluster over the same Redis."""
    async with AsyncExitStack() as stack:
        started = []
        for i in range(count):
            config = ClueConfig(
                **{
                    "instance": f"clue-{i + 1}",
                    "grpc_port": 0,
                    "redis_shards": tuple(redis),
                    "exchange_address": exchange_address,
                    "control_token": CONTROL_TOKEN,
                    **settings,
                }
            )
            server = await stack.enter_async_context(running(config))
            clue = Clue(f"127.0.0.1:{server.port}", server.metrics, i + 1)
            stack.push_async_callback(clue.grpc_channel.close)
            started.append(clue)
        yield started


async def decided(clue: Clue, request: clue_pb2.SubmitRequest, within_s: float = 10.0) -> list[clue_pb2.Verdict]:
    """Repeat a batch as an edge does, until nothing of it is UNAVAILABLE."""
    async with asyncio.timeout(within_s):
        while True:
            verdicts = await clue.submit(request)
            if all(verdict.outcome != clue_pb2.Verdict.UNAVAILABLE for verdict in verdicts):
                return verdicts
            request.attempt += 1
            await asyncio.sleep(0.05)

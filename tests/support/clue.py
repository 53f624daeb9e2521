"""A clue in this process over real Redis, with an exchange of our own that keeps what it is given."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable
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
        self.edge_run = edge_run
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
            edge_run=edge_run or self.edge_run,
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


class Cluster:
    """Clues of one cluster, the exchange that they hand entries to, and their Redis servers' addresses."""

    def __init__(self, name: str, clues: list[Clue], taking: KeepingExchange, redis: list[str]) -> None:
        self.name = name
        self.clues = clues
        self.taking = taking
        self.redis = redis

    @property
    def clue(self) -> Clue:
        return self.clues[0]


@asynccontextmanager
async def clusters(
    directory: str, redis: dict[str, list[str]], *, count: int = 1, **settings: Any
) -> AsyncIterator[list[Cluster]]:
    """Clusters that share a directory, by name with their Redis servers; `count` clues each. The first one is the
    default home. Given when all of them know each other.
    """
    async with AsyncExitStack() as stack:
        started = []
        for name, servers in redis.items():
            taking, address = await stack.enter_async_context(exchange())
            config = {"cluster": name, "directory": directory, "default_home": next(iter(redis)), **settings}
            ours = await stack.enter_async_context(clues(count, servers, address, **config))
            for clue in ours:
                clue.edge_run = next(_runs)
            started.append(Cluster(name, ours, taking, servers))
        for cluster in started:
            for clue in cluster.clues:
                await directory_of(clue, lambda found: {one.name for one in found.clusters} >= redis.keys())
        yield started


async def directory_of(
    clue: Clue, wanted: Callable[[clue_pb2.Directory], bool], within_s: float = 10.0
) -> clue_pb2.Directory:
    """What a clue knows, as soon as it is as wanted."""
    async with asyncio.timeout(within_s):
        while True:
            found = await clue.operate("GetDirectory", clue_pb2.DirectoryRequest())
            if wanted(found):
                return found
            await asyncio.sleep(0.02)


_counter = itertools.count(1)
_runs = itertools.count(1001)


class Move:
    """The mover's steps between two clues, one by one (ops/move.py does the same for operators)."""

    def __init__(self, channel: str, old: Clue, new: Clue, origin: str, to: str, *, age_ms: int = 0) -> None:
        self.channel, self.old, self.new, self.origin, self.to = channel, old, new, origin, to
        self.token = f"{time.time_ns() // 1_000_000 - age_ms:013}-{next(_counter):08x}"
        self.pages = 0
        self.rounds = 0

    def step(self, **more: Any) -> clue_pb2.MoveStep:
        return clue_pb2.MoveStep(channel=self.channel, move=self.token, to=self.to, **more)

    async def begin(self) -> clue_pb2.MoveReply:
        return await self.old.operate("BeginMove", self.step())

    async def copy(self) -> int:
        """All that there is; returns how many pieces."""
        return await self._carry(changes=False)

    async def changes(self) -> int:
        self.rounds += 1
        return await self._carry(changes=True)

    async def freeze(self, freeze_ms: int = 1500) -> clue_pb2.MoveReply:
        return await self.old.operate("FreezeChannel", self.step(freeze_ms=freeze_ms))

    async def switch(self) -> clue_pb2.MoveReply:
        return await self.old.operate("SwitchChannel", self.step())

    async def abort(self) -> clue_pb2.MoveReply:
        return await self.old.operate("AbortMove", self.step())

    async def settle(self) -> clue_pb2.SettleReply:
        return await self.new.stub.Settle(clue_pb2.SettleRequest(channel=self.channel, move=self.token))

    async def finish(self, redirect: str = "none") -> clue_pb2.MoveReply:
        request = clue_pb2.FinishMoveRequest(channel=self.channel, move=self.token, redirect=redirect)
        return await self.new.operate("FinishMove", request)

    async def until(self, last: str) -> None:
        """All steps up to this one: begin, copy, changes, freeze, last (changes), switch, settle, finish."""
        for name in ("begin", "copy", "changes", "freeze", "last", "switch", "settle", "finish"):
            await getattr(self, "changes" if name == "last" else name)()
            if name == last:
                return

    async def all(self) -> None:
        await self.until("finish")

    async def read(self, *, changes: bool, cursor: str = "") -> clue_pb2.ChannelPage:
        request = clue_pb2.ReadChannelRequest(
            channel=self.channel, move=self.token, cursor=cursor, changes=changes, round=self.rounds
        )
        return await self.old.operate("ReadChannel", request)

    async def store(self, page: clue_pb2.ChannelPage, *, first: bool = False, number: int = 0) -> clue_pb2.MoveReply:
        request = clue_pb2.StoreChannelRequest(
            channel=self.channel, move=self.token, first=first, page=page, number=number, **{"from": self.origin}
        )
        return await self.new.operate("StoreChannel", request)

    async def _carry(self, *, changes: bool) -> int:
        cursor, pieces = "", 0
        while True:
            page = await self.read(changes=changes, cursor=cursor)
            assert not page.HasField("elsewhere")
            self.pages += 1
            await self.store(page, first=not changes and not cursor, number=self.pages)
            pieces += len(page.pieces)
            cursor = page.cursor
            if not cursor:
                return pieces


async def decided(clue: Clue, request: clue_pb2.SubmitRequest, within_s: float = 10.0) -> list[clue_pb2.Verdict]:
    """Repeat a batch as an edge does, until nothing of it is UNAVAILABLE."""
    async with asyncio.timeout(within_s):
        while True:
            verdicts = await clue.submit(request)
            if all(verdict.outcome != clue_pb2.Verdict.UNAVAILABLE for verdict in verdicts):
                return verdicts
            request.attempt += 1
            await asyncio.sleep(0.05)

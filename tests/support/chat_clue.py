"""A clue that says what a test wants it to say, served over real gRPC, with real exchanges and edges around it.

It lets everybody in, keeps its logs and lists of chatters in memory, and hands what enters a log to the exchange.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc

from common import rpc
from common.pb import chat_pb2, clue_pb2, exchange_pb2, exchange_pb2_grpc
from edge.config import EdgeConfig
from exchange.config import ExchangeConfig
from tests.support.irc import Door
from tests.support.log_clue import LogClue
from tests.support.services import logs_shown, spawn, stop

READY_S = 30.0

ALLOWED = clue_pb2.Verdict(outcome=clue_pb2.Verdict.ALLOWED)


class ChatClue(LogClue):
    def __init__(self) -> None:
        super().__init__()
        self.users: dict[str, chat_pb2.Chatter] = {}
        self.ranks: dict[str, dict[str, str]] = defaultdict(dict)  # channel to login to "mod" or "vip"
        self.decide: Callable[[str, clue_pb2.Submission], clue_pb2.Verdict] = lambda channel, submission: ALLOWED
        self.listed = 1_000
        self.loses_reports = False
        self.here: dict[str, dict[int, set[str]]] = defaultdict(dict)  # channel to edge run to logins
        self.answers_joins = asyncio.Event()  # cleared: they are answered, on the state of then, when it is set again
        self.answers_joins.set()
        self.answers_replays = asyncio.Event()  # as with joins
        self.answers_replays.set()
        self._exchange: Any = None

    async def __aexit__(self, *error: object) -> None:
        if self._exchange is not None:
            await self._exchange[0].close()
        await super().__aexit__(*error)

    def user(self, login: str) -> chat_pb2.Chatter:
        if login not in self.users:
            number = len(self.users) + 1
            self.users[login] = chat_pb2.Chatter(user_id=number, login=login, display_name=login)
        return self.users[login]

    async def publish(self, channel: str, *, ts_ms: int = 0, **body: Any) -> chat_pb2.Publication:
        """Append to the channel's log and hand it to the exchange. `body`: one of a Publication's bodies."""
        publication = chat_pb2.Publication(
            id=str(uuid.uuid4()), ts_ms=ts_ms or time.time_ns() // 1_000_000, room_id=77, **body
        )
        prev = self.head(channel)
        entry = chat_pb2.Entry(seq=prev + 1, prev=prev, publication=publication.SerializeToString())
        self.logs[channel].append(entry)
        entries = chat_pb2.Entries(entry=[entry]).SerializeToString()
        if self._exchange is None:
            (address,) = [s.grpc_address for s in self.services.values() if s.service == "exchange"]
            grpc_channel = rpc.channel(address)
            self._exchange = grpc_channel, exchange_pb2_grpc.ExchangeStub(grpc_channel)  # type: ignore[no-untyped-call]
        piece = chat_pb2.ChannelEntries(channel=channel, entries=entries)
        await self._exchange[1].Publish(exchange_pb2.PublishRequest(channels=[piece]))
        return publication

    async def say(self, channel: str, login: str, text: str, **more: Any) -> chat_pb2.Publication:
        return await self.publish(channel, line=chat_pb2.Line(author=self.user(login), text=text), **more)

    async def Authenticate(self, request: clue_pb2.AuthenticateRequest, context: Any) -> clue_pb2.AuthenticateReply:
        accepted = clue_pb2.LoginResult.ACCEPTED
        return clue_pb2.AuthenticateReply(
            results=[clue_pb2.LoginResult(outcome=accepted, user=self.user(login.nick)) for login in request.logins]
        )

    async def Join(self, request: clue_pb2.JoinRequest, context: Any) -> clue_pb2.JoinReply:
        room = chat_pb2.RoomState(room_id=77, followers_only_min=-1)
        reply = clue_pb2.JoinReply(
            results=[
                clue_pb2.JoinResult(
                    outcome=clue_pb2.JoinResult.ADMITTED,
                    room=room,
                    head=self.head(query.channel),
                    chatter=self.user(query.login) if query.user_id else None,
                )
                for query in request.joins
            ]
        )
        self.calls["Join"] += 1
        await self.answers_joins.wait()
        return reply

    async def Submit(self, request: clue_pb2.SubmitRequest, context: Any) -> clue_pb2.SubmitReply:
        return clue_pb2.SubmitReply(
            verdicts=[
                self.decide(group.channel, submission) for group in request.channels for submission in group.submissions
            ]
        )

    async def Replay(self, request: clue_pb2.ReplayRequest, context: Any) -> clue_pb2.ReplayReply:
        reply = await super().Replay(request, context)
        await self.answers_replays.wait()
        return reply

    async def Presence(self, request: clue_pb2.PresenceReport, context: Any) -> clue_pb2.PresenceReply:
        self.calls["Presence"] += 1
        if self.loses_reports:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
        reply = clue_pb2.PresenceReply()
        for report in request.channels:
            here = self.here[report.channel]
            if report.full:
                here[request.edge_run] = set(report.joined)
            elif request.edge_run not in here:
                reply.unknown.append(report.channel)
            else:
                here[request.edge_run] = here[request.edge_run].union(report.joined).difference(report.left)
        for channel in request.wanted:
            everybody = set[str]().union(*self.here[channel].values())
            ranks = {**self.ranks[channel], channel[1:]: "broadcaster"}
            complete = len(everybody) <= self.listed
            logins = sorted(everybody if complete else everybody.intersection(ranks))
            reply.chatters.add(
                channel=channel,
                available=self.available,
                count=len(everybody),
                logins=logins,
                complete=complete,
                moderators=[login for login in logins if ranks.get(login) == "mod"],
                vips=[login for login in logins if ranks.get(login) == "vip"],
            )
        return reply


@dataclass
class Edges:
    """Real edges on one ChatClue and one real exchange."""

    clue: ChatClue
    tcp: list[Door]
    websocket: list[Door]
    processes: list[subprocess.Popen[bytes]]

    def http(self, number: int) -> str:
        return f"http://{self.websocket[number].host}:{self.websocket[number].port}"

    async def seen(self, login: str, channel: str, within_s: float = 10.0) -> None:
        """Wait until an edge has reported `login` in `channel`."""
        async with asyncio.timeout(within_s):
            while not any(login in logins for logins in self.clue.here[channel].values()):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def edges(count: int, folder: Path, **settings: Any) -> AsyncIterator[Edges]:
    processes: list[subprocess.Popen[bytes]] = []
    async with ChatClue() as clue:
        clue_address = f"127.0.0.1:{clue.port}"

        def start(module: str, settings: Any) -> None:
            processes.append(spawn(module, settings, folder / f"{settings.instance}.log"))

        try:
            with logs_shown(folder):
                start("exchange", ExchangeConfig(clue_address=clue_address))
                for number in range(count):
                    start(
                        "edge",
                        EdgeConfig(
                            **{
                                "instance": f"edge-{number}",
                                "irc_port": 0,
                                "http_port": 0,
                                "clue_address": clue_address,
                                "limits": False,
                                "drain_s": 0.0,
                                **settings,
                            }
                        ),
                    )
                found = await _registered(clue, count)
                await asyncio.gather(*(_ready(registration.http_address) for registration in found))
                yield Edges(
                    clue,
                    [_door("tcp", registration.irc_address) for registration in found],
                    [_door("websocket", registration.http_address) for registration in found],
                    processes,
                )
        finally:
            await stop(processes)


async def _registered(clue: ChatClue, count: int) -> list[clue_pb2.Registration]:
    async with asyncio.timeout(READY_S):
        while True:
            found = [registration for registration in clue.services.values() if registration.service == "edge"]
            if len(found) == count:
                return sorted(found, key=lambda registration: registration.instance)
            await asyncio.sleep(0.05)


async def _ready(http_address: str) -> None:
    async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"http://{http_address}/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.05)


def _door(transport: str, address: str) -> Door:
    host, _, port = address.rpartition(":")
    return Door(transport, host, int(port))

"""The Clue servicer: gRPC in, gRPC out. What is decided is decided elsewhere."""

from __future__ import annotations

import grpc
import grpc.aio

from clue.channel_log import ChannelLogs
from clue.directory import DirectoryStore
from clue.effects import Posts
from clue.homes import LivesElsewhere, elsewhere
from clue.joins import Joiner
from clue.moves import Moves
from clue.presence import Presence
from clue.submit import Submitter
from clue.temporary import TemporaryRooms
from clue.users import Users
from common.errors import RemoteError
from common.pb import clue_pb2, clue_pb2_grpc
from common.streams import Answering


class ClueService(clue_pb2_grpc.ClueServicer):
    def __init__(
        self,
        users: Users,
        submitter: Submitter,
        joiner: Joiner,
        logs: ChannelLogs,
        presence: Presence,
        directory: DirectoryStore,
        moves: Moves,
        posts: Posts,
        temporary: TemporaryRooms,
        streams: Answering,
    ) -> None:
        self._streams = streams
        self._users = users
        self._submitter = submitter
        self._joiner = joiner
        self._logs = logs
        self._presence = presence
        self._directory = directory
        self._moves = moves
        self._posts = posts
        self._temporary = temporary

    async def Authenticate(
        self, request: clue_pb2.AuthenticateRequest, context: grpc.aio.ServicerContext
    ) -> clue_pb2.AuthenticateReply:
        return clue_pb2.AuthenticateReply(results=await self._users.authenticate(request.logins))

    async def Submit(self, request: clue_pb2.SubmitRequest, context: grpc.aio.ServicerContext) -> clue_pb2.SubmitReply:
        return await self._submitter.submit(request, context.time_remaining())

    async def SubmitStream(self, request_iterator: object, context: grpc.aio.ServicerContext) -> None:
        await self._streams.serve(context, lambda request: self._submitter.submit(request, request.within_ms / 1e3))

    async def Join(self, request: clue_pb2.JoinRequest, context: grpc.aio.ServicerContext) -> clue_pb2.JoinReply:
        return clue_pb2.JoinReply(results=await self._joiner.join(request.joins, counted=not request.uncounted))

    async def Replay(self, request: clue_pb2.ReplayRequest, context: grpc.aio.ServicerContext) -> clue_pb2.ReplayReply:
        return await self._logs.replay(request.channel, request.after_seq, request.limit)

    async def Heads(self, request: clue_pb2.HeadsRequest, context: grpc.aio.ServicerContext) -> clue_pb2.HeadsReply:
        return await self._logs.heads(request.channels)

    async def Presence(
        self, request: clue_pb2.PresenceReport, context: grpc.aio.ServicerContext
    ) -> clue_pb2.PresenceReply:
        return await self._presence.report(request)

    async def Register(self, request: clue_pb2.Registration, context: grpc.aio.ServicerContext) -> clue_pb2.Directory:
        return await self._directory.register(request)

    async def Leave(self, request: clue_pb2.Registration, context: grpc.aio.ServicerContext) -> clue_pb2.Directory:
        return await self._directory.leave(request)

    async def Settle(self, request: clue_pb2.SettleRequest, context: grpc.aio.ServicerContext) -> clue_pb2.SettleReply:
        reply = clue_pb2.SettleReply(available=True)
        try:
            await self._moves.settle(request.channel, request.move)
        except LivesElsewhere as error:
            reply.elsewhere.CopyFrom(elsewhere(error.home))
        except RemoteError:
            reply.available = False
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return reply

    async def Post(self, request: clue_pb2.PostRequest, context: grpc.aio.ServicerContext) -> clue_pb2.PostReply:
        try:
            await self._posts.here(request.log, request.source, request.batch, request.publications)
        except LivesElsewhere as error:
            return clue_pb2.PostReply(elsewhere=elsewhere(error.home))
        except RemoteError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return clue_pb2.PostReply()

    async def CreateRoom(
        self, request: clue_pb2.CreateRoomRequest, context: grpc.aio.ServicerContext
    ) -> clue_pb2.CreateRoomReply:
        return await self._temporary.create(request)

    async def Invite(self, request: clue_pb2.InviteRequest, context: grpc.aio.ServicerContext) -> clue_pb2.InviteReply:
        try:
            return await self._temporary.invite(request)
        except RemoteError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            raise AssertionError("abort raises") from None

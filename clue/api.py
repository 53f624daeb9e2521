"""The Api servicer: what users ask over HTTP. What they may do, their slash commands decide."""

from __future__ import annotations

import uuid
from typing import TypeAlias

import grpc.aio

from clue import answers, commands
from clue.api_callers import Caller, Callers
from clue.api_lists import Lists
from clue.facts import Profile, chatter
from clue.homes import LivesElsewhere, elsewhere
from clue.rooms import Rooms
from clue.submit import Submitter
from clue.text import normalise
from clue.users import Users, account
from common.errors import RemoteError
from common.pb import api_pb2, api_pb2_grpc, clue_pb2

_Context: TypeAlias = grpc.aio.ServicerContext
_MAX_LIST = 1_000  # rows of a page

_ROLES = {api_pb2.ReadRequest.MODERATORS: "mod", api_pb2.ReadRequest.VIPS: "vip"}
_FOR_MODERATORS = (api_pb2.ReadRequest.CHATTERS, api_pb2.ReadRequest.BANS)


class ApiService(api_pb2_grpc.ApiServicer):
    def __init__(self, callers: Callers, users: Users, rooms: Rooms, submitter: Submitter, lists: Lists) -> None:
        self._callers = callers
        self._users = users
        self._rooms = rooms
        self._submitter = submitter
        self._lists = lists

    async def GetUsers(self, request: api_pb2.GetUsersRequest, context: _Context) -> api_pb2.GetUsersReply:
        caller = await self._callers.prove(request.caller)
        reply = api_pb2.GetUsersReply(standing=caller.standing)
        if not caller.accepted:
            return reply
        found: dict[str, Profile] = {}
        if not request.ids and not request.logins and caller.profile is not None:
            found[caller.profile.login] = caller.profile
        logins = [login for login in map(account, request.logins) if login is not None]
        by_login, by_id = await self._users.find(logins), await self._users.find_ids(request.ids)
        for profile in (*by_id.values(), *by_login.values()):
            if isinstance(profile, RemoteError):
                reply.standing.outcome = api_pb2.Standing.UNAVAILABLE
                return reply
            if profile is not None:
                found[profile.login] = profile
        # Whose id is asked for will be named by it next: also when it could not be listed at first.
        await self._users.list_ids(profile for profile in by_login.values() if isinstance(profile, Profile))
        created = await self._users.created(list(found))
        for login, profile in found.items():
            reply.users.add(user=chatter(profile, (), ""), created_ms=created[login])
        return reply

    async def Act(self, request: api_pb2.ActRequest, context: _Context) -> api_pb2.ActReply:
        caller = await self._callers.prove(request.caller, limited=not request.message)
        reply = api_pb2.ActReply(standing=caller.standing)
        channel = await self._channel(caller, reply.standing, request.broadcaster_id)
        if channel is None:
            return reply
        if caller.profile is None:
            reply.standing.outcome = api_pb2.Standing.NO_TOKEN
            return reply
        reply.channel = channel
        texts = await self._texts(reply.standing, request)
        if not texts:
            return reply
        reply.message_id = str(uuid.uuid4())
        if request.message and (typed := normalise(request.message).command):
            # A bot that passes on what others write shall not be made to act.
            reply.verdicts.append(answers.of(commands.unavailable(typed)).verdict)
            return reply
        submissions = [
            clue_pb2.Submission(
                id=reply.message_id if i == 0 else str(uuid.uuid4()),
                user_id=caller.profile.user_id,
                login=caller.profile.login,
                text=text,
                reply_parent_id=request.reply_parent_id,
            )
            for i, text in enumerate(texts)
        ]
        batch = clue_pb2.SubmitRequest(
            attempt=1, channels=[clue_pb2.ChannelSubmissions(channel=channel, submissions=submissions)]
        )
        done = await self._submitter.submit(batch, context.time_remaining(), limited=bool(request.message))
        reply.verdicts.extend(done.verdicts)
        if done.verdicts[0].outcome == clue_pb2.Verdict.MOVED:
            reply.elsewhere.CopyFrom(done.verdicts[0].elsewhere)
        elif request.message:
            author = done.verdicts[0].chatter if done.verdicts[0].HasField("chatter") else caller.standing.user
            await self._callers.messages_left(reply.standing, author)
        return reply

    async def Read(self, request: api_pb2.ReadRequest, context: _Context) -> api_pb2.ReadReply:
        caller = await self._callers.prove(request.caller)
        reply = api_pb2.ReadReply(standing=caller.standing)
        channel = await self._channel(caller, reply.standing, request.broadcaster_id)
        if channel is None:
            return reply
        reply.channel = channel
        try:
            await self._read(reply, caller, channel, request)
        except LivesElsewhere as error:
            reply.elsewhere.CopyFrom(elsewhere(error.home))
        except RemoteError:
            reply.standing.outcome = api_pb2.Standing.UNAVAILABLE
        except ValueError:
            reply.standing.outcome = api_pb2.Standing.BAD_CURSOR
        return reply

    async def _read(
        self, reply: api_pb2.ReadReply, caller: Caller, channel: str, request: api_pb2.ReadRequest
    ) -> None:
        who, first = caller.profile, min(max(1, request.first), _MAX_LIST)
        facts = (await self._rooms.read({channel: ((who.user_id, who.login),) if who else ()}))[channel]
        if isinstance(facts, RemoteError):
            raise facts
        reply.room.CopyFrom(facts.channel.room)
        if who is not None:
            reply.moderates = facts.channel.members[who.user_id].moderator or who.type != ""
        if request.what in _FOR_MODERATORS and not reply.moderates:
            reply.standing.outcome = api_pb2.Standing.NO_PERMISSION
            return
        if request.what == api_pb2.ReadRequest.CHATTERS:
            users, reply.cursor, reply.total = await self._lists.chatters(channel, first, request.after)
        elif request.what == api_pb2.ReadRequest.BANS:
            users, reply.cursor = await self._lists.bans(channel, request.user_ids, first, request.after)
        elif request.what in _ROLES:
            role = _ROLES[request.what]
            users, reply.cursor = await self._lists.holders(channel, role, request.user_ids, first, request.after)
        else:
            return
        reply.users.extend(users)

    async def _channel(self, caller: Caller, standing: api_pb2.Standing, broadcaster_id: int) -> str | None:
        """Whose; None: `standing` says why there is none."""
        if not caller.accepted:
            return None
        if not broadcaster_id:
            if caller.profile is None:
                standing.outcome = api_pb2.Standing.NO_TOKEN
                return None
            return "#" + caller.profile.login
        owner = (await self._users.find_ids((broadcaster_id,)))[broadcaster_id]
        if isinstance(owner, Profile):
            return "#" + owner.login
        standing.outcome = api_pb2.Standing.NO_CHANNEL if owner is None else api_pb2.Standing.UNAVAILABLE
        return None

    async def _texts(self, standing: api_pb2.Standing, request: api_pb2.ActRequest) -> list[str] | None:
        """What the user would have typed; None: `standing` says why nothing."""
        if request.message:
            return [request.message]
        targets = await self._users.find_ids(command.user_id for command in request.commands if command.user_id)
        texts = []
        for command in request.commands:
            words = ["/" + command.name]
            if command.user_id:
                target = targets[command.user_id]
                if not isinstance(target, Profile):
                    standing.outcome = api_pb2.Standing.NO_TARGET if target is None else api_pb2.Standing.UNAVAILABLE
                    return None
                words.append(target.login)
            if command.arguments:
                words.append(command.arguments)
            texts.append(" ".join(words))
        return texts

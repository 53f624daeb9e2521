"""The Control servicer: operators' calls, each guarded by the control token. Errors say what would do."""

from __future__ import annotations

import hmac
import secrets
import uuid
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio

from clue.changes import may_be_banned
from clue.channel_state import channel_state
from clue.commands.bans import MAX_REASON, MAX_TIMEOUT_S
from clue.commands.modes import DELAYS_S, FOLLOWERS_MIN, SLOW_S
from clue.diagnosis import Diagnoser
from clue.directory import DirectoryStore
from clue.facts import ROLES, STAFF, chatter
from clue.homes import Home, LivesElsewhere, elsewhere
from clue.moves import MoveRefused, Moves, moved
from clue.operations import Operations
from clue.submit import Submitter
from clue.users import Users, account, channel_owner
from clue.vocabularies import Vocabularies
from clue.vocabulary import Edit, edited
from common import names
from common.clock import Clock
from common.errors import RemoteError
from common.pb import clue_pb2, clue_pb2_grpc
from common.rpc import CONTROL_TOKEN_HEADER

_MAX_DISPLAY_NAME = 25

_Context: TypeAlias = grpc.aio.ServicerContext


class ControlService(clue_pb2_grpc.ControlServicer):
    """`token` is not empty: without one the service is not served at all."""

    def __init__(
        self,
        token: str,
        users: Users,
        operations: Operations,
        submitter: Submitter,
        vocabularies: Vocabularies,
        directory: DirectoryStore,
        moves: Moves,
        diagnoser: Diagnoser,
        clock: Clock,
    ) -> None:
        self._token = token.encode()
        self._users = users
        self._operations = operations
        self._submitter = submitter
        self._vocabularies = vocabularies
        self._directory = directory
        self._moves = moves
        self._diagnoser = diagnoser
        self._clock = clock

    async def AddUser(self, request: clue_pb2.AddUserRequest, context: _Context) -> clue_pb2.AddUserReply:
        await self._guard(context)
        login = await _login(request.login, context)
        display_name = request.display_name
        if display_name and (
            len(display_name) > _MAX_DISPLAY_NAME or not display_name.isprintable() or " " in display_name
        ):
            await _refuse(context, f"display name {display_name!r}: up to {_MAX_DISPLAY_NAME} characters, no spaces")
        if request.user_type not in ("", "none", *STAFF):
            await _refuse(context, f"user type {request.user_type!r}: one of {', '.join(STAFF)} or none")
        changes = {"display_name": display_name} if display_name else {}
        if request.user_type:
            changes["type"] = request.user_type.replace("none", "")
        token = request.token.removeprefix("oauth:").lower() or secrets.token_hex(15)
        if not token.isascii() or not token.isprintable() or " " in token:
            await _refuse(context, "the token cannot be typed in a PASS line: use letters and digits")
        try:
            profile = await self._users.add(request.login, login, token, changes)
        except RemoteError as error:
            await _unavailable(context, error)
        return clue_pb2.AddUserReply(user=chatter(profile, (), ""), token=token)

    async def SetRole(self, request: clue_pb2.SetRoleRequest, context: _Context) -> clue_pb2.ChangeReply:
        await self._guard(context)
        channel, login = await _channel(request.channel, context), await _login(request.login, context)
        if request.role not in (*ROLES, "none"):
            await _refuse(context, f"role {request.role!r}: one of {', '.join(ROLES)} or none")
        try:
            return await self._operations.set_role(channel, login, request.role)
        except RemoteError as error:
            await _unavailable(context, error)

    async def SetBan(self, request: clue_pb2.SetBanRequest, context: _Context) -> clue_pb2.ChangeReply:
        await self._guard(context)
        channel, login = await _channel(request.channel, context), await _login(request.login, context)
        if request.banned and not may_be_banned(channel, login):
            await _refuse(context, "You cannot ban the broadcaster.")
        if request.duration_s > MAX_TIMEOUT_S:
            await _refuse(context, f"duration {request.duration_s} s: at most {MAX_TIMEOUT_S}; 0 bans for ever")
        try:
            return await self._operations.set_ban(
                channel,
                login,
                banned=request.banned,
                duration_s=request.duration_s,
                reason=request.reason[:MAX_REASON],
            )
        except RemoteError as error:
            await _unavailable(context, error)

    async def SetModes(self, request: clue_pb2.SetModesRequest, context: _Context) -> clue_pb2.ChangeReply:
        await self._guard(context)
        channel = await _channel(request.channel, context)
        modes = {
            field.name: int(getattr(request, field.name))
            for field in request.DESCRIPTOR.fields
            if field.name != "channel" and request.HasField(field.name)
        }
        slow_s, minutes = modes.get("slow_s", 0), modes.get("followers_only_min", -1)
        if slow_s and not SLOW_S[0] <= slow_s <= SLOW_S[1]:
            await _refuse(context, f"slow mode of {slow_s} s: {SLOW_S[0]} to {SLOW_S[1]}, or 0 for none")
        if not -1 <= minutes <= FOLLOWERS_MIN[1]:
            await _refuse(context, f"followers-only of {minutes} min: 0 to {FOLLOWERS_MIN[1]}, or -1 for off")
        if modes.get("delay_s", 0) not in (0, *DELAYS_S):
            await _refuse(context, f"delay of {modes['delay_s']} s: one of {DELAYS_S}, or 0 for none")
        try:
            return await self._operations.set_modes(channel, modes)
        except RemoteError as error:
            await _unavailable(context, error)

    async def SetWords(self, request: clue_pb2.SetWordsRequest, context: _Context) -> clue_pb2.ChangeReply:
        await self._guard(context)
        channel = await _channel(request.channel, context) if request.channel else ""
        edit = Edit(
            {term.term: term.action for term in request.terms}, frozenset(request.removed_terms),
            {emote.name: emote.id for emote in request.emotes}, frozenset(request.removed_emotes),
        )  # fmt: skip
        try:
            edited(b"", b"", edit)  # what is wrong with it as such
            if channel:
                return await self._operations.set_words(channel, edit)
            changed = await self._vocabularies.change(edit)
            return clue_pb2.ChangeReply(changed=changed)
        except ValueError as error:
            await _refuse(context, str(error))
        except RemoteError as error:
            await _unavailable(context, error)

    async def Execute(self, request: clue_pb2.ExecuteRequest, context: _Context) -> clue_pb2.Verdict:
        await self._guard(context)
        channel, login = await _channel(request.channel, context), await _login(request.login, context)
        profile = (await self._users.find((login,)))[login]
        if isinstance(profile, RemoteError):
            await _unavailable(context, profile)
        if profile is None:
            await _refuse(context, f"{login} has no account")
        submission = clue_pb2.Submission(
            id=request.id or str(uuid.uuid4()),
            user_id=profile.user_id,
            login=login,
            text=request.text,
            reply_parent_id=request.reply_parent_id,
        )
        batch = clue_pb2.SubmitRequest(
            attempt=1, channels=[clue_pb2.ChannelSubmissions(channel=channel, submissions=[submission])]
        )
        [verdict] = (await self._submitter.submit(batch, context.time_remaining())).verdicts
        if verdict.outcome == clue_pb2.Verdict.MOVED:
            await _unavailable(context, LivesElsewhere(channel, Home(verdict.elsewhere.cluster)))
        return verdict

    async def GetChannel(self, request: clue_pb2.GetChannelRequest, context: _Context) -> clue_pb2.ChannelState:
        await self._guard(context)
        channel = await _channel(request.channel, context)
        try:
            stored = await self._operations.read(channel)
        except RemoteError as error:
            await _unavailable(context, error)
        return channel_state(stored, self._clock.unix_ms())

    async def GetDirectory(self, request: clue_pb2.DirectoryRequest, context: _Context) -> clue_pb2.Directory:
        await self._guard(context)
        return await self._directory.read()

    async def BeginMove(self, request: clue_pb2.MoveStep, context: _Context) -> clue_pb2.MoveReply:
        return await self._move(context, self._moves.begin(request))

    async def ReadChannel(self, request: clue_pb2.ReadChannelRequest, context: _Context) -> clue_pb2.ChannelPage:
        await self._guard(context)
        try:
            return await self._moves.read(request)
        except LivesElsewhere as error:
            return clue_pb2.ChannelPage(elsewhere=elsewhere(error.home))
        except (MoveRefused, RemoteError, ValueError) as error:
            await _not_moved(context, error)

    async def StoreChannel(self, request: clue_pb2.StoreChannelRequest, context: _Context) -> clue_pb2.MoveReply:
        return await self._move(context, self._moves.store(request))

    async def FreezeChannel(self, request: clue_pb2.MoveStep, context: _Context) -> clue_pb2.MoveReply:
        return await self._move(context, self._moves.freeze(request))

    async def SwitchChannel(self, request: clue_pb2.MoveStep, context: _Context) -> clue_pb2.MoveReply:
        return await self._move(context, self._moves.switch(request))

    async def AbortMove(self, request: clue_pb2.MoveStep, context: _Context) -> clue_pb2.MoveReply:
        return await self._move(context, self._moves.abort(request))

    async def FinishMove(self, request: clue_pb2.FinishMoveRequest, context: _Context) -> clue_pb2.MoveReply:
        return await self._move(context, self._moves.finish(request))

    async def Drain(self, request: clue_pb2.DrainRequest, context: _Context) -> clue_pb2.DrainReply:
        await self._guard(context)
        try:
            edge = await self._directory.order(request.edge, drain=not request.back, within_s=request.within_s)
        except ValueError as error:
            await _refuse(context, str(error))
        except RemoteError as error:
            await _unavailable(context, error)
        return clue_pb2.DrainReply(sessions=edge.sessions)

    async def Diagnose(self, request: clue_pb2.DiagnoseRequest, context: _Context) -> clue_pb2.Diagnosis:
        await self._guard(context)
        return await self._diagnoser.look()

    async def _move(self, context: _Context, step: Coroutine[Any, Any, clue_pb2.MoveReply]) -> clue_pb2.MoveReply:
        try:
            await self._guard(context)
        except BaseException:
            step.close()
            raise
        try:
            return await step
        except LivesElsewhere as error:
            return moved(error)
        except (MoveRefused, RemoteError, ValueError) as error:
            await _not_moved(context, error)

    async def _guard(self, context: _Context) -> None:
        metadata = dict(context.invocation_metadata() or ())
        given = metadata.get(CONTROL_TOKEN_HEADER, "")
        if not hmac.compare_digest(str(given).encode(), self._token):
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                f"{CONTROL_TOKEN_HEADER} is missing or not this clue's TALLGRASS_CONTROL_TOKEN",
            )


async def _login(text: str, context: _Context) -> str:
    login = account(text)
    if login is None:
        await _refuse(context, f"{text!r} is no login: 1 to 25 of a-z, 0-9 and _, and not justinfan<digits>")
    return login


async def _channel(text: str, context: _Context) -> str:
    channel = names.fold_channel(text)
    if channel is None or channel_owner(channel) is None:
        await _refuse(context, f"{text!r} is no channel: # and a login")
    return channel


async def _refuse(context: _Context, text: str) -> NoReturn:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
    raise AssertionError("abort raises")


async def _not_moved(context: _Context, error: MoveRefused | RemoteError | ValueError) -> NoReturn:
    if isinstance(error, RemoteError):
        await _unavailable(context, error)
    if isinstance(error, ValueError):
        await _refuse(context, str(error))
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    raise AssertionError("abort raises")


async def _unavailable(context: _Context, error: RemoteError) -> NoReturn:
    if isinstance(error, LivesElsewhere):
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, error.cause)
    await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
    raise AssertionError("abort raises")

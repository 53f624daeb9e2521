"""The Control servicer: operators' calls, each guarded by the control token. Errors say what would do."""

from __future__ import annotations

import hmac
import secrets
from typing import NoReturn, TypeAlias

import grpc
import grpc.aio

from clue.changes import Changes, may_be_banned
from clue.directory import DirectoryStore
from clue.facts import ROLES, chatter
from clue.users import Users, account, channel_owner
from common import names
from common.errors import RemoteError
from common.pb import clue_pb2, clue_pb2_grpc
from common.rpc import CONTROL_TOKEN_HEADER

MAX_TIMEOUT_S = 1_209_600  # two weeks (tmi_protocol section 12)
MAX_REASON = 500  # characters
_MAX_DISPLAY_NAME = 25

_Context: TypeAlias = grpc.aio.ServicerContext


class ControlService(clue_pb2_grpc.ControlServicer):
    """`token` is not empty: without one the service is not served at all."""

    def __init__(self, token: str, users: Users, changes: Changes, directory: DirectoryStore) -> None:
        self._token = token.encode()
        self._users = users
        self._changes = changes
        self._directory = directory

    async def AddUser(self, request: clue_pb2.AddUserRequest, context: _Context) -> clue_pb2.AddUserReply:
        await self._guard(context)
        login = await _login(request.login, context)
        display_name = request.display_name
        if display_name and (
            len(display_name) > _MAX_DISPLAY_NAME or not display_name.isprintable() or " " in display_name
        ):
            await _refuse(context, f"display name {display_name!r}: up to {_MAX_DISPLAY_NAME} characters, no spaces")
        token = request.token.removeprefix("oauth:").lower() or secrets.token_hex(15)
        if not token.isascii() or not token.isprintable() or " " in token:
            await _refuse(context, "the token cannot be typed in a PASS line: use letters and digits")
        try:
            profile = await self._users.add(request.login, login, token, display_name)
        except RemoteError as error:
            await _unavailable(context, error)
        return clue_pb2.AddUserReply(user=chatter(profile, (), ""), token=token)

    async def SetRole(self, request: clue_pb2.SetRoleRequest, context: _Context) -> clue_pb2.ChangeReply:
        await self._guard(context)
        channel, login = await _channel(request.channel, context), await _login(request.login, context)
        if request.role not in (*ROLES, "none"):
            await _refuse(context, f"role {request.role!r}: one of {', '.join(ROLES)} or none")
        try:
            return await self._changes.set_role(channel, login, request.role)
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
            return await self._changes.set_ban(
                channel,
                login,
                banned=request.banned,
                duration_s=request.duration_s,
                reason=request.reason[:MAX_REASON],
            )
        except RemoteError as error:
            await _unavailable(context, error)

    async def GetDirectory(self, request: clue_pb2.DirectoryRequest, context: _Context) -> clue_pb2.Directory:
        await self._guard(context)
        return await self._directory.read()

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


async def _unavailable(context: _Context, error: RemoteError) -> NoReturn:
    await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
    raise AssertionError("abort raises")

"""What operators' commands ask of a running stack: clue's Control service, found by data folder or address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from common import rpc
from common.errors import ConfigError, RemoteError
from common.pb import clue_pb2, clue_pb2_grpc
from ops.data_folder import DataFolder

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask."""

    address: str                   # HOST:PORT of a clue, or of HAProxy before several
    token: str
    stack: dict[str, Any] | None   # stack.json of a local stack; None: a remote one


def find(*, data: str, control: str, token: str) -> Target:
    """The remote stack when `control` names one, else the local one in the folder `data`.

    Raises ConfigError saying what is missing and where it was looked for.
    """
    if control:
        address = control.removeprefix("http://").removesuffix("/")
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or "/" in address:
            raise ConfigError(f"--control {control!r} is no address: give HOST:PORT of a clue")
        if not token:
            raise ConfigError(
                f"the control token of {address} is missing: give it with --control-token or TALLGRASS_CONTROL_TOKEN"
            )
        return Target(address, token, None)
    folder = DataFolder(Path(data))
    stack = folder.read_stack()
    try:
        return Target(stack["control"], token or folder.control_token(), stack)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}: only who started the stack may read it") from None


class Control:
    """One call per method. Each raises RemoteError when the stack does not answer, ConfigError when it refuses."""

    def __init__(self, target: Target, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._target = target
        self._timeout_s = timeout_s

    async def add_user(self, login: str, token: str, display_name: str) -> clue_pb2.AddUserReply:
        request = clue_pb2.AddUserRequest(login=login, token=token, display_name=display_name)
        reply: clue_pb2.AddUserReply = await self._call("AddUser", request)
        return reply

    async def set_role(self, channel: str, login: str, role: str) -> clue_pb2.ChangeReply:
        request = clue_pb2.SetRoleRequest(channel=channel, login=login, role=role)
        reply: clue_pb2.ChangeReply = await self._call("SetRole", request)
        return reply

    async def directory(self) -> clue_pb2.Directory:
        reply: clue_pb2.Directory = await self._call("GetDirectory", clue_pb2.DirectoryRequest())
        return reply

    async def _call(self, method: str, request: Any) -> Any:
        target = self._target
        async with rpc.channel(target.address) as link:
            call = getattr(clue_pb2_grpc.ControlStub(link), method)
            try:
                metadata = ((rpc.CONTROL_TOKEN_HEADER, target.token),)
                return await call(request, timeout=self._timeout_s, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise _told(target.address, method, error) from None


def _told(address: str, method: str, error: grpc.aio.AioRpcError) -> ConfigError | RemoteError:
    code = error.code()
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
        return ConfigError(error.details() or code.name)
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return ConfigError(f"{address} does not take this control token: give the right one with --control-token")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return RemoteError(
            address, method, f"no answer ({error.details()}): is the stack running and the address right?"
        )
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return RemoteError(address, method, "it has no Control service: give the address of a clue")
    return rpc.remote_error(address, method, error)

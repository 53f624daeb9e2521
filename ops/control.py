"""What operators' commands ask of a running stack: clue's Control service, found by data folder or address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def find(*, data: str, control: str, token: str, cluster: str = "") -> Target:
    """The remote stack when `control` names one, else the local one in the folder `data` (its first, or `cluster`).

    Raises ConfigError saying what is missing and where it was looked for.
    """
    if control:
        address = _address(control)
        if not token:
            raise ConfigError(
                f"the control token of {address} is missing: give it with --control-token or TALLGRASS_CONTROL_TOKEN"
            )
        return Target(address, token, None)
    return _local(DataFolder(Path(data)).read_stack(), cluster, token)


def find_all(*, data: str, controls: Sequence[str], environ: Mapping[str, str]) -> dict[str, Target]:
    """By cluster: those that `controls` name ("event=HOST:PORT"), and the local stack's, where one runs.

    The token of a named one is in TALLGRASS_CONTROL_TOKEN_EVENT or TALLGRASS_CONTROL_TOKEN. Raises ConfigError.
    """
    found: dict[str, Target] = {}
    if not controls or DataFolder(Path(data)).running:
        stack = DataFolder(Path(data)).read_stack()
        found = {name: _local(stack, name, "") for name in stack["clusters"]}
    for control in controls:
        name, equals, address = control.partition("=")
        if not name or not equals:
            raise ConfigError(f"--control {control}: give CLUSTER=HOST:PORT, once for each cluster")
        variable = f"TALLGRASS_CONTROL_TOKEN_{name.upper()}"
        token = environ.get(variable) or environ.get("TALLGRASS_CONTROL_TOKEN", "")
        if not token:
            raise ConfigError(f"the control token of {name} is missing: set {variable} or TALLGRASS_CONTROL_TOKEN")
        found[name] = Target(_address(address), token, None)
    return found


async def at_home(target: Target, channel: str) -> Target:
    """Whom to ask of `channel`: in a local stack the cluster where it lives. Raises ConfigError or RemoteError."""
    async with rpc.channel(target.address) as link:
        try:
            request = clue_pb2.HeadsRequest(channels=[channel])
            reply = await clue_pb2_grpc.ClueStub(link).Heads(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _told(target.address, "Heads", error) from None
    home = reply.heads[0].elsewhere.cluster
    if not home:
        return target
    if target.stack is None:
        raise ConfigError(f"{channel} lives on the cluster {home}: name a clue of that one with --control")
    return _local(target.stack, home, "")


def _address(control: str) -> str:
    address = control.removeprefix("http://").removesuffix("/")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise ConfigError(f"--control {control!r} is no address: give HOST:PORT of a clue")
    return address


def _local(stack: dict[str, Any], cluster: str, token: str) -> Target:
    name = cluster or stack["cluster"]
    entry = stack["clusters"].get(name)
    if entry is None:
        raise ConfigError(f"--cluster {name}: this stack runs {', '.join(stack['clusters'])}")
    try:
        return Target(entry["control"], token or Path(entry["control_token_file"]).read_text("ascii").strip(), stack)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}: only who started the stack may read it") from None


class Refused(ConfigError):
    """As things are now it cannot be done: FAILED_PRECONDITION."""


class Control:
    """One call per method. Each raises RemoteError when the stack does not answer, ConfigError when it refuses.

    As a context it keeps one connection for all of them; without, each call makes its own.
    """

    def __init__(self, target: Target, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._link: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Control:
        self._link = rpc.channel(self._target.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._link is not None:
            await self._link.close()
            self._link = None

    @property
    def address(self) -> str:
        return self._target.address

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

    async def diagnose(self) -> clue_pb2.Diagnosis:
        reply: clue_pb2.Diagnosis = await self._call("Diagnose", clue_pb2.DiagnoseRequest())
        return reply

    async def drain(self, edge: str, within_s: int, *, back: bool) -> clue_pb2.DrainReply:
        request = clue_pb2.DrainRequest(edge=edge, within_s=within_s, back=back)
        reply: clue_pb2.DrainReply = await self._call("Drain", request)
        return reply

    async def settle(self, channel: str, move: str) -> clue_pb2.SettleReply:
        """Of the Clue service: for who moves a channel."""
        request = clue_pb2.SettleRequest(channel=channel, move=move)
        reply: clue_pb2.SettleReply = await self._call("Settle", request, stub=clue_pb2_grpc.ClueStub)
        return reply

    async def step(self, method: str, request: Any) -> Any:
        """One step of a move (ops/move.py)."""
        return await self._call(method, request)

    async def _call(self, method: str, request: Any, *, stub: Callable[..., Any] = clue_pb2_grpc.ControlStub) -> Any:
        if self._link is not None:
            return await self._ask(self._link, method, request, stub)
        async with rpc.channel(self._target.address) as link:
            return await self._ask(link, method, request, stub)

    async def _ask(self, link: grpc.aio.Channel, method: str, request: Any, stub: Callable[..., Any]) -> Any:
        metadata = ((rpc.CONTROL_TOKEN_HEADER, self._target.token),)
        try:
            return await getattr(stub(link), method)(request, timeout=self._timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise _told(self._target.address, method, error) from None


def _told(address: str, method: str, error: grpc.aio.AioRpcError) -> ConfigError | RemoteError:
    code = error.code()
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
        refused = Refused if code == grpc.StatusCode.FAILED_PRECONDITION else ConfigError
        return refused(error.details() or code.name)
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return ConfigError(f"{address} does not take this control token: give the right one with --control-token")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return RemoteError(
            address, method, f"no answer ({error.details()}): is the stack running and the address right?"
        )
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return RemoteError(address, method, "it has no Control service: give the address of a clue")
    return rpc.remote_error(address, method, error)

"""A channel on a running stack with everybody in it whom moderation is about, and operators' calls to the stack."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from common import rpc
from common.pb import clue_pb2, clue_pb2_grpc
from ops.control import find
from tests.support.irc import Client, Door, Line
from tests.support.stack import RunningStack

Connect = Callable[[Door], Awaitable[Client]]


async def operate(stack: RunningStack, method: str, request: Any) -> Any:
    """A call of the Control service."""
    target = find(data=str(stack.data), control="", token="")
    async with rpc.channel(target.address) as channel:
        stub = clue_pb2_grpc.ControlStub(channel)  # type: ignore[no-untyped-call]
        metadata = ((rpc.CONTROL_TOKEN_HEADER, target.token),)
        return await getattr(stub, method)(request, timeout=10, metadata=metadata)


@dataclass
class Room:
    """`names`: logins by what they are called here, the owner's among them. Nobody has joined who was not asked to."""

    stack: RunningStack
    door: Door
    connect: Connect
    new_name: Callable[[], str]
    names: dict[str, str] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)

    @property
    def channel(self) -> str:
        return "#" + self.names["owner"]

    async def enter(self, *who: str) -> Room:
        """Log them in. They are not in the channel, so all they get are answers."""
        for name in who:
            self.names[name] = self.new_name()
            self.clients[name] = await (await self.connect(self.door)).login(self.names[name])
        return self

    async def watch(self, who: str = "watcher") -> Client:
        """One more, in the channel."""
        await self.enter(who)
        return await self.clients[who].join(self.channel)

    def fill(self, text: str) -> str:
        """`{mod}` is the login of who is called so."""
        return re.sub(r"\{(\w+)\}", lambda found: self.names[found[1]], text)

    async def says(self, who: str, text: str) -> Line:
        """The answer: a NOTICE, or USERSTATE."""
        return await self.clients[who].say(self.channel, self.fill(text))

    async def role(self, who: str, role: str) -> None:
        request = clue_pb2.SetRoleRequest(channel=self.channel, login=self.names[who], role=role)
        await operate(self.stack, "SetRole", request)

    async def type(self, who: str, user_type: str) -> None:
        await operate(self.stack, "AddUser", clue_pb2.AddUserRequest(login=self.names[who], user_type=user_type))

"""Calls to the control API of a running stack."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from common.pb import clue_pb2
from tests.support.moderation import operate
from tests.support.stack import RunningStack


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any  # of JSON; None: there is none
    headers: Mapping[str, str]  # names without regard to case

    @property
    def data(self) -> Any:
        assert self.status == 200, self
        return self.body["data"]


class Api:
    """`ids` and `tokens` by login."""

    def __init__(self, stack: RunningStack, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.url = stack.ws.replace("ws://", "http://").rstrip("/")
        self.ids: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self._http = http

    async def add(self, *logins: str) -> None:
        """Accounts with a token."""
        for login in logins:
            reply = await operate(self.stack, "AddUser", clue_pb2.AddUserRequest(login=login))
            self.ids[login], self.tokens[login] = str(reply.user.user_id), reply.token

    async def call(
        self, who: str, method: str, path: str, body: object = None, *, token: str = "", **query: Any
    ) -> Answer:
        """As this user. `query`: lists become several parameters of a name."""
        lists = {name: value if isinstance(value, list) else [value] for name, value in query.items()}
        pairs = [(name, one) for name, several in lists.items() for one in several]
        headers = {"Authorization": f"Bearer {token or self.tokens[who]}", "Client-Id": "any"}
        async with self._http.request(
            method, f"{self.url}/helix/{path}", params=pairs, json=body, headers=headers
        ) as response:
            content = await response.read()
            return Answer(response.status, await response.json() if content else None, response.headers)

    async def wait(self) -> None:
        """Between two looks."""
        await asyncio.sleep(0.3)

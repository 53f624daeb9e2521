"""The control API on the HTTP port: checks what comes in, runs the operation, writes the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import cache, partial
from http import HTTPStatus
from typing import Any

import msgspec
import msgspec.inspect
from aiohttp import web
from multidict import MultiMapping

from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2
from edge.api.asker import Asker
from edge.api.openapi import document
from edge.api.operations import OPERATIONS, PREFIX, Operation
from edge.api.outcomes import Refused
from edge.api.shapes import Error
from edge.clues import Clues
from edge.routes import Routes

BODY = 65_536  # bytes, several times the largest that says something
BODY_S = 10.0  # for it to arrive
UNDER_WAY = 500  # requests at a time: those of users of sessions must get through to clue, too

NO_TOKEN = "OAuth token is missing: send Authorization: Bearer and the user's chat token"

_JSON = "application/json"
_CLASSES = {number: f"{number}xx" for number in (2, 4, 5)}


class Api:
    def __init__(self, clues: Clues, metrics: Metrics, log: Log) -> None:
        self._clues = clues
        self._metrics = metrics
        self._log = log
        self._under_way = 0
        self._document = msgspec.json.encode(document())

    def add_pages(self, routes: Routes) -> None:
        for operation in OPERATIONS:
            routes.add(operation.method, PREFIX + operation.path, partial(self._page, operation))
        routes.add("GET", PREFIX + "/openapi.json", self._openapi)

    async def whose(self, token: str) -> chat_pb2.Chatter | None:
        """None: nobody's, though any token is good (--auth open). Raises RemoteError and Refused."""
        users = await Asker(self._clues, token).users()
        return users[0].user if users else None

    async def _openapi(self, request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        return web.Response(body=self._document, content_type=_JSON)

    async def _page(self, operation: Operation, request: web.BaseRequest, parts: Mapping[str, str]) -> web.Response:
        started = time.monotonic()
        ask = Asker(self._clues, token_of(request.headers.get("Authorization", "")))
        answer: msgspec.Struct | None
        status = HTTPStatus(operation.status)
        self._under_way += 1
        try:
            answer = await self._answer(operation, request, ask)
        except Refused as refused:
            status = refused.status
            answer = Error(status.phrase, status, str(refused))
        finally:
            self._under_way -= 1
        self._metrics.count("api.requests")
        self._metrics.count(f"api.answers.{_CLASSES[status // 100]}")
        self._metrics.timing("api.ms", (time.monotonic() - started) * 1e3)
        if status == HTTPStatus.UNAUTHORIZED:
            ask.headers["WWW-Authenticate"] = "Bearer"
        body = b"" if answer is None else msgspec.json.encode(answer)
        content_type = None if answer is None else _JSON
        return web.Response(status=status, body=body or None, content_type=content_type, headers=ask.headers)

    async def _answer(self, operation: Operation, request: web.BaseRequest, ask: Asker) -> msgspec.Struct | None:
        if self._under_way > UNDER_WAY:
            raise Refused(503, "too many requests are under way here; try again in a moment")
        if not ask.token:
            raise Refused(401, NO_TOKEN)
        query = _query(operation.query, request.query) if operation.query else None
        body = await body_of(operation.body, request) if operation.body else None
        try:
            return await operation.run(ask, query, body)
        except RemoteError as error:
            self._metrics.count("api.failures")
            self._log.warning("call_failed", remote=error.remote, operation=error.operation, cause=error.cause)
            raise Refused(503, "chat is unavailable at the moment; it may or may not have been done") from None


def token_of(header: str) -> str:
    """ "": there is none. Libraries of the older API write OAuth for Bearer."""
    scheme, _, token = header.partition(" ")
    token = token.strip().removeprefix("oauth:")
    return token if scheme.lower() in ("bearer", "oauth") and token.isascii() and token.isprintable() else ""


def _query(kind: type[msgspec.Struct], given: MultiMapping[str]) -> Any:
    """Raises Refused."""
    lists = _lists(kind)
    values = {name: given.getall(name) if name in lists else given[name] for name in given}
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(400, str(error)) from None


@cache
def _lists(kind: type[msgspec.Struct]) -> frozenset[str]:
    """The fields that may be given several times."""
    fields = msgspec.inspect.type_info(kind).fields  # type: ignore[attr-defined]
    return frozenset(field.name for field in fields if isinstance(field.type, msgspec.inspect.ListType))


async def body_of(kind: type[msgspec.Struct], request: web.BaseRequest) -> Any:
    """Without one its fields are looked for in the query: Twitch takes them there, too, and twitchAPI relies on it.

    Raises Refused.
    """
    if (request.content_length or 0) > BODY:
        raise Refused(413, f"the body is over {BODY} bytes")
    try:
        async with asyncio.timeout(BODY_S):
            content = await request.read()
        return msgspec.json.decode(content, type=kind) if content else _query(kind, request.query)
    except TimeoutError:
        raise Refused(400, f"the body did not arrive within {BODY_S:.0f} s") from None
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Refused(400, str(error)) from None

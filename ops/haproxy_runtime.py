"""HAProxy's runtime API over its Unix socket: several commands on one connection, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from common.errors import RemoteError

_TIMEOUT_S = 5.0
_PROMPT = b"\n> "
_LIMIT = 64 * 1024 * 1024  # of one answer: a map with a million channels


async def ask(socket: str, commands: Sequence[str], *, within_s: float = _TIMEOUT_S) -> list[str]:
    """The answers, in order. Raises RemoteError when HAProxy does not answer.

    In its interactive mode HAProxy ends each answer with a prompt, so answers of any shape can be told apart.
    """
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_unix_connection(socket, limit=_LIMIT)
            try:
                answers = []
                for command in ("prompt", *commands):
                    writer.write(command.encode() + b"\n")
                    answers.append((await reader.readuntil(_PROMPT))[: -len(_PROMPT)].decode("utf-8", "replace"))
                return [answer.strip() for answer in answers[1:]]
            finally:
                writer.close()
    except TimeoutError:
        raise RemoteError(f"haproxy@{socket}", "runtime API", f"no answer within {within_s:g} s") from None
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise RemoteError(f"haproxy@{socket}", "runtime API", str(error)) from None

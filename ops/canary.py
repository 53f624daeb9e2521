"""One IRC session of the delivery check: logs in at one edge, joins one channel, hands over what it reads.

An ordinary client of the dialect, as any user's: what it sees, users see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from common.errors import RemoteError
from common.irc import numerics
from common.irc.message import Message, MessageError, parse

ANONYMOUS = "justinfan72"
_CAPABILITIES = b"CAP REQ :twitch.tv/tags twitch.tv/commands\r\n"

Take = Callable[[Message], None]


class Canary:
    """`enter` once; then every line but PING goes to `take`, synchronously, until the edge or `leave` ends it."""

    def __init__(self, address: str, login: str, token: str, channel: str, take: Take) -> None:
        self.address = address
        self.login = login
        self.channel = channel
        self._token = token
        self._take = take
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def open(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def enter(self, within_s: float) -> None:
        """Log in and join. Raises RemoteError with what the edge said when it does not let us, or says nothing."""
        host, _, port = self.address.rpartition(":")
        try:
            async with asyncio.timeout(within_s):
                reader, self._writer = await asyncio.open_connection(host, int(port))
                self._reading = asyncio.create_task(self._read(reader))
                lines = b"" if self.login == ANONYMOUS else f"PASS oauth:{self._token}\r\n".encode()
                lines += f"NICK {self.login}\r\nJOIN {self.channel}\r\n".encode()
                self._writer.write(_CAPABILITIES + lines)
                await self._entered
        except TimeoutError:
            raise RemoteError(self.address, f"join {self.channel}", f"not done within {within_s:g} s") from None
        except OSError as error:
            raise RemoteError(self.address, "connect", error.strerror or str(error)) from None

    def say(self, text: str) -> None:
        assert self._writer is not None, "enter() first"
        self._writer.write(f"PRIVMSG {self.channel} :{text}\r\n".encode())

    async def leave(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
        if self._entered.done() and not self._entered.cancelled():
            self._entered.exception()  # asked for by nobody when `enter` ran out of time

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                try:
                    message = parse(line.rstrip(b"\r\n"))
                except MessageError:
                    continue
                self._handle(message)
        except OSError:
            pass
        self._refused("the edge closed the connection")

    def _handle(self, message: Message) -> None:
        if message.command == "PING":
            assert self._writer is not None
            self._writer.write(b"PONG :tmi.twitch.tv\r\n")
            return
        if not self._entered.done():
            if message.command in ("NOTICE", "ERROR"):
                self._refused(message.params[-1])
            elif message.command == numerics.RPL_ENDOFNAMES:
                self._entered.set_result(None)
            return  # what comes before the join is done says nothing of messages
        self._take(message)

    def _refused(self, cause: str) -> None:
        if not self._entered.done():
            self._entered.set_exception(RemoteError(self.address, f"join {self.channel} as {self.login}", cause))

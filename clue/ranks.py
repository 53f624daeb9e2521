"""Who moderates a channel and who is a VIP there, for lists of chatters."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from clue.presence import Ranks
from clue.rooms import Rooms
from common.errors import RemoteError


class RanksReader:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def read(self, channels: Collection[str]) -> Mapping[str, Ranks | RemoteError]:
        """One call a channel, all at once."""
        return dict(zip(channels, await asyncio.gather(*map(self._ranks, channels)), strict=True))

    async def _ranks(self, channel: str) -> Ranks | RemoteError:
        try:
            roles = (await self._rooms.roles(channel)).values()
        except RemoteError as error:
            return error
        return Ranks(
            {one.login for one in roles if "mod" in one.names}, {one.login for one in roles if "vip" in one.names}
        )

"""What follows a committed answer on other shards: entries of other logs and of inboxes, and changes of profiles.

Doing it again changes nothing: an entry goes in with the number of the batch that it came from, and is counted for each
channel it came from apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from clue.commands.shape import Effect, Post, Recolor
from clue.commits import Accepted, Commits, Group
from clue.rooms import Rooms
from clue.users import Users


class Effects:
    def __init__(self, commits: Commits, rooms: Rooms, users: Users) -> None:
        self._commits = commits
        self._rooms = rooms
        self._users = users

    async def carry_out(self, channel: str, edge_run: int | str, batch: int, effects: Iterable[Effect]) -> None:
        """Raises RemoteError when one of them may not have been done."""
        entries: dict[str, list[Accepted]] = {}
        colors: dict[str, str] = {}
        for effect in effects:
            if isinstance(effect, Post):
                entries.setdefault(effect.log, []).append(Accepted(effect.publication))
            elif isinstance(effect, Recolor):
                colors[effect.login] = effect.color
            else:
                for login in await self._moderators(channel):
                    entries.setdefault("@" + login, []).append(Accepted(effect.publication))
        source = f"{edge_run}{channel}" if edge_run else ""
        await asyncio.gather(
            *(self._commits.put(log, Group(source, batch, "", posted)) for log, posted in entries.items()),
            *(self._users.change(login, {"color": color}) for login, color in colors.items()),
        )

    async def _moderators(self, channel: str) -> set[str]:
        roles = await self._rooms.roles(channel)
        return {channel[1:], *(one.login for one in roles.values() if "mod" in one.names)}

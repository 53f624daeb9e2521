"""What follows a committed answer on other shards: entries of other logs and of inboxes, and changes of profiles.

Doing it again changes nothing: an entry goes in with the number of the batch that it came from, and is counted for each
channel it came from apart. An entry of a log that lives on another cluster goes to a clue there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from clue.commands.shape import Effect, Post, Recolor
from clue.commits import Accepted, Commits, Frozen, Group
from clue.homes import Home, Homes, LivesElsewhere
from clue.peers import Peers
from clue.rooms import Rooms
from clue.users import Users
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2

FROZEN_TRIES, FROZEN_WAIT_S = 60, 0.015  # of a log in the last moment of a move
_NOTICES = 1_000  # to other clusters under way; more are given up


class Unposted(RemoteError):
    """Another cluster did not take an entry that the author is to be told of."""


class Posts:
    """Appends entries to logs wherever they live."""

    def __init__(self, commits: Commits, homes: Homes, peers: Peers, metrics: Metrics) -> None:
        self._commits = commits
        self._homes = homes
        self._peers = peers
        self._metrics = metrics

    def is_here(self, name: str) -> bool:
        return self._homes.of(name).cluster == self._homes.cluster

    async def here(self, name: str, source: str, batch: int, publications: Iterable[bytes]) -> None:
        """Append to a log of this cluster. Raises RemoteError, which is LivesElsewhere when it is none."""
        entries = [Accepted(publication) for publication in publications]
        for _ in range(FROZEN_TRIES):
            if not isinstance(await self._commits.put(name, Group(source, batch, "", entries)), Frozen):
                return
            await asyncio.sleep(FROZEN_WAIT_S)
        raise RemoteError(f"cluster {self._homes.cluster}", "Post", f"{name} is being moved")

    async def anywhere(self, name: str, source: str, batch: int, publications: Sequence[bytes]) -> None:
        """Append at the log's home. Raises RemoteError; Unposted when the home is another cluster."""
        home = self._homes.of(name)
        if home.cluster == self._homes.cluster:
            try:
                await self.here(name, source, batch, publications)
                return
            except LivesElsewhere as error:
                home = error.home
        self._metrics.count("posts")
        request = clue_pb2.PostRequest(log=name, source=source, batch=batch, publications=publications)
        try:
            reply = await self._peers.call(home.cluster, "Post", request)
            if reply.HasField("elsewhere"):
                home = Home(reply.elsewhere.cluster, reply.elsewhere.move)
                if home.cluster == self._homes.cluster:
                    await self.here(name, source, batch, publications)
                    return
                if home.move:
                    await self._peers.call(home.cluster, "Settle", clue_pb2.SettleRequest(channel=name, move=home.move))
                reply = await self._peers.call(home.cluster, "Post", request)
            if reply.HasField("elsewhere"):
                raise RemoteError(f"cluster {home.cluster}", "Post", f"{name} lives on {reply.elsewhere.cluster}")
        except RemoteError as error:
            self._metrics.count("posts.failed")
            raise Unposted(error.remote, error.operation, error.cause) from error


class Effects:
    def __init__(self, posts: Posts, rooms: Rooms, users: Users, metrics: Metrics, log: Log) -> None:
        self._posts = posts
        self._rooms = rooms
        self._users = users
        self._metrics = metrics
        self._log = log
        self._under_way: set[asyncio.Task[None]] = set()

    async def carry_out(self, channel: str, edge_run: int | str, batch: int, effects: Iterable[Effect]) -> None:
        """Raises RemoteError when one of them may not have been done: Unposted when another cluster is to blame."""
        entries: dict[str, list[bytes]] = {}
        notices: dict[str, list[bytes]] = {}
        colors: dict[str, str] = {}
        for effect in effects:
            if isinstance(effect, Post):
                told = self._posts.is_here(effect.log) or not _is_notice(effect.publication)
                (entries if told else notices).setdefault(effect.log, []).append(effect.publication)
            elif isinstance(effect, Recolor):
                colors[effect.login] = effect.color
            else:
                for login in await self._moderators(channel):
                    inbox = "@" + login
                    kind = entries if self._posts.is_here(inbox) else notices
                    kind.setdefault(inbox, []).append(effect.publication)
        source = f"{edge_run}{channel}" if edge_run else ""
        for name, publications in notices.items():
            self._give(name, source, batch, publications)
        await asyncio.gather(
            *(self._posts.anywhere(name, source, batch, publications) for name, publications in entries.items()),
            *(self._users.change(login, {"color": color}) for login, color in colors.items()),
        )

    async def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _give(self, name: str, source: str, batch: int, publications: list[bytes]) -> None:
        """To another cluster, behind the message, which does not wait for it."""
        if len(self._under_way) >= _NOTICES:
            self._metrics.count("posts.given_up")
            return
        task = asyncio.get_running_loop().create_task(self._try(name, source, batch, publications))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _try(self, name: str, source: str, batch: int, publications: list[bytes]) -> None:
        try:
            await self._posts.anywhere(name, source, batch, publications)
        except RemoteError as error:
            self._metrics.count("posts.given_up")
            self._log.warning(
                "notice given up", remote=error.remote, operation=error.operation, channel=name, cause=error.cause
            )

    async def _moderators(self, channel: str) -> set[str]:
        roles = await self._rooms.roles(channel)
        return {channel[1:], *(one.login for one in roles.values() if "mod" in one.names)}


def _is_notice(publication: bytes) -> bool:
    return chat_pb2.Publication.FromString(publication).HasField("personal_notice")

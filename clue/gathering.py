"""Brings together what a batch is decided on. Everything is asked for all channels of the batch at once: one round trip
for channels not known yet (rare), one for the users' limits; and what commands and replies need besides (rarer).

When a shard does not answer:

- a channel's: its submissions are UNAVAILABLE, the other channels of the batch go on;
- an author's: the rate limit cannot be checked. The message is let through when the author is known from before (the
  floor and the duplicate rule, on the channel's shard, still hold). Else it is undecided for the first RESTART_S, in
  which a shard restarts, and denied after: to leave it undecided for longer would hold up the edge's whole lane;
- that of another user or channel that a command is about: the command is refused, and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from clue import keys, scripts
from clue.channel_log import ChannelLogs
from clue.commands.messages import whisper
from clue.commands.shape import Level, Needs
from clue.commands.targets import login_of
from clue.facts import read_profile
from clue.homes import LivesElsewhere
from clue.limiter import WHISPERS_A_MIN, WHISPERS_A_S, Limits
from clue.peers import Peers
from clue.presence import TTL_MS
from clue.recent import RecentLines
from clue.redis_shards import Shard, Shards
from clue.rooms import Rooms
from clue.users import Users
from clue.work import Work
from common.errors import RemoteError
from common.metrics import Metrics

RESTART_S = 2.0  # a shard lost for less may be back before the sender has to be told


class Gathering:
    def __init__(
        self,
        shards: Shards,
        rooms: Rooms,
        users: Users,
        logs: ChannelLogs,
        recent: RecentLines,
        peers: Peers,
        *,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._shards = shards
        self._rooms = rooms
        self._users = users
        self._logs = logs
        self._recent = recent
        self._peers = peers
        self._limits = limits
        self._metrics = metrics

    async def all(self, works: Sequence[Work], *, first: bool, limited: bool = True) -> None:
        """`first`: of this batch; a later try takes nothing from the limits again. `limited`: messages are counted."""
        with_commands = [work for work in works if work.commands]
        if with_commands:
            await self._targets(with_commands)
        await self._states(works)
        await self._authors(works, first=first and limited)
        if with_commands:
            await self._command_facts(with_commands)
            if first:
                await self._whispers(with_commands)
        for work in works:
            if not work.unavailable:
                await self._parents(work)

    async def again(self, works: Sequence[Work]) -> None:
        """What may have changed together with the channels' versions."""
        await self._states(works)
        await self._command_facts([work for work in works if work.commands])

    # -- channels ---------------------------------------------------------------------------------------------------

    async def _states(self, works: Sequence[Work]) -> None:
        """Bring `room` with the authors' memberships to each work; from the cache when all is there."""
        missing: dict[str, list[tuple[int, str]]] = {}
        for work in works:
            if work.exists:
                work.room = self._rooms.known(work.name, work.members)
                if work.room is None:
                    missing[work.name] = work.members
        if not missing:
            return
        found = await self._rooms.read(missing)
        for work in works:
            if work.name in missing:
                facts = found[work.name]
                if isinstance(facts, RemoteError):
                    work.fail(facts)
                elif facts.channel.room.room_id:
                    work.room = facts.channel
                else:
                    work.exists = False  # a temporary room that was not made, or has ended

    # -- authors ----------------------------------------------------------------------------------------------------

    async def _authors(self, works: Sequence[Work], *, first: bool) -> None:
        """Take from the authors' limits, and bring their profiles. One call an author, one pipeline a shard."""
        places: dict[str, list[tuple[Work, int]]] = {}
        for work in works:
            for i, candidate in enumerate(work.candidates):
                if candidate.user_id:
                    places.setdefault(candidate.login, []).append((work, i))
        by_shard: dict[Shard, list[str]] = {}
        for login in places:
            by_shard.setdefault(self._shards.at(keys.user(login)), []).append(login)
        asked = [
            (shard, logins, shard.call([self._allow(login, places[login], first=first) for login in logins]))
            for shard, logins in by_shard.items()
        ]
        for shard, logins, future in asked:
            replies: Sequence[Any]
            try:
                replies = await future
            except RemoteError as error:
                replies = [error] * len(logins)
            for login, reply in zip(logins, replies, strict=True):
                self._author(login, reply, places[login], shard)
        self._users.seen(places)
        await self._guests(places)

    async def _guests(self, places: Mapping[str, list[tuple[Work, int]]]) -> None:
        """Accounts of other clusters' users who were not here before."""
        unknown = {}
        for login, [(work, i), *_] in places.items():
            if work.profiles[i] is None and work.reached[i]:
                unknown[login] = work.candidates[i].user_id
        if not unknown:
            return
        for login, profile in (await self._users.guests(unknown)).items():
            for work, i in places[login]:
                work.profiles[i] = profile

    def _allow(self, login: str, places: list[tuple[Work, int]], *, first: bool) -> scripts.Command:
        letters = ""
        for work, i in places:
            if not first or work.unavailable:
                letters += "n"
            else:
                letters += "p" if work.member(i).privileged else "o"
        known = self._users.profiles.get(login)
        limits = self._limits
        return scripts.allow(
            login, known.version if known else "", letters, limits.ordinary, limits.privileged, limits.window_ms,
            limits.lockout_ms,
        )  # fmt: skip

    def _author(self, login: str, reply: Any, places: list[tuple[Work, int]], shard: Shard) -> None:
        profiles = self._users.profiles
        if isinstance(reply, RemoteError):
            self._metrics.count("limits.unchecked", len(places))
            known = profiles.get(login)
            for work, i in places:
                work.profiles[i] = known
                work.reached[i] = known is not None
                if known is None and (shard.down is None or shard.lost_for_s < RESTART_S):
                    work.unavailable = True
            return
        if len(reply) > 1:
            profile = read_profile(reply[1:])
            if profile is None:
                profiles.drop(login)
            else:
                profiles.put(profile)
        known = profiles.get(login)
        for (work, i), answer in zip(places, reply[0], strict=True):
            work.profiles[i] = known
            work.allowed[i] = answer == ord("1")

    # -- commands ---------------------------------------------------------------------------------------------------

    async def _targets(self, works: Sequence[Work]) -> None:
        """The accounts that commands are about; their memberships come with the channel's state."""
        wanted: dict[str, list[Work]] = {}
        for work in works:
            for word in work.first_words(Needs.USER).values():
                login = login_of(word.removeprefix("#"))
                if login is not None:
                    wanted.setdefault(login, []).append(work)
        if not wanted:
            return
        found = await self._users.find(list(wanted))
        for login, where in wanted.items():
            profile = found[login]
            for work in where:
                work.known.users[login] = profile
                if profile is not None and not isinstance(profile, RemoteError):
                    work.members.append((profile.user_id, login))

    async def _command_facts(self, works: Sequence[Work]) -> None:
        # After the channel's state: what is read here is of its version or a later one, which the commit finds out.
        await asyncio.gather(*(self._command_facts_of(work) for work in works if work.room is not None))

    async def _command_facts_of(self, work: Work) -> None:
        if work.unavailable:
            return
        # Nothing is asked for commands that will be refused.
        refused = {
            i
            for i, command in work.commands.items()
            if not work.allowed[i] or (command.level > Level.EVERYONE and not self._may_moderate(work, i))
        }
        needed = {i: command for i, command in work.commands.items() if i not in refused}
        try:
            if any(command.needs & Needs.ROLES for command in needed.values()):
                work.known.roles = await self._rooms.roles(work.name)
            held = [word for i, word in work.first_words(Needs.HELD).items() if i in needed and word]
            if held:
                work.known.held = dict(zip(held, await self._rooms.held(work.name, held), strict=True))
            for i, word in work.first_words(Needs.LINE).items():
                if i in needed and _is_uuid(word):
                    work.known.lines[word] = await self._logs.find(work.name, word)
        except RemoteError:
            work.unavailable = True
            return
        for i, word in work.first_words(Needs.ROOM).items():
            if i in needed:
                await self._other_room(work, i, "#" + word.removeprefix("@").removeprefix("#").lower())

    def _may_moderate(self, work: Work, i: int) -> bool:
        profile = work.profiles[i]
        return work.member(i).moderator or (profile is not None and profile.type != "")

    async def _other_room(self, work: Work, i: int, name: str) -> None:
        if work.known.users.get(name[1:]) is None:
            return  # nobody's
        candidate = work.candidates[i]
        found = (await self._rooms.read({name: [(candidate.user_id, candidate.login)]}))[name]
        if isinstance(found, LivesElsewhere):
            there = found.home.cluster
            work.known.rooms[name] = await self._peers.room(there, name, candidate.user_id, candidate.login)
        else:
            work.known.rooms[name] = found if isinstance(found, RemoteError) else found.channel
        here = keys.edges_of(work.name)
        try:
            reply = await self._shards.at(here).call_one(scripts.presence(work.name, 0, TTL_MS, "", 1, (), (), ()))
            if not isinstance(reply, bytes):  # the channel has just left: the commit finds out
                work.known.viewers = reply[1]
        except RemoteError:
            pass  # the raid goes on, with nobody counted; the shard counts and logs it

    async def _whispers(self, works: Sequence[Work]) -> None:
        """Take from the limits of who whispers. Unchecked when the shard does not answer."""
        for work in works:
            for i, command in work.commands.items():
                if command.handler is not whisper or not work.allowed[i]:
                    continue
                login = work.candidates[i].login
                for window, count, length_ms in (("s", WHISPERS_A_S, 1_000), ("min", WHISPERS_A_MIN, 60_000)):
                    counter = keys.whispers(login, window)
                    call = scripts.allow(login, "", "o", count, count, length_ms, counter=counter)
                    try:
                        reply = await self._shards.at(counter).call_one(call)
                    except RemoteError:
                        continue
                    if reply[0] == b"0":
                        work.known.too_many_whispers[work.submissions[i].id] = f"whisper_limit_per_{_WINDOWS[window]}"
                        break

    # -- replies ----------------------------------------------------------------------------------------------------

    async def _parents(self, work: Work) -> None:
        """What replies answer. A reply to what is no line (any more) is an ordinary message, as on Twitch."""
        for i, submission in enumerate(work.submissions):
            parent_id = submission.reply_parent_id
            if not parent_id or i in work.commands or not _is_uuid(parent_id):
                continue
            parent = self._recent.find(work.name, parent_id)
            if parent is None and work.room is not None:
                try:
                    parent = await self._logs.find(work.name, parent_id)
                except RemoteError:
                    work.unavailable = True
                    return
            if parent is not None and parent.HasField("line"):
                work.parents[i] = parent
            else:
                self._metrics.count("replies.orphaned")


_WINDOWS: Mapping[str, str] = {"s": "sec", "min": "min"}


def _is_uuid(text: str) -> bool:
    """In the one form that the log has."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False

"""The steps of moving a channel between clusters, on this cluster's side (ops/move.py has their order).

At the old home the channel is read page by page while chat goes on, then what has changed meanwhile, round by round,
the last one while commits wait. At the new home a copy grows that nobody is answered from before it has settled. Every
step may be repeated; one of a move that is over is refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from clue import keys, scripts
from clue.commits import Accepted, Commits, Frozen, Group
from clue.homes import TEST, Home, Homes, LivesElsewhere, elsewhere, failure, is_move, is_room, read_home
from clue.peers import Peers
from clue.redis_shards import Shard, Shards
from clue.rooms import Rooms
from clue.scripts import Stored
from clue.shared import SharedDirectory
from clue.users import channel_owner
from common.clock import Clock
from common.errors import RemoteError, TallgrassError
from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2

FREEZE_MS = 1_500  # when the mover does not say
MAX_FREEZE_MS = 5_000  # an edge gives up after so long
PAGE_BYTES = 256 << 10
_FIELDS = 500  # of one look
REDIRECTS = ("", "none", "clients", "all")

_HASHES = ("room", "bans", "roles", "held", "first", "unique", "last", "batches")
_SECTIONS = ("head", *_HASHES, "log", "edges", "chatters")
_CHATTERS = "chatters:"
_LIMITS = "limits"


class MoveRefused(TallgrassError):
    """The step cannot be done as things are; the text says why, and what would do."""


class _Step(NamedTuple):
    """What one look has brought, and where to go on ("": nowhere)."""

    pieces: Sequence[clue_pb2.Piece]
    cursor: str


class Moves:
    """Every call raises RemoteError when a server does not answer (LivesElsewhere when the channel does not live here),
    MoveRefused, and ValueError for what cannot be asked at all.
    """

    def __init__(
        self,
        shards: Shards,
        homes: Homes,
        rooms: Rooms,
        commits: Commits,
        shared: SharedDirectory,
        peers: Peers,
        *,
        clock: Clock,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._shards = shards
        self._homes = homes
        self._rooms = rooms
        self._commits = commits
        self._shared = shared
        self._peers = peers
        self._clock = clock
        self._metrics = metrics
        self._log = log

    # -- at the old home --------------------------------------------------------------------------------------------

    async def begin(self, request: clue_pb2.MoveStep) -> clue_pb2.MoveReply:
        """Without a move's token nothing begins: the reply tells how large the channel is."""
        channel = _channel(request.channel)
        if request.to or request.move:
            self._check_target(request.to)
        facts = (await self._rooms.read({channel: ()}))[channel]  # its room is made, if it was not yet
        if isinstance(facts, RemoteError):
            raise facts
        if request.move:
            await self._step(channel, "begin", _token(request.move), request.to)
            self._tell("move begun", channel, request.move, to=request.to)
        return await self._figures(channel)

    async def read(self, request: clue_pb2.ReadChannelRequest) -> clue_pb2.ChannelPage:
        channel, move = _channel(request.channel), _token(request.move)
        page = clue_pb2.ChannelPage()
        cursor, size = request.cursor, 0
        while True:
            if request.changes:
                step = await self._changes(channel, move, cursor, request.round)
            else:
                step = await self._copy(channel, move, cursor or "head:")
            page.pieces.extend(step.pieces)
            size += sum(map(_size, step.pieces))
            cursor = step.cursor
            if not cursor or size >= PAGE_BYTES:
                page.cursor = cursor
                return page

    async def freeze(self, request: clue_pb2.MoveStep) -> clue_pb2.MoveReply:
        channel = _channel(request.channel)
        freeze_ms = min(request.freeze_ms or FREEZE_MS, MAX_FREEZE_MS)
        return await self._step(channel, "freeze", _token(request.move), freeze_ms=freeze_ms)

    async def switch(self, request: clue_pb2.MoveStep) -> clue_pb2.MoveReply:
        channel, move = _channel(request.channel), _token(request.move)
        self._check_target(request.to)
        reply = await self._step(channel, "switch", move, request.to)
        self._tell("channel moved away", channel, move, to=request.to)
        self._metrics.count("moves.away")
        return reply

    async def abort(self, request: clue_pb2.MoveStep) -> clue_pb2.MoveReply:
        """At the new home it drops the copy, unless that is the channel by now."""
        channel, move = _channel(request.channel), _token(request.move) if request.move else ""
        await self._check_copy(channel, move)
        reply = await self._step(channel, "abort", move)
        self._tell("move aborted", channel, request.move)
        self._metrics.count("moves.aborted")
        return reply

    # -- at the new home --------------------------------------------------------------------------------------------

    async def store(self, request: clue_pb2.StoreChannelRequest) -> clue_pb2.MoveReply:
        channel, move = _channel(request.channel), _token(request.move)
        if not getattr(request, "from") or getattr(request, "from") == self._homes.cluster:
            raise ValueError(f"a page of {channel} that comes from {getattr(request, 'from')!r}")
        pieces = []
        for piece in request.page.pieces:
            if piece.key == _LIMITS:
                await self._raise_limits(piece.fields)
            else:
                pieces.append(Stored(_key(channel, piece.key), piece.kind, piece.ttl_ms, piece.fields, piece.removed))
        command = scripts.store(
            channel, move, getattr(request, "from"), self._homes.here(channel), pieces,
            first=request.first, number=request.number,
        )  # fmt: skip
        why = (await self._shard(channel).call_one(command)).decode()
        if why:
            raise MoveRefused(f"{channel} cannot be stored on cluster {self._homes.cluster}: {why}")
        return clue_pb2.MoveReply()

    async def settle(self, channel: str, move: str) -> None:
        """It lives here from now on, if that move brought it; the directory is told when it can be."""
        _channel(channel)
        await self._step(channel, "settle", _token(move))
        try:
            await self._list(channel, move)
        except RemoteError:
            pass  # the directory's shard counts and logs it; FinishMove comes back to it

    async def finish(self, request: clue_pb2.FinishMoveRequest) -> clue_pb2.MoveReply:
        channel, move = _channel(request.channel), _token(request.move)
        if request.redirect not in REDIRECTS:
            raise ValueError(f"redirect {request.redirect!r}: none, clients or all")
        await self._step(channel, "settle", move)
        await self._list(channel, move)
        moved = chat_pb2.Moved(
            cluster=self._homes.cluster, redirect=request.redirect or "none", within_s=request.within_s
        )
        publication = chat_pb2.Publication(
            id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{channel} {move}")), ts_ms=self._clock.unix_ms(), moved=moved
        )
        # Counted as a batch of the move's own: once in the log, however often the step is repeated.
        group = Group("move:" + move, 1, "", [Accepted(publication.SerializeToString())])
        outcome = await self._commits.put(channel, group)
        if isinstance(outcome, Frozen):
            raise MoveRefused(f"{channel} is being moved again")
        self._tell("channel moved here", channel, move, redirect=moved.redirect)
        self._metrics.count("moves.here")
        return await self._figures(channel)

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _copy(self, channel: str, move: str, cursor: str) -> _Step:
        """One look at what there is. Cursors are "<section>:<where in it>"."""
        section, _, inner = cursor.partition(":")
        names = keys.of_channel(channel)
        first = _head(channel)
        following = _SECTIONS[_SECTIONS.index(section) + 1] + ":" if section != _SECTIONS[-1] else ""
        if section == "chatters":
            return await self._copy_chatters(channel, move, first, inner)
        if section == "head":
            _, fields = await self._look(channel, move, first, ("HGETALL", names.head))
            return _Step([clue_pb2.Piece(key="head", kind="hash", fields=fields)], following)
        if section == "edges":
            key = keys.edges_of(channel)
            _, runs, ttl = await self._look(channel, move, first, ("ZRANGE", key, 0, -1, "WITHSCORES"), ("PTTL", key))
            return _Step(_pieces("edges", "zset", runs, ttl), following)
        if section == "log":
            head = (await self._look(channel, move, first))[0]
            upto = int(head[2].split()[2])
            step = await self._entries(channel, int(inner or 0), upto)
            return _Step(step.pieces, "log:" + step.cursor if step.cursor else following)
        key = getattr(names, section)
        _, (at, fields), ttl = await self._look(
            channel, move, first, ("HSCAN", key, inner or 0, "COUNT", _FIELDS), ("PTTL", key)
        )
        return _Step(_pieces(section, "hash", fields, ttl), f"{section}:{at.decode()}" if at != b"0" else following)

    async def _copy_chatters(self, channel: str, move: str, first: scripts.Command, inner: str) -> _Step:
        """One edge's set after the other. `inner`: "<edge run>:<scan>"; "": the first one."""
        run, _, scan = inner.partition(":")
        _, found = await self._look(channel, move, first, ("ZRANGE", keys.edges_of(channel), 0, -1))
        runs = sorted(one.decode() for one in found)
        if not run:
            return _Step((), f"{_CHATTERS}{runs[0]}:0" if runs else "")
        key = keys.chatters_of(channel) + run
        _, (at, logins), ttl = await self._look(
            channel, move, first, ("SSCAN", key, scan, "COUNT", _FIELDS), ("PTTL", key)
        )
        pieces = _pieces(_CHATTERS + run, "set", logins, ttl)
        pieces += await self._limits(login.decode() for login in logins)
        if at != b"0":
            return _Step(pieces, f"{_CHATTERS}{run}:{at.decode()}")
        later = [one for one in runs if one > run]
        return _Step(pieces, f"{_CHATTERS}{later[0]}:0" if later else "")

    async def _changes(self, channel: str, move: str, cursor: str, number: int) -> _Step:
        """One look at what has changed. Cursors are "log:<after>:<up to>" and "taken:<scan>"."""
        names = keys.of_channel(channel)
        if not cursor:
            reply = await self._shard(channel).call_one(scripts.take(channel, move, number, self._homes.here(channel)))
            error = failure(channel, reply)
            if error is not None:
                raise error
            why, after, upto, fields = reply
            if why:
                raise MoveRefused(f"{channel} on cluster {self._homes.cluster}: {why.decode()}")
            return _Step(
                [clue_pb2.Piece(key="head", kind="hash", fields=fields)], f"log:{after.decode()}:{upto.decode()}"
            )
        section, _, inner = cursor.partition(":")
        first = _head(channel)
        if section == "log":
            after_text, _, upto_text = inner.partition(":")
            await self._look(channel, move, first)
            step = await self._entries(channel, int(after_text), int(upto_text))
            # Whoever wrote these has taken from its limits since they were read.
            authors = {
                chat_pb2.Publication.FromString(piece.fields[i]).line.author.login
                for piece in step.pieces
                for i in range(2, len(piece.fields), 3)
            }
            pieces = [*step.pieces, *await self._limits(authors - {""})]
            return _Step(pieces, f"log:{step.cursor}:{upto_text}" if step.cursor else "taken:0")
        _, (at, members) = await self._look(channel, move, first, ("SSCAN", names.taken, inner, "COUNT", _FIELDS))
        touched: dict[str, list[bytes]] = {}
        for member in members:
            key, _, field = member.partition(b" ")
            touched.setdefault(key.decode(), []).append(field)
        return _Step(await self._touched(channel, touched), f"taken:{at.decode()}" if at != b"0" else "")

    async def _touched(self, channel: str, touched: dict[str, list[bytes]]) -> list[clue_pb2.Piece]:
        commands: list[scripts.Command] = []
        for name, fields in touched.items():
            key = _key(channel, name)
            if name == "edges":
                commands.append(("ZRANGE", key, 0, -1, "WITHSCORES"))
            elif name.startswith(_CHATTERS):
                commands.append(("SMEMBERS", key))
            else:
                commands.append(("HMGET", key, *fields))
            commands.append(("PTTL", key))
        replies = await self._all(channel, commands) if commands else []
        pieces = []
        for (name, fields), found, ttl in zip(touched.items(), replies[::2], replies[1::2], strict=True):
            if name == "edges":
                pieces += _pieces("edges", "zset", found, ttl)
            elif name.startswith(_CHATTERS):
                pieces.append(clue_pb2.Piece(key=name, kind="set", fields=found, removed=[b""], ttl_ms=max(0, ttl)))
            else:
                there = [(field, value) for field, value in zip(fields, found, strict=True) if value is not None]
                gone = [field for field, value in zip(fields, found, strict=True) if value is None]
                flat = [part for pair in there for part in pair]
                pieces.append(clue_pb2.Piece(key=name, kind="hash", fields=flat, removed=gone, ttl_ms=max(0, ttl)))
        return pieces

    async def _entries(self, channel: str, after: int, upto: int) -> _Step:
        """Entries of the log; the cursor is the number of the last one."""
        key = keys.of_channel(channel).log
        entries, ttl = await self._all(channel, (("XRANGE", key, f"({after}", upto, "COUNT", _FIELDS), ("PTTL", key)))
        flat: list[bytes] = []
        for number, fields in entries:
            flat += (number.partition(b"-")[0], fields[1], fields[3])
        return _Step(_pieces("log", "stream", flat, ttl), flat[-3].decode() if len(entries) == _FIELDS else "")

    async def _limits(self, logins: Iterable[str]) -> list[clue_pb2.Piece]:
        """Of those from whose limits something was taken: "<messages> <ms left> <ms of lock-out left>"."""
        by_shard: dict[Shard, list[str]] = {}
        for login in logins:
            by_shard.setdefault(self._shards.at(keys.limits(login)), []).append(login)
        fields: list[bytes] = []
        for shard, there in by_shard.items():
            commands: list[scripts.Command] = []
            for login in there:
                counter = keys.limits(login)
                commands += (("GET", counter), ("PTTL", counter), ("PTTL", keys.lockout(login)))
            replies = await _answered(shard, commands)
            for login, used, left, lockout in zip(there, replies[::3], replies[1::3], replies[2::3], strict=True):
                if (used is not None and left > 0) or lockout > 0:
                    fields += (login.encode(), b"%d %d %d" % (int(used or 0), max(1, left), max(0, lockout)))
        return [clue_pb2.Piece(key=_LIMITS, kind="hash", fields=fields)] if fields else []

    async def _raise_limits(self, fields: Sequence[bytes]) -> None:
        by_shard: dict[Shard, list[scripts.Command]] = {}
        for login_text, value in zip(fields[::2], fields[1::2], strict=True):
            login = login_text.decode()
            used, left, lockout = map(int, value.split())
            commands = by_shard.setdefault(self._shards.at(keys.limits(login)), [])
            commands.append(scripts.raise_limit(login, used, left, lockout))
        for shard, commands in by_shard.items():
            await _answered(shard, commands)

    async def _look(self, channel: str, move: str, first: scripts.Command, *commands: scripts.Command) -> list[Any]:
        """Replies to `first` (home, moving, round of the head) and the others, if the move is under way here."""
        replies = await self._all(channel, (first, *commands))
        home, moving, _ = replies[0]
        self._homes.check(channel, home)
        if not moving or moving.decode().partition(" ")[0] != move:
            raise MoveRefused(f"{channel} on cluster {self._homes.cluster}: no such move is under way: begin it")
        return replies

    async def _all(self, channel: str, commands: Sequence[scripts.Command]) -> list[Any]:
        return await _answered(self._shard(channel), commands)

    # -- the rest ---------------------------------------------------------------------------------------------------

    async def _step(self, channel: str, step: str, move: str, to: str = "", freeze_ms: int = 0) -> clue_pb2.MoveReply:
        command = scripts.move(channel, step, move, self._homes.here(channel), to, freeze_ms)
        reply = await self._shard(channel).call_one(command)
        error = failure(channel, reply)
        if error is not None:
            raise error
        why, seq, moving = reply
        if why:
            raise MoveRefused(f"{channel} on cluster {self._homes.cluster}: {why.decode()}")
        token, _, target = moving.decode().partition(" ")
        return clue_pb2.MoveReply(head=int(seq), moving=token, moving_to=target)

    async def _figures(self, channel: str) -> clue_pb2.MoveReply:
        names = keys.of_channel(channel)
        others = [getattr(names, section) for section in _HASHES]
        head, entries, *sizes = await self._all(
            channel,
            (
                ("HMGET", names.head, "seq", "moving"),
                ("XLEN", names.log),
                *(("MEMORY", "USAGE", key) for key in (names.head, names.log, *others)),
            ),
        )
        presence = await self._shard(channel).call_one(
            scripts.presence(channel, 0, 1, "", 1, (), (), (), self._homes.here(channel))
        )
        if isinstance(presence, bytes):
            raise LivesElsewhere(channel, read_home(presence))
        move, _, to = (head[1] or b"").decode().partition(" ")
        return clue_pb2.MoveReply(
            head=int(head[0] or 0),
            entries=entries,
            members=presence[1],
            bytes=sum(size or 0 for size in sizes),
            moving=move,
            moving_to=to,
        )

    async def _list(self, channel: str, move: str) -> None:
        if self._shared.exists:
            await self._shared.set_home(channel, Home(self._homes.cluster, move))

    async def _check_copy(self, channel: str, move: str) -> None:
        """What a move has brought is worth nothing only as long as the old home says that the channel lives there."""
        home, prepared = await self._shard(channel).call_one(
            ("HMGET", keys.of_channel(channel).head, "home", "prepared")
        )
        if not prepared or prepared.decode() != move:
            return
        old = read_home(home).cluster
        [head] = (await self._peers.call(old, "Heads", clue_pb2.HeadsRequest(channels=[channel]))).heads
        if not head.available:
            raise RemoteError(f"cluster {old}", "abort", f"the shard of {channel} does not answer")
        if head.elsewhere.cluster == self._homes.cluster:
            raise MoveRefused(f"too late: {channel} lives on cluster {self._homes.cluster} since: finish the move")

    def _check_target(self, to: str) -> None:
        shared = self._shared
        if to == TEST:
            raise ValueError(f"no channel can be moved to cluster {TEST!r}: it shares nothing with the others")
        if to == self._homes.cluster:
            raise ValueError(f"cluster {to!r} is this one")
        if not shared.exists:
            raise MoveRefused(f"cluster {self._homes.cluster} is alone: TALLGRASS_DIRECTORY is not set")
        if not shared.reached:
            raise RemoteError(shared.server.name, "move", "the shared directory does not answer: moves wait for it")
        if to not in shared.clusters:
            raise ValueError(f"cluster {to!r} is not in the directory: there are {', '.join(sorted(shared.clusters))}")

    def _shard(self, channel: str) -> Shard:
        return self._shards.at(keys.of_channel(channel).head)

    def _tell(self, event: str, channel: str, move: str, **more: object) -> None:
        self._log.info(event, channel=channel, move=move, **more)


def moved(error: LivesElsewhere) -> clue_pb2.MoveReply:
    return clue_pb2.MoveReply(elsewhere=elsewhere(error.home))


async def _answered(shard: Shard, commands: Sequence[scripts.Command]) -> list[Any]:
    replies = await shard.call(commands)
    for reply in replies:
        if isinstance(reply, RemoteError):
            raise reply
    return replies


def _head(channel: str) -> scripts.Command:
    """What `_look` judges by; asked for first of all."""
    return ("HMGET", keys.of_channel(channel).head, "home", "moving", "round")


def _pieces(name: str, kind: str, fields: Sequence[bytes], ttl_ms: int) -> list[clue_pb2.Piece]:
    return [clue_pb2.Piece(key=name, kind=kind, fields=fields, ttl_ms=max(0, ttl_ms))] if fields else []


def _size(piece: clue_pb2.Piece) -> int:
    return sum(map(len, piece.fields))


def _key(channel: str, name: str) -> str:
    """Of a piece's name. Raises ValueError."""
    if name.startswith(_CHATTERS) and name.removeprefix(_CHATTERS).isdecimal():
        return keys.chatters_of(channel) + name.removeprefix(_CHATTERS)
    if name == "edges":
        return keys.edges_of(channel)
    if name in ("head", "log", *_HASHES):
        key: str = getattr(keys.of_channel(channel), name)
        return key
    raise ValueError(f"a channel has no part {name!r}")


def _channel(name: str) -> str:
    if channel_owner(name) is None or is_room(name):
        raise ValueError(
            f"{name!r} cannot be moved: inboxes and temporary rooms stay, other channels are # and a login"
        )
    return name


def _token(move: str) -> str:
    if not is_move(move):
        raise ValueError(f"{move!r} is no move's token: 13 digits of UNIX milliseconds, - and letters or digits")
    return move

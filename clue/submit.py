"""One Submit on its way: gather facts, decide, commit, and wait for an exchange.

What a batch needs is asked for all its channels at once: one round trip for channels not known yet (rare), one for the
users' limits, one for the commits. When a shard does not answer:

- a channel's: its submissions are UNAVAILABLE, the other channels of the batch go on;
- an author's: the rate limit cannot be checked. The message is let through when the author is known from before (the
  floor and the duplicate rule, on the channel's shard, still hold), else denied. To leave it undecided would hold up
  the edge's whole lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from clue import keys, scripts
from clue.channel_log import ChannelLogs
from clue.commits import Accepted, Commits, Committed, Group, Outcome, Stale, Superseded
from clue.facts import Candidate, Channel, Facts, Member, Profile, read_profile
from clue.limiter import Limits
from clue.publisher import Publisher
from clue.redis_shards import Shard, Shards
from clue.rooms import Rooms
from clue.rules import decide
from clue.text import normalise
from clue.users import Users, channel_owner
from clue.verdict import OF_STATE, Denial
from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2

STALE_ROUNDS = 5  # decisions on a channel whose state changes all the time; then its submissions are UNAVAILABLE
PUBLISH_WAIT_S = 2.0  # for an exchange, before a verdict says "delayed"
ANSWER_MARGIN_S = 0.3  # kept of the caller's deadline, to get the verdicts back

_NOBODY = Member(None, frozenset(), False)


class _Work:
    """One channel's submissions of the batch, and how far they are. Lists run along `submissions`."""

    __slots__ = (
        "allowed", "candidates", "exists", "members", "name", "outcome", "profiles", "reached", "room",
        "submissions", "unavailable",
    )  # fmt: skip

    def __init__(self, channel: clue_pb2.ChannelSubmissions) -> None:
        self.name = channel.channel
        self.submissions = list(channel.submissions)
        self.candidates = [Candidate(s.user_id, s.login, normalise(s.text)) for s in self.submissions]
        self.exists = channel_owner(channel.channel) is not None
        self.members = [(c.user_id, c.login) for c in self.candidates if c.user_id]
        self.room: Channel | None = None
        self.allowed = [True] * len(self.candidates)
        self.profiles: list[Profile | None] = [None] * len(self.candidates)
        self.reached = [True] * len(self.candidates)
        self.outcome: Committed | Superseded | None = None
        self.unavailable = False

    def member(self, i: int) -> Member:
        user_id = self.candidates[i].user_id
        return self.room.members[user_id] if self.room is not None and user_id else _NOBODY


class Submitter:
    """Carries out Submit calls; they share the caches and the commits."""

    def __init__(
        self,
        shards: Shards,
        rooms: Rooms,
        users: Users,
        logs: ChannelLogs,
        publisher: Publisher,
        *,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._shards = shards
        self._rooms = rooms
        self._users = users
        self._logs = logs
        self._publish = publisher.publish
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._commits = Commits(shards, clock, publisher.publish)

    async def submit(self, request: clue_pb2.SubmitRequest, time_left_s: float | None) -> clue_pb2.SubmitReply:
        """One verdict for each submission, in order. `time_left_s`: until the caller gives up (None: it does not)."""
        wait_s = PUBLISH_WAIT_S if time_left_s is None else min(PUBLISH_WAIT_S, time_left_s - ANSWER_MARGIN_S)
        deadline = self._clock.monotonic() + wait_s
        works = [_Work(channel) for channel in request.channels]
        # A later try takes nothing from the limits again, and always commits: an earlier try that is still on its way
        # then finds the batch taken (ARCHITECTURE 3.6).
        first = request.attempt <= 1
        self._metrics.count("submits")
        self._metrics.count("submissions", sum(len(work.submissions) for work in works))
        if not first:
            self._metrics.count("submits.retried")

        await self._gather_rooms(works)
        await self._gather_authors(works, first=first)
        todo = works
        for _ in range(STALE_ROUNDS):
            todo = await self._decide_and_commit(todo, request, always=not first)
            if not todo:
                break
            self._metrics.count("stale", len(todo))
            await self._gather_rooms(todo)
        for work in todo:
            self._log.error("submissions undecided", channel=work.name, cause="its state changes all the time")
            work.unavailable = True
        return self._reply(works, await self._published(works, deadline))

    async def _gather_rooms(self, works: Sequence[_Work]) -> None:
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
                    work.unavailable = True
                else:
                    work.room = facts.channel

    async def _gather_authors(self, works: Sequence[_Work], *, first: bool) -> None:
        """Take from the authors' limits, and bring their profiles. One call an author, one pipeline a shard."""
        places: dict[str, list[tuple[_Work, int]]] = {}
        for work in works:
            for i, candidate in enumerate(work.candidates):
                if candidate.user_id:
                    places.setdefault(candidate.login, []).append((work, i))
        by_shard: dict[Shard, list[str]] = {}
        for login in places:
            by_shard.setdefault(self._shards.at(keys.user(login)), []).append(login)
        asked = [
            (logins, shard.call([self._allow(login, places[login], first=first) for login in logins]))
            for shard, logins in by_shard.items()
        ]
        for logins, future in asked:
            replies: Sequence[Any]
            try:
                replies = await future
            except RemoteError as error:
                replies = [error] * len(logins)
            for login, reply in zip(logins, replies, strict=True):
                self._author(login, reply, places[login])

    def _allow(self, login: str, places: list[tuple[_Work, int]], *, first: bool) -> scripts.Command:
        letters = ""
        for work, i in places:
            if not first or work.unavailable:
                letters += "n"
            else:
                letters += "p" if work.member(i).privileged else "o"
        known = self._users.profiles.get(login)
        limits = self._limits
        return scripts.allow(
            login, known.version if known else "", letters, limits.ordinary, limits.privileged, limits.window_ms
        )

    def _author(self, login: str, reply: Any, places: list[tuple[_Work, int]]) -> None:
        profiles = self._users.profiles
        if isinstance(reply, RemoteError):
            self._metrics.count("limits.unchecked", len(places))
            known = profiles.get(login)
            for work, i in places:
                work.profiles[i] = known
                work.reached[i] = known is not None
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

    async def _decide_and_commit(
        self, works: Sequence[_Work], request: clue_pb2.SubmitRequest, *, always: bool
    ) -> list[_Work]:
        """Returns the works whose channel's state had changed: they are to be decided again."""
        now_ms = self._clock.unix_ms()
        waiting: list[tuple[_Work, asyncio.Future[Outcome]]] = []
        for work in works:
            if work.unavailable:
                continue
            decisions = [self._decide(work, i, request.edge_run, now_ms) for i in range(len(work.candidates))]
            if work.room is None or not (always or any(map(_needs_commit, decisions))):
                work.outcome = Committed([d for d in decisions if isinstance(d, Denial)], False, None)
                continue
            group = Group(request.edge_run, request.batch, work.room.version, decisions)
            waiting.append((work, self._commits.put(work.name, group)))
        stale = []
        try:
            for work, future in waiting:
                if await self._settle(work, future):
                    stale.append(work)
        except asyncio.CancelledError:
            for _, future in waiting:  # nobody is there to be told: what is not written yet shall not be
                future.cancel()
            raise
        return stale

    async def _settle(self, work: _Work, future: asyncio.Future[Outcome]) -> bool:
        """Bring the commit's outcome to the work; True when the channel's state was stale."""
        try:
            outcome = await future
        except RemoteError:
            work.unavailable = True
            return False
        if isinstance(outcome, Stale):
            assert work.room is not None
            self._rooms.cache.drop(work.name, work.room.version)
            return True
        work.outcome = outcome
        if isinstance(outcome, Committed) and outcome.repeat:
            self._metrics.count("repeats")
            await self._repeat(work, outcome)
        return False

    def _decide(self, work: _Work, i: int, edge_run: int, now_ms: int) -> Accepted | Denial:
        candidate = work.candidates[i]
        profile = work.profiles[i]
        member = work.member(i)
        facts = Facts(now_ms, work.exists, profile, work.reached[i], member.banned_until_ms, work.allowed[i])
        denial = decide(candidate, facts)
        if denial is not None:
            return denial
        room = work.room
        assert room is not None  # the rule channel_exists
        assert profile is not None  # the rule known_author
        submission = work.submissions[i]
        shown = candidate.text.shown
        publication = chat_pb2.Publication(
            id=submission.id,
            ts_ms=now_ms,
            room_id=room.room.room_id,
            line=chat_pb2.Line(
                author=member.chatter(profile, work.name),
                text=shown,
                client_nonce=submission.client_nonce,
                edge_run=edge_run,
                session=submission.session,
            ),
        ).SerializeToString()
        limits = self._limits
        if member.privileged or not limits.floor_ms:
            return Accepted(publication)
        text_hash = blake2b(shown.encode(), digest_size=8).digest()
        return Accepted(publication, profile.user_id, max(limits.floor_ms, room.room.slow_s * 1000), text_hash)

    async def _repeat(self, work: _Work, outcome: Committed) -> None:
        """The batch was committed by an earlier try, which may have died before an exchange had it: publish again."""
        if len(outcome.results) != len(work.submissions):
            self._log.error("batch repeated with another content", channel=work.name, cause="its length differs")
            work.unavailable = True
            return
        seqs = {result for result in outcome.results if isinstance(result, int)}
        if not seqs:
            return
        try:
            logged = await self._logs.between(work.name, min(seqs), max(seqs))
        except RemoteError:
            work.unavailable = True
            return
        entries = chat_pb2.Entries(entry=[entry for entry in logged if entry.seq in seqs])
        if entries.entry:
            outcome.published = self._publish(work.name, entries.SerializeToString())

    async def _published(self, works: Sequence[_Work], deadline: float) -> set[asyncio.Future[bool]]:
        """Wait for the exchange until `deadline`; returns what it has not taken by then."""
        waiting = {
            work.outcome.published
            for work in works
            if isinstance(work.outcome, Committed) and work.outcome.published is not None
        }
        if not waiting:
            return set()
        await asyncio.wait(waiting, timeout=max(0.0, deadline - self._clock.monotonic()))
        return {future for future in waiting if not (future.done() and future.result())}

    def _reply(self, works: Sequence[_Work], delayed: set[asyncio.Future[bool]]) -> clue_pb2.SubmitReply:
        reply = clue_pb2.SubmitReply()
        counters = self._metrics.counters
        for work in works:
            outcome = work.outcome
            if work.unavailable or outcome is None:
                counters["unavailable"] += len(work.submissions)
                for _ in work.submissions:
                    reply.verdicts.add(outcome=clue_pb2.Verdict.UNAVAILABLE)
            elif isinstance(outcome, Superseded):
                counters["superseded"] += len(work.submissions)
                for _ in work.submissions:
                    reply.verdicts.add(outcome=clue_pb2.Verdict.SUPERSEDED)
            else:
                late = outcome.published in delayed
                for i, result in enumerate(outcome.results):
                    if isinstance(result, Denial):
                        counters["denied." + result.msg_id] += 1
                        reply.verdicts.add(
                            outcome=clue_pb2.Verdict.DENIED, denial=result.msg_id, notice=result.notice(work.name)
                        )
                        continue
                    counters["allowed"] += 1
                    if late:
                        counters["publish.delayed"] += 1
                    profile = work.profiles[i]
                    reply.verdicts.add(
                        outcome=clue_pb2.Verdict.ALLOWED,
                        seq=result,
                        delayed=late,
                        chatter=work.member(i).chatter(profile, work.name) if profile else None,
                    )
        return reply


def _needs_commit(decision: Accepted | Denial) -> bool:
    """A decision that holds whatever the channel's state needs no proof, and nothing to be written."""
    return isinstance(decision, Accepted) or decision.msg_id in OF_STATE

"""One Submit on its way: gather facts, decide, commit, carry out what follows, and wait for an exchange.

Commands are decided like messages, in their order: what one changes holds for those after it in the batch. All of a
batch's changes and messages of a channel go into one commit, with what is answered; so a repeat is answered the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import blake2b

from clue import answers, commands
from clue.changes import Write, applied
from clue.channel_log import ChannelLogs
from clue.commands.messages import held_value, personal_notice
from clue.commands.shape import Call, Known, ToModerators, told
from clue.commits import (
    Accepted,
    Action,
    Commits,
    Committed,
    Decision,
    Done,
    Frozen,
    Group,
    Outcome,
    Result,
    Stale,
    Superseded,
    followed,
)
from clue.effects import Effects, Unposted
from clue.facts import DAY_MS, RETURNING_DAYS, Channel, Facts, Profile
from clue.gathering import Gathering
from clue.homes import elsewhere
from clue.limiter import Limits
from clue.publisher import Publisher
from clue.rooms import Rooms
from clue.rules import RULES, STANDING, decide
from clue.text import ACTION, inner
from clue.verdict import OF_STATE, UNINVITED, Denial
from clue.vocabularies import Vocabularies
from clue.vocabulary import Vocabulary
from clue.work import Work
from common.clock import Clock
from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import chat_pb2, clue_pb2
from common.trace import passed

STALE_ROUNDS = 5  # decisions on a channel whose state changes all the time; then its submissions are UNAVAILABLE
PUBLISH_WAIT_S = 2.0  # for an exchange, before a verdict says "delayed"
FROZEN_WAIT_S = 0.015  # until a channel in the last moment of a move is tried again, within the caller's deadline
ANSWER_MARGIN_S = 0.3  # kept of the caller's deadline, to get the verdicts back
UNIQUE_LENGTH = 9  # characters; only longer messages have to be unique (tmi_protocol section 11)

_UNPOSTED = answers.of(told("command_unavailable")).verdict
_HELD = "msg_rejected"
# Appended to a publication by commit.lua, when the message is its author's first one: protobuf merges the two.
_FIRST_MESSAGE = chat_pb2.Publication(line=chat_pb2.Line(first_message=True)).SerializeToString()


class _Moment:
    """What a round of decisions on one channel has in common. `room` and `known` are its own to change."""

    __slots__ = ("day", "edge_run", "known", "now_ms", "room", "vocabulary")

    def __init__(self, now_ms: int, edge_run: int, room: Channel | None, known: Known, vocabulary: Vocabulary) -> None:
        self.now_ms = now_ms
        self.day = now_ms // DAY_MS
        self.edge_run = edge_run
        self.room = room
        self.known = known
        self.vocabulary = vocabulary


class Submitter:
    """Carries out Submit calls; they share the caches and the commits."""

    def __init__(
        self,
        rooms: Rooms,
        logs: ChannelLogs,
        publisher: Publisher,
        gathering: Gathering,
        commits: Commits,
        effects: Effects,
        vocabularies: Vocabularies,
        *,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._rooms = rooms
        self._logs = logs
        self._publish = publisher.publish
        self._gathering = gathering
        self._commits = commits
        self._effects = effects
        self._vocabularies = vocabularies
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._log = log

    async def submit(
        self, request: clue_pb2.SubmitRequest, time_left_s: float | None, *, limited: bool = True
    ) -> clue_pb2.SubmitReply:
        """One verdict for each submission, in order. `time_left_s`: until the caller gives up (None: it does not).

        `limited`: the senders' limits are asked and taken from.
        """
        wait_s = PUBLISH_WAIT_S if time_left_s is None else min(PUBLISH_WAIT_S, time_left_s - ANSWER_MARGIN_S)
        started = self._clock.monotonic()
        deadline = started + wait_s
        works = [Work(channel) for channel in request.channels]
        for work in works:
            for message_id in work.traced.values():
                passed(self._log, "received", message_id, work.name, attempt=request.attempt)
        # A later try takes nothing from the limits again, and always commits: an earlier try that is still on its way
        # then finds the batch taken (ARCHITECTURE 3.6).
        first = request.attempt <= 1
        self._metrics.count("submits")
        self._metrics.count("submissions", sum(len(work.submissions) for work in works))
        if not first:
            self._metrics.count("submits.retried")

        await self._gathering.all(works, first=first, limited=limited)
        todo = works
        rounds = 0
        while rounds < STALE_ROUNDS:
            todo = await self._decide_and_commit(todo, request, always=not first)
            if not todo:
                break
            frozen = sum(work.frozen for work in todo)
            self._metrics.count("frozen", frozen)
            if frozen and self._clock.monotonic() > deadline:
                for work in todo:
                    work.unavailable = True
                break
            if frozen:
                await asyncio.sleep(FROZEN_WAIT_S)
            else:
                rounds += 1
            self._metrics.count("stale", len(todo) - frozen)
            await self._gathering.again(todo)
        if rounds == STALE_ROUNDS:
            for work in todo:
                self._log.error("submissions undecided", channel=work.name, cause="its state changes all the time")
                work.unavailable = True
        self._metrics.timing("submit.decide_ms", (self._clock.monotonic() - started) * 1e3)
        reply = self._reply(works, await self._published(works, deadline))
        self._metrics.timing("submit.ms", (self._clock.monotonic() - started) * 1e3)
        return reply

    # -- decide -----------------------------------------------------------------------------------------------------

    async def _decide_and_commit(
        self, works: Sequence[Work], request: clue_pb2.SubmitRequest, *, always: bool
    ) -> list[Work]:
        """Returns the works whose channel's state had changed, or that are frozen: they are to be decided again."""
        now_ms = self._clock.unix_ms()
        waiting: list[tuple[Work, Group, asyncio.Future[Outcome]]] = []
        for work in works:
            if work.unavailable:
                continue
            decisions = self._decisions(work, request.edge_run, now_ms)
            if work.room is None or not (always or any(map(_needs_commit, decisions))):
                work.outcome = Committed([d for d in decisions if isinstance(d, Denial)], False, None)
                continue
            group = Group(request.edge_run or "", request.batch, work.room.version, decisions, work.traced)
            for message_id in work.traced.values():
                passed(self._log, "decided", message_id, work.name)
            waiting.append((work, group, self._commits.put(work.name, group)))
        stale = []
        try:
            for work, group, future in waiting:
                if await self._settle(work, group, future):
                    stale.append(work)
        except asyncio.CancelledError:
            for _, _, future in waiting:  # nobody is there to be told: what is not written yet shall not be
                future.cancel()
            raise
        return stale

    def _decisions(self, work: Work, edge_run: int, now_ms: int) -> list[Decision]:
        room = work.room
        if room is None:
            moment = _Moment(now_ms, edge_run, None, work.known, self._vocabularies.of({}))
        elif not work.commands:
            moment = _Moment(now_ms, edge_run, room, work.known, self._vocabularies.of(room.fields))
        else:
            own = room.copy(user_id for user_id, _ in work.members)
            moment = _Moment(now_ms, edge_run, own, work.known.copy(), self._vocabularies.of(room.fields))
        return [
            self._message(work, i, moment) if i not in work.commands else self._command(work, i, moment)
            for i in range(len(work.candidates))
        ]

    def _facts(self, work: Work, i: int, moment: _Moment) -> Facts:
        room, user_id = moment.room, work.candidates[i].user_id
        if room is None or not user_id:
            return Facts(moment.now_ms, work.exists, work.profiles[i], work.reached[i], work.allowed[i])
        return Facts(
            moment.now_ms, work.exists, work.profiles[i], work.reached[i], work.allowed[i],
            room.members[user_id], room.modes, moment.vocabulary,
        )  # fmt: skip

    def _message(self, work: Work, i: int, moment: _Moment) -> Decision:
        facts = self._facts(work, i, moment)
        candidate = work.candidates[i]
        denial = _uninvited(facts, moment) or decide(
            candidate, facts, RULES if not candidate.text.command else STANDING
        )
        if denial is not None and denial.msg_id != _HELD:
            return denial
        if candidate.text.command:  # known, but not here: of the player, or of one client
            return Action(answers.token(answers.of(commands.unavailable(candidate.text.command))))
        room, member, profile = moment.room, facts.member, facts.profile
        assert room is not None  # the rule channel_exists
        assert profile is not None  # the rule known_author
        submission = work.submissions[i]
        shown = candidate.text.shown
        first_day = member.first_day
        # Written field by field: it takes half the time of the constructor's keywords.
        message = chat_pb2.Publication(id=submission.id, ts_ms=moment.now_ms, room_id=room.room.room_id)
        line = message.line
        if i in work.parents:
            line.reply.CopyFrom(_reply_to(work.parents[i]))
            shown = _addressed(shown, line.reply.parent_display_name)
        line.author.CopyFrom(member.chatter(profile, work.name))
        line.text = shown
        line.client_nonce = submission.client_nonce
        line.emotes = moment.vocabulary.emote_tag(shown)
        line.returning_chatter = first_day is not None and 0 < moment.day - first_day <= RETURNING_DAYS
        line.edge_run = moment.edge_run
        line.session = submission.session
        line.delay_s = 0 if member.moderator else room.modes.delay_s
        publication = message.SerializeToString()
        if denial is not None:
            return self._held(work.name, submission.id, candidate.text.shown, profile, publication, denial, moment)
        floor_ms = 0 if member.privileged else self._limits.floor_ms
        unique = room.modes.unique_chat and not member.moderator and len(inner(shown)) > UNIQUE_LENGTH
        if not floor_ms and not unique and first_day is not None:
            return Accepted(publication)
        return Accepted(
            publication,
            profile.user_id,
            max(floor_ms, room.modes.slow_s * 1000) if floor_ms else "",
            blake2b(shown.encode(), digest_size=8).digest() if floor_ms or unique else b"",
            "1" if unique else "",
            b"%d " % moment.day + _FIRST_MESSAGE if first_day is None else b"",
        )

    def _held(
        self, channel: str, message_id: str, shown: str, author: Profile, publication: bytes, denial: Denial,
        moment: _Moment,
    ) -> Action:  # fmt: skip
        """Kept for a moderator to decide on; they are told in their inboxes."""
        verdict = clue_pb2.Verdict(outcome=clue_pb2.Verdict.DENIED, denial=denial.msg_id, notice=denial.notice(channel))
        text = (
            f'A message from {author.display_name} is being checked: "{inner(shown)}" '
            f"Show it with /approve {message_id} or drop it with /deny {message_id}"
        )
        notice = personal_notice(message_id, channel, "msg_held", text, moment.now_ms)
        write = Write("held", message_id, held_value(publication, moment.now_ms), state=False)
        return Action(answers.token(answers.Kept(verdict, (ToModerators(notice),))), (write,))

    def _command(self, work: Work, i: int, moment: _Moment) -> Decision:
        candidate = work.candidates[i]
        facts = self._facts(work, i, moment)
        denial = _uninvited(facts, moment) or decide(candidate, facts, STANDING)
        if denial is not None:
            return denial
        assert moment.room is not None  # the rule channel_exists
        assert facts.profile is not None  # the rule known_author
        call = Call(
            work.commands[i], candidate.text.command, candidate.text.arguments, facts.profile, facts.member,
            moment.room, moment.known, moment.vocabulary, work.submissions[i].id, moment.now_ms,
        )  # fmt: skip
        answer = commands.answer(call)
        token = answers.token(answers.of(answer, facts.member.chatter(facts.profile, work.name)))
        if answer.change is None:
            return Action(token)
        applied(moment.room, answer.change, moment.known.roles)
        stored = tuple(publication.SerializeToString() for publication in answer.change.publications)
        return Action(token, answer.change.writes, stored)

    # -- commit -----------------------------------------------------------------------------------------------------

    async def _settle(self, work: Work, group: Group, future: asyncio.Future[Outcome]) -> bool:
        """Bring the commit's outcome to the work; True when it is to be decided again."""
        assert work.room is not None
        try:
            outcome = await future
        except RemoteError as error:
            work.fail(error)
            if work.elsewhere is not None:
                self._rooms.cache.drop(work.name, work.room.version)
            return False
        work.frozen = isinstance(outcome, Frozen)
        if isinstance(outcome, Frozen):
            return True
        if isinstance(outcome, Stale):
            self._rooms.cache.drop(work.name, work.room.version)
            return True
        work.outcome = outcome
        if isinstance(outcome, Superseded):
            return False
        for one in followed(group, outcome.results) if group.traced else ():
            passed(self._log, "logged", one.id, work.name, seq=one.seq, repeat=outcome.repeat or None)
        if outcome.repeat:
            self._metrics.count("repeats")
            await self._repeat(work, group, outcome)
        else:
            self._remember(work, work.room, group, outcome.results)
        done = [answers.from_token(result.token) for result in outcome.results if isinstance(result, Done)]
        effects = [effect for kept in done for effect in kept.effects]
        if effects and not work.unavailable:
            try:
                await self._effects.carry_out(work.name, group.edge_run, group.batch, effects)
            except Unposted:
                work.unposted = True
            except RemoteError:
                work.unavailable = True  # the edge repeats the batch, and this with it
        return False

    def _remember(self, work: Work, room: Channel, group: Group, results: Sequence[Result]) -> None:
        """What the commit has changed of what is cached."""
        for i, (decision, result) in enumerate(zip(group.decisions, results, strict=True)):
            if isinstance(decision, Accepted):
                if decision.suffix and isinstance(result, int):
                    work.member(i).first_day = int(decision.suffix.partition(b" ")[0])
            elif isinstance(decision, Action) and any(write.state for write in decision.writes):
                self._rooms.cache.drop(work.name, room.version)

    async def _repeat(self, work: Work, group: Group, outcome: Committed) -> None:
        """The batch was committed by an earlier try, which may have died before an exchange had it: publish again."""
        if len(outcome.results) != len(work.submissions):
            self._log.error("batch repeated with another content", channel=work.name, cause="its length differs")
            work.unavailable = True
            return
        seqs: set[int] = set()
        for result in outcome.results:
            if isinstance(result, int):
                seqs.add(result)
            elif isinstance(result, Done) and result.first:
                seqs.update(range(result.first, result.last + 1))
        if not seqs:
            return
        try:
            logged = await self._logs.between(work.name, min(seqs), max(seqs))
        except RemoteError:
            work.unavailable = True
            return
        entries = chat_pb2.Entries(entry=[entry for entry in logged if entry.seq in seqs])
        if entries.entry:
            outcome.published = self._publish(work.name, entries.SerializeToString(), followed(group, outcome.results))

    async def _published(self, works: Sequence[Work], deadline: float) -> set[asyncio.Future[bool]]:
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

    # -- answer -----------------------------------------------------------------------------------------------------

    def _reply(self, works: Sequence[Work], delayed: set[asyncio.Future[bool]]) -> clue_pb2.SubmitReply:
        reply = clue_pb2.SubmitReply()
        counters = self._metrics.counters
        for work in works:
            outcome = work.outcome
            if work.elsewhere is not None:
                counters["moved"] += len(work.submissions)
                for _ in work.submissions:
                    reply.verdicts.add(outcome=clue_pb2.Verdict.MOVED, elsewhere=elsewhere(work.elsewhere))
            elif work.unavailable or outcome is None:
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
                    if isinstance(result, Done):
                        kept = answers.from_token(result.token)
                        verdict = kept.verdict if not (kept.effects and work.unposted) else _UNPOSTED
                        if verdict.denial:
                            counters["denied." + verdict.denial] += 1
                        else:
                            counters["commands"] += 1
                        reply.verdicts.append(verdict)
                        continue
                    counters["allowed"] += 1
                    if late:
                        counters["publish.delayed"] += 1
                    profile = work.profiles[i]
                    allowed = reply.verdicts.add(outcome=clue_pb2.Verdict.ALLOWED, seq=result, delayed=late)
                    if profile:
                        allowed.chatter.CopyFrom(work.member(i).chatter(profile, work.name))
        return reply


def _uninvited(facts: Facts, moment: _Moment) -> Denial | None:
    """Who may not join a temporary room speaks there neither."""
    if moment.room is None or not moment.room.invite_only or facts.member.roles:
        return None
    return UNINVITED


def _needs_commit(decision: Decision) -> bool:
    """A decision that holds whatever the channel's state needs no proof, and nothing to be written."""
    return not isinstance(decision, Denial) or decision.msg_id in OF_STATE


def _reply_to(parent: chat_pb2.Publication) -> chat_pb2.Reply:
    line = parent.line
    return chat_pb2.Reply(
        parent_id=parent.id,
        parent_user_id=line.author.user_id,
        parent_login=line.author.login,
        parent_display_name=line.author.display_name,
        parent_text=inner(line.text),
        thread_id=line.reply.thread_id or parent.id,
        thread_login=line.reply.thread_login or line.author.login,
    )


def _addressed(shown: str, display_name: str) -> str:
    if shown.startswith(ACTION):
        return f"{ACTION}@{display_name} {shown[len(ACTION) :]}"
    return f"@{display_name} {shown}"

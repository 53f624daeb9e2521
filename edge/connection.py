"""One transport and one session, and what joins them to the rest of the edge: carries out the session's effects.

Contract: 1. lines are handled in the order they came; 2. replies that need clue arrive as callbacks and find the
session as it is then: closed connections ignore them; 3. everything a connection holds elsewhere (hub, door, follower)
is given back once, in `lost` or soon after it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from common.irc.linebuffer import TOO_LONG, Line
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2
from edge import render
from edge.config import EdgeConfig
from edge.delay import Delays
from edge.disconnect import Disconnect
from edge.effects import (
    AlreadyThere,
    Authenticate,
    CapabilitiesChanged,
    Close,
    Effect,
    Join,
    Joined,
    Names,
    Part,
    ReadHistory,
    Submit,
)
from edge.expulsions import Expulsions
from edge.history import History, Query
from edge.hub import Hub
from edge.inbox import Inboxes
from edge.log_reader import LogReader
from edge.membership import Membership
from edge.session import Phase, Session
from edge.timers import TimerWheel
from edge.tracing import Tracer
from edge.transports.base import Transport
from edge.turnstile import Turnstile

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clue_client import ClueClient
    from edge.follower import Follower

_CLOSE_S = 10.0  # a socket that has not taken our last words by then is cut


class Services:
    """What every connection of this edge uses."""

    __slots__ = (
        "clue", "config", "delays", "expulsions", "follower", "hub", "inboxes", "log", "logs", "membership", "metrics",
        "tasks", "tracer", "turnstile", "wheel",
    )  # fmt: skip

    def __init__(
        self,
        *,
        config: EdgeConfig,
        hub: Hub,
        clue: ClueClient,
        follower: Follower,
        inboxes: Inboxes,
        membership: Membership,
        expulsions: Expulsions,
        delays: Delays,
        logs: LogReader,
        wheel: TimerWheel,
        tracer: Tracer,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.config = config
        self.hub = hub
        self.clue = clue
        self.follower = follower
        self.inboxes = inboxes
        self.membership = membership
        self.expulsions = expulsions
        self.delays = delays
        self.logs = logs
        self.wheel = wheel
        self.tracer = tracer
        self.metrics = metrics
        self.log = log
        self.turnstile = Turnstile()
        self.tasks: set[asyncio.Task[Any]] = set()  # joins under way; each removes itself

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Connection:
    __slots__ = ("_heard", "_pinged", "_s", "_slow_since", "closed", "on_lost", "session", "transport")

    def __init__(self, number: int, transport: Transport, services: Services) -> None:
        self.session = Session(number)
        self.transport = transport
        self.closed = False
        self.on_lost: Callable[[], None] | None = None
        self._s = services
        self._heard = services.wheel.now
        self._pinged = 0.0
        self._slow_since = 0.0

    def opened(self) -> None:
        self._s.hub.sessions[self.session.number] = self
        self._s.metrics.counters["connections"] += 1
        self._s.wheel.schedule(self._s.config.registration_s, self._registration_due)

    # -- what the transport reports -----------------------------------------------------------------------------

    def received(self, lines: Iterable[Line]) -> None:
        """Take lines without their ends; TOO_LONG stands where one was over the limit."""
        self._heard = self._s.wheel.now
        session = self.session
        try:
            for line in lines:
                if self.closed:
                    return
                self._s.metrics.counters["lines"] += 1
                self._perform(session.line_too_long() if line is TOO_LONG else session.feed(line))
        except Exception as error:  # a bug of ours ends this session, never the server
            self._failed("line", error)

    @property
    def slow(self) -> bool:
        """It does not read, and is passed over."""
        return bool(self._slow_since)

    def slow_down(self) -> None:
        """Its buffer is over the bound: others do not wait for it."""
        if not self._slow_since and not self.closed:
            self._slow_since = self._s.wheel.now
            for name in self.session.channels:
                self._channel("suspend", name)
            self._s.metrics.counters["members.slow"] += 1
            self._s.wheel.schedule(self._s.config.slow_s, self._slow_due)
            if self.transport.websocket:
                self._s.wheel.schedule(1.0, self._slow_check)

    def catch_up(self) -> None:
        """It reads again."""
        if self._slow_since and not self.closed:
            self._slow_since = 0.0
            for name in self.session.channels:
                self._channel("resume", name)

    def lost(self) -> None:
        """The socket is gone, or shall be: give everything back."""
        if self.closed:
            return
        self.closed = True
        self.session.closed()
        self._s.hub.sessions.pop(self.session.number, None)
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None
        if self.session.login:
            # Out of the way of passes at once: thousands of closed sockets would cost them more than the open ones. The
            # rest can wait for its turn.
            left = [name for name in self.session.channels if self._part(name)]
            self._s.turnstile.put(partial(self._gone, left))

    def _gone(self, left: list[str]) -> None:
        for name in left:
            self._left(name)
        self._s.inboxes.leave(self)

    # -- ending -------------------------------------------------------------------------------------------------

    def disconnect(self, reason: Disconnect) -> None:
        """Say why, when the reason has words, and close."""
        if self.closed:
            return
        self._s.metrics.counters[f"disconnects.{reason.name.lower()}"] += 1
        words = reason.line()
        if words:
            self.transport.send(words)
        self._close()

    def stop(self) -> None:
        """The edge is going away."""
        self.disconnect(Disconnect.SERVER_STOPPING)

    def ask_to_reconnect(self) -> None:
        """RECONNECT: the server goes away soon (clients.md 45)."""
        if not self.closed:
            self.transport.send(render.RECONNECT)

    def _close(self) -> None:
        slow = bool(self._slow_since)
        self.lost()
        if slow:
            self.transport.abort()
        else:
            self.transport.close()
            self._s.wheel.schedule(_CLOSE_S, self.transport.abort)

    def _failed(self, operation: str, error: Exception) -> None:
        self._s.log.error(
            "session_failed", trace=True, remote=self.transport.peer, operation=operation, cause=repr(error)
        )
        self.disconnect(Disconnect.INTERNAL_ERROR)

    # -- effects ------------------------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        """Carry out in order; neighbouring lines go out in one write."""
        out = b""
        for effect in effects:
            if type(effect) is bytes:
                out += effect
                continue
            if out:
                self.transport.send(out)
                out = b""
            if isinstance(effect, Submit):
                self._submit(effect)
            elif isinstance(effect, Join):
                self._join(effect.channel)
            elif isinstance(effect, Joined):
                self._enter(effect.channel, effect.head)
            elif isinstance(effect, Part):
                self._leave(effect.channel)
            elif isinstance(effect, Authenticate):
                self._s.turnstile.after(self._s.clue.authenticate(effect.nick, effect.token), self._authenticated)
            elif isinstance(effect, AlreadyThere):
                out += self._s.membership.already_there(self, effect.channel)
            elif isinstance(effect, Names):
                joined = [name for name in effect.channels if name in self.session.channels]
                self._s.membership.names(joined, partial(self._named, effect.channels))
            elif isinstance(effect, ReadHistory):
                self._read_history(effect.query)
            elif isinstance(effect, CapabilitiesChanged):
                for name in self.session.channels:
                    self._channel("regroup", name)
            elif isinstance(effect, Close):
                if out:
                    self.transport.send(out)
                self.disconnect(effect.reason)
                return
        if out:
            self.transport.send(out)

    def _authenticated(self, future: asyncio.Future[clue_pb2.LoginResult]) -> None:
        if not self.closed and not future.cancelled():
            self._answer("login", partial(self._log_in, future.result()))

    def _log_in(self, result: clue_pb2.LoginResult) -> list[Effect]:
        """The inbox counts from before the welcome: who has read that may be whispered to at once."""
        effects = self.session.authenticated(result)
        if self.session.user is not None:
            self._s.inboxes.enter(self)
        return effects

    def _answer(self, operation: str, ask: Callable[[], list[Effect]]) -> None:
        try:
            self._perform(ask())
        except Exception as error:
            self._failed(operation, error)

    # -- speaking -----------------------------------------------------------------------------------------------

    def _submit(self, effect: Submit) -> None:
        user = self.session.user
        assert user is not None  # the session core refuses anonymous speakers
        submission = clue_pb2.Submission(
            id=self._s.tracer.new_id(effect.trace),
            user_id=user.user_id,
            login=user.login,
            text=effect.text,
            session=self.session.number,
            client_nonce=effect.client_nonce,
            reply_parent_id=effect.reply_parent_id,
        )
        self._s.tracer.taken(submission.id, effect.channel, user.login)
        channel = self._s.hub.channels.get(effect.channel)
        patience_s = 0.0 if channel is None else channel.patience_s
        future = self._s.clue.submit(effect.channel, submission, patience_s=patience_s)
        future.add_done_callback(partial(self._decided, effect.channel, submission.id))

    def _decided(self, channel: str, message_id: str, future: asyncio.Future[clue_pb2.Verdict]) -> None:
        if not future.cancelled():
            self._s.tracer.decided(message_id, channel, future.result())
        if not self.closed and not future.cancelled():
            self._answer("verdict", partial(self.session.verdict, channel, future.result(), message_id))

    # -- channels -----------------------------------------------------------------------------------------------

    def _join(self, channel: str) -> None:
        if self._s.follower.is_following(channel):
            self._ask_to_join(channel)
        else:
            self._s.spawn(self._open_and_join(channel))

    async def _open_and_join(self, channel: str) -> None:
        """First interest, then the facts: nothing falls between (ARCHITECTURE 3.6)."""
        await self._s.follower.open(channel)
        if self.closed:
            self._release_if_empty(channel)
        else:
            self._ask_to_join(channel)

    def _ask_to_join(self, channel: str) -> None:
        user = self.session.user
        user_id, login = (user.user_id, user.login) if user is not None else (0, self.session.login)
        self._s.turnstile.after(self._s.clue.join(channel, user_id, login), partial(self._joined, channel))

    def _joined(self, channel: str, future: asyncio.Future[clue_pb2.JoinResult]) -> None:
        if self.closed or future.cancelled():
            self._release_if_empty(channel)
            return
        result = future.result()
        self._s.delays.joins(channel, result.chatter)
        self._answer("join", partial(self.session.joined, channel, result))
        self._release_if_empty(channel)  # refused, or held by the core until another answer comes

    def _enter(self, channel: str, head: int) -> None:
        """A member first, then what the log may hold since `head`; `begin` also takes back a release."""
        self._s.hub.join(channel, self)
        self._s.follower.begin(channel, head)
        self._s.metrics.counters["joins"] += 1
        self._s.membership.enter(self, channel)
        user = self.session.user
        if user is not None and self._s.expulsions.since(channel, user.user_id, head):
            self.expel(channel)  # clue let it in just before the ban, and the ban was the first to arrive

    def expel(self, channel: str) -> None:
        """The user was banned from the channel for good."""
        if not self.closed:
            self._answer("ban", partial(self.session.expelled, channel))

    def _leave(self, name: str) -> None:
        """The session is in the channel no more, or had only asked to be."""
        if self._part(name):
            self._left(name)

    def _part(self, name: str) -> bool:
        """True: it was a member."""
        channel = self._s.hub.channels.get(name)
        if channel is None or not channel.has(self):
            return False
        self._s.hub.part(name, self)
        return True

    def _left(self, name: str) -> None:
        self._s.membership.leave(self, name)
        self._release_if_empty(name)

    def _release_if_empty(self, name: str) -> None:
        if name not in self._s.hub.channels:
            self._s.follower.release(name)

    def _channel(self, operation: str, name: str) -> None:
        channel = self._s.hub.channels.get(name)
        if channel is not None and channel.has(self):
            getattr(channel, operation)(self)

    def _named(self, channels: tuple[str, ...], known: dict[str, Collection[str]]) -> None:
        if not self.closed:
            self._answer("names", partial(self.session.named, channels, known))

    # -- catching up --------------------------------------------------------------------------------------------

    def _read_history(self, query: Query) -> None:
        self._s.logs.read(query.channel).add_done_callback(partial(self._history_read, query))

    def _history_read(self, query: Query, reading: asyncio.Future[History | None]) -> None:
        if not self.closed and not reading.cancelled():
            history = reading.result()
            if history is not None and not self._s.delays.moderates(query.channel, self.session.login):
                history = history.shown(time.time_ns() // 1_000_000)
            self._answer("history", partial(self.session.history, query, history))

    # -- time ---------------------------------------------------------------------------------------------------

    def _registration_due(self) -> None:
        if self.closed:
            return
        if self.session.phase is Phase.REGISTERING:
            self.disconnect(Disconnect.REGISTRATION_TIMEOUT)
        else:
            # After a storm all came in the same second: they shall not be pinged, and answer, in the same one.
            self._s.wheel.schedule(self._s.config.ping_s * random.uniform(0.5, 1.0), self._ping_due)

    def _ping_due(self) -> None:
        """Any line is a sign of life, not only PONG (clients.md 34): who gave one lately is not asked for another."""
        if self.closed:
            return
        now, period = self._s.wheel.now, self._s.config.ping_s
        if self._pinged and self._heard < self._pinged:
            self.disconnect(Disconnect.PING_TIMEOUT)
        elif now - self._heard < period / 2:
            self._s.wheel.schedule(period / 2, self._ping_due)
        else:
            self._pinged = now
            self.transport.send(render.PING)
            self._s.wheel.schedule(period, self._ping_due)

    def _slow_due(self) -> None:
        if self.closed or not self._slow_since:
            return
        left = self._slow_since + self._s.config.slow_s - self._s.wheel.now
        if left > 0:  # it caught up in between and fell behind again
            self._s.wheel.schedule(left, self._slow_due)
        else:
            self.disconnect(Disconnect.SLOW_READER)

    def _slow_check(self) -> None:
        """A WebSocket does not tell when it has caught up: look."""
        if self.closed or not self._slow_since:
            return
        if self.transport.buffered() * 4 < self._s.config.write_buffer:
            self.catch_up()
        else:
            self._s.wheel.schedule(1.0, self._slow_check)

"""The state of one connection, pure: lines and answers in, effects out. Knows no socket, clock or network.

Phases, assigned nowhere else:

    REGISTERING --login accepted, or an anonymous NICK--> OPEN
    REGISTERING, OPEN --Close was asked for--> CLOSING
    any --`closed`--> CLOSED

While a login or a list of names is under way, lines are held, so that the order on the wire is the order received
(clients.md 13). In CLOSING and CLOSED everything is answered with nothing. Answers of clue may come at any time and in
any order.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping

from common.irc import numerics
from common.irc.message import EmptyLine, ForbiddenCharacter, InvalidUtf8, Message, MessageError, parse
from common.pb.chat_pb2 import Chatter
from common.pb.clue_pb2 import JoinResult, LoginResult, Verdict
from edge import render
from edge.commands import COMMANDS, GARBLED, Command
from edge.disconnect import Disconnect
from edge.effects import AlreadyThere, Authenticate, Close, Effect, Joined, Names, Part
from edge.handlers.history import refusal
from edge.handlers.registration import offer
from edge.history import MAX_MESSAGES, History, NotInLog, Query
from edge.pending_joins import PendingJoins
from edge.render import NO_CAPABILITIES, Capability

MAX_EARLY_LINES = 16  # before the login is asked for (ARCHITECTURE, "Bounds")
MAX_HELD_LINES = 128  # while it is under way: a bot may ask for its 100 channels, a line each, in one write
MAX_LONG_LINES = 3  # the third ends the session

_FORBIDDEN = str.maketrans("\0\r\n", "\ufffd" * 3)

_JOIN_UNAVAILABLE = "This channel cannot be joined at the moment. Please try again in a minute."
_NOT_SENT = "Your message was not sent because chat is unavailable at the moment. Please try again."
# Tokens of a 005 (IRCv3 "chathistory"); only for those who asked: Twitch sends none.
_HISTORY_FEATURES = f"CHATHISTORY={MAX_MESSAGES} MSGREFTYPES=msgid,timestamp"
_HISTORY_UNAVAILABLE = "Messages could not be retrieved at the moment. Please try again"
_NOT_IN_LOG = "That message is not in the log, or no longer. Ask by timestamp"
_NOT_CONFIRMED = (
    "Your message could not be confirmed because chat is unavailable at the moment. It may or may not have been sent."
)


class Phase(enum.Enum):
    REGISTERING = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()
    CLOSED = enum.auto()


class Session:
    """`number` tells the sessions of one edge process apart. Others read the attributes; handlers write them, too."""

    __slots__ = (
        "_batches",
        "_early_lines",
        "_held",
        "_long_lines",
        "capabilities",
        "channels",
        "joins",
        "login",
        "notify",
        "number",
        "password",
        "phase",
        "queries",
        "user",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.phase = Phase.REGISTERING
        self.login = ""  # folded; "" before the login is done
        self.user: Chatter | None = None  # None for anonymous, too
        self.password = ""  # of the last PASS
        self.capabilities: Capability = NO_CAPABILITIES
        self.notify = False  # it knows CAP NEW
        self.channels: set[str] = set()  # joined, and told so
        self.joins = PendingJoins()
        self.queries = 0  # ReadHistory that were not answered yet
        self._batches = 0  # of history sent so far: each has a name of its own
        self._held: list[bytes] | None = None  # lines that wait for the login, or for names; None: none is under way
        self._early_lines = 0
        self._long_lines = 0

    @property
    def anonymous(self) -> bool:
        """Logged in without a user: may read, not speak."""
        return self.login != "" and self.user is None

    # -- what the connection reports --------------------------------------------------------------------------------

    def feed(self, line: bytes) -> list[Effect]:
        """One line without its terminator."""
        if self.phase is Phase.OPEN:
            return self._handle(line) if self._held is None else self._hold(line)
        if self.phase is not Phase.REGISTERING:
            return []
        if self._held is not None:
            self._held.append(line)
            return self.close(Disconnect.TOO_MANY_LINES) if len(self._held) > MAX_HELD_LINES else []
        self._early_lines += 1
        if self._early_lines > MAX_EARLY_LINES:
            return self.close(Disconnect.TOO_MANY_LINES)
        return self._handle(line)

    def line_too_long(self) -> list[Effect]:
        """A line was over the limit and is lost."""
        if self.phase in (Phase.CLOSING, Phase.CLOSED):
            return []
        self._long_lines += 1
        told = render.numeric(numerics.ERR_INPUTTOOLONG, self.login, "Input line was too long")
        if self._long_lines >= MAX_LONG_LINES:
            return [told, *self.close(Disconnect.LINES_TOO_LONG)]
        return [told]

    def authenticated(self, result: LoginResult) -> list[Effect]:
        """The answer to Authenticate; then the lines that were held."""
        if self._held is None or self.phase is not Phase.REGISTERING:
            return []
        held, self._held = self._held, None
        if result.outcome == LoginResult.ACCEPTED:
            effects = self.open(result.user.login, result.user)
        elif result.outcome == LoginResult.REFUSED:
            effects = self.refuse_login("Login authentication failed", Disconnect.LOGIN_REFUSED)
        elif result.outcome == LoginResult.INVALID_NICK:
            effects = self.refuse_login("Invalid NICK", Disconnect.INVALID_NICK)
        else:
            effects = self.close(Disconnect.LOGIN_UNAVAILABLE)
        return effects + self._resume(held)

    def named(self, channels: tuple[str, ...], known: Mapping[str, Collection[str]]) -> list[Effect]:
        """The answer to Names: `known` has the logins of each channel of which they could be learned."""
        if self.phase is not Phase.OPEN:
            return []
        held, self._held = self._held or [], None
        return [self._list(channels, known), *self._resume(held)]

    def joined(self, channel: str, result: JoinResult) -> list[Effect]:
        """The answer to a Join. Replies go out in the order asked: of none, one or several channels at a time."""
        if self.phase is not Phase.OPEN:
            return []
        return [effect for name, answer in self.joins.answer(channel, result) for effect in self._let_in(name, answer)]

    def verdict(self, channel: str, verdict: Verdict, message_id: str) -> list[Effect]:
        """The answer to a Submit; `message_id`: the id that the submission had, shown to its sender."""
        if self.phase is not Phase.OPEN:
            return []
        if verdict.outcome == Verdict.ALLOWED:
            state = render.userstate(channel, verdict.chatter, self.capabilities, message_id)
            return [state] if state else []
        if verdict.outcome == Verdict.DENIED:
            return [render.notice(channel, verdict.denial, verdict.notice, self.capabilities)]
        if verdict.outcome == Verdict.COMMAND:
            return self._commanded(channel, verdict)
        text = _NOT_SENT if verdict.outcome == Verdict.SUPERSEDED else _NOT_CONFIRMED
        return [render.notice(channel, "msg_unavailable", text, self.capabilities)]

    def expelled(self, channel: str) -> list[Effect]:
        """The user was banned from the channel for good: it is out, and sees itself leave (tmi_protocol.md 12)."""
        if self.phase is not Phase.OPEN or channel not in self.channels:
            return []
        self.channels.discard(channel)
        return [Part(channel), render.part(self.login, channel)]

    def history(self, query: Query, history: History | None) -> list[Effect]:
        """The answer to a ReadHistory; None: the log could not be read."""
        self.queries -= 1
        if self.phase is not Phase.OPEN:
            return []
        context = f"{query.direction.value} {query.channel}"
        if query.channel not in self.channels:  # left, or expelled, meanwhile
            return [refusal("INVALID_TARGET", context, "You are not in that channel")]
        if history is None:
            return [refusal("MESSAGE_ERROR", context, _HISTORY_UNAVAILABLE)]
        try:
            publications = history.select(query, user_notices=Capability.COMMANDS in self.capabilities)
        except NotInLog:
            return [refusal("MESSAGE_ERROR", context, _NOT_IN_LOG)]
        self._batches += 1
        lines = render.history(publications, query.channel, self.capabilities, f"history{self._batches}")
        return [lines] if lines else []

    def closed(self) -> None:
        """The socket is gone."""
        self.phase = Phase.CLOSED

    # -- what handlers decide ---------------------------------------------------------------------------------------

    def authenticate(self, nick: str, token: str) -> list[Effect]:
        """Hold what follows until clue has answered."""
        self._held = []
        self.password = ""
        return [Authenticate(nick, token)]

    def list_names(self, channels: tuple[str, ...]) -> list[Effect]:
        """Hold what follows until it is known who is there."""
        if self.channels.isdisjoint(channels):
            return [self._list(channels, {})]
        self._held = []
        return [Names(channels)]

    def open(self, login: str, user: Chatter | None) -> list[Effect]:
        """The login is done."""
        self.phase = Phase.OPEN
        self.login = login
        self.user = user
        features = _HISTORY_FEATURES if Capability.CHATHISTORY in self.capabilities else ""
        state = render.global_userstate(user, self.capabilities) if user is not None else b""
        return [render.welcome(login, features) + state + (offer() if self.notify else b"")]

    def refuse_login(self, text: str, reason: Disconnect) -> list[Effect]:
        """One NOTICE in the very words that clients look for, then the end."""
        return [render.login_notice(text), *self.close(reason)]

    def close(self, reason: Disconnect) -> list[Effect]:
        self.phase = Phase.CLOSING
        self._held = None
        return [Close(reason)]

    # -- holding ----------------------------------------------------------------------------------------------------

    def _hold(self, line: bytes) -> list[Effect]:
        """Behind a NAMES; whoever has so much to say loses the order, not the session."""
        assert self._held is not None
        self._held.append(line)
        if len(self._held) <= MAX_HELD_LINES:
            return []
        held, self._held = self._held, None
        return self._resume(held)

    def _resume(self, held: list[bytes]) -> list[Effect]:
        return [effect for line in held for effect in self.feed(line)]

    def _list(self, channels: tuple[str, ...], known: Mapping[str, Collection[str]]) -> bytes:
        return b"".join(
            render.names(self.login, channel, known.get(channel, ()))
            if channel in self.channels
            else render.end_of_names(self.login, channel)
            for channel in channels
        )

    # -- lines ------------------------------------------------------------------------------------------------------

    def _handle(self, line: bytes) -> list[Effect]:
        try:
            message = parse(line)
        except EmptyLine:
            return []
        except (InvalidUtf8, ForbiddenCharacter):
            return self._handle_garbled(line)
        except MessageError:
            return self._unknown("*")
        return self._dispatch(message, COMMANDS)

    def _handle_garbled(self, line: bytes) -> list[Effect]:
        """Bytes that are no clean text: one line suffers, not the session."""
        try:
            message = parse(line.decode(errors="replace").translate(_FORBIDDEN).encode())
        except MessageError:
            return self._unknown("*")
        return self._dispatch(message, GARBLED)

    def _dispatch(self, message: Message, commands: dict[str, Command]) -> list[Effect]:
        command = commands.get(message.command)
        if command is None:
            return self._unknown(message.command)
        if command.registered and self.phase is not Phase.OPEN:
            return [render.numeric(numerics.ERR_NOTREGISTERED, "", "You have not registered", message.command)]
        if len(message.params) < command.least_params:
            text = "Not enough parameters"
            return [render.numeric(numerics.ERR_NEEDMOREPARAMS, self.login, text, message.command)]
        return command.handler(self, message)

    def _unknown(self, command: str) -> list[Effect]:
        return [render.numeric(numerics.ERR_UNKNOWNCOMMAND, self.login, "Unknown command", command)]

    def _commanded(self, channel: str, verdict: Verdict) -> list[Effect]:
        """A slash command: its answers; the states as they are after it; the end, when that was asked for."""
        lines = b"".join(
            render.notice(channel, told.msg_id, told.text, self.capabilities, told.target_user_ids)
            for told in verdict.notices
        )
        if verdict.HasField("chatter"):
            lines += self._changed_look(verdict.chatter)
            lines += render.userstate(channel, verdict.chatter, self.capabilities, "")
        effects: list[Effect] = [lines] if lines else []
        return effects + self.close(Disconnect.QUIT) if verdict.disconnect else effects

    def _changed_look(self, chatter: Chatter) -> bytes:
        """GLOBALUSERSTATE, when the user has another color or name than it was last shown."""
        known = self.user
        if known is None or (known.color, known.display_name) == (chatter.color, chatter.display_name):
            return b""
        self.user = Chatter()
        self.user.CopyFrom(known)
        self.user.color = chatter.color
        self.user.display_name = chatter.display_name
        return render.global_userstate(self.user, self.capabilities)

    def _let_in(self, channel: str, result: JoinResult) -> list[Effect]:
        """USERSTATE before ROOMSTATE: tmi.js resolves at the latter (clients.md 18)."""
        if result.outcome == JoinResult.DENIED:
            return [render.notice(channel, result.denial, result.notice, self.capabilities)]
        if result.outcome != JoinResult.ADMITTED:
            return [render.notice(channel, "msg_unavailable", _JOIN_UNAVAILABLE, self.capabilities)]
        self.channels.add(channel)
        told = render.join(self.login, channel)
        lines = render.names(self.login, channel, ())
        if self.user is not None:
            lines += render.userstate(channel, result.chatter, self.capabilities, "")
        lines += render.roomstate(channel, result.room, self.capabilities)
        if Capability.MEMBERSHIP in self.capabilities:
            return [told, AlreadyThere(channel), lines, Joined(channel, result.head)]
        return [told + lines, Joined(channel, result.head)]

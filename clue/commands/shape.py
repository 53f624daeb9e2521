"""What a slash command is: a pure function from a call to an answer, and what must be gathered for it beforehand."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from clue.changes import Change
from clue.commands.notices import Notice, notice
from clue.facts import Channel, Member, Profile, Roles
from clue.vocabulary import Vocabulary
from common.errors import RemoteError
from common.pb import chat_pb2


class Level(enum.IntEnum):
    """Who may use a command; each may what those before may."""

    EVERYONE = 0
    MODERATOR = 1  # staff and admins, too
    BROADCASTER = 2


class Needs(enum.Flag):
    """What is gathered before the handler is called."""

    NOTHING = 0
    USER = enum.auto()  # the first argument is a user: the account, and its membership
    ROLES = enum.auto()  # everybody's roles in the channel
    LINE = enum.auto()  # the first argument is the id of a message in the log
    HELD = enum.auto()  # the first argument is the id of a held message
    ROOM = enum.auto()  # the first argument is another channel


class Post(NamedTuple):
    """An entry of another log: a channel's, or the inbox "@login"."""

    log: str
    publication: bytes


class ToModerators(NamedTuple):
    """An entry of the inboxes of the channel's broadcaster and moderators."""

    publication: bytes


class Recolor(NamedTuple):
    """The user's color becomes `color`."""

    login: str
    color: str


Effect = Post | ToModerators | Recolor


class Answer(NamedTuple):
    """`change` is made in the channel with what is kept of the answer; `effects` follow it, on other shards."""

    notices: tuple[Notice, ...] = ()
    change: Change | None = None
    effects: tuple[Effect, ...] = ()
    disconnect: bool = False


def told(msg_id: str, *targets: int, **words: object) -> Answer:
    """An answer of one notice, and nothing else."""
    return Answer((notice(msg_id, *targets, **words),))


@dataclass(slots=True)
class Known:
    """What was gathered for the commands of one channel's submissions. RemoteError: the shard did not answer."""

    users: dict[str, Profile | RemoteError | None] = field(default_factory=dict)  # by login
    roles: dict[int, Roles] = field(default_factory=dict)  # by user id
    lines: dict[str, chat_pb2.Publication | None] = field(default_factory=dict)  # by message id
    held: dict[str, bytes | None] = field(default_factory=dict)  # by message id
    rooms: dict[str, Channel | RemoteError] = field(default_factory=dict)  # with the author's membership
    viewers: int = 0
    too_many_whispers: dict[str, str] = field(default_factory=dict)  # submission id -> msg-id of the refusal

    def copy(self) -> Known:
        """One's own to change."""
        return replace(self, roles=dict(self.roles), lines=dict(self.lines), held=dict(self.held))


@dataclass(frozen=True, slots=True)
class Call:
    """`channel` and `known` are as the commands before this one in the batch have left them."""

    command: Command
    typed: str  # "/ban"
    arguments: str
    author: Profile
    member: Member
    channel: Channel
    known: Known
    vocabulary: Vocabulary
    id: str  # of the submission
    now_ms: int

    @property
    def first(self) -> str:
        return self.arguments.partition(" ")[0]

    @property
    def rest(self) -> str:
        """What follows the first argument."""
        return self.arguments.partition(" ")[2]

    @property
    def level(self) -> Level:
        if self.member.broadcaster:
            return Level.BROADCASTER
        return Level.MODERATOR if self.member.moderator or self.author.type else Level.EVERYONE

    def publication(self) -> chat_pb2.Publication:
        """One to fill; its id is the submission's."""
        return chat_pb2.Publication(id=self.id, ts_ms=self.now_ms, room_id=self.channel.room.room_id)


Handler = Callable[[Call], Answer]


class Command(NamedTuple):
    """`usage`: its msg-id without "usage_", and the text after "Usage: "."""

    handler: Handler
    usage_id: str
    usage: str
    least: int = 0  # arguments
    level: Level = Level.EVERYONE
    needs: Needs = Needs.NOTHING

    def help(self) -> Notice:
        return Notice(f"usage_{self.usage_id}", f"Usage: {self.usage}")


Table = Mapping[str, Command]

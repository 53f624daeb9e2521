"""One channel's submissions of a batch, and how far they are."""

from __future__ import annotations

from clue import commands
from clue.commands.shape import Command, Known, Needs
from clue.commits import Committed, Superseded
from clue.facts import NOBODY, Candidate, Channel, Member, Profile
from clue.homes import Home, LivesElsewhere
from clue.text import normalise
from clue.users import channel_owner
from common.errors import RemoteError
from common.pb import chat_pb2, clue_pb2
from common.trace import is_traced


class Work:
    """Lists run along `submissions`; `commands` and `parents` hold only those that are commands, or replies."""

    __slots__ = (
        "allowed", "candidates", "commands", "elsewhere", "exists", "frozen", "known", "members", "name", "outcome",
        "parents", "profiles", "reached", "room", "submissions", "traced", "unavailable", "unposted",
    )  # fmt: skip

    def __init__(self, channel: clue_pb2.ChannelSubmissions) -> None:
        self.name = channel.channel
        self.submissions = list(channel.submissions)
        self.traced = {i: s.id for i, s in enumerate(self.submissions) if is_traced(s.id)}
        self.candidates = [Candidate(s.user_id, s.login, normalise(s.text)) for s in self.submissions]
        self.exists = channel_owner(channel.channel) is not None
        self.members = [(c.user_id, c.login) for c in self.candidates if c.user_id]
        self.room: Channel | None = None
        self.allowed = [True] * len(self.candidates)
        self.profiles: list[Profile | None] = [None] * len(self.candidates)
        self.reached = [True] * len(self.candidates)
        self.outcome: Committed | Superseded | None = None
        self.unavailable = False
        self.frozen = False
        self.unposted = False  # another cluster did not take what its commands had to tell there
        self.elsewhere: Home | None = None  # where the channel lives, when that is why it is unavailable
        self.commands: dict[int, Command] = {}
        for i, candidate in enumerate(self.candidates):
            if candidate.text.command and candidate.user_id:
                command = commands.find(candidate.text.command)
                if command is not None:
                    self.commands[i] = command
        self.known = Known()
        self.parents: dict[int, chat_pb2.Publication] = {}

    def fail(self, error: RemoteError) -> None:
        """Its submissions stay undecided."""
        self.unavailable = True
        if isinstance(error, LivesElsewhere):
            self.elsewhere = error.home

    def member(self, i: int) -> Member:
        user_id = self.candidates[i].user_id
        return self.room.members[user_id] if self.room is not None and user_id else NOBODY

    def first_words(self, need: Needs) -> dict[int, str]:
        """The first arguments of the commands that have this need."""
        return {
            i: self.candidates[i].text.arguments.partition(" ")[0]
            for i, command in self.commands.items()
            if command.needs & need
        }

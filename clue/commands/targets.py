"""The user whom a command is about."""

from __future__ import annotations

from typing import NamedTuple

from clue.commands.shape import Answer, Call, told
from clue.facts import Member, Profile
from clue.users import account
from common import names
from common.errors import RemoteError


class Target(NamedTuple):
    profile: Profile
    member: Member

    @property
    def shown(self) -> str:
        return self.profile.display_name


def login_of(word: str) -> str | None:
    """The login that the argument means; None: nobody's."""
    return account(word.removeprefix("@"))


def is_anonymous(word: str) -> bool:
    return names.is_anonymous(word.removeprefix("@").lower())


def target(call: Call) -> Target | Answer:
    """Whom the first argument names, or why nobody."""
    login = login_of(call.first)
    profile = call.known.users.get(login) if login else None
    if isinstance(profile, RemoteError):
        return told("command_unavailable")
    if profile is None:
        return told("invalid_user", user=call.first)
    return Target(profile, call.channel.members[profile.user_id])

"""All that is stored of a channel's state, as operators are shown it. Pure."""

from __future__ import annotations

from typing import NamedTuple

from clue.facts import ROLES, Channel, read_roles
from clue.vocabulary import read_emotes, read_terms
from common.pb import chat_pb2, clue_pb2


class Stored(NamedTuple):
    """A channel, and its hashes as Redis has them (clue/keys.py)."""

    channel: Channel
    roles: dict[bytes, bytes]
    bans: dict[bytes, bytes]
    held: dict[bytes, bytes]


def channel_state(stored: Stored, now_ms: int) -> clue_pb2.ChannelState:
    fields = stored.channel.fields
    return clue_pb2.ChannelState(
        room=stored.channel.room,
        members=[_member(*item) for item in sorted(stored.roles.items())],
        bans=[
            ban
            for ban in (ban_state(int(user_id), value) for user_id, value in sorted(stored.bans.items()))
            if not 0 < ban.until_ms <= now_ms
        ],
        terms=[clue_pb2.Term(term=term, action=action) for action, term in read_terms(fields.get(b"terms", b""))],
        emotes=[clue_pb2.Emote(name=name, id=i) for name, i in read_emotes(fields.get(b"emotes", b"")).items()],
        held=[
            chat_pb2.Publication.FromString(publication)
            for expires, _, publication in (value.partition(b" ") for value in stored.held.values())
            if int(expires) >= now_ms
        ],
    )


def _member(user_id: bytes, value: bytes) -> clue_pb2.MemberState:
    roles = read_roles(value)
    return clue_pb2.MemberState(
        user_id=int(user_id),
        login=roles.login,
        roles=[role for role in ROLES if role in roles.names],
        followed_ms=roles.followed_ms,
    )


def ban_state(user_id: int, value: bytes) -> clue_pb2.BanState:
    """Of what is stored (clue/keys.py)."""
    until, login, moderator, since, reason = value.decode().split(" ", 4)
    return clue_pb2.BanState(
        user_id=user_id,
        login=login,
        until_ms=int(until),
        moderator=moderator.replace("-", ""),
        since_ms=int(since),
        reason=reason,
    )

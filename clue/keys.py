"""Every Redis key, in one place. Braces hold the hash tag: keys of one tag share a server (ARCHITECTURE 3.4).

Numbers in values are decimal text. Times are UNIX milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

DIRECTORY = "{directory}:services"  # hash: service/instance -> "<last seen> <run> <serialized Registration>"
USER_IDS = "{ids}:users"  # hash: next (first id not handed out), run (the server's run_id that handed out last)
IDENTITY = "cluster:identity"  # string: the cluster this server belongs to; without a tag, one on each plain server


class ChannelKeys(NamedTuple):
    """The keys of one channel; all share the tag {#name}."""

    head: str  # hash: seq (newest in the log), run (run_id that gave it), version (of the state; absent: "0")
    log: str  # stream: <seq>-0 -> p (prev), d (serialized Publication)
    batches: str  # hash: edge run -> "<batch> <when> <result>..." of the last batch (see commit.lua)
    last: str  # hash: user id -> "<when> <text hash>" of the last delivered message; the unprivileged only
    room: str  # hash: room_id and the modes
    bans: str  # hash: user id -> until when, or 0: for ever
    roles: str  # hash: user id -> "mod,sub"


def of_channel(channel: str) -> ChannelKeys:
    tag = "{" + channel + "}:"
    return ChannelKeys(
        tag + "head", tag + "log", tag + "batches", tag + "last", tag + "room", tag + "bans", tag + "roles"
    )


def user(login: str) -> str:
    """hash: id, login, display_name, color, version, and token:<sha256> -> when it was set."""
    return "{@" + login + "}:user"


def limits(login: str) -> str:
    """string: messages of the window under way; expires with the window."""
    return "{@" + login + "}:limits"

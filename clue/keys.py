"""Every Redis key, in one place. Braces hold the hash tag: keys of one tag share a server (ARCHITECTURE 3.4).

Numbers in values are decimal text. Times are UNIX milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

DIRECTORY = "{directory}:services"  # hash: service/instance -> "<last seen> <run> <serialized Registration>"
USER_IDS = "{ids}:users"  # hash: next (first id not handed out), run (the server's run_id that handed out last)
VOCABULARY = "{vocabulary}:global"  # hash: terms, emotes (clue/vocabulary.py) of every channel
PLACE = "cluster:place"  # string: which of how many plain servers this one is, "0 of 2"
ORDERS = "{directory}:orders"  # hash: service/instance -> "<run> <number> <drain 1 or 0> <within s>"
COPY = "{directory}:copy"  # hash: clusters, homes -> serialized Directory with these, as the shared directory last said
ROOMS = "{rooms}:all"  # sorted set: temporary room -> when it was made

# Of the directory's own Redis (ARCHITECTURE "clusters"), beside accounts, which have the same keys there as at home.
CLUSTERS = "{directory}:clusters"  # hash: cluster -> "<when> <serialized Cluster>"
HOMES = "{directory}:homes"  # hash: channel -> "<cluster> <move>", of those that do not live where their name says
HOMES_VERSION = "{directory}:homes-version"  # string: changes with each change of HOMES, and is never one used before

IDENTITY = "cluster:identity"  # string: the cluster this server belongs to; without a tag, one on each plain server


class ChannelKeys(NamedTuple):
    """The keys of one channel, or of one user's inbox (head, log and batches only); all share the tag {#name}."""

    # hash: seq (newest in the log), run (run_id that gave it), version (of the state; absent: "0"), and of moves:
    # home ("<cluster>" or "<cluster> <move>"; absent: where its name says),
    # at the old home: moving ("<move> <to>": its changes are noted in dirty), frozen ("<move> <until when>": commits
    # wait), round ("<number> <after seq> <to seq>": the changes being read),
    # at the new home: prepared (the move whose copy this is), page (number of the last page stored)
    head: str
    log: str  # stream: <seq>-0 -> p (prev), d (serialized Publication)
    batches: str  # hash: edge run -> "<batch> <when> <result>..." of the last batch (see commit.lua)
    last: str  # hash: user id -> "<when> <text hash>" of the last delivered message; the unprivileged only
    room: str  # hash: room_id, the modes, terms, emotes (clue/facts.py), raid ("<target> <when it began>")
    bans: str  # hash: user id -> "<until when, or 0: for ever> <login> <by whom> <since when> <reason>"
    roles: str  # hash: user id -> "mod,sub,follower=<since when> <login>"
    held: str  # hash: message id -> "<when it expires> <serialized Publication>" of messages that wait for a moderator
    first: str  # hash: user id -> day (UNIX time / 86,400 s) of the first message here
    unique: str  # hash: user id -> the last text hashes, 8 bytes each; only of channels in unique-chat mode
    dirty: str  # set: "<key> <field>" that changed since the move began; "<key> ": all of it
    taken: str  # set: those of dirty that are being read


def of_channel(channel: str) -> ChannelKeys:
    """`channel`: "#name", or "@login" for that user's inbox."""
    tag = "{" + channel + "}:"
    return ChannelKeys(
        tag + "head", tag + "log", tag + "batches", tag + "last", tag + "room", tag + "bans", tag + "roles",
        tag + "held", tag + "first", tag + "unique", tag + "dirty", tag + "taken",
    )  # fmt: skip


def user(login: str) -> str:
    """hash: id, login, display_name, color, type, version, created, and token:<sha256> -> when it was set."""
    return "{@" + login + "}:user"


def logins(user_id: int) -> str:
    """hash: user id -> login, of the ids around it. Small hashes, which Redis keeps packed."""
    return f"{{ids:{user_id // 100}}}:logins"


def owner(token_hash: str) -> str:
    """string: the login that the token was added for."""
    return "{token:" + token_hash + "}:owner"


def requests(who: str) -> str:
    """string: requests to the HTTP API of the minute under way; expires with it. `who`: a login, or a token's hash."""
    return "{@" + who + "}:requests"


def limits(login: str) -> str:
    """string: messages of the window under way; expires with the window."""
    return "{@" + login + "}:limits"


def lockout(login: str) -> str:
    """string: there while the user is locked out for having sent too much."""
    return "{@" + login + "}:lockout"


def joins(login: str) -> str:
    """string: attempts to join in the window under way; expires with the window."""
    return "{@" + login + "}:joins"


def whispers(login: str, window: str) -> str:
    """string: whispers of the window ("s" or "min") under way; expires with the window."""
    return "{@" + login + "}:whispers:" + window


def edges_of(channel: str) -> str:
    """sorted set: edge run -> when that edge's set of chatters ends, unless it reports again."""
    return "{" + channel + "}:edges"


def chatters_of(channel: str) -> str:
    """What the keys of these sets begin with; the edge run follows. set: logins of those who are in there."""
    return "{" + channel + "}:chatters:"

"""Messages: taken back, announced, whispered, and those that wait for a moderator."""

from __future__ import annotations

import uuid

from clue.changes import Change, Write
from clue.commands.notices import notice
from clue.commands.shape import Answer, Call, Level, Post, told
from clue.commands.targets import login_of
from clue.facts import chatter
from clue.text import LIMIT
from common.errors import RemoteError
from common.pb import chat_pb2

DELETE_WITHIN_MS = 6 * 3600 * 1000
HOLD_MS = 5 * 60 * 1000  # a held message that nobody has decided on by then is not shown

APPROVED, DENIED = "msg_approved", "msg_denied"  # ours, of PersonalNotice
_TO_AUTHOR = {APPROVED: "Mods have accepted your message.", DENIED: "Mods have removed your message."}


# /clear
def clear(call: Call) -> Answer:
    publication = call.publication()
    publication.cleared.SetInParent()
    return Answer(change=Change(publications=(publication,)))


# /delete <message id>
def delete(call: Call) -> Answer:
    found = call.known.lines.get(call.first)
    if found is None or call.now_ms - found.ts_ms > DELETE_WITHIN_MS:
        return told("bad_delete_message_error")
    author = found.line.author
    if "#" + author.login == call.channel.name:
        return told("bad_delete_message_broadcaster")
    if author.mod and author.user_id != call.author.user_id and call.level < Level.BROADCASTER:
        return told("bad_delete_message_mod", author.user_id, user=author.display_name)
    publication = call.publication()
    publication.deleted.CopyFrom(chat_pb2.Deleted(message_id=found.id, login=author.login, text=found.line.text))
    call.known.lines[call.first] = None  # for a second /delete in this batch
    done = "delete_staff_message_success" if author.user_type in ("staff", "admin") else "delete_message_success"
    return Answer((notice(done, author.user_id, user=author.display_name),), Change(publications=(publication,)))


# /announce <text>, /announceblue <text>, ...
def announce(call: Call) -> Answer:
    color = call.typed[1:].lower().removeprefix("announce").upper() or "PRIMARY"
    text = call.arguments[:LIMIT]
    publication = call.publication()
    publication.user_notice.CopyFrom(
        chat_pb2.UserNotice(
            author=call.member.chatter(call.author, call.channel.name),
            msg_id="announcement",
            text=text,
            params={"color": color},
            emotes=call.vocabulary.emote_tag(text),
        )
    )
    return Answer(change=Change(publications=(publication,)))


# /w <user> <text>
def whisper(call: Call) -> Answer:
    login = login_of(call.first)
    to = call.known.users.get(login) if login else None
    if isinstance(to, RemoteError):
        return told("command_unavailable")
    if to is None:
        return told("whisper_invalid_login")
    if to.user_id == call.author.user_id:
        return told("whisper_invalid_self")
    too_many = call.known.too_many_whispers.get(call.id)
    if too_many:
        return told(too_many)
    first, second = sorted((to.user_id, call.author.user_id))
    text = call.rest[:LIMIT]
    publication = chat_pb2.Publication(
        id=call.id,
        ts_ms=call.now_ms,
        whisper=chat_pb2.Whisper(
            author=chatter(call.author, (), ""),
            to=to.login,
            text=text,
            thread_id=f"{first}_{second}",
            emotes=call.vocabulary.emote_tag(text),
        ),
    )
    return Answer(effects=(Post("@" + to.login, publication.SerializeToString()),))


# /approve <message id>: ours
def approve(call: Call) -> Answer:
    return _resolved(call, "held_approved", APPROVED)


# /deny <message id>: ours
def deny(call: Call) -> Answer:
    return _resolved(call, "held_denied", DENIED)


def held_value(publication: bytes, now_ms: int) -> bytes:
    """What is kept of a held message until a moderator has decided (clue/keys.py)."""
    return b"%d " % (now_ms + HOLD_MS) + publication


def personal_notice(of: str, channel: str, msg_id: str, text: str, now_ms: int) -> bytes:
    """A publication for an inbox. `of`: the id of what it is about; the same again is the same notice."""
    return chat_pb2.Publication(
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{of} {msg_id}")),
        ts_ms=now_ms,
        personal_notice=chat_pb2.PersonalNotice(channel=channel, msg_id=msg_id, text=text),
    ).SerializeToString()


def _resolved(call: Call, done: str, outcome: str) -> Answer:
    message_id = call.first
    expires, _, stored = (call.known.held.get(message_id) or b"0").partition(b" ")
    if int(expires) < call.now_ms:
        return told("held_gone")
    call.known.held[message_id] = None
    publication = chat_pb2.Publication.FromString(stored)
    author = publication.line.author
    publications: tuple[chat_pb2.Publication, ...] = ()
    if outcome == APPROVED:
        publication.ts_ms = call.now_ms
        # It is new to its author, too: the connection that sent it gets it like every reader.
        publication.line.edge_run = publication.line.session = 0
        publication.line.delay_s = 0
        publications = (publication,)
    told_author = personal_notice(message_id, call.channel.name, outcome, _TO_AUTHOR[outcome], call.now_ms)
    return Answer(
        (notice(done, author.user_id, user=author.display_name),),
        # Of the state, though no decision on a message depends on it: so only one moderator's decision counts.
        Change((Write("held", message_id, ""),), publications),
        (Post("@" + author.login, told_author),),
    )

"""Every line that the edge sends, as bytes: publications for the readers of a channel, and a session's own lines.

Tags always have their "=", `emote-sets` always a value, text always follows " :" (clients.md 27, 29, 30, 31). Which
capability grants which line or tag: tmi_protocol.md 2. Nothing is cached here: the hub renders a publication once for
each variant.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from common.irc import numerics
from common.irc.tags import escape, needs_escape
from common.pb.chat_pb2 import Chatter, Line, Publication, Reply, RoomState

SERVER = "tmi.twitch.tv"  # clients compare it (clients.md, table 3)

PING = b"PING :tmi.twitch.tv\r\n"  # no prefix, and a colon (clients.md 33)
RECONNECT = b":tmi.twitch.tv RECONNECT\r\n"
PONG_WITHOUT_TOKEN = b"PONG :tmi.twitch.tv\r\n"  # no prefix: tmi.js knows no other (clients.md 36)


_NAMES_BYTES = 400  # of logins in one 353: with its head the line stays under IRC's 512


class Capability(enum.IntFlag):
    TAGS = 1
    COMMANDS = 2
    MEMBERSHIP = 4
    # Those of IRCv3, for clients that catch up on what they missed
    MESSAGE_TAGS = 8
    SERVER_TIME = 16
    BATCH = 32
    CHATHISTORY = 64


NO_CAPABILITIES = Capability(0)
# Capabilities on which the bytes of a publication depend
RENDERED = Capability.TAGS | Capability.COMMANDS | Capability.MESSAGE_TAGS | Capability.SERVER_TIME
_IRCV3 = int(Capability.MESSAGE_TAGS | Capability.SERVER_TIME)


# -- publications ---------------------------------------------------------------------------------------------------


def render(publication: Publication, channel: str, capabilities: Capability) -> bytes:
    """The lines for readers with these capabilities; b"" when they get nothing of it."""
    body = publication.WhichOneof("body") or ""
    renderer = _RENDERERS.get(body)
    if renderer is None:
        return b""
    line = renderer(publication, channel, capabilities)
    if int(capabilities) & _IRCV3 and body in _SAID:
        return _with_tags(_ircv3_tags(publication, capabilities), line)
    return line


def _with_tags(tags: str, line: bytes) -> bytes:
    """One more tag or several in front of a line's own."""
    if not line or not tags:
        return line
    return f"@{tags};".encode() + line[1:] if line.startswith(b"@") else f"@{tags} ".encode() + line


def _ircv3_tags(publication: Publication, capabilities: Capability) -> str:
    """IRCv3 "message ids" and "server-time"; for what somebody said, alone."""
    tags = []
    if Capability.MESSAGE_TAGS in capabilities:
        tags.append(f"msgid={escape(publication.id)}")
    if Capability.SERVER_TIME in capabilities:
        tags.append(f"time={timestamp(publication.ts_ms)}")
    return ";".join(tags)


def timestamp(ts_ms: int) -> str:
    """UNIX milliseconds as IRCv3 writes a moment: 2014-02-12T16:00:00.000Z."""
    moment = datetime.fromtimestamp(ts_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ts_ms % 1000:03d}Z"


def _line(publication: Publication, channel: str, capabilities: Capability) -> bytes:
    line = publication.line
    login = line.author.login
    if Capability.TAGS in capabilities:
        tags = _privmsg_tags(publication, line, line.author)
        return f"@{tags} :{login}!{login}@{login}.{SERVER} PRIVMSG {channel} :{line.text}\r\n".encode()
    return f":{login}!{login}@{login}.{SERVER} PRIVMSG {channel} :{line.text}\r\n".encode()


def _privmsg_tags(publication: Publication, line: Line, author: Chatter) -> str:
    badge_info, badges, color, name = author.badge_info, author.badges, author.color, author.display_name
    user_type, emotes, flags, nonce = author.user_type, line.emotes, line.flags, line.client_nonce
    # Hardly any value needs escapes: one search through all of them, not eight (0.4 µs, not 0.9).
    if needs_escape(f"{badge_info}{badges}{color}{name}{user_type}{emotes}{flags}{nonce}"):
        badge_info, badges, color, name = escape(badge_info), escape(badges), escape(color), escape(name)
        user_type, emotes, flags, nonce = escape(user_type), escape(emotes), escape(flags), escape(nonce)
    return (
        f"badge-info={badge_info};badges={badges};{f'client-nonce={nonce};' if nonce else ''}color={color};"
        f"display-name={name};emotes={emotes};first-msg={line.first_message:d};flags={flags};id={publication.id};"
        f"mod={author.mod:d};{_reply_tags(line.reply) if line.HasField('reply') else ''}"
        f"returning-chatter={line.returning_chatter:d};room-id={publication.room_id};subscriber={author.subscriber:d};"
        f"tmi-sent-ts={publication.ts_ms};turbo={author.turbo:d};user-id={author.user_id};user-type={user_type}"
        f"{';vip=1' if author.vip else ''}"
    )


def _reply_tags(reply: Reply) -> str:
    return (
        f"reply-parent-display-name={escape(reply.parent_display_name)};reply-parent-msg-body={escape(reply.parent_text)};"
        f"reply-parent-msg-id={escape(reply.parent_id)};reply-parent-user-id={reply.parent_user_id};"
        f"reply-parent-user-login={escape(reply.parent_login)};reply-thread-parent-msg-id={escape(reply.thread_id)};"
        f"reply-thread-parent-user-login={escape(reply.thread_login)};"
    )


def _banned(publication: Publication, channel: str, capabilities: Capability) -> bytes:
    """CLEARCHAT; its `ban-duration` only for a time-out."""
    if Capability.COMMANDS not in capabilities:
        return b""
    ban = publication.banned
    duration = f"ban-duration={ban.duration_s};" if ban.duration_s else ""
    tags = (
        f"{duration}room-id={publication.room_id};target-user-id={ban.user_id};tmi-sent-ts={publication.ts_ms}"
    )
    return _from_server(tags, f"CLEARCHAT {channel} :{ban.login}", capabilities)


def _cleared(publication: Publication, channel: str, capabilities: Capability) -> bytes:
    """CLEARCHAT of the whole room."""
    if Capability.COMMANDS not in capabilities:
        return b""
    tags = f"room-id={publication.room_id};tmi-sent-ts={publication.ts_ms}"
    return _from_server(tags, f"CLEARCHAT {channel}", capabilities)


def _deleted(publication: Publication, channel: str, capabilities: Capability) -> bytes:
    """CLEARMSG with the text that was taken back."""
    if Capability.COMMANDS not in capabilities:
        return b""
    deleted = publication.deleted
    tags = (
        f"login={escape(deleted.login)};room-id={publication.room_id};target-msg-id={escape(deleted.message_id)};"
        f"tmi-sent-ts={publication.ts_ms}"
    )
    return _from_server(tags, f"CLEARMSG {channel} :{deleted.text}", capabilities)


def _user_notice(publication: Publication, channel: str, capabilities: Capability) -> bytes:
    """USERNOTICE, with the user's words when there are any."""
    if Capability.COMMANDS not in capabilities:
        return b""
    said, author = publication.user_notice, publication.user_notice.author
    params = "".join(f"msg-param-{name}={escape(said.params[name])};" for name in sorted(said.params))
    tags = (
        f"{_appearance(author)};emotes={escape(said.emotes)};flags=;id={publication.id};login={escape(author.login)};"
        f"mod={author.mod:d};msg-id={escape(said.msg_id)};{params}room-id={publication.room_id};"
        f"subscriber={author.subscriber:d};system-msg={escape(said.system_msg)};tmi-sent-ts={publication.ts_ms};"
        f"turbo={author.turbo:d};user-id={author.user_id};user-type={escape(author.user_type)}"
    )
    text = f" :{said.text}" if said.text else ""
    return _from_server(tags, f"USERNOTICE {channel}{text}", capabilities)


def _whisper(publication: Publication, channel: str, capabilities: Capability) -> bytes:
    """WHISPER; `channel` is the inbox that it travelled in."""
    if Capability.COMMANDS not in capabilities:
        return b""
    whisper, author = publication.whisper, publication.whisper.author
    login = author.login
    tags = ""
    if Capability.TAGS in capabilities:
        tags = (
            f"@badges={escape(author.badges)};color={escape(author.color)};"
            f"display-name={escape(author.display_name)};emotes={escape(whisper.emotes)};message-id={publication.id};"
            f"thread-id={escape(whisper.thread_id)};turbo={author.turbo:d};user-id={author.user_id};"
            f"user-type={escape(author.user_type)} "
        )
    return f"{tags}:{login}!{login}@{login}.{SERVER} WHISPER {whisper.to} :{whisper.text}\r\n".encode()


def _personal_notice(publication: Publication, channel: str, capabilities: Capability) -> bytes:
    """NOTICE, about the channel that it names."""
    words = publication.personal_notice
    return notice(words.channel or "*", words.msg_id, words.text, capabilities)


def _room_changed(publication: Publication, channel: str, capabilities: Capability) -> bytes:
    """ROOMSTATE with the changed tags and room-id alone, then a NOTICE for each of them."""
    if Capability.COMMANDS not in capabilities:
        return b""
    room = publication.room.state
    values = _modes(room)
    changed = [mode for mode in values if mode in publication.room.changed]
    if not changed:
        return b""
    tags = sorted([f"{mode}={values[mode]}" for mode in changed] + [f"room-id={publication.room_id}"])
    lines = [_from_server(";".join(tags), f"ROOMSTATE {channel}", capabilities)]
    for mode in changed:
        msg_id, text = _MODE_NOTICES[mode](room)
        lines.append(notice(channel, msg_id, text, capabilities))
    return b"".join(lines)


_RENDERERS: dict[str, Callable[[Publication, str, Capability], bytes]] = {
    "line": _line,
    "banned": _banned,
    "room": _room_changed,
    "deleted": _deleted,
    "cleared": _cleared,
    "user_notice": _user_notice,
    "whisper": _whisper,
    "personal_notice": _personal_notice,
}  # roles and unbanned are for clue and its like: the dialect has no line for them


_SAID = frozenset(("line", "user_notice", "whisper"))  # bodies whose one line is somebody's words


# -- room modes -----------------------------------------------------------------------------------------------------


def _modes(room: RoomState) -> dict[str, int]:
    """The ROOMSTATE tags but room-id."""
    return {
        "emote-only": room.emote_only + 0,
        "followers-only": room.followers_only_min,
        "r9k": room.unique_chat + 0,
        "slow": room.slow_s,
        "subs-only": room.subs_only + 0,
    }


def duration(minutes: int) -> str:
    """In the largest unit that divides it: 90 is "90 minutes", 1,440 "1 day"."""
    for unit, size in (("week", 10_080), ("day", 1_440), ("hour", 60)):
        if minutes and minutes % size == 0:
            return _plural(minutes // size, unit)
    return _plural(minutes, "minute")


def _plural(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _followers_notice(room: RoomState) -> tuple[str, str]:
    minutes = room.followers_only_min
    if minutes < 0:
        return "followers_off", "This room is no longer in followers-only mode."
    if minutes == 0:
        return "followers_on_zero", "This room is now in followers-only mode."
    return "followers_on", f"This room is now in {duration(minutes)} followers-only mode."


def _slow_notice(room: RoomState) -> tuple[str, str]:
    if not room.slow_s:
        return "slow_off", "This room is no longer in slow mode."
    return "slow_on", f"This room is now in slow mode. You may send messages every {room.slow_s} seconds."


def _switch_notice(on: bool, msg_id: str, mode: str) -> tuple[str, str]:
    if on:
        return f"{msg_id}_on", f"This room is now in {mode} mode."
    return f"{msg_id}_off", f"This room is no longer in {mode} mode."


# Ids and texts: tmi_protocol.md 10a and 10b.
_MODE_NOTICES: dict[str, Callable[[RoomState], tuple[str, str]]] = {
    "emote-only": lambda room: _switch_notice(room.emote_only, "emote_only", "emote-only"),
    "followers-only": _followers_notice,
    "r9k": lambda room: _switch_notice(room.unique_chat, "r9k", "unique-chat"),
    "slow": _slow_notice,
    "subs-only": lambda room: _switch_notice(room.subs_only, "subs", "subscribers-only"),
}


# -- a session's own lines ------------------------------------------------------------------------------------------


def welcome(login: str, features: str = "") -> bytes:
    """001 to 376 (clients.md 7); `features` are the tokens of a 005 after 004, for those who asked for more."""
    offered = f":{SERVER} {numerics.RPL_ISUPPORT} {login} {features} :are supported by this server\r\n"
    return "".join(
        f":{SERVER} {number} {login} :{text}\r\n" + (offered if features and number == numerics.RPL_MYINFO else "")
        for number, text in (
            (numerics.RPL_WELCOME, "Welcome, GLHF!"),
            (numerics.RPL_YOURHOST, f"Your host is {SERVER}"),
            (numerics.RPL_CREATED, "This server is rather new"),
            (numerics.RPL_MYINFO, "-"),
            (numerics.RPL_MOTDSTART, "-"),
            (numerics.RPL_MOTD, "You are in a maze of twisty passages, all alike."),
            (numerics.RPL_ENDOFMOTD, ">"),
        )
    ).encode()


def global_userstate(user: Chatter, capabilities: Capability) -> bytes:
    """b"" without the commands capability."""
    if Capability.COMMANDS not in capabilities:
        return b""
    tags = (
        f"{_appearance(user)};emote-sets={_emote_sets(user)};turbo={user.turbo:d};user-id={user.user_id};"
        f"user-type={escape(user.user_type)}"
    )
    return _from_server(tags, "GLOBALUSERSTATE", capabilities)


def userstate(channel: str, chatter: Chatter, capabilities: Capability, message_id: str) -> bytes:
    """After a join (`message_id` "") and after each accepted message (its id). b"" without the commands capability."""
    if Capability.COMMANDS not in capabilities:
        return b""
    tags = (
        f"{_appearance(chatter)};emote-sets={_emote_sets(chatter)};{f'id={message_id};' if message_id else ''}"
        f"mod={chatter.mod:d};subscriber={chatter.subscriber:d};turbo={chatter.turbo:d};"
        f"user-type={escape(chatter.user_type)}"
    )
    return _from_server(tags, f"USERSTATE {channel}", capabilities)


def roomstate(channel: str, room: RoomState, capabilities: Capability) -> bytes:
    """All modes, as on a join. b"" without the commands capability."""
    if Capability.COMMANDS not in capabilities:
        return b""
    tags = sorted([f"{mode}={value}" for mode, value in _modes(room).items()] + [f"room-id={room.room_id}"])
    return _from_server(";".join(tags), f"ROOMSTATE {channel}", capabilities)


def notice(
    target: str, msg_id: str, text: str, capabilities: Capability, target_user_ids: Sequence[str] = ()
) -> bytes:
    """`target`: "#channel" or "*". Told to everyone, so that nobody waits in vain; the msg-id only with tags."""
    about = f";target-user-id={escape(','.join(target_user_ids))}" if target_user_ids else ""
    return _from_server(f"msg-id={escape(msg_id)}{about}", f"NOTICE {target} :{text}", capabilities)


def login_notice(text: str) -> bytes:
    """A failed login; never with tags (clients.md 9)."""
    return f":{SERVER} NOTICE * :{text}\r\n".encode()


def join(login: str, channel: str) -> bytes:
    return f":{login}!{login}@{login}.{SERVER} JOIN {channel}\r\n".encode()


def part(login: str, channel: str) -> bytes:
    return f":{login}!{login}@{login}.{SERVER} PART {channel}\r\n".encode()


def names(login: str, channel: str, others: Iterable[str]) -> bytes:
    """353 with oneself last, and 366."""
    lines = already_there(login, channel, (name for name in others if name != login))
    return lines + _names(login, channel, login) + end_of_names(login, channel)


def already_there(login: str, channel: str, others: Iterable[str]) -> bytes:
    """353, as often as it takes; b"" when there is nobody."""
    lines, size = b"", 0
    chunk: list[str] = []
    for name in others:
        if size + len(name) > _NAMES_BYTES:
            lines += _names(login, channel, " ".join(chunk))
            chunk, size = [], 0
        chunk.append(name)
        size += len(name) + 1
    return lines + _names(login, channel, " ".join(chunk)) if chunk else lines


def _names(login: str, channel: str, logins: str) -> bytes:
    return f":{login}.{SERVER} {numerics.RPL_NAMREPLY} {login} = {channel} :{logins}\r\n".encode()


def end_of_names(login: str, channel: str) -> bytes:
    return f":{login}.{SERVER} {numerics.RPL_ENDOFNAMES} {login} {channel} :End of /NAMES list\r\n".encode()


def mode(channel: str, change: str, login: str) -> bytes:
    """`change`: "+o" or "-o". From "jtv", as it has always been (tmi_protocol.md 6)."""
    return f":jtv MODE {channel} {change} {login}\r\n".encode()


def numeric(number: str, login: str, text: str, about: str = "") -> bytes:
    """A numeric reply; `login` "" (before the login) is written "*", `about` is the parameter before the text."""
    between = f" {about}" if about else ""
    return f":{SERVER} {number} {login or '*'}{between} :{text}\r\n".encode()


def fail(command: str, code: str, context: str, text: str) -> bytes:
    """IRCv3 "standard replies"."""
    return f":{SERVER} FAIL {command} {code} {context} :{text}\r\n".encode()


def history(publications: Iterable[Publication], channel: str, capabilities: Capability, batch: str) -> bytes:
    """Lines said earlier; in a batch of type "chathistory" for those who know batches (IRCv3 "chathistory")."""
    tags = f"batch={batch}" if Capability.BATCH in capabilities else ""
    lines = b"".join(_with_tags(tags, render(publication, channel, capabilities)) for publication in publications)
    if not tags:
        return lines
    return f":{SERVER} BATCH +{batch} chathistory {channel}\r\n".encode() + lines + (
        f":{SERVER} BATCH -{batch}\r\n".encode()
    )


def cap(subcommand: str, names: str) -> bytes:
    return f":{SERVER} CAP * {subcommand} :{names}\r\n".encode()


def pong(token: str) -> bytes:
    return f":{SERVER} PONG {SERVER} :{token}\r\n".encode()


def _appearance(chatter: Chatter) -> str:
    return (
        f"badge-info={escape(chatter.badge_info)};badges={escape(chatter.badges)};color={escape(chatter.color)};"
        f"display-name={escape(chatter.display_name)}"
    )


def _emote_sets(chatter: Chatter) -> str:
    return escape(chatter.emote_sets) or "0"


def _from_server(tags: str, rest: str, capabilities: Capability) -> bytes:
    if Capability.TAGS in capabilities:
        return f"@{tags} :{SERVER} {rest}\r\n".encode()
    return f":{SERVER} {rest}\r\n".encode()

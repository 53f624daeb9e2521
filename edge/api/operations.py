"""The table of operations, and what each asks of clue. The routes and the OpenAPI document are made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec import Struct

from common.pb import api_pb2, chat_pb2
from edge.api import shapes
from edge.api.asker import Asker, Command, What
from edge.api.outcomes import Refused, drop_reason

# What an operation gets: its calls, its query and its body, both checked (None where it has none). What it returns is
# the answer's body; None: it has none (204).
Run = Callable[[Asker, Any, Any], Awaitable[Struct | None]]


class Operation(NamedTuple):
    method: str
    path: str  # after PREFIX
    name: str
    summary: str
    run: Run
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    answer: type[Struct] | None = None
    status: int = 200


PREFIX = "/helix"


# -- users ----------------------------------------------------------------------------------------------------------


async def get_users(ask: Asker, query: shapes.UsersQuery, _: None) -> shapes.UsersAnswer:
    found = await ask.users(query.id, query.login)
    return shapes.UsersAnswer(
        [
            shapes.User(
                str(one.user.user_id), one.user.login, one.user.display_name, one.user.user_type, moment(one.created_ms)
            )
            for one in found
        ]
    )  # fmt: skip


# -- chat -----------------------------------------------------------------------------------------------------------


async def send_message(ask: Asker, _: None, body: shapes.NewMessage) -> shapes.MessagesAnswer:
    message_id, verdict = await ask.say(
        body.sender_id, body.broadcaster_id, body.message, body.reply_parent_message_id
    )
    reason = drop_reason(verdict)
    if reason is None:
        return shapes.MessagesAnswer([shapes.SentMessage(message_id, True)])
    return shapes.MessagesAnswer([shapes.SentMessage("", False, shapes.DropReason(*reason))])


async def get_chatters(ask: Asker, query: shapes.ChattersQuery, _: None) -> shapes.ChattersAnswer:
    reply = await ask.read(
        What.CHATTERS, query.broadcaster_id, user_id=query.moderator_id, first=query.first, after=query.after
    )
    return shapes.ChattersAnswer(_named(reply.users), shapes.Pagination(reply.cursor), reply.total)


async def get_settings(ask: Asker, query: shapes.SettingsQuery, _: Any) -> shapes.SettingsAnswer:
    reply = await ask.read(What.MODES, query.broadcaster_id, user_id=query.moderator_id or "")
    room = reply.room
    settings = shapes.Settings(
        broadcaster_id=query.broadcaster_id,
        emote_mode=room.emote_only,
        follower_mode=room.followers_only_min >= 0,
        follower_mode_duration=room.followers_only_min if room.followers_only_min >= 0 else None,
        slow_mode=room.slow_s > 0,
        slow_mode_wait_time=room.slow_s or None,
        subscriber_mode=room.subs_only,
        unique_chat_mode=room.unique_chat,
    )
    if reply.moderates and query.moderator_id:
        settings.moderator_id = query.moderator_id
        settings.non_moderator_chat_delay = room.delay_s > 0
        settings.non_moderator_chat_delay_duration = room.delay_s or None
    return shapes.SettingsAnswer([settings])


async def change_settings(
    ask: Asker, query: shapes.ModeratorQuery, body: shapes.SettingsChange
) -> shapes.SettingsAnswer:
    commands = list(_mode_commands(body))
    if commands:
        await ask.act(query.moderator_id, query.broadcaster_id, *commands)
    return await get_settings(ask, shapes.SettingsQuery(query.broadcaster_id, query.moderator_id), None)


def _mode_commands(body: shapes.SettingsChange) -> Iterable[Command]:
    """A length of time alone changes the mode, too, when it is not turned off by the same request."""
    for on, length, name, unit in (
        (body.slow_mode, body.slow_mode_wait_time, "slow", "s"),
        (body.follower_mode, body.follower_mode_duration, "followers", "m"),
        (body.non_moderator_chat_delay, body.non_moderator_chat_delay_duration, "chatdelay", "s"),
    ):
        if on is False:
            if length is not None:
                raise Refused(400, f"a length of {name} goes with the mode turned on")
            yield Command(name=name + "off")
        elif on or length is not None:
            yield Command(name=name, arguments="" if length is None else f"{length}{unit}")
    for on, name in (
        (body.emote_mode, "emoteonly"),
        (body.subscriber_mode, "subscribers"),
        (body.unique_chat_mode, "uniquechat"),
    ):
        if on is not None:
            yield Command(name=name if on else name + "off")


async def announce(ask: Asker, query: shapes.ModeratorQuery, body: shapes.Announcement) -> None:
    color = "" if body.color in (None, "primary") else body.color
    await ask.act(
        query.moderator_id, query.broadcaster_id, Command(name=f"announce{color}", arguments=body.message)
    )


async def get_colors(ask: Asker, query: shapes.ColorsQuery, _: None) -> shapes.ColorsAnswer:
    return shapes.ColorsAnswer(
        [
            shapes.Colored(str(one.user.user_id), one.user.login, one.user.display_name, one.user.color)
            for one in await ask.users(query.user_id)
        ]
    )


async def set_color(ask: Asker, query: shapes.ColorQuery, _: None) -> None:
    await ask.act(query.user_id, "", Command(name="color", arguments=query.color))


async def whisper(ask: Asker, query: shapes.WhisperQuery, body: shapes.Whisper) -> None:
    await ask.act(
        query.from_user_id, "", Command(name="w", user_id=int(query.to_user_id), arguments=body.message)
    )


# -- moderation -----------------------------------------------------------------------------------------------------


async def ban(ask: Asker, query: shapes.ModeratorQuery, body: shapes.NewBan) -> shapes.BansAnswer:
    banned = body.data
    name, words = ("timeout", f"{banned.duration} ") if banned.duration else ("ban", "")
    command = Command(name=name, user_id=int(banned.user_id), arguments=(words + (banned.reason or "")).strip())
    now = datetime.now(UTC)
    await ask.act(query.moderator_id, query.broadcaster_id, command)
    now_ms = int(now.timestamp() * 1000)
    return shapes.BansAnswer(
        [
            shapes.Banned(
                query.broadcaster_id,
                query.moderator_id,
                banned.user_id,
                moment(now_ms),
                moment(now_ms + banned.duration * 1000) if banned.duration else None,
            )
        ]
    )


async def unban(ask: Asker, query: shapes.UnbanQuery, _: None) -> None:
    await ask.act(query.moderator_id, query.broadcaster_id, Command(name="unban", user_id=int(query.user_id)))


async def get_banned(ask: Asker, query: shapes.ListQuery, _: None) -> shapes.BannedUsersAnswer:
    reply = await ask.read(
        What.BANS, query.broadcaster_id, only=query.user_id, first=query.first, after=query.after
    )
    return shapes.BannedUsersAnswer([_banned_user(one) for one in reply.users], shapes.Pagination(reply.cursor))


def _banned_user(one: api_pb2.Listed) -> shapes.BannedUser:
    by = one.moderator
    return shapes.BannedUser(
        **_who(one.user),
        expires_at=moment(one.ban.until_ms) if one.ban.until_ms else "",
        created_at=moment(one.ban.since_ms),
        reason=one.ban.reason,
        moderator_id=str(by.user_id or ""),
        moderator_login=by.login,
        moderator_name=by.display_name,
    )


async def delete_messages(ask: Asker, query: shapes.DeleteQuery, _: None) -> None:
    command = Command(name="clear")
    if query.message_id:
        command = Command(name="delete", arguments=query.message_id)
    await ask.act(query.moderator_id, query.broadcaster_id, command)


def _list(what: What) -> Run:
    async def get(ask: Asker, query: shapes.ListQuery, _: None) -> shapes.NamedAnswer:
        reply = await ask.read(
            what, query.broadcaster_id, only=query.user_id, first=query.first, after=query.after
        )
        return shapes.NamedAnswer(_named(reply.users), shapes.Pagination(reply.cursor))

    return get


def _role(name: str) -> Run:
    async def change(ask: Asker, query: shapes.RoleQuery, _: None) -> None:
        command = Command(name=name, user_id=int(query.user_id))
        await ask.act(query.broadcaster_id, query.broadcaster_id, command)

    return change


# -- raids ----------------------------------------------------------------------------------------------------------


async def raid(ask: Asker, query: shapes.RaidQuery, _: None) -> shapes.RaidsAnswer:
    command = Command(name="raid", user_id=int(query.to_broadcaster_id))
    await ask.act(query.from_broadcaster_id, query.from_broadcaster_id, command)
    return shapes.RaidsAnswer([shapes.Raid(moment(int(datetime.now(UTC).timestamp() * 1000)))])


async def unraid(ask: Asker, query: shapes.BroadcasterQuery, _: None) -> None:
    await ask.act(query.broadcaster_id, query.broadcaster_id, Command(name="unraid"))


# -- shapes of several ----------------------------------------------------------------------------------------------


def moment(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _who(user: chat_pb2.Chatter) -> dict[str, str]:
    return {"user_id": str(user.user_id), "user_login": user.login, "user_name": user.display_name}


def _named(users: Iterable[api_pb2.Listed]) -> list[shapes.Named]:
    return [shapes.Named(**_who(one.user)) for one in users]


# fmt: off
OPERATIONS = (
    Operation("GET", "/users", "getUsers", "Users by id or login; without either, the token's owner",
              get_users, shapes.UsersQuery, None, shapes.UsersAnswer),
    Operation("POST", "/chat/messages", "sendMessage", "Send a message; a slash command but /me is not carried out",
              send_message, None, shapes.NewMessage, shapes.MessagesAnswer),
    Operation("GET", "/chat/chatters", "getChatters",
              "Who is in the chat, for moderators; above 1,000 only those with a role",
              get_chatters, shapes.ChattersQuery, None, shapes.ChattersAnswer),
    Operation("GET", "/chat/settings", "getSettings", "The room's modes",
              get_settings, shapes.SettingsQuery, None, shapes.SettingsAnswer),
    Operation("PATCH", "/chat/settings", "changeSettings", "Change the room's modes; all or none",
              change_settings, shapes.ModeratorQuery, shapes.SettingsChange, shapes.SettingsAnswer),
    Operation("POST", "/chat/announcements", "announce", "Say something with a highlight",
              announce, shapes.ModeratorQuery, shapes.Announcement, None, 204),
    Operation("GET", "/chat/color", "getColors", "Colors of users' names",
              get_colors, shapes.ColorsQuery, None, shapes.ColorsAnswer),
    Operation("PUT", "/chat/color", "setColor", "Change the color of one's name",
              set_color, shapes.ColorQuery, None, None, 204),
    Operation("POST", "/moderation/bans", "ban", "Ban a user, or time out for `duration` seconds",
              ban, shapes.ModeratorQuery, shapes.NewBan, shapes.BansAnswer),
    Operation("DELETE", "/moderation/bans", "unban", "End a ban or a time-out",
              unban, shapes.UnbanQuery, None, None, 204),
    Operation("GET", "/moderation/banned", "getBanned", "Who is banned or timed out, for moderators; in no order",
              get_banned, shapes.ListQuery, None, shapes.BannedUsersAnswer),
    Operation("DELETE", "/moderation/chat", "deleteMessages", "Delete a message of the last six hours, or all",
              delete_messages, shapes.DeleteQuery, None, None, 204),
    Operation("GET", "/moderation/moderators", "getModerators", "Who moderates the channel",
              _list(What.MODERATORS), shapes.ListQuery, None, shapes.NamedAnswer),
    Operation("POST", "/moderation/moderators", "addModerator", "Make a user a moderator",
              _role("mod"), shapes.RoleQuery, None, None, 204),
    Operation("DELETE", "/moderation/moderators", "removeModerator", "A user is no moderator any more",
              _role("unmod"), shapes.RoleQuery, None, None, 204),
    Operation("GET", "/channels/vips", "getVips", "Who is a VIP of the channel",
              _list(What.VIPS), shapes.ListQuery, None, shapes.NamedAnswer),
    Operation("POST", "/channels/vips", "addVip", "Make a user a VIP",
              _role("vip"), shapes.RoleQuery, None, None, 204),
    Operation("DELETE", "/channels/vips", "removeVip", "A user is no VIP any more",
              _role("unvip"), shapes.RoleQuery, None, None, 204),
    Operation("POST", "/raids", "raid", "Raid another channel", raid, shapes.RaidQuery, None, shapes.RaidsAnswer),
    Operation("DELETE", "/raids", "unraid", "Call the raid off", unraid, shapes.BroadcasterQuery, None, None, 204),
    Operation("POST", "/whispers", "whisper", "Whisper to a user; of the text, 500 characters",
              whisper, shapes.WhisperQuery, shapes.Whisper, None, 204),
)
# fmt: on

"""What requests and answers look like. The OpenAPI document and the checks of what comes in are made of these.

Ids are decimal text; times are RFC 3339 in UTC.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(pattern="^[1-9][0-9]{0,17}$")]
Login = Annotated[str, Meta(pattern="^[A-Za-z0-9_]{1,25}$")]
MessageId = Annotated[str, Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Ids = Annotated[list[Id], Meta(max_length=100)]
# Not only spaces, and nothing that cannot be shown.
Said = Annotated[str, Meta(min_length=1, max_length=500)]
Reason = Annotated[str, Meta(max_length=500)]
PageSize = Annotated[int, Meta(ge=1, le=100)]
ChattersPageSize = Annotated[int, Meta(ge=1, le=1000)]
Cursor = Annotated[str, Meta(max_length=200)]


class Error(Struct):
    error: str
    status: int
    message: str


class Pagination(Struct, omit_defaults=True):
    cursor: str = ""


# -- users ----------------------------------------------------------------------------------------------------------


class UsersQuery(Struct):
    id: Ids = []
    login: Annotated[list[Login], Meta(max_length=100)] = []


class User(Struct):
    id: str
    login: str
    display_name: str
    type: str
    created_at: str
    broadcaster_type: str = ""
    description: str = ""
    profile_image_url: str = ""
    offline_image_url: str = ""
    view_count: int = 0


class UsersAnswer(Struct):
    data: list[User]


class Named(Struct):
    user_id: str
    user_login: str
    user_name: str


# -- chat -----------------------------------------------------------------------------------------------------------


class NewMessage(Struct):
    broadcaster_id: Id
    sender_id: Id
    message: Said
    reply_parent_message_id: str = ""
    for_source_only: bool | None = None


class DropReason(Struct):
    code: str
    message: str


class SentMessage(Struct):
    message_id: str
    is_sent: bool
    drop_reason: DropReason | None = None


class MessagesAnswer(Struct):
    data: list[SentMessage]


class ModeratorQuery(Struct):
    broadcaster_id: Id
    moderator_id: Id


class ChattersQuery(Struct):
    broadcaster_id: Id
    moderator_id: Id
    first: ChattersPageSize = 100
    after: Cursor = ""


class ChattersAnswer(Struct):
    data: list[Named]
    pagination: Pagination
    total: int


class SettingsQuery(Struct):
    broadcaster_id: Id
    moderator_id: Id | None = None


class SettingsChange(Struct):
    """What is absent or null stays as it is."""

    emote_mode: bool | None = None
    follower_mode: bool | None = None
    follower_mode_duration: Annotated[int, Meta(ge=0, le=129_600)] | None = None
    non_moderator_chat_delay: bool | None = None
    non_moderator_chat_delay_duration: Literal[2, 4, 6] | None = None
    slow_mode: bool | None = None
    slow_mode_wait_time: Annotated[int, Meta(ge=3, le=120)] | None = None
    subscriber_mode: bool | None = None
    unique_chat_mode: bool | None = None


class Settings(Struct):
    """The delay is told to moderators alone; for others it is null."""

    broadcaster_id: str
    emote_mode: bool
    follower_mode: bool
    follower_mode_duration: int | None
    slow_mode: bool
    slow_mode_wait_time: int | None
    subscriber_mode: bool
    unique_chat_mode: bool
    moderator_id: str | None = None
    non_moderator_chat_delay: bool | None = None
    non_moderator_chat_delay_duration: int | None = None


class SettingsAnswer(Struct):
    data: list[Settings]


class Announcement(Struct):
    message: Said
    color: Literal["blue", "green", "orange", "purple", "primary"] | None = None


class ColorsQuery(Struct):
    user_id: Annotated[list[Id], Meta(min_length=1, max_length=100)]


class Colored(Struct):
    user_id: str
    user_login: str
    user_name: str
    color: str


class ColorsAnswer(Struct):
    data: list[Colored]


class ColorQuery(Struct):
    user_id: Id
    color: Annotated[str, Meta(pattern="^(#[0-9A-Fa-f]{6}|[A-Za-z_]{1,20})$")]


class Whisper(Struct):
    message: Annotated[str, Meta(min_length=1, max_length=10_000)]


class WhisperQuery(Struct):
    from_user_id: Id
    to_user_id: Id


# -- moderation -----------------------------------------------------------------------------------------------------


class Ban(Struct):
    user_id: Id
    duration: Annotated[int, Meta(ge=1, le=1_209_600)] | None = None
    reason: Reason | None = None


class NewBan(Struct):
    data: Ban


class Banned(Struct):
    """`end_time` null: for ever."""

    broadcaster_id: str
    moderator_id: str
    user_id: str
    created_at: str
    end_time: str | None


class BansAnswer(Struct):
    data: list[Banned]


class UnbanQuery(Struct):
    broadcaster_id: Id
    moderator_id: Id
    user_id: Id


class ListQuery(Struct):
    broadcaster_id: Id
    user_id: Ids = []
    first: PageSize = 20
    after: Cursor = ""


class BannedUser(Struct):
    """`expires_at` "": never. The moderator's fields are "" when an operator banned."""

    user_id: str
    user_login: str
    user_name: str
    expires_at: str
    created_at: str
    reason: str
    moderator_id: str
    moderator_login: str
    moderator_name: str


class BannedUsersAnswer(Struct):
    data: list[BannedUser]
    pagination: Pagination


class NamedAnswer(Struct):
    data: list[Named]
    pagination: Pagination


class DeleteQuery(Struct):
    """Without a message, the whole chat is cleared."""

    broadcaster_id: Id
    moderator_id: Id
    message_id: MessageId | None = None


class RoleQuery(Struct):
    broadcaster_id: Id
    user_id: Id


# -- raids ----------------------------------------------------------------------------------------------------------


class RaidQuery(Struct):
    from_broadcaster_id: Id
    to_broadcaster_id: Id


class Raid(Struct):
    created_at: str
    is_mature: bool = False


class RaidsAnswer(Struct):
    data: list[Raid]


class BroadcasterQuery(Struct):
    broadcaster_id: Id

"""Raids. A raid arrives at once; for RAID_MS it is under way, and can be called off."""

from __future__ import annotations

from clue.changes import Change, Write, is_banned
from clue.commands.notices import notice
from clue.commands.shape import Answer, Call, Post, told
from clue.commands.targets import login_of
from common.errors import RemoteError
from common.pb import chat_pb2

RAID_MS = 90_000


# /raid <channel>
def raid(call: Call) -> Answer:
    login = login_of(call.first.removeprefix("#"))
    if login is None:
        return told("invalid_user", user=call.first)
    if "#" + login == call.channel.name:
        return told("raid_error_self")
    profile, room = call.known.users.get(login), call.known.rooms.get("#" + login)
    if profile is None:
        return told("invalid_user", user=call.first)
    if isinstance(profile, RemoteError) or room is None or isinstance(room, RemoteError):
        return told("raid_error_unexpected", channel=login)
    if _under_way(call):
        return told("raid_error_already_raiding")
    member = room.members[call.author.user_id]
    if is_banned(member, call.now_ms):
        return told("raid_error_forbidden")
    shown, viewers = call.author.display_name, call.known.viewers
    publication = chat_pb2.Publication(
        id=call.id,
        ts_ms=call.now_ms,
        room_id=room.room.room_id,
        user_notice=chat_pb2.UserNotice(
            author=member.chatter(call.author, room.name),
            msg_id="raid",
            system_msg=f"{viewers} raiders from {shown} have joined!",
            params={"displayName": shown, "login": call.author.login, "viewerCount": str(viewers)},
        ),
    )
    restricted = room.modes.subs_only or room.modes.followers_only_min >= 0
    return Answer(
        (notice("raid_notice_restricted_chat"),) if restricted else (),
        Change((Write("room", "raid", f"{login} {call.now_ms}"),)),
        (Post(room.name, publication.SerializeToString()),),
    )


# /unraid
def unraid(call: Call) -> Answer:
    if not _under_way(call):
        return told("unraid_error_no_active_raid")
    publication = call.publication()
    publication.user_notice.CopyFrom(
        chat_pb2.UserNotice(
            author=call.member.chatter(call.author, call.channel.name),
            msg_id="unraid",
            system_msg="The raid has been canceled.",
        )
    )
    return Answer((notice("unraid_success"),), Change((Write("room", "raid", ""),), (publication,)))


def _under_way(call: Call) -> bool:
    began = call.channel.fields.get(b"raid", b"").partition(b" ")[2]
    return call.now_ms - int(began or 0) < RAID_MS

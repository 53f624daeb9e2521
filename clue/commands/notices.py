"""What slash commands answer: msg-ids and exact texts (tmi_protocol section 10b)."""

from __future__ import annotations

from typing import NamedTuple


class Notice(NamedTuple):
    """`targets`: ids of the users whom it is about."""

    msg_id: str
    text: str
    targets: tuple[int, ...] = ()


def notice(msg_id: str, *targets: int, **words: object) -> Notice:
    """`words` fill the text's placeholders."""
    return Notice(msg_id, TEXTS[msg_id].format(**words), targets)


_BAD_BAN = {
    "admin": "You cannot {do} admin {user}. Please email support@twitch.tv if an admin is being abusive.",
    "anon": "You cannot {do} anonymous users.",
    "broadcaster": "You cannot {do} the broadcaster.",
    "mod": "You cannot {do} moderator {user} unless you are the owner of this channel.",
    "self": "You cannot {do} yourself.",
    "staff": "You cannot {do} a staff {user}. Please email support@twitch.tv if a staff member is being abusive.",
}

TEXTS = {
    "already_emote_only_on": "This room is already in emote-only mode.",
    "already_emote_only_off": "This room is not in emote-only mode.",
    "already_followers_on": "This room is already in {duration} followers-only mode.",
    "already_followers_off": "This room is not in followers-only mode.",
    "already_r9k_on": "This room is already in unique-chat mode.",
    "already_r9k_off": "This room is not in unique-chat mode.",
    "already_slow_on": "This room is already in {duration}-second slow mode.",
    "already_slow_off": "This room is not in slow mode.",
    "already_subs_on": "This room is already in subscribers-only mode.",
    "already_subs_off": "This room is not in subscribers-only mode.",
    "bad_slow_duration": "You cannot set slow delay to more than {number} seconds.",
    "ban_success": "{user} is now banned from this channel.",
    "already_banned": "{user} is already banned in this channel.",
    **{
        f"bad_{do}_{whom}": text.replace("{do}", verb)
        for do, verb in (("ban", "ban"), ("timeout", "timeout"))
        for whom, text in _BAD_BAN.items()
    },
    "unban_success": "{user} is no longer banned from this channel.",
    "bad_unban_no_ban": "{user} is not banned from this channel.",
    "timeout_success": "{user} has been timed out for {duration}.",
    "timeout_no_timeout": "{user} is not timed out from this channel.",
    "untimeout_success": "{user} is no longer timed out in this channel.",
    "untimeout_banned": '{user} is permanently banned. Use "/unban" to remove a ban.',
    "bad_timeout_duration": "You cannot time a user out for more than {seconds}.",
    "delete_message_success": "The message from {user} is now deleted.",
    "delete_staff_message_success": (
        "You deleted a message from staff {user}. Please email support@twitch.tv if a staff member is being abusive."
    ),
    "bad_delete_message_broadcaster": "You cannot delete the broadcaster's messages.",
    "bad_delete_message_mod": "You cannot delete messages from another moderator {user}.",
    "mod_success": "You have added {user} as a moderator of this channel.",
    "unmod_success": "You have removed {user} as a moderator of this channel.",
    "bad_mod_banned": "{user} is banned in this channel. You must unban this user before granting mod status.",
    "bad_mod_mod": "{user} is already a moderator of this channel.",
    "bad_unmod_mod": "{user} is not a moderator of this channel.",
    "room_mods": "The moderators of this channel are: {users}",
    "no_mods": "There are no moderators of this channel.",
    "vip_success": "You have added {user} as a vip of this channel.",
    "unvip_success": "You have removed {user} as a VIP of this channel.",
    "vips_success": "The VIPs of this channel are: {users}.",
    "no_vips": "This channel does not have any VIPs.",
    "bad_vip_grantee_banned": "{user} is banned in this channel. You must unban this user before granting VIP status.",
    "bad_vip_grantee_already_vip": "{user} is already a VIP of this channel.",
    "bad_unvip_grantee_not_vip": "{user} is not a VIP of this channel.",
    "bad_vip_max_vips_reached": (
        "Unable to add VIP. Visit the Achievements page on your dashboard to learn how to unlock additional VIP slots."
    ),
    "color_changed": "Your color has been changed.",
    "cmds_available": (
        "Commands available to you in this room (use /help for details): {commands} "
        "More help: https://help.twitch.tv/s/article/chat-commands."
    ),
    "no_help": "No help available.",
    "no_permission": "You don’t have permission to perform that action.",
    "invalid_user": "Invalid username: {user}",
    "unavailable_command": 'Sorry, "{command}" is not available through this client.',
    "raid_error_already_raiding": "You already have a raid in progress.",
    "raid_error_forbidden": "You cannot raid this channel.",
    "raid_error_self": "A channel cannot raid itself.",
    "raid_error_unexpected": "There was a problem raiding {channel}. Please try again in a minute.",
    "raid_notice_restricted_chat": "This channel has follower- or subscriber-only chat.",
    "unraid_success": "The raid has been canceled.",
    "unraid_error_no_active_raid": "You do not have an active raid.",
    "whisper_invalid_login": "No user matching that username.",
    "whisper_invalid_self": "You cannot whisper to yourself.",
    "whisper_limit_per_min": "You are sending whispers too fast. Try again in a minute.",
    "whisper_limit_per_sec": "You are sending whispers too fast. Try again in a second.",
    # Ours: the dialect has no words for these.
    "already_chat_delay_off": "Messages in this room are not delayed.",
    "already_chat_delay_on": "Messages in this room are already delayed by {number} seconds.",
    "chat_delay_off": "Messages in this room are no longer delayed.",
    "chat_delay_on": "Moderators now see messages in this room {number} seconds before others do.",
    "already_followers_on_zero": "This room is already in followers-only mode.",
    "bad_delete_message_error": "You cannot delete this message.",  # not in the log (any more), or too old
    "command_unavailable": "That could not be done because a part of chat could not be reached. Try again in a moment.",
    "held_approved": "The message from {user} is now shown.",
    "held_denied": "The message from {user} will not be shown.",
    "held_gone": "This message is not waiting for a moderator (any more).",
    "user_info": "{user}: {facts}.",
}

"""What every command says of how it is used (tmi_protocol 10b, usage_*), word for word."""

from __future__ import annotations

import pytest

from tests.support.moderation import Room

# msg-id without "usage_", a name of the command, what follows "Usage: "
USAGES = [
    ("announce", "announce",
     '"/announce[blue|green|orange|purple] <message>" - Call attention to your message with a highlight.'),
    ("approve", "approve",
     '"/approve <message id>" - Show a message that is being checked.'),
    ("ban", "ban",
     '"/ban <username> [reason]" - Permanently prevent a user from chatting. Reason is optional and will '
     'be shown to the target and other moderators. Use "/unban" to remove a ban.'),
    ("chat_delay_off", "chatdelayoff",
     '"/chatdelayoff" - Shows messages to everybody at once.'),
    ("chat_delay_on", "chatdelay",
     '"/chatdelay [seconds]" - Shows messages to moderators first, and to others 2, 4 or 6 seconds later. '
     'Use "/chatdelayoff" to disable.'),
    ("clear", "clear",
     '"/clear" - Clear chat history for all users in this room.'),
    ("color", "color",
     '"/color <color>" - Change your username color. Color must be in hex (#000000) or one of the '
     'following: Blue, BlueViolet, CadetBlue, Chocolate, Coral, DodgerBlue, Firebrick, GoldenRod, Green, '
     'HotPink, OrangeRed, Red, SeaGreen, SpringGreen, YellowGreen.'),
    ("delete", "delete",
     '"/delete <msg id>" - Deletes the specified message.'),
    ("deny", "deny",
     '"/deny <message id>" - Do not show a message that is being checked.'),
    ("disconnect", "disconnect",
     '"/disconnect" - Disconnects from chat.'),
    ("emote_only_off", "emoteonlyoff",
     '"/emoteonlyoff" - Disables emote-only mode.'),
    ("emote_only_on", "emoteonly",
     '"/emoteonly" - Enables emote-only mode (only emoticons may be used in chat). Use "/emoteonlyoff" to '
     'disable.'),
    ("followers_off", "followersoff",
     '"/followersoff" - Disables followers-only mode.'),
    ("followers_on", "followers",
     '"/followers [duration]" - Enables followers-only mode (only users who have followed for "duration" '
     'may chat). Examples: "30m", "1 week", "5 days 12 hours". Must be less than 3 months.'),
    ("help", "help",
     '"/help" - Lists the commands available to you in this room.'),
    ("me", "me",
     '"/me <message>" - Express an action in the third-person.'),
    ("mod", "mod",
     '"/mod <username>" - Grant moderator status to a user. Use "/mods" to list the moderators of this '
     'channel.'),
    ("mods", "mods",
     '"/mods" - Lists the moderators of this channel.'),
    ("r9k_off", "uniquechatoff",
     '"/uniquechatoff" - Disables unique-chat mode.'),
    ("r9k_on", "uniquechat",
     '"/uniquechat" - Enables unique-chat mode. Use "/uniquechatoff" to disable.'),
    ("raid", "raid",
     '"/raid <channel>" - Raid another channel. Use "/unraid" to cancel the Raid.'),
    ("slow_off", "slowoff",
     '"/slowoff" - Disables slow mode.'),
    ("slow_on", "slow",
     '"/slow [duration]" - Enables slow mode (limit how often users may send messages). Duration '
     '(optional, default=30) must be a positive integer number of seconds, at least 3. Use "/slowoff" to '
     'disable.'),
    ("subs_off", "subscribersoff",
     '"/subscribersoff" - Disables subscribers-only mode.'),
    ("subs_on", "subscribers",
     '"/subscribers" - Enables subscribers-only mode (only subscribers may chat in this channel). Use '
     '"/subscribersoff" to disable.'),
    ("timeout", "timeout",
     '"/timeout <username> [duration][time unit] [reason]" - Temporarily prevent a user from chatting. '
     'Duration (optional, default=10 minutes) must be a positive integer; time unit (optional, default=s) '
     'must be one of s, m, h, d, w; maximum duration is 2 weeks. Combinations like 1d2h are also allowed. '
     'Reason is optional and will be shown to the target user and other moderators. Use "/untimeout" to '
     'remove a timeout.'),
    ("unban", "unban",
     '"/unban <username>" - Removes a ban on a user.'),
    ("unmod", "unmod",
     '"/unmod <username>" - Revoke moderator status from a user. Use "/mods" to list the moderators of '
     'this channel.'),
    ("unraid", "unraid",
     '"/unraid" - Cancel the Raid.'),
    ("untimeout", "untimeout",
     '"/untimeout <username>" - Removes a timeout on a user.'),
    ("unvip", "unvip",
     '"/unvip <username>" - Revoke VIP status from a user. Use "/vips" to list the VIPs of this channel.'),
    ("user", "user",
     '"/user <username>" - Display information about a specific user on this channel.'),
    ("vip", "vip",
     '"/vip <username>" - Grant VIP status to a user. Use "/vips" to list the VIPs of this channel.'),
    ("vips", "vips",
     '"/vips" - Lists the VIPs of this channel.'),
    ("whisper", "w",
     '"/w <username> <message>" - Sends a private message to a user.'),
]  # fmt: skip


async def test_every_command_says_how_it_is_used(stack, door, connect, new_name):
    """/help and a command's name, by the broadcaster."""
    room = await Room(stack, door, connect, new_name).enter("owner")
    for usage, name, text in USAGES:
        answer = await room.says("owner", f"/help {name}")
        assert answer.tags["msg-id"] == f"usage_{usage}"
        assert answer.params == [room.channel, f"Usage: {text}"]


@pytest.mark.parametrize(("name", "other"), [("r9kbeta", "uniquechat"), ("r9kbetaoff", "uniquechatoff")])
async def test_older_names(stack, tcp, connect, new_name, name, other):
    """They are explained by what they are called now."""
    room = await Room(stack, tcp, connect, new_name).enter("owner")
    answers = [(await room.says("owner", f"/help {typed}")).params for typed in (name, other)]
    assert answers[0] == answers[1]

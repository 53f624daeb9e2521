"""Slash commands: the table, and how one is carried out. Pure.

What a command needs to know is gathered before (clue/gathering.py); what its answer asks for is done after
(clue/submit.py): the change together with the answer in one commit, the effects after it.
"""

from __future__ import annotations

from clue.command_names import IMPLEMENTED
from clue.commands import bans, messages, modes, own, raids, roles
from clue.commands.notices import notice
from clue.commands.shape import Answer, Call, Command, Level, Needs, told


# /help [command]
def help_(call: Call) -> Answer:
    if call.arguments:
        asked = COMMANDS.get(call.first.lower().lstrip("/."))
        return told("no_help") if asked is None else Answer((asked.help(),))
    names = [f"/{name}" for name, command in COMMANDS.items() if command.level <= call.level]
    return told("cmds_available", commands=" ".join(sorted(names)))


_MOD, _OWNER, _USER = Level.MODERATOR, Level.BROADCASTER, Needs.USER

_TIMEOUT = (
    '"/timeout <username> [duration][time unit] [reason]" - Temporarily prevent a user from chatting. Duration '
    "(optional, default=10 minutes) must be a positive integer; time unit (optional, default=s) must be one of "
    "s, m, h, d, w; maximum duration is 2 weeks. Combinations like 1d2h are also allowed. Reason is optional and will "
    'be shown to the target user and other moderators. Use "/untimeout" to remove a timeout.'
)
_COLOR = (
    '"/color <color>" - Change your username color. Color must be in hex (#000000) or one of the following: '
    + ", ".join(own.COLORS)
    + "."
)
_ANNOUNCE = '"/announce[blue|green|orange|purple] <message>" - Call attention to your message with a highlight.'

# fmt: off
_ROWS: tuple[tuple[str, Command], ...] = (
    ("announce announceblue announcegreen announceorange announcepurple",
     Command(messages.announce, "announce", _ANNOUNCE, 1, _MOD)),
    ("approve", Command(messages.approve, "approve",
     '"/approve <message id>" - Show a message that is being checked.', 1, _MOD, Needs.HELD)),
    ("ban", Command(bans.ban, "ban",
     '"/ban <username> [reason]" - Permanently prevent a user from chatting. Reason is optional and will be shown to '
     'the target and other moderators. Use "/unban" to remove a ban.', 1, _MOD, _USER)),
    ("chatdelay", Command(modes.chatdelay, "chat_delay_on",
     '"/chatdelay [seconds]" - Shows messages to moderators first, and to others 2, 4 or 6 seconds later. Use '
     '"/chatdelayoff" to disable.', 0, _MOD)),
    ("chatdelayoff", Command(modes.chatdelayoff, "chat_delay_off",
     '"/chatdelayoff" - Shows messages to everybody at once.', 0, _MOD)),
    ("clear", Command(messages.clear, "clear", '"/clear" - Clear chat history for all users in this room.', 0, _MOD)),
    ("color", Command(own.color, "color", _COLOR, 1)),
    ("delete", Command(messages.delete, "delete",
     '"/delete <msg id>" - Deletes the specified message.', 1, _MOD, Needs.LINE)),
    ("deny", Command(messages.deny, "deny",
     '"/deny <message id>" - Do not show a message that is being checked.', 1, _MOD, Needs.HELD)),
    ("disconnect", Command(own.disconnect, "disconnect", '"/disconnect" - Disconnects from chat.')),
    ("emoteonly", Command(modes.emoteonly, "emote_only_on",
     '"/emoteonly" - Enables emote-only mode (only emoticons may be used in chat). Use "/emoteonlyoff" to disable.',
     0, _MOD)),
    ("emoteonlyoff", Command(modes.emoteonlyoff, "emote_only_off",
     '"/emoteonlyoff" - Disables emote-only mode.', 0, _MOD)),
    ("followers", Command(modes.followers, "followers_on",
     '"/followers [duration]" - Enables followers-only mode (only users who have followed for "duration" may chat). '
     'Examples: "30m", "1 week", "5 days 12 hours". Must be less than 3 months.', 0, _MOD)),
    ("followersoff", Command(modes.followersoff, "followers_off",
     '"/followersoff" - Disables followers-only mode.', 0, _MOD)),
    ("help", Command(help_, "help", '"/help" - Lists the commands available to you in this room.')),
    ("me", Command(own.me, "me", '"/me <message>" - Express an action in the third-person.', 1)),
    ("mod", Command(roles.mod, "mod",
     '"/mod <username>" - Grant moderator status to a user. Use "/mods" to list the moderators of this channel.',
     1, _OWNER, _USER)),
    ("mods", Command(roles.mods, "mods",
     '"/mods" - Lists the moderators of this channel.', needs=Needs.ROLES)),
    ("raid", Command(raids.raid, "raid",
     '"/raid <channel>" - Raid another channel. Use "/unraid" to cancel the Raid.', 1, _OWNER, _USER | Needs.ROOM)),
    ("slow", Command(modes.slow, "slow_on",
     '"/slow [duration]" - Enables slow mode (limit how often users may send messages). Duration (optional, default='
     f'{modes.DEFAULT_SLOW_S}) must be a positive integer number of seconds, at least {modes.SLOW_S[0]}. Use '
     '"/slowoff" to disable.', 0, _MOD)),
    ("slowoff", Command(modes.slowoff, "slow_off", '"/slowoff" - Disables slow mode.', 0, _MOD)),
    ("subscribers", Command(modes.subscribers, "subs_on",
     '"/subscribers" - Enables subscribers-only mode (only subscribers may chat in this channel). Use '
     '"/subscribersoff" to disable.', 0, _MOD)),
    ("subscribersoff", Command(modes.subscribersoff, "subs_off",
     '"/subscribersoff" - Disables subscribers-only mode.', 0, _MOD)),
    ("timeout", Command(bans.timeout, "timeout", _TIMEOUT, 1, _MOD, _USER)),
    ("unban", Command(bans.unban, "unban", '"/unban <username>" - Removes a ban on a user.', 1, _MOD, _USER)),
    ("uniquechat r9kbeta", Command(modes.uniquechat, "r9k_on",
     '"/uniquechat" - Enables unique-chat mode. Use "/uniquechatoff" to disable.', 0, _MOD)),
    ("uniquechatoff r9kbetaoff", Command(modes.uniquechatoff, "r9k_off",
     '"/uniquechatoff" - Disables unique-chat mode.', 0, _MOD)),
    ("unmod", Command(roles.unmod, "unmod",
     '"/unmod <username>" - Revoke moderator status from a user. Use "/mods" to list the moderators of this channel.',
     1, _OWNER, _USER)),
    ("unraid", Command(raids.unraid, "unraid", '"/unraid" - Cancel the Raid.', 0, _OWNER)),
    ("untimeout", Command(bans.untimeout, "untimeout",
     '"/untimeout <username>" - Removes a timeout on a user.', 1, _MOD, _USER)),
    ("unvip", Command(roles.unvip, "unvip",
     '"/unvip <username>" - Revoke VIP status from a user. Use "/vips" to list the VIPs of this channel.',
     1, _OWNER, _USER)),
    ("user", Command(own.user, "user",
     '"/user <username>" - Display information about a specific user on this channel.', 1, needs=_USER)),
    ("vip", Command(roles.vip, "vip",
     '"/vip <username>" - Grant VIP status to a user. Use "/vips" to list the VIPs of this channel.',
     1, _OWNER, _USER | Needs.ROLES)),
    ("vips", Command(roles.vips, "vips", '"/vips" - Lists the VIPs of this channel.', needs=Needs.ROLES)),
    ("w", Command(messages.whisper, "whisper",
     '"/w <username> <message>" - Sends a private message to a user.', 2, needs=_USER)),
)
# fmt: on

COMMANDS = {name: command for names, command in _ROWS for name in names.split()}
assert COMMANDS.keys() == IMPLEMENTED, "command_names.py lists what is here"


def find(typed: str) -> Command | None:
    """`typed` with its slash or dot; None: it is not carried out here."""
    return COMMANDS.get(typed[1:].lower())


def precheck(command: Command, level: Level, arguments: str) -> Answer | None:
    """Why the handler need not be asked; then nothing has to be gathered for it either."""
    if level < command.level:
        return told("no_permission")
    if len(arguments.split(" ", command.least)) < command.least or (command.least and not arguments):
        return Answer((command.help(),))
    return None


def answer(call: Call) -> Answer:
    """Carry the command out, if the author may and has given what it takes."""
    return precheck(call.command, call.level, call.arguments) or call.command.handler(call)


def unavailable(typed: str) -> Answer:
    return Answer((notice("unavailable_command", command=typed),))

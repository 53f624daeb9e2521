"""Slash commands, typed by who may and who may not (tmi_protocol 10b and 12): every answer in the exact words."""

from __future__ import annotations

import re

import pytest

from common.pb import clue_pb2
from tests.support.moderation import Room, operate

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def room(stack, door, connect, new_name):
    """The owner, a moderator, and somebody; over each transport."""
    made = await Room(stack, door, connect, new_name).enter("owner", "mod", "user")
    await made.role("mod", "mod")
    return made


# msg-id, by whom, what was done before (by the owner), what is typed, the text
ANSWERS = [
    # bans
    ("ban_success", "mod", (), "/ban {user} go away", "{user} is now banned from this channel."),
    ("already_banned", "mod", ("/ban {user}",), "/ban {user}", "{user} is already banned in this channel."),
    ("already_banned", "mod", ("/ban {user}",), "/timeout {user}", "{user} is already banned in this channel."),
    ("bad_ban_anon", "mod", (), "/ban justinfan5", "You cannot ban anonymous users."),
    ("bad_ban_broadcaster", "mod", (), "/ban {owner}", "You cannot ban the broadcaster."),
    (
        "bad_ban_mod", "mod", ("/mod {user}",), "/ban {user}",
        "You cannot ban moderator {user} unless you are the owner of this channel.",
    ),
    ("ban_success", "owner", (), "/ban {mod}", "{mod} is now banned from this channel."),
    ("bad_ban_self", "mod", (), "/ban {mod}", "You cannot ban yourself."),
    ("bad_ban_self", "owner", (), "/ban {owner}", "You cannot ban yourself."),
    ("unban_success", "mod", ("/ban {user}",), "/unban {user}", "{user} is no longer banned from this channel."),
    ("unban_success", "mod", ("/timeout {user}",), "/unban {user}", "{user} is no longer banned from this channel."),
    ("bad_unban_no_ban", "mod", (), "/unban {user}", "{user} is not banned from this channel."),
    # time-outs
    ("timeout_success", "mod", (), "/timeout {user}", "{user} has been timed out for 10 minutes."),
    ("timeout_success", "mod", (), ".timeout {user} 1", "{user} has been timed out for 1 second."),
    ("timeout_success", "mod", (), "/timeout @{user} 1d2h spam", "{user} has been timed out for 1 day 2 hours."),
    ("timeout_success", "mod", (), "/timeout {user} 1209600", "{user} has been timed out for 2 weeks."),
    (
        "bad_timeout_duration", "mod", (), "/timeout {user} 1209601",
        "You cannot time a user out for more than 1209600 seconds.",
    ),
    ("bad_timeout_anon", "mod", (), "/timeout justinfan5 5", "You cannot timeout anonymous users."),
    ("bad_timeout_broadcaster", "mod", (), "/timeout {owner} 5", "You cannot timeout the broadcaster."),
    (
        "bad_timeout_mod", "mod", ("/mod {user}",), "/timeout {user} 5",
        "You cannot timeout moderator {user} unless you are the owner of this channel.",
    ),
    ("bad_timeout_self", "mod", (), "/timeout {mod} 5", "You cannot timeout yourself."),
    (
        "untimeout_success", "mod", ("/timeout {user}",), "/untimeout {user}",
        "{user} is no longer timed out in this channel.",
    ),
    ("timeout_no_timeout", "mod", (), "/untimeout {user}", "{user} is not timed out from this channel."),
    (
        "untimeout_banned", "mod", ("/ban {user}",), "/untimeout {user}",
        '{user} is permanently banned. Use "/unban" to remove a ban.',
    ),
    # roles
    ("mod_success", "owner", (), "/mod {user}", "You have added {user} as a moderator of this channel."),
    ("bad_mod_mod", "owner", (), "/mod {mod}", "{mod} is already a moderator of this channel."),
    (
        "bad_mod_banned", "owner", ("/ban {user}",), "/mod {user}",
        "{user} is banned in this channel. You must unban this user before granting mod status.",
    ),
    ("unmod_success", "owner", (), "/unmod {mod}", "You have removed {mod} as a moderator of this channel."),
    ("bad_unmod_mod", "owner", (), "/unmod {user}", "{user} is not a moderator of this channel."),
    ("room_mods", "user", (), "/mods", "The moderators of this channel are: {mod}"),
    ("no_mods", "user", ("/unmod {mod}",), "/mods", "There are no moderators of this channel."),
    ("vip_success", "owner", (), "/vip {user}", "You have added {user} as a vip of this channel."),
    (
        "bad_vip_grantee_banned", "owner", ("/ban {user}",), "/vip {user}",
        "{user} is banned in this channel. You must unban this user before granting VIP status.",
    ),
    (
        "bad_vip_grantee_already_vip", "owner", ("/vip {user}",), "/vip {user}",
        "{user} is already a VIP of this channel.",
    ),
    ("unvip_success", "owner", ("/vip {user}",), "/unvip {user}",
     "You have removed {user} as a VIP of this channel."),
    ("bad_unvip_grantee_not_vip", "owner", (), "/unvip {user}", "{user} is not a VIP of this channel."),
    ("vips_success", "user", ("/vip {user}",), "/vips", "The VIPs of this channel are: {user}."),
    ("no_vips", "user", (), "/vips", "This channel does not have any VIPs."),
    # modes, that are so already or cannot be so
    ("already_emote_only_on", "mod", ("/emoteonly",), "/emoteonly", "This room is already in emote-only mode."),
    ("already_emote_only_off", "mod", (), "/emoteonlyoff", "This room is not in emote-only mode."),
    (
        "already_followers_on", "mod", ("/followers 30m",), "/followers 30",
        "This room is already in 30 minutes followers-only mode.",
    ),
    ("already_followers_on_zero", "mod", ("/followers",), "/followers",
     "This room is already in followers-only mode."),
    ("already_followers_off", "mod", (), "/followersoff", "This room is not in followers-only mode."),
    ("already_r9k_on", "mod", ("/uniquechat",), "/r9kbeta", "This room is already in unique-chat mode."),
    ("already_r9k_off", "mod", (), "/uniquechatoff", "This room is not in unique-chat mode."),
    ("already_slow_on", "mod", ("/slow",), "/slow 30", "This room is already in 30-second slow mode."),
    ("already_slow_off", "mod", (), "/slowoff", "This room is not in slow mode."),
    ("already_subs_on", "mod", ("/subscribers",), "/subscribers",
     "This room is already in subscribers-only mode."),
    ("already_subs_off", "mod", (), "/subscribersoff", "This room is not in subscribers-only mode."),
    ("bad_slow_duration", "mod", (), "/slow 121", "You cannot set slow delay to more than 120 seconds."),
    # other
    ("color_changed", "user", (), "/color #12ab9F", "Your color has been changed."),
    ("no_permission", "user", (), "/ban {mod}", "You don’t have permission to perform that action."),
    ("no_permission", "user", (), "/clear", "You don’t have permission to perform that action."),
    ("no_permission", "mod", (), "/mod {user}", "You don’t have permission to perform that action."),
    ("no_permission", "mod", (), "/raid {user}", "You don’t have permission to perform that action."),
    ("invalid_user", "mod", (), "/ban nobody_has_this_name", "Invalid username: nobody_has_this_name"),
    ("invalid_user", "mod", (), "/timeout b@d 5", "Invalid username: b@d"),
    ("unavailable_command", "mod", (), "/host {user}", 'Sorry, "/host" is not available through this client.'),
    ("unrecognized_cmd", "mod", (), "/dance now", "Unrecognized command: /dance"),
    ("no_help", "user", (), "/help dance", "No help available."),
    # raids
    ("raid_error_self", "owner", (), "/raid {owner}", "A channel cannot raid itself."),
    ("raid_error_already_raiding", "owner", ("/raid {user}",), "/raid {mod}", "You already have a raid in progress."),
    ("unraid_success", "owner", ("/raid {user}",), "/unraid", "The raid has been canceled."),
    ("unraid_error_no_active_raid", "owner", (), "/unraid", "You do not have an active raid."),
    # whispers
    ("whisper_invalid_login", "user", (), "/w nobody_has_this_name hi", "No user matching that username."),
    ("whisper_invalid_self", "user", (), "/w {user} hi", "You cannot whisper to yourself."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("msg_id", "who", "before", "typed", "text"), ANSWERS, ids=[f"{row[0]}-{row[3].split()[0]}" for row in ANSWERS]
)
async def test_answer(room, msg_id, who, before, typed, text):
    """A command is answered to its author, once, with the documented id and text."""
    for command in before:
        await room.says("owner", command)
    answer = await room.says(who, typed)
    assert (answer.command, answer.tags["msg-id"]) == ("NOTICE", msg_id)
    assert answer.params == [room.channel, room.fill(text)]
    assert [line for line in await room.clients[who].fence() if "NOTICE" in line] == []


@pytest.mark.parametrize(
    ("msg_id", "kind", "command", "text"),
    [
        ("bad_ban_staff", "staff", "/ban {user}", "You cannot ban a staff {user}. Please email support@twitch.tv if a "
         "staff member is being abusive."),
        ("bad_ban_admin", "admin", "/ban {user}", "You cannot ban admin {user}. Please email support@twitch.tv if an "
         "admin is being abusive."),
        ("bad_timeout_staff", "staff", "/timeout {user} 5", "You cannot timeout a staff {user}. Please email "
         "support@twitch.tv if a staff member is being abusive."),
        ("bad_timeout_admin", "admin", "/timeout {user} 5", "You cannot timeout admin {user}. Please email "
         "support@twitch.tv if an admin is being abusive."),
    ],
)  # fmt: skip
async def test_staff_are_not_banned(room, msg_id, kind, command, text):
    """Not by the owner either."""
    await room.type("user", kind)
    answer = await room.says("owner", command)
    assert (answer.tags["msg-id"], answer.params[1]) == (msg_id, room.fill(text))


async def test_staff_moderate_everywhere(room):
    """Staff may what moderators may."""
    await room.enter("staff")
    await room.type("staff", "staff")
    assert (await room.says("staff", "/timeout {user} 5")).tags["msg-id"] == "timeout_success"
    assert (await room.says("staff", "/mod {user}")).tags["msg-id"] == "no_permission"


USAGES = {
    "announce": "/announce", "approve": "/approve", "ban": "/ban", "color": "/color plaid", "delete": "/delete",
    "deny": "/deny", "followers_on": "/followers 3 fortnights", "me": "/me", "mod": "/mod", "raid": "/raid",
    "slow_on": "/slow 2", "timeout": "/timeout {user} soon", "unban": "/unban", "unmod": "/unmod",
    "untimeout": "/untimeout", "unvip": "/unvip", "user": "/user", "vip": "/vip", "whisper": "/w {user}",
}  # fmt: skip


@pytest.mark.parametrize("usage", USAGES)
async def test_usage(room, usage):
    """A command that lacks something, or cannot be read, is answered with how it is used."""
    answer = await room.says("owner", USAGES[usage])
    assert answer.tags["msg-id"] == f"usage_{usage}"
    assert answer.params[1].startswith('Usage: "/')


HELP = {
    "clear": "clear", "disconnect": "disconnect", "emoteonly": "emote_only_on", "emoteonlyoff": "emote_only_off",
    "followersoff": "followers_off", "help": "help", "mods": "mods", "r9kbeta": "r9k_on", "uniquechatoff": "r9k_off",
    "slowoff": "slow_off", "subscribers": "subs_on", "subscribersoff": "subs_off", "unraid": "unraid", "vips": "vips",
}  # fmt: skip


async def test_help(room):
    """/help lists what the asker may do, and tells how each command is used."""
    for name, usage in HELP.items():
        answer = await room.says("owner", f"/help {name}")
        assert answer.tags["msg-id"] == f"usage_{usage}"
        assert answer.params[1].startswith(f'Usage: "/{name.replace("r9kbeta", "uniquechat")}')
    lists = {}
    for who in ("user", "mod", "owner"):
        answer = await room.says(who, "/help")
        assert answer.tags["msg-id"] == "cmds_available"
        found = re.fullmatch(
            r"Commands available to you in this room \(use /help for details\): (.*) "
            r"More help: https://help\.twitch\.tv/s/article/chat-commands\.",
            answer.params[1],
        )
        lists[who] = set(found[1].split(" "))
    assert {"/color", "/disconnect", "/help", "/me", "/mods", "/user", "/vips", "/w"} == lists["user"]
    assert lists["mod"] - lists["user"] >= {"/ban", "/timeout", "/clear", "/delete", "/slow", "/announce"}
    assert lists["owner"] - lists["mod"] == {"/mod", "/unmod", "/vip", "/unvip", "/raid", "/unraid"}


async def test_ban_on_the_wire(room):
    """The room sees CLEARCHAT; the banned one is refused and told, until unbanned; the reason is no part of it."""
    watcher = await room.watch()
    await room.says("mod", "/timeout {user} 1h stop that")
    cleared = await watcher.expect("CLEARCHAT")
    assert (cleared.params, cleared.tags["ban-duration"]) == ([room.channel, room.names["user"]], "3600")
    refused = await room.says("user", "may I?")
    assert refused.tags["msg-id"] == "msg_timedout"
    assert re.fullmatch(r"You are timed out for (3600|359\d) more seconds\.", refused.params[1])
    await room.says("mod", "/ban {user}")
    cleared = await watcher.expect("CLEARCHAT")
    assert (cleared.params, "ban-duration" in cleared.tags) == ([room.channel, room.names["user"]], False)
    refused = await room.says("user", "may I?")
    assert refused.tags["msg-id"] == "msg_banned"
    assert refused.params[1] == f"You are permanently banned from talking in {room.channel[1:]}."
    await room.says("mod", "/unban {user}")
    assert (await room.says("user", "thanks")).command == "USERSTATE"


async def test_commands_are_shown_to_nobody(room):
    """Readers see what a command does, never the command."""
    watcher = await room.watch()
    for who, typed in [("user", "/w {mod} psst"), ("user", "/foo"), ("mod", ".timeout {user} 5"), ("mod", "/mods")]:
        await room.says(who, typed)
    await room.says("mod", "all done")
    heard = await watcher.collect_until("all done")
    assert [line for line in heard if "PRIVMSG" in line] == []


async def test_clear(room):
    """/clear empties the room's screens, and answers with the author's own state."""
    watcher = await room.watch()
    assert (await room.says("mod", "/clear")).command == "USERSTATE"
    assert (await watcher.expect("CLEARCHAT")).params == [room.channel]


async def test_delete(room):
    """The room is told which message and what it said; the moderator that it is done; a second time it is not there."""
    watcher = await room.watch()
    state = await room.says("user", "regrettable")
    answer = await room.says("mod", f"/delete {state.tags['id']}")
    assert answer.tags["msg-id"] == "delete_message_success"
    assert answer.params[1] == room.fill("The message from {user} is now deleted.")
    deleted = await watcher.expect("CLEARMSG")
    assert deleted.params == [room.channel, "regrettable"]
    assert (deleted.tags["target-msg-id"], deleted.tags["login"]) == (state.tags["id"], room.names["user"])
    for message_id in (state.tags["id"], UNKNOWN_ID, "x"):
        answer = await room.says("mod", f"/delete {message_id}")
        assert answer.tags["msg-id"] == "bad_delete_message_error"
    assert len([line for line in await watcher.fence() if "CLEARMSG" in line]) == 0


async def test_delete_of_others(room):
    """The broadcaster's are not deleted by anybody, a moderator's by the owner alone, one's own always."""
    ids = {who: (await room.says(who, "words")).tags["id"] for who in ("owner", "mod")}
    await room.enter("second")
    await room.role("second", "mod")
    answer = await room.says("second", f"/delete {ids['owner']}")
    assert answer.tags["msg-id"] == "bad_delete_message_broadcaster"
    assert answer.params[1] == "You cannot delete the broadcaster's messages."
    answer = await room.says("second", f"/delete {ids['mod']}")
    assert answer.tags["msg-id"] == "bad_delete_message_mod"
    assert answer.params[1] == room.fill("You cannot delete messages from another moderator {mod}.")
    assert (await room.says("mod", f"/delete {ids['mod']}")).tags["msg-id"] == "delete_message_success"


async def test_delete_of_staff(room):
    """It is done, and the moderator told whom to write to."""
    await room.type("user", "staff")
    state = await room.says("user", "official")
    answer = await room.says("mod", f"/delete {state.tags['id']}")
    assert answer.tags["msg-id"] == "delete_staff_message_success"
    assert answer.params[1] == room.fill(
        "You deleted a message from staff {user}. Please email support@twitch.tv if a staff member is being abusive."
    )


@pytest.mark.parametrize(
    ("typed", "color"), [("/announce", "PRIMARY"), ("/announceblue", "BLUE"), ("/announcegreen", "GREEN"),
                         ("/announceorange", "ORANGE"), (".announcepurple", "PURPLE")],
)  # fmt: skip
async def test_announce(room, typed, color):
    """USERNOTICE with the words and the color."""
    watcher = await room.watch()
    assert (await room.says("mod", f"{typed} hear  ye")).command == "USERSTATE"
    announced = await watcher.expect("USERNOTICE")
    assert announced.params == [room.channel, "hear ye"]
    assert (announced.tags["msg-id"], announced.tags["msg-param-color"]) == ("announcement", color)
    assert announced.tags["login"] == room.names["mod"]


async def test_whisper(room):
    """It reaches every connection of the recipient, in no channel, and nobody else."""
    second = await (await room.connect(room.door)).login(room.names["mod"])
    assert (await room.says("user", "/w {mod} between  us")).command == "USERSTATE"
    for client in (second, room.clients["mod"]):
        whisper = await client.expect("WHISPER")
        assert whisper.params == [room.names["mod"], "between us"]
        assert whisper.tags["display-name"] == room.names["user"]
        first, last = whisper.tags["thread-id"].split("_")
        assert int(first) < int(last)
    assert [line for line in await room.clients["owner"].fence() if "WHISPER" in line] == []


async def test_whispers_a_second(room):
    """The fourth whisper of a second is refused in the documented words; none is refused after it."""
    lines = [f"PRIVMSG {room.channel} :/w {room.names['user']} {i}" for i in range(8)]
    await room.clients["mod"].send(*lines)
    answers = [await room.clients["mod"].answer(room.channel) for _ in lines]
    refused = [answer.params[1] for answer in answers if answer.command == "NOTICE"]
    assert refused
    assert set(refused) == {"You are sending whispers too fast. Try again in a second."}
    assert {answer.tags["msg-id"] for answer in answers if answer.command == "NOTICE"} == {"whisper_limit_per_sec"}


async def test_color_shows(room):
    """The new color is on the next message, and a name of a color will do."""
    watcher = await room.watch()
    assert (await room.says("user", "/color SpringGreen")).tags["msg-id"] == "color_changed"
    await room.clients["user"].expect("USERSTATE")
    state = await room.says("user", "look")
    assert (await watcher.hear(room.channel)).tags["color"] == state.tags["color"] == "#00FF7F"


async def test_disconnect(room):
    """The connection that asks for it is closed; another one of the user stays."""
    second = await (await room.connect(room.door)).login(room.names["user"])
    await room.clients["user"].send(f"PRIVMSG {room.channel} :/disconnect")
    await room.clients["user"].end()
    assert await second.fence() == []


async def test_user(room):
    """/user tells what there is to know about somebody here."""
    await room.says("owner", "/vip {user}")
    answer = await room.says("mod", "/user {user}")
    assert answer.tags["msg-id"] == "user_info"
    assert re.fullmatch(rf"{room.names['user']}: user id \d+, VIP\.", answer.params[1])


async def test_raid(room):
    """The raided room is told by USERNOTICE; calling it off is told in the own one."""
    watcher = await room.watch()
    target = await (await (await room.connect(room.door)).login(room.new_name())).join(f"#{room.names['user']}")
    assert (await room.says("owner", "/raid {user}")).command == "USERSTATE"
    raid = await target.expect("USERNOTICE")
    owner = room.names["owner"]
    assert raid.params == [f"#{room.names['user']}"]
    assert (raid.tags["msg-id"], raid.tags["msg-param-login"], raid.tags["msg-param-displayName"]) == (
        "raid",
        owner,
        owner,
    )
    count = raid.tags["msg-param-viewerCount"]
    assert raid.tags["system-msg"] == f"{count} raiders from {owner} have joined!"
    await room.says("owner", "/unraid")
    unraid = await watcher.expect("USERNOTICE")
    assert (unraid.tags["msg-id"], unraid.tags["system-msg"]) == ("unraid", "The raid has been canceled.")


async def test_raid_that_is_not_welcome(room):
    """Who is banned there cannot raid; a restricted room is raided, and the raider told."""
    await room.clients["user"].say(f"#{room.names['user']}", "/subscribers")
    answer = await room.says("owner", "/raid {user}")
    assert answer.tags["msg-id"] == "raid_notice_restricted_chat"
    assert answer.params[1] == "This channel has follower- or subscriber-only chat."
    await room.says("owner", "/unraid")
    await room.clients["user"].say(f"#{room.names['user']}", f"/ban {room.names['owner']}")
    answer = await room.says("owner", "/raid {user}")
    assert (answer.tags["msg-id"], answer.params[1]) == ("raid_error_forbidden", "You cannot raid this channel.")


async def test_too_many_vips(room):
    """A hundred VIPs are enough."""
    names = [room.new_name() for _ in range(100)]
    for name in names:
        await operate(room.stack, "SetRole", clue_pb2.SetRoleRequest(channel=room.channel, login=name, role="vip"))
    answer = await room.says("owner", "/vip {user}")
    assert answer.tags["msg-id"] == "bad_vip_max_vips_reached"
    assert answer.params[1] == (
        "Unable to add VIP. Visit the Achievements page on your dashboard to learn how to unlock additional VIP slots."
    )
    await room.says("owner", f"/unvip {names[0]}")
    assert (await room.says("owner", "/vip {user}")).tags["msg-id"] == "vip_success"

"""The names of the slash commands (tmi_protocol section 12): `COMMANDS` has a handler for each of IMPLEMENTED."""

# fmt: off
IMPLEMENTED = frozenset(
    {
        "announce", "announceblue", "announcegreen", "announceorange", "announcepurple", "approve", "ban", "chatdelay",
        "chatdelayoff", "clear", "color", "delete", "deny", "disconnect", "emoteonly", "emoteonlyoff", "followers",
        "followersoff", "help", "me", "mod", "mods", "r9kbeta", "r9kbetaoff", "raid", "slow", "slowoff", "subscribers",
        "subscribersoff", "timeout", "unban", "uniquechat", "uniquechatoff", "unmod", "unraid", "untimeout", "unvip",
        "user", "vip", "vips", "w",
    }
)

# Known elsewhere: of the player, of one client, or withdrawn.
UNAVAILABLE = frozenset(
    {
        "block", "commercial", "gift", "goal", "host", "ignore", "marker", "monitor", "pin", "poll", "prediction",
        "requests", "restrict", "shield", "shieldoff", "shoutout", "unblock", "unhost", "unignore", "warn",
    }
)
# fmt: on

KNOWN = IMPLEMENTED | UNAVAILABLE

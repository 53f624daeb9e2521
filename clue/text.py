"""What a sender typed, as readers will see it (tmi_protocol section 7). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

LIMIT = 500  # characters (code points); the rest is cut off

# A tab counts as a space (people paste them); the other controls cannot be shown, and some would break lines.
_SPACES = re.compile(r"[ \t]{2,}|\t")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_COMMAND = re.compile(r"[/.][A-Za-z]+")

# With a leading dot only these are commands (section 12): ".net" and "..." are text.
# fmt: off
_DOT_COMMANDS = frozenset(
    {
        "announce", "ban", "block", "clear", "color", "commercial", "delete", "disconnect", "emoteonly",
        "emoteonlyoff", "followers", "followersoff", "gift", "help", "host", "ignore", "marker", "mod", "mods",
        "poll", "r9kbeta", "r9kbetaoff", "raid", "requests", "shield", "shieldoff", "shoutout", "slow",
        "slowoff", "subscribers", "subscribersoff", "timeout", "unban", "unblock", "unhost", "unignore",
        "uniquechat", "uniquechatoff", "unmod", "unraid", "untimeout", "unvip", "user", "vip", "vips", "w",
        "warn",
    }
)
# fmt: on


class Text(NamedTuple):
    """`shown` is what readers get; an action is "\\x01ACTION text\\x01". Empty: nothing is left of it.

    `command`: the unknown command, as typed with its slash or dot; "": it is none.
    `bad`: it holds control characters.
    """

    shown: str
    command: str = ""
    bad: bool = False


def normalise(raw: str) -> Text:
    """Cut, collapse, trim; recognize actions and commands."""
    action = False
    if raw.startswith("\x01ACTION"):
        raw = raw[7:].removesuffix("\x01")
        action = True
    elif raw[:1] in ("/", "."):
        if raw.startswith("/ "):
            raw = raw[2:]  # dank-twitch-irc sends "/ /text" for "/text"
        else:
            word = raw.split(" ", 1)[0]
            if word.lower() in ("/me", ".me"):
                raw = raw[3:]
                action = True
            elif raw[0] == "/" or (_COMMAND.fullmatch(word) and word[1:].lower() in _DOT_COMMANDS):
                return Text("", bad=True) if _CONTROL.search(word) else Text("", command=word[:LIMIT])
    shown = raw[:LIMIT]
    if not shown.isprintable():  # the quick look; format characters and the like are no controls
        if _CONTROL.search(shown):
            return Text("", bad=True)
        shown = _SPACES.sub(" ", shown)
    elif "  " in shown:
        shown = _SPACES.sub(" ", shown)
    shown = shown.strip(" ")
    return Text(f"\x01ACTION {shown}\x01" if action and shown else shown)

"""What a sender typed, as readers will see it (tmi_protocol section 7). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from clue.command_names import KNOWN

ACTION = "\x01ACTION "
LIMIT = 500  # characters (code points); the rest is cut off

# A tab counts as a space (people paste them); the other controls cannot be shown, and some would break lines.
_SPACES = re.compile(r"[ \t]{2,}|\t")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_COMMAND = re.compile(r"[/.][A-Za-z]+")


class Text(NamedTuple):
    """`shown` is what readers get; an action is "\\x01ACTION text\\x01". Empty: nothing is left of it.

    `command`: a slash command as typed with its slash or dot ("": it is none), and `arguments`, what follows it.
    `bad`: it holds control characters.
    """

    shown: str
    command: str = ""
    arguments: str = ""
    bad: bool = False


_BAD = Text("", bad=True)


def normalise(raw: str) -> Text:
    """Cut, collapse, trim; recognize actions and commands."""
    action = False
    me = ""
    if raw.startswith("\x01ACTION"):
        raw = raw[7:].removesuffix("\x01")
        action = True
    elif raw[:1] in ("/", "."):
        if raw.startswith("/ "):
            raw = raw[2:]  # dank-twitch-irc sends "/ /text" for "/text"
        else:
            word, _, rest = raw.partition(" ")
            if word.lower() in ("/me", ".me"):
                raw = rest
                action = True
                me = word
            # With a leading dot only known commands are commands: ".net" and "..." are text.
            elif raw[0] == "/" or (_COMMAND.fullmatch(word) and word[1:].lower() in KNOWN):
                if _CONTROL.search(raw):
                    return _BAD
                return Text("", word[:LIMIT], _SPACES.sub(" ", rest).strip(" "))
    shown = raw[:LIMIT]
    if not shown.isprintable():  # the quick look; format characters and the like are no controls
        if _CONTROL.search(shown):
            return _BAD
        shown = _SPACES.sub(" ", shown)
    elif "  " in shown:
        shown = _SPACES.sub(" ", shown)
    shown = shown.strip(" ")
    if not shown and me:
        return Text("", me)
    return Text(f"\x01ACTION {shown}\x01" if action and shown else shown)


def inner(shown: str) -> str:
    """The words of an action, or the text itself."""
    return shown[len(ACTION) : -1] if shown.startswith(ACTION) else shown

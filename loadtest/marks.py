"""What chatters say, and the mark at the end of each line by which its readers know who sent it, which one, and when.

A mark is ` RUN.NUMBER.MICROSECONDS`, the numbers in base 36: "anarchy k7f2.2t.4kx81z0". It makes every text unique, so
the rule against equal texts is not met by accident, and it is read by clients with and without tags alike.
"""

from __future__ import annotations

import random

# Twitch Plays Pokémon, with the weights of its chat: mostly moves, some politics.
_MOVES = ("up", "down", "left", "right", "a", "b", "start", "select", "anarchy", "democracy")
_MOVE_WEIGHTS = (16, 16, 14, 14, 18, 14, 6, 1, 6, 5)
_TALK = (
    "why is everyone pressing start",
    "PRAISE HELIX",
    "we have been in this ledge for six hours LUL",
    "guys please just go left",
    "wait was that a shiny?!",
    "Kappa Kappa Kappa",
    "democracy is the only way through the maze",
    "ANARCHY FOREVER ヽ༼ຈل͜ຈ༽ﾉ RIOT ヽ༼ຈل͜ຈ༽ﾉ",
    "first time here, what is going on",
    "hello from Brazil 🇧🇷",
    "he released Abby and Jay Leno, never forget, I have watched this for nine days now and I still cannot believe it",
    "@helix_believer consult the fossil",
    "a b a b a a a",
    "lag?",
    "gg",
)
_TALK_SHARE = 0.2

SENDER_SHIFT = 24  # a number is sender << 24 | how many that sender had sent before
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def words(choice: random.Random) -> str:
    """What somebody says next."""
    if choice.random() < _TALK_SHARE:
        return choice.choice(_TALK)
    return choice.choices(_MOVES, _MOVE_WEIGHTS)[0]


def stamp(text: str, run: str, number: int, at: float) -> str:
    """`text` with its mark; `at` in seconds."""
    return f"{text} {run}.{_base36(number)}.{_base36(int(at * 1e6))}"


def read(text: str, run: str) -> tuple[int, float] | None:
    """Number and time (seconds) of a line of this run; None for every other line."""
    parts = text[text.rfind(" ") + 1 :].split(".")
    if len(parts) != 3 or parts[0] != run:
        return None
    try:
        return int(parts[1], 36), int(parts[2], 36) / 1e6
    except ValueError:
        return None


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits

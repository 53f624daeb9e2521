"""Why a submission is refused: the msg-ids of the dialect and their exact texts (tmi_protocol section 10a)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Denial:
    """`number` fills the text's placeholder: seconds to wait for msg_timedout and msg_slowmode; 0: has none.

    `word` fills the text's other placeholder: the command as typed for unrecognized_cmd.
    """

    msg_id: str
    number: int = 0
    word: str = ""

    def notice(self, channel: str) -> str:
        return _TEXTS[self.msg_id].format(channel=channel.removeprefix("#"), number=self.number, word=self.word)

    def code(self) -> str:
        """As commit.lua keeps it; `from_code` reads it."""
        return f"{self.msg_id}:{self.number}:{self.word}"


# Denials that follow from the channel's state (bans, roles): only a commit proves that it is still so.
OF_STATE = frozenset({"msg_banned", "msg_timedout", "msg_ratelimit"})


def from_code(code: str) -> Denial:
    msg_id, _, rest = code.partition(":")
    number, _, word = rest.partition(":")
    return Denial(msg_id, int(number or 0), word)


# Typographic apostrophes as published.
_TEXTS = {
    "msg_banned": "You are permanently banned from talking in {channel}.",
    "msg_bad_characters": (
        "Your message was not sent because it contained too many unprocessable characters. "
        "If you believe this is an error, please rephrase and try again."
    ),
    "msg_channel_suspended": "This channel does not exist or has been suspended.",
    "msg_duplicate": (
        "Your message was not sent because it is identical to the previous one you sent, less than 30 seconds ago."
    ),
    "msg_ratelimit": "Your message was not sent because you are sending messages too quickly.",
    "msg_slowmode": (
        "This room is in slow mode and you are sending messages too quickly. "
        "You will be able to talk again in {number} seconds."
    ),
    "msg_suspended": "You don’t have permission to perform that action.",
    "msg_timedout": "You are timed out for {number} more seconds.",
    "unrecognized_cmd": "Unrecognized command: {word}",
    # Ours: the author's account cannot be read, and was not read before. The dialect has no word for it.
    "msg_unavailable": "Your message was not sent because your account could not be reached. Try again in a moment.",
}

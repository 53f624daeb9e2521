"""Why a submission is refused: the msg-ids of the dialect and their exact texts (tmi_protocol section 10a)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote


@dataclass(frozen=True, slots=True)
class Denial:
    """`number` fills the text's placeholder: seconds to wait for msg_timedout and msg_slowmode; 0: has none.

    `word` fills the text's other placeholder: the command as typed for unrecognized_cmd, how long one must follow for
    msg_followersonly; `more` a third one: how long one has, for msg_followersonly_followed.
    """

    msg_id: str
    number: int = 0
    word: str = ""
    more: str = ""

    def notice(self, channel: str) -> str:
        return _TEXTS[self.msg_id].format(
            channel=channel.removeprefix("#"), number=self.number, word=self.word, more=self.more
        )

    def code(self) -> str:
        """As commit.lua keeps it, without spaces; `from_code` reads it."""
        if not self.word:
            return f"{self.msg_id}:{self.number}"
        return f"{self.msg_id}:{self.number}:{quote(self.word)}:{quote(self.more)}"


# Denials that follow from the channel's state (bans, roles, modes, terms): only a commit proves that it is still so.
OF_STATE = frozenset(
    {
        "msg_banned", "msg_emoteonly", "msg_followersonly", "msg_followersonly_followed", "msg_followersonly_zero",
        "msg_ratelimit", "msg_rejected_mandatory", "msg_subsonly", "msg_timedout", "room_invite_only",
    }
)  # fmt: skip

UNINVITED = Denial("room_invite_only")


def from_code(code: str) -> Denial:
    msg_id, number, word, more = (*code.split(":"), "", "", "")[:4]
    return Denial(msg_id, int(number or 0), unquote(word), unquote(more))


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
    "msg_emoteonly": (
        "This room is in emote-only mode. You can find your currently available emoticons using the smiley in the chat "
        "text area."
    ),
    "msg_followersonly": ("This room is in {word} followers-only mode. Follow {channel} to join the community!"),
    "msg_followersonly_followed": (
        "This room is in {word} followers-only mode. You have been following for {more}. Continue following to chat!"
    ),
    "msg_followersonly_zero": "This room is in followers-only mode. Follow {channel} to join the community!",
    "msg_r9k": "This room is in unique-chat mode and the message you attempted to send is not unique.",
    "msg_ratelimit": "Your message was not sent because you are sending messages too quickly.",
    "msg_rejected": "Hey! Your message is being checked by mods and has not been sent.",
    "msg_rejected_mandatory": "Your message wasn’t posted due to conflicts with the channel’s moderation settings.",
    "msg_slowmode": (
        "This room is in slow mode and you are sending messages too quickly. "
        "You will be able to talk again in {number} seconds."
    ),
    "msg_subsonly": (
        "This room is in subscribers only mode. To talk, purchase a channel subscription at "
        "https://www.twitch.tv/products/{channel}/ticket?ref=subscriber_only_mode_chat."
    ),
    "msg_suspended": "You don’t have permission to perform that action.",
    "msg_timedout": "You are timed out for {number} more seconds.",
    "unrecognized_cmd": "Unrecognized command: {word}",
    # Ours, of temporary rooms.
    "no_such_room": "There is no room {channel}: it was not made yet, or has ended.",
    "room_invite_only": "The room {channel} takes invited users only.",
    # Ours: Twitch lets a JOIN over the limit vanish.
    "join_ratelimit": "You are joining channels too quickly. Try to join {channel} again in {number} seconds.",
    # Ours: the author's account cannot be read, and was not read before. The dialect has no word for it.
    "msg_unavailable": "Your message was not sent because your account could not be reached. Try again in a moment.",
}

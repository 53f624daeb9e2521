"""The texts, exactly as published (tmi_protocol section 10a)."""

import pytest

from clue.verdict import Denial, from_code


@pytest.mark.parametrize(
    ("denial", "text"),
    [
        (Denial("msg_banned"), "You are permanently banned from talking in chan."),
        (
            Denial("msg_bad_characters"),
            "Your message was not sent because it contained too many unprocessable characters. If you believe this is "
            "an error, please rephrase and try again.",
        ),
        (Denial("msg_channel_suspended"), "This channel does not exist or has been suspended."),
        (
            Denial("msg_duplicate"),
            "Your message was not sent because it is identical to the previous one you sent, less than 30 seconds ago.",
        ),
        (Denial("msg_ratelimit"), "Your message was not sent because you are sending messages too quickly."),
        (
            Denial("msg_slowmode", 9),
            "This room is in slow mode and you are sending messages too quickly. You will be able to talk again in "
            "9 seconds.",
        ),
        (Denial("msg_suspended"), "You don\u2019t have permission to perform that action."),
        (Denial("msg_timedout", 57), "You are timed out for 57 more seconds."),
        (Denial("unrecognized_cmd", word="/{ban}"), "Unrecognized command: /{ban}"),
        (
            Denial("msg_emoteonly"),
            "This room is in emote-only mode. You can find your currently available emoticons using the smiley in the "
            "chat text area.",
        ),
        (
            Denial("msg_followersonly", word="1 week"),
            "This room is in 1 week followers-only mode. Follow chan to join the community!",
        ),
        (
            Denial("msg_followersonly_followed", word="1 week", more="2 days"),
            "This room is in 1 week followers-only mode. You have been following for 2 days. Continue following to "
            "chat!",
        ),
        (Denial("msg_followersonly_zero"), "This room is in followers-only mode. Follow chan to join the community!"),
        (
            Denial("msg_r9k"),
            "This room is in unique-chat mode and the message you attempted to send is not unique.",
        ),
        (Denial("msg_rejected"), "Hey! Your message is being checked by mods and has not been sent."),
        (
            Denial("msg_rejected_mandatory"),
            "Your message wasn\u2019t posted due to conflicts with the channel\u2019s moderation settings.",
        ),
        (
            Denial("msg_subsonly"),
            "This room is in subscribers only mode. To talk, purchase a channel subscription at "
            "https://www.twitch.tv/products/chan/ticket?ref=subscriber_only_mode_chat.",
        ),
    ],
)
def test_notice(denial, text):
    """Placeholders are filled; the channel goes without its #."""
    assert denial.notice("#chan") == text


@pytest.mark.parametrize(
    "denial",
    [
        Denial("msg_banned"),
        Denial("msg_timedout", 5),
        Denial("unrecognized_cmd", 0, "/a:b c@%"),
        Denial("x", 1, "1 week", "2 days"),
    ],
)
def test_code(denial):
    """What the log keeps of a denial gives the same denial."""
    assert from_code(denial.code()) == denial
    assert not set(" @") & set(denial.code())


def test_short_code():
    """commit.lua's own denials are shorter."""
    assert from_code("msg_slowmode:3") == Denial("msg_slowmode", 3)
    assert from_code("msg_duplicate") == Denial("msg_duplicate")

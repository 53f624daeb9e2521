import pytest

from common.irc.message import parse
from loadtest.moderation import Watch, acts

# What an edge shows a moderator for each command (tmi_protocol sections 10 to 12), and the commands.
SHOWN = {
    "/timeout": [b"@ban-duration=60 :tmi.twitch.tv CLEARCHAT #tpp :rude",
                 b"@msg-id=timeout_success :tmi.twitch.tv NOTICE #tpp :rude has been timed out for 1 minute."],
    "/untimeout": [b"@msg-id=untimeout_success :tmi.twitch.tv NOTICE #tpp :done"],
    "/delete": [b"@target-msg-id=m-1 :tmi.twitch.tv CLEARMSG #tpp :up k.1.1",
                b"@msg-id=delete_message_success :tmi.twitch.tv NOTICE #tpp :done"],
    "/ban": [b":tmi.twitch.tv CLEARCHAT #tpp :rude", b"@msg-id=ban_success :tmi.twitch.tv NOTICE #tpp :done"],
    "/unban": [b"@msg-id=unban_success :tmi.twitch.tv NOTICE #tpp :done"],
    "/clear": [b"@room-id=1 :tmi.twitch.tv CLEARCHAT #tpp"],
    "/emoteonly": [b"@emote-only=1 :tmi.twitch.tv ROOMSTATE #tpp", b"@msg-id=emote_only_on :t NOTICE #tpp :on"],
    "/emoteonlyoff": [b"@emote-only=0 :tmi.twitch.tv ROOMSTATE #tpp", b"@msg-id=emote_only_off :t NOTICE #tpp :off"],
    "/slow": [b"@slow=3 :tmi.twitch.tv ROOMSTATE #tpp", b"@msg-id=slow_on :t NOTICE #tpp :on"],
    "/slowoff": [b"@slow=0 :tmi.twitch.tv ROOMSTATE #tpp", b"@msg-id=slow_off :t NOTICE #tpp :off"],
    "/uniquechat": [b"@r9k=1 :tmi.twitch.tv ROOMSTATE #tpp", b"@msg-id=r9k_on :t NOTICE #tpp :on"],
    "/uniquechatoff": [b"@r9k=0 :tmi.twitch.tv ROOMSTATE #tpp", b"@msg-id=r9k_off :t NOTICE #tpp :off"],
}  # fmt: skip
ACTS = {act.name: act for group in acts("rude") for act in group}


def prepared(name):
    """A watch that has seen a message and waits for the act's signs, and the list that fills when they have come."""
    watch, done = Watch("#tpp"), []
    watch.take(parse(b"@id=m-1 :a!a@a PRIVMSG #tpp :up k.1.1"))
    line = watch.prepare(ACTS[name], lambda: done.append(True))
    return watch, line, done


def test_every_act_is_tried():
    """All that a moderator does is in the list."""
    assert set(ACTS) == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_an_act_is_done_when_all_its_signs_were_seen(name):
    """In whatever order they come, and not before the last."""
    watch, _, done = prepared(name)
    *first, last = reversed(SHOWN[name])
    for line in first:
        watch.take(parse(line))
    assert not done
    watch.take(parse(last))
    assert done == [True]
    assert watch.missing() == ""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("/timeout", b"@ban-duration=1 :t CLEARCHAT #tpp :rude"),
        ("/timeout", b"@ban-duration=60 :t CLEARCHAT #tpp :other"),
        ("/timeout", b"@ban-duration=60 :t CLEARCHAT #else :rude"),
        ("/clear", b":t CLEARCHAT #tpp :rude"),
        ("/emoteonly", b"@emote-only=0 :t ROOMSTATE #tpp"),
        ("/delete", b"@target-msg-id=m-2 :t CLEARMSG #tpp :up"),
    ],
)
def test_another_line_is_no_sign(name, line):
    """Another user, duration, channel, message or state leaves the act undone, and what is missing is told."""
    watch, _, done = prepared(name)
    before = watch.missing()
    watch.take(parse(line))
    assert not done
    assert watch.missing() == before != ""


def test_the_last_message_is_deleted():
    """The id in the line is the one seen last; without one there is nothing to delete."""
    assert prepared("/delete")[1] == "/delete m-1"
    assert Watch("#tpp").prepare(ACTS["/delete"], list) is None

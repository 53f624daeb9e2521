"""WHISPER (tmi_protocol.md 8 and 12): to every connection of the user, on every edge."""

from __future__ import annotations

from tests.wire.conftest import edge_doors


async def test_a_whisper_reaches_every_connection_of_the_user(stack, connect, new_name):
    """Also one that has only just logged in, and those in no channel; with all tags of section 8."""
    first, second = edge_doors(stack)
    sender, receiver = new_name(), new_name()
    sending = await (await connect(first)).login(sender)
    sessions = [await (await connect(door)).login(receiver) for door in (first, second, second)]
    await sending.send(f"PRIVMSG #{sender} :/w {receiver} are you there?")
    for session in sessions:
        line = await session.expect(" WHISPER ")
        assert line.untagged == f":{sender}!{sender}@{sender}.tmi.twitch.tv WHISPER {receiver} :are you there?"
        assert set(line.tags) == {
            "badges", "color", "display-name", "emotes", "message-id", "thread-id", "turbo", "user-id", "user-type",
        }  # fmt: skip
        assert await session.fence() == []


async def test_a_whisper_needs_the_commands_capability(stack, connect, new_name):
    """Section 2."""
    first, second = edge_doors(stack)
    sender, receiver = new_name(), new_name()
    sending = await (await connect(first)).login(sender)
    plain = await (await connect(second)).login(receiver, capabilities=("twitch.tv/tags",))
    able = await (await connect(second)).login(receiver)
    await sending.send(f"PRIVMSG #{sender} :/w {receiver} psst")
    await able.expect(" WHISPER ")
    assert await plain.fence() == []


async def test_old_whispers_do_not_come_again(stack, connect, new_name):
    """A connection gets what is whispered while it is there."""
    first, second = edge_doors(stack)
    sender, receiver = new_name(), new_name()
    sending = await (await connect(first)).login(sender)
    early = await (await connect(second)).login(receiver)
    await sending.send(f"PRIVMSG #{sender} :/w {receiver} one")
    await early.expect(" WHISPER ")
    await early.close()
    late = await (await connect(first)).login(receiver)
    await sending.send(f"PRIVMSG #{sender} :/w {receiver} two")
    assert (await late.expect(" WHISPER ")).params == [receiver, "two"]

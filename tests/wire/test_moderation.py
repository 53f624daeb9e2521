"""What everybody in a channel sees of moderation (tmi_protocol.md 6, 8 and 12), over two edges."""

from __future__ import annotations

import pytest

from tests.wire.conftest import edge_doors


@pytest.fixture
async def scene(stack, connect, new_name):
    """The broadcaster on one edge; a user with a session on each; a witness on the other."""

    class Scene:
        owner_login, user_login = new_name(), new_name()
        channel = f"#{owner_login}"

    first, second = edge_doors(stack)
    scene = Scene()
    scene.owner = await (await (await connect(first)).login(scene.owner_login)).join(scene.channel)
    scene.sessions = [
        await (await (await connect(door)).login(scene.user_login)).join(scene.channel) for door in (first, second)
    ]
    scene.witness = await (await (await connect(second)).login(new_name())).join(scene.channel)
    return scene


async def test_a_banned_user_sees_the_ban_and_leaves_on_every_edge(scene):
    """Section 12: CLEARCHAT for all, PART for the banned; what is said then is not for it."""
    await scene.owner.send(f"PRIVMSG {scene.channel} :/ban {scene.user_login} spam")
    assert (await scene.owner.expect(" NOTICE ")).tags["msg-id"] == "ban_success"
    for client in (*scene.sessions, scene.witness):
        line = await client.expect(" CLEARCHAT ")
        assert line.untagged == f":tmi.twitch.tv CLEARCHAT {scene.channel} :{scene.user_login}"
        assert "ban-duration" not in line.tags
    for session in scene.sessions:
        user = scene.user_login
        assert await session.line() == f":{user}!{user}@{user}.tmi.twitch.tv PART {scene.channel}"
    await scene.owner.say(scene.channel, "still here?")
    await scene.witness.hear(scene.channel)
    for session in scene.sessions:
        assert await session.fence() == []
        await session.send(f"JOIN {scene.channel}")
        assert (await session.expect(" NOTICE ")).tags["msg-id"] == "msg_banned"


async def test_a_timed_out_user_stays(scene):
    """Section 12: CLEARCHAT with its seconds, no PART."""
    await scene.owner.send(f"PRIVMSG {scene.channel} :/timeout {scene.user_login} 1m")
    for client in (*scene.sessions, scene.witness):
        assert (await client.expect(" CLEARCHAT ")).tags["ban-duration"] == "60"
    await scene.owner.say(scene.channel, "still here?")
    for session in scene.sessions:
        assert (await session.hear(scene.channel)).params[1] == "still here?"


async def test_a_deleted_message_is_a_clearmsg(scene):
    """Section 8: its author, its id and its text."""
    said = await scene.sessions[0].say(scene.channel, "oh dear")
    message_id = (await scene.owner.hear(scene.channel)).tags["id"]
    assert said.tags["id"] == message_id
    await scene.owner.send(f"PRIVMSG {scene.channel} :/delete {message_id}")
    for client in (*scene.sessions, scene.witness):
        line = await client.expect(" CLEARMSG ")
        assert line.untagged == f":tmi.twitch.tv CLEARMSG {scene.channel} :oh dear"
        assert (line.tags["login"], line.tags["target-msg-id"]) == (scene.user_login, message_id)


async def test_clear_is_a_clearchat_of_the_whole_room(scene):
    """Section 8: without a user."""
    await scene.owner.send(f"PRIVMSG {scene.channel} :/clear")
    for client in (*scene.sessions, scene.witness):
        line = await client.expect(" CLEARCHAT ")
        assert line.untagged == f":tmi.twitch.tv CLEARCHAT {scene.channel}"
        assert set(line.tags) == {"room-id", "tmi-sent-ts"}


async def test_an_announcement_is_a_usernotice(scene):
    """Section 8: for its author too, with the color as a parameter."""
    await scene.owner.send(f"PRIVMSG {scene.channel} :/announce hello all")
    for client in (*scene.sessions, scene.witness, scene.owner):
        line = await client.expect(" USERNOTICE ")
        assert line.untagged == f":tmi.twitch.tv USERNOTICE {scene.channel} :hello all"
        assert (line.tags["msg-id"], line.tags["login"]) == ("announcement", scene.owner_login)
        assert line.tags["msg-param-color"] == "PRIMARY"


async def test_a_new_color_shows_in_the_states(scene):
    """NOTICE color_changed, then the states as they are now."""
    client = scene.sessions[0]
    await client.send(f"PRIVMSG {scene.channel} :/color blue")
    assert (await client.expect(" NOTICE ")).tags["msg-id"] == "color_changed"
    assert (await client.expect(" GLOBALUSERSTATE$")).tags["color"] == "#0000FF"
    assert (await client.expect(f" USERSTATE {scene.channel}$")).tags["color"] == "#0000FF"


async def test_disconnect_closes_this_connection_alone(scene):
    """Section 12."""
    one, other = scene.sessions
    await one.send(f"PRIVMSG {scene.channel} :/disconnect")
    await one.end()
    assert await other.fence() == []

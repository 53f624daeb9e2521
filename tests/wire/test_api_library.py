"""A real library's API calls, pointed at the control API and otherwise unmodified."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.api import Api

twitch_api = pytest.importorskip("twitchAPI.twitch")

from twitchAPI.type import AuthScope, TwitchAPIException, TwitchResourceNotFound, UnauthorizedException  # noqa: E402


@pytest.fixture
async def bots(token_stack, new_name) -> AsyncIterator[tuple[dict[str, str], dict[str, Any]]]:
    """Ids and clients of an owner, a moderator-to-be and a user, by what they are."""
    async with aiohttp.ClientSession() as http:
        api = Api(token_stack, http)
        names = {who: new_name() for who in ("owner", "mod", "user")}
        await api.add(*names.values())
    clients = {}
    for who, login in names.items():
        client = clients[who] = twitch_api.Twitch("any", authenticate_app=False, base_url=f"{api.url}/helix/")
        client.auto_refresh_auth = False
        await client.set_user_authentication(api.tokens[login], list(AuthScope), validate=False)
    yield {who: api.ids[login] for who, login in names.items()}, clients
    for client in clients.values():
        await client.close()


async def test_pytwitchapi(bots):
    """Every call that the library has for what we serve."""
    ids, clients = bots
    owner, mod, user = clients["owner"], clients["mod"], clients["user"]
    here = {"broadcaster_id": ids["owner"], "moderator_id": ids["mod"]}

    assert [found.id async for found in owner.get_users()] == [ids["owner"]]
    assert [found.id async for found in user.get_users(user_ids=[ids["mod"]])] == [ids["mod"]]

    await owner.add_channel_moderator(ids["owner"], ids["mod"])
    assert [found.user_id async for found in owner.get_moderators(ids["owner"])] == [ids["mod"]]
    with pytest.raises(TwitchAPIException):
        await owner.add_channel_moderator(ids["owner"], ids["mod"])

    sent = await user.send_chat_message(ids["owner"], ids["user"], "hello")
    assert sent.is_sent
    dropped = await user.send_chat_message(ids["owner"], ids["user"], "hello")
    assert (dropped.is_sent, dropped.drop_reason.code) == (False, "msg_duplicate")

    settings = await mod.update_chat_settings(**here, slow_mode=True, slow_mode_wait_time=5, emote_mode=True)
    assert (settings.slow_mode_wait_time, settings.emote_mode) == (5, True)
    settings = await user.get_chat_settings(ids["owner"])
    assert (settings.slow_mode, settings.follower_mode) == (True, False)
    assert (await mod.get_chatters(ids["owner"], ids["mod"])).total == 0
    await mod.send_chat_announcement(**here, message="hear, hear", color="blue")
    await mod.delete_chat_message(**here, message_id=sent.message_id)
    with pytest.raises(TwitchResourceNotFound):
        await mod.delete_chat_message(**here, message_id=sent.message_id)

    banned = await mod.ban_user(**here, user_id=ids["user"], reason="be nice", duration=600)
    assert (banned.user_id, banned.end_time is None) == (ids["user"], False)
    listed = [(one.user_id, one.reason) async for one in owner.get_banned_users(ids["owner"])]
    assert listed == [(ids["user"], "be nice")]
    assert await mod.unban_user(**here, user_id=ids["user"])
    with pytest.raises(UnauthorizedException):
        await user.unban_user(**here, user_id=ids["user"])  # in the moderator's name

    assert await owner.add_channel_vip(ids["owner"], ids["user"])
    assert [one.user_id async for one in owner.get_vips(ids["owner"])] == [ids["user"]]
    assert await owner.remove_channel_vip(ids["owner"], ids["user"])
    await owner.remove_channel_moderator(ids["owner"], ids["mod"])

    await user.update_user_chat_color(ids["user"], "blue")
    assert (await user.get_user_chat_color(ids["user"]))[0].color == "#0000FF"
    await owner.start_raid(ids["owner"], ids["user"])
    await owner.cancel_raid(ids["owner"])
    await owner.send_whisper(ids["owner"], ids["user"], "psst")

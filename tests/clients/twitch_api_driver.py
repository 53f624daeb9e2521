"""twitchAPI.chat: WebSocket only. It asks the Twitch API whose token it holds; its documented ``base_url`` and
``auth_base_url`` point at a stand-in on loopback that knows this one user."""

from __future__ import annotations

import asyncio

from aiohttp import web
from driver import commands, report, target
from twitchAPI.chat import Chat, ChatMessage
from twitchAPI.twitch import Twitch
from twitchAPI.type import AuthScope, ChatEvent

TARGET = target()
SCOPES = [AuthScope.CHAT_READ, AuthScope.CHAT_EDIT]


async def users(_: web.Request) -> web.Response:
    user = {"id": "1", "login": TARGET.login, "display_name": TARGET.login, "type": "", "broadcaster_type": "",
            "description": "", "profile_image_url": "", "offline_image_url": "", "view_count": 0, "email": "",
            "created_at": "2016-12-14T20:32:28Z"}
    return web.json_response({"data": [user]})


async def validate(_: web.Request) -> web.Response:
    scopes = [scope.value for scope in SCOPES]
    return web.json_response(
        {"client_id": "none", "login": TARGET.login, "scopes": scopes, "user_id": "1", "expires_in": 3600}
    )


async def heard(message: ChatMessage) -> None:
    report("heard", **{"from": message.user.name}, channel=f"#{message.room.name}", text=message.text,
           tags={"id": message.id, "display-name": message.user.display_name, "user-id": message.user.id,
                 "room-id": message.room.room_id, "tmi-sent-ts": str(message.sent_timestamp)})


async def main() -> None:
    api = web.Application()
    api.router.add_get("/helix/users", users)
    api.router.add_get("/oauth2/validate", validate)
    runner = web.AppRunner(api)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    twitch = await Twitch(
        "none", authenticate_app=False,
        base_url=f"http://127.0.0.1:{port}/helix/", auth_base_url=f"http://127.0.0.1:{port}/oauth2/",
    )
    twitch.auto_refresh_auth = False
    await twitch.set_user_authentication(TARGET.token.removeprefix("oauth:"), SCOPES)
    chat = await Chat(twitch, connection_url=f"ws://{TARGET.host}:{TARGET.port}/")
    name = TARGET.channel.removeprefix("#")

    async def ready(_: object) -> None:
        if failed := await chat.join_room(name):
            report("failed", doing="join", why=repr(failed))
        else:
            report("joined")

    chat.register_event(ChatEvent.READY, ready)
    chat.register_event(ChatEvent.MESSAGE, heard)
    # start() spins until the socket thread is up
    await asyncio.to_thread(chat.start)
    async for verb, text in commands():
        if verb == "say":
            await chat.send_message(name, text)
            report("said", text=text)
        elif verb == "part":
            await chat.leave_room(name)
            report("parted")
        else:
            break
    await asyncio.to_thread(chat.stop)
    await twitch.close()
    await runner.cleanup()


asyncio.run(main())

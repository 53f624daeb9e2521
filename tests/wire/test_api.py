"""The control API (tmi_protocol section 15): the same acts as slash commands, and what the room sees of them."""

from __future__ import annotations

import aiohttp
import pytest

from common.pb import clue_pb2
from edge.api.openapi import document
from tests.support.api import Api
from tests.support.moderation import operate
from tests.wire.conftest import tcp_door


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


class Scene:
    """A channel with an owner, a moderator and a user, all with tokens, on a stack that checks them."""

    def __init__(self, api, new_name, connect):
        self.api, self._connect = api, connect
        self.names = {who: new_name() for who in ("owner", "mod", "user")}
        self.channel = "#" + self.names["owner"]

    def id(self, who):
        return self.api.ids[self.names[who]]

    async def call(self, who, method, path, body=None, **query):
        return await self.api.call(self.names[who], method, path, body, **query)

    async def here(self, who):
        """What a request about this channel names, of a moderator."""
        return {"broadcaster_id": self.id("owner"), "moderator_id": self.id(who)}

    async def watch(self, who):
        client = await self._connect(tcp_door(self.api.stack))
        await client.login(self.names[who], token=f"oauth:{self.api.tokens[self.names[who]]}")
        return await client.join(self.channel)


@pytest.fixture
async def scene(token_stack, http, new_name, connect):
    made = Scene(Api(token_stack, http), new_name, connect)
    await made.api.add(*made.names.values())
    await operate(
        token_stack, "SetRole", clue_pb2.SetRoleRequest(channel=made.channel, login=made.names["mod"], role="mod")
    )
    return made


def error(answer):
    """Status and message of an answer in the shape that errors have."""
    assert answer.body["status"] == answer.status
    assert set(answer.body) == {"error", "status", "message"}
    return answer.status, answer.body["message"]


async def test_a_message(scene):
    """It is in the chat as its author's, on the author's connections too, and the answer has its id."""
    watching, own = await scene.watch("mod"), await scene.watch("user")
    body = {"broadcaster_id": scene.id("owner"), "sender_id": scene.id("user"), "message": "hello  there"}
    answer = await scene.call("user", "POST", "chat/messages", body)
    [sent] = answer.data
    assert (sent["is_sent"], sent["drop_reason"]) == (True, None)
    for client in (watching, own):
        line = await client.hear(scene.channel)
        assert (line.tags["id"], line.params[1]) == (sent["message_id"], "hello there")
        assert line.prefix.startswith(scene.names["user"] + "!")
    assert (answer.headers["Ratelimit-Limit"], answer.headers["Ratelimit-Remaining"]) == ("20", "19")
    body |= {"message": "indeed", "reply_parent_message_id": sent["message_id"], "sender_id": scene.id("mod")}
    [reply] = (await scene.call("mod", "POST", "chat/messages", body)).data
    line = await own.hear(scene.channel)
    assert line.tags["id"] == reply["message_id"]
    assert line.tags["reply-parent-msg-id"] == sent["message_id"]


async def test_a_message_that_is_dropped(scene):
    """The reason has the code and the text that a NOTICE would have; commands are not carried out."""
    body = {"broadcaster_id": scene.id("owner"), "sender_id": scene.id("mod"), "message": "/ban " + scene.names["user"]}
    [dropped] = (await scene.call("mod", "POST", "chat/messages", body)).data
    assert dropped == {
        "message_id": "",
        "is_sent": False,
        "drop_reason": {
            "code": "unavailable_command", "message": 'Sorry, "/ban" is not available through this client.',
        },
    }  # fmt: skip
    body |= {"sender_id": scene.id("user"), "message": "again"}
    assert (await scene.call("user", "POST", "chat/messages", body)).data[0]["is_sent"]
    [dropped] = (await scene.call("user", "POST", "chat/messages", body)).data
    assert dropped["drop_reason"] == {
        "code": "msg_duplicate",
        "message": "Your message was not sent because it is identical to the previous one you sent, less than 30 "
        "seconds ago.",
    }


async def test_tokens(scene, http):
    """Without a token, with nobody's, and in another's name: 401 and nothing is done."""
    async with http.get(f"{scene.api.url}/helix/users") as response:
        assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await response.json())["message"].startswith("OAuth token is missing")
    assert error(await scene.call("user", "GET", "users", token="0123456789")) == (401, "Invalid OAuth token")
    watching = await scene.watch("user")
    body = {"broadcaster_id": scene.id("owner"), "sender_id": scene.id("mod"), "message": "not me"}
    assert error(await scene.call("user", "POST", "chat/messages", body)) == (
        401, "The acting user's ID must match the user ID found in the request's OAuth token.",
    )  # fmt: skip
    assert await watching.fence() == []


async def test_users(scene):
    """By id and by login, each once; without either, who asks; nobody for who does not exist."""
    [own] = (await scene.call("user", "GET", "users")).data
    assert (own["id"], own["login"], own["type"]) == (scene.id("user"), scene.names["user"], "")
    assert own["created_at"].endswith("Z")
    asked = {"id": [scene.id("mod"), "999"], "login": [scene.names["mod"].upper(), scene.names["owner"], "nobody_here"]}
    found = (await scene.call("user", "GET", "users", **asked)).data
    assert {one["login"] for one in found} == {scene.names["mod"], scene.names["owner"]}
    assert len(found) == 2


async def test_bans(scene):
    """A time-out and a ban are on the list with who and why, are seen in the chat, and end."""
    watching, moderating = await scene.watch("owner"), await scene.here("mod")
    body = {"data": {"user_id": scene.id("user"), "duration": 300, "reason": "be nice, please"}}
    [timeout] = (await scene.call("mod", "POST", "moderation/bans", body, **moderating)).data
    assert timeout["end_time"] > timeout["created_at"]
    line = await watching.expect("CLEARCHAT")
    assert (line.params[1], line.tags["ban-duration"]) == (scene.names["user"], "300")
    [listed] = (await scene.call("owner", "GET", "moderation/banned", broadcaster_id=scene.id("owner"))).data
    assert listed["reason"] == "be nice, please"
    assert (listed["user_id"], listed["moderator_id"]) == (scene.id("user"), scene.id("mod"))
    assert listed["expires_at"] == timeout["end_time"]
    message = {"broadcaster_id": scene.id("owner"), "sender_id": scene.id("user"), "message": "hm"}
    [dropped] = (await scene.call("user", "POST", "chat/messages", message)).data
    assert dropped["drop_reason"]["code"] == "msg_timedout"
    for_ever = {"data": {"user_id": scene.id("user")}}
    [ban] = (await scene.call("mod", "POST", "moderation/bans", for_ever, **moderating)).data
    assert ban["end_time"] is None
    again = await scene.call("mod", "POST", "moderation/bans", for_ever, **moderating)
    assert error(again) == (400, f"{scene.names['user']} is already banned in this channel.")
    only = {"broadcaster_id": scene.id("owner"), "user_id": [scene.id("user"), scene.id("mod")]}
    [listed] = (await scene.call("owner", "GET", "moderation/banned", **only)).data
    assert (listed["expires_at"], listed["reason"]) == ("", "")
    unban = {**moderating, "user_id": scene.id("user")}
    assert (await scene.call("mod", "DELETE", "moderation/bans", **unban)).status == 204
    assert error(await scene.call("mod", "DELETE", "moderation/bans", **unban)) == (
        400, f"{scene.names['user']} is not banned from this channel.",
    )  # fmt: skip
    assert (await scene.call("owner", "GET", "moderation/banned", **only)).data == []


async def test_who_may(scene):
    """What a user may not do in chat is forbidden here, in the words of the NOTICE."""
    asked = await scene.here("user")
    body = {"data": {"user_id": scene.id("mod")}}
    forbidden = (403, "You don’t have permission to perform that action.")
    assert error(await scene.call("user", "POST", "moderation/bans", body, **asked)) == forbidden
    assert error(await scene.call("user", "PATCH", "chat/settings", {"slow_mode": True}, **asked)) == forbidden
    assert error(await scene.call("user", "POST", "chat/announcements", {"message": "x"}, **asked)) == forbidden
    assert error(await scene.call("user", "DELETE", "moderation/chat", **asked)) == forbidden
    readers = (403, "the user is not one of the broadcaster's moderators")
    assert error(await scene.call("user", "GET", "chat/chatters", **asked)) == readers
    only = {"broadcaster_id": scene.id("owner")}
    assert error(await scene.call("user", "GET", "moderation/banned", **only)) == readers
    body = {"data": {"user_id": scene.id("owner")}}
    answer = await scene.call("mod", "POST", "moderation/bans", body, **await scene.here("mod"))
    assert error(answer) == (400, "You cannot ban the broadcaster.")


async def test_settings(scene):
    """Several modes change together; the room is told; the delay is for moderators to know."""
    watching, moderating = await scene.watch("user"), await scene.here("mod")
    change = {
        "slow_mode": True, "slow_mode_wait_time": 7, "follower_mode": True, "follower_mode_duration": 90,
        "emote_mode": True, "unique_chat_mode": True, "subscriber_mode": False,
        "non_moderator_chat_delay": True, "non_moderator_chat_delay_duration": 6,
    }  # fmt: skip
    [settings] = (await scene.call("mod", "PATCH", "chat/settings", change, **moderating)).data
    assert settings == {"broadcaster_id": scene.id("owner"), "moderator_id": scene.id("mod"), **change}
    told = {(await watching.expect(" NOTICE ")).tags["msg-id"] for _ in range(4)}
    assert told == {"slow_on", "followers_on", "emote_only_on", "r9k_on"}
    assert [line for line in await watching.fence() if " NOTICE " in line] == []
    only = {"broadcaster_id": scene.id("owner")}
    [seen] = (await scene.call("user", "GET", "chat/settings", **only)).data
    assert (seen["slow_mode_wait_time"], seen["non_moderator_chat_delay"]) == (7, None)
    off = {name: False for name, value in change.items() if value is True}
    [settings] = (await scene.call("mod", "PATCH", "chat/settings", off, **moderating)).data
    assert settings["slow_mode_wait_time"] is settings["follower_mode_duration"] is None
    assert (settings["non_moderator_chat_delay"], settings["emote_mode"]) == (False, False)
    told = {(await watching.expect(" NOTICE ")).tags["msg-id"] for _ in range(4)}
    assert told == {"slow_off", "followers_off", "emote_only_off", "r9k_off"}
    assert (await scene.call("mod", "PATCH", "chat/settings", off, **moderating)).status == 200
    assert await watching.fence() == []  # nothing has changed, so nobody is told
    wrong = await scene.call("mod", "PATCH", "chat/settings", {"slow_mode_wait_time": 121}, **moderating)
    assert error(wrong) == (400, "Expected `int` <= 120 - at `$.slow_mode_wait_time`")


async def test_chatters(scene):
    """Page by page."""
    for who in ("owner", "user"):
        await scene.watch(who)
    moderating, found, after = await scene.here("owner"), [], {}
    for _ in range(100):  # edges report who is there every ten seconds
        answer = await scene.call("owner", "GET", "chat/chatters", **moderating)
        if answer.body["total"] == 2:
            break
        await scene.api.wait()
    for _ in range(3):
        answer = await scene.call("owner", "GET", "chat/chatters", first=1, **moderating, **after)
        found += answer.data
        cursor = answer.body["pagination"].get("cursor")
        if cursor is None:
            break
        after = {"after": cursor}
    assert [one["user_login"] for one in found] == sorted((scene.names["owner"], scene.names["user"]))
    assert {one["user_id"] for one in found} == {scene.id("owner"), scene.id("user")}


@pytest.mark.parametrize(
    ("path", "taken", "missing"),
    [
        ("moderation/moderators", (400, "{} is already a moderator of this channel."),
         (400, "{} is not a moderator of this channel.")),
        ("channels/vips", (422, "{} is already a VIP of this channel."), (422, "{} is not a VIP of this channel.")),
    ],
)  # fmt: skip
async def test_roles(scene, path, taken, missing):
    """Given and taken by the broadcaster, once; listed page by page."""
    asked = {"broadcaster_id": scene.id("owner"), "user_id": scene.id("user")}
    shown = scene.names["user"]
    assert (await scene.call("owner", "POST", path, **asked)).status == 204
    assert error(await scene.call("owner", "POST", path, **asked)) == (taken[0], taken[1].format(shown))
    [listed] = (await scene.call("owner", "GET", path, **asked)).data
    assert listed == {"user_id": scene.id("user"), "user_login": shown, "user_name": shown}
    assert (await scene.call("owner", "DELETE", path, **asked)).status == 204
    assert error(await scene.call("owner", "DELETE", path, **asked)) == (missing[0], missing[1].format(shown))
    assert (await scene.call("owner", "GET", path, **asked)).data == []
    assert (await scene.call("mod", "POST", path, **asked)).status == 401  # another's channel


async def test_pages_of_bans(scene):
    """Every ban comes once, in pages no longer than asked for, also of many (Redis then scans in steps)."""
    logins = [f"{scene.names['user']}_{i}"[:25] for i in range(150)]
    for login in logins:
        ban = clue_pb2.SetBanRequest(channel=scene.channel, login=login, banned=True)
        await operate(scene.api.stack, "SetBan", ban)
    found, after = [], {}
    for _ in range(100):
        answer = await scene.call(
            "owner", "GET", "moderation/banned", broadcaster_id=scene.id("owner"), first=40, **after
        )
        assert len(answer.data) <= 40
        found += [one["user_login"] for one in answer.data]
        if "cursor" not in answer.body["pagination"]:
            break
        after = {"after": answer.body["pagination"]["cursor"]}
    assert sorted(found) == sorted(logins)


@pytest.mark.parametrize("path", ["moderation/banned", "chat/chatters", "moderation/moderators"])
async def test_a_cursor_that_is_none(scene, path):
    """400, or the list from some place; never a failure of ours."""
    for after in ("x", "====", "LTEuNQ==", "8J+YgA=="):
        answer = await scene.call("owner", "GET", path, after=after, **await scene.here("owner"))
        assert answer.status in (200, 400)


async def test_color(scene):
    """By name or number; shown in the next message."""
    assert (await scene.call("user", "PUT", "chat/color", user_id=scene.id("user"), color="dodger_blue")).status == 204
    [colored] = (await scene.call("mod", "GET", "chat/color", user_id=[scene.id("user")])).data
    assert colored["color"] == "#1E90FF"
    wrong = await scene.call("user", "PUT", "chat/color", user_id=scene.id("user"), color="plaid")
    assert wrong.status == 400
    assert wrong.body["message"].startswith('Usage: "/color <color>"')


async def test_announcement(scene):
    """A USERNOTICE with its color."""
    watching = await scene.watch("user")
    body = {"message": "hear, hear", "color": "green"}
    assert (await scene.call("mod", "POST", "chat/announcements", body, **await scene.here("mod"))).status == 204
    line = await watching.expect("USERNOTICE")
    assert (line.params[1], line.tags["msg-id"]) == ("hear, hear", "announcement")
    assert line.tags["msg-param-color"] == "GREEN"


async def test_deleting(scene):
    """One message, one that is not there, and all."""
    watching, moderating = await scene.watch("owner"), await scene.here("mod")
    body = {"broadcaster_id": scene.id("owner"), "sender_id": scene.id("user"), "message": "oops"}
    [sent] = (await scene.call("user", "POST", "chat/messages", body)).data
    one = {**moderating, "message_id": sent["message_id"]}
    assert (await scene.call("mod", "DELETE", "moderation/chat", **one)).status == 204
    assert (await watching.expect("CLEARMSG")).tags["target-msg-id"] == sent["message_id"]
    again = await scene.call("mod", "DELETE", "moderation/chat", **one)
    assert error(again) == (404, "You cannot delete this message.")
    assert (await scene.call("mod", "DELETE", "moderation/chat", **moderating)).status == 204
    assert (await watching.expect("CLEARCHAT")).params == [scene.channel]


async def test_raid(scene):
    """Seen by the raided channel; there is one at a time; called off once."""
    asked = {"from_broadcaster_id": scene.id("mod"), "to_broadcaster_id": scene.id("owner")}
    watching = await scene.watch("user")
    [raid] = (await scene.call("mod", "POST", "raids", **asked)).data
    assert raid["is_mature"] is False
    assert (await watching.expect("USERNOTICE")).tags["msg-id"] == "raid"
    assert error(await scene.call("mod", "POST", "raids", **asked)) == (409, "You already have a raid in progress.")
    assert (await scene.call("mod", "DELETE", "raids", broadcaster_id=scene.id("mod"))).status == 204
    assert error(await scene.call("mod", "DELETE", "raids", broadcaster_id=scene.id("mod"))) == (
        404, "You do not have an active raid.",
    )  # fmt: skip


async def test_whisper(scene):
    """On the receiver's connections; not to oneself, and not too many a second."""
    watching = await scene.watch("user")
    asked = {"from_user_id": scene.id("mod"), "to_user_id": scene.id("user")}
    assert (await scene.call("mod", "POST", "whispers", {"message": "psst"}, **asked)).status == 204
    assert (await watching.expect("WHISPER")).params == [scene.names["user"], "psst"]
    asked["to_user_id"] = scene.id("mod")
    assert error(await scene.call("mod", "POST", "whispers", {"message": "me"}, **asked)) == (
        400, "You cannot whisper to yourself.",
    )  # fmt: skip


async def test_bad_requests(scene, http):
    """What is wrong, and where; other methods are refused with those that there are."""
    here = await scene.here("mod")
    for body, message in (
        ({}, "Object missing required field `data`"),
        ({"data": {"user_id": "x"}}, "Expected `str` matching regex '^[1-9][0-9]{0,17}$' - at `$.data.user_id`"),
        ({"data": {"user_id": "1", "duration": 0}}, "Expected `int` >= 1 - at `$.data.duration`"),
    ):
        assert error(await scene.call("mod", "POST", "moderation/bans", body, **here)) == (400, message)
    assert error(await scene.call("mod", "POST", "moderation/bans", {}, broadcaster_id="1")) == (
        400, "Object missing required field `moderator_id`",
    )  # fmt: skip
    nobody = {"data": {"user_id": "123456789012345678"}}
    assert error(await scene.call("mod", "POST", "moderation/bans", nobody, **here)) == (404, "the user was not found")
    gone = {**here, "broadcaster_id": "123456789012345678"}
    assert error(await scene.call("mod", "GET", "chat/settings", **gone)) == (404, "the broadcaster was not found")
    async with http.put(f"{scene.api.url}/helix/raids") as response:
        assert (response.status, response.headers["Allow"]) == (405, "DELETE, POST")


async def test_the_document_is_served(token_stack, http):
    """The one that is checked in tests/system/test_api_document.py, without a token."""
    async with http.get(f"{Api(token_stack, http).url}/helix/openapi.json") as response:
        assert await response.json() == document()

"""The control API of two clusters that share a directory: every edge reaches a channel, wherever it lives."""

from __future__ import annotations

import aiohttp
import pytest

from common.pb import clue_pb2
from tests.support.clusters import house


@pytest.fixture
async def two(tmp_path):
    async with house(tmp_path, edges=1) as running:
        yield running


async def test_a_moved_channel(two):
    """Said, changed and read through both clusters' edges, before and after it moves to the other one."""
    control = two.main.clue
    people = {}
    for login in ("al", "bob"):
        reply = await control.operate("AddUser", clue_pb2.AddUserRequest(login=login))
        people[login] = (str(reply.user.user_id), reply.token)
    (al, als), (bob, bobs) = people["al"], people["bob"]
    edges = [two.main.edges[0], two.event.edges[0]]
    watcher = await two.enter(edges[0], "watcher", "#al")

    async with aiohttp.ClientSession() as http:

        async def call(edge, token, method, path, body=None, **query):
            headers = {"Authorization": f"Bearer {token}"}
            url = f"{edge.http}/helix/{path}"
            async with http.request(method, url, params=query, json=body, headers=headers) as response:
                content = await response.read()
                assert response.status in (200, 204), content
                return (await response.json())["data"] if content else None

        async def everything(turn):
            for number, edge in enumerate(edges):
                text = f"turn {turn} edge {number}"
                body = {"broadcaster_id": al, "sender_id": bob, "message": text}
                [sent] = await call(edge, bobs, "POST", "chat/messages", body)
                assert sent["is_sent"], sent
                assert (await watcher.hear("#al")).params[1] == text
                here = {"broadcaster_id": al, "moderator_id": al}
                change = {"slow_mode": True, "slow_mode_wait_time": 10 * turn + number}
                [settings] = await call(edge, als, "PATCH", "chat/settings", change, **here)
                assert settings["slow_mode_wait_time"] == 10 * turn + number
                await call(edge, als, "POST", "moderation/bans", {"data": {"user_id": bob}}, **here)
                [banned] = await call(edge, als, "GET", "moderation/banned", broadcaster_id=al)
                assert banned["user_id"] == bob
                await call(edge, als, "DELETE", "moderation/bans", **here, user_id=bob)
                await call(edge, als, "PATCH", "chat/settings", {"slow_mode": False}, **here)

        await everything(1)
        await two.mover("#al", "main", "event").until("finish")
        await everything(2)

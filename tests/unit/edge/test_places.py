"""edge/places.py: where to connect for a channel, in the classic shape."""

import json

import pytest
from aiohttp.test_utils import make_mocked_request

from common.pb.clue_pb2 import Registration
from edge.places import add_page, listing
from edge.routes import Routes


def edge(name, weight, sessions=0, **more):
    return Registration(
        instance=name, weight=weight, sessions=sessions, irc_address=f"{name}:1", http_address=f"{name}:2", **more
    )


def test_the_least_loaded_stands_first():
    """By weight, then by sessions, then by name; whoever takes no users is not listed."""
    edges = [edge("e", 20), edge("d", 50, 9), edge("c", 50, 3), edge("b", 90, draining=True), edge("a", 50, 9)]
    assert listing("event", edges) == {
        "cluster": "event",
        "servers": ["c:1", "a:1", "d:1", "e:1"],
        "websockets_servers": ["c:2", "a:2", "d:2", "e:2"],
    }


async def answer(query, homes, edges):
    routes = Routes()
    add_page(routes, "main", lambda channel: homes.get(channel, "main"), lambda cluster: edges.get(cluster, ()))
    page, parts = routes.find("GET", "/servers")
    response = await page(make_mocked_request("GET", f"/servers{query}"), parts)
    return response.status, json.loads(response.body)


@pytest.mark.parametrize("query", ["?channel=tpp", "?channel=TPP", "?channel=%23tpp"])
async def test_a_channels_edges_are_those_of_its_home(query):
    """However the name is written."""
    edges = {"main": [edge("m", 1)], "event": [edge("e", 1)]}
    status, found = await answer(query, {"#tpp": "event"}, edges)
    assert (status, found["cluster"], found["servers"]) == (200, "event", ["e:1"])


async def test_without_edges_there_the_own_ones_serve():
    """Every edge serves every channel."""
    edges = {"main": [edge("m", 1)], "event": [edge("e", 1, draining=True)]}
    status, found = await answer("?channel=tpp", {"#tpp": "event"}, edges)
    assert (status, found["cluster"], found["servers"]) == (200, "main", ["m:1"])


@pytest.mark.parametrize("query", ["", "?channel=", "?channel=no%20name", "?channel=%23"])
async def test_a_name_that_can_be_none_is_refused(query):
    """In the shape that errors have."""
    status, found = await answer(query, {}, {})
    assert (status, found["status"], found["error"]) == (400, 400, "Bad Request")

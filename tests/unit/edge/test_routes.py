"""edge/routes.py: which page answers."""

import pytest

from edge.routes import Routes


async def page(request, parts):
    raise NotImplementedError


async def other(request, parts):
    raise NotImplementedError


@pytest.fixture
def routes():
    made = Routes()
    made.add("GET", "/fixed", page)
    made.add("POST", "/fixed", other)
    made.add("GET", "/group/{name}/chatters", page)
    made.add("DELETE", "/group/{name}/chatters", other)
    return made


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/fixed", (page, {})),
        ("HEAD", "/fixed", (page, {})),
        ("POST", "/fixed", (other, {})),
        ("PUT", "/fixed", {"GET", "HEAD", "POST"}),
        ("GET", "/fixed/", set()),
        ("GET", "/group/al/chatters", (page, {"name": "al"})),
        ("DELETE", "/group/%23al/chatters", (other, {"name": "%23al"})),
        ("PUT", "/group/al/chatters", {"GET", "HEAD", "DELETE"}),
        ("GET", "/group/a/b/chatters", set()),
        ("GET", "/group//chatters", set()),
        ("GET", "/", set()),
    ],
)
def test_find(routes, method, path, found):
    """The page with the path's named parts; else the methods that the path has."""
    assert routes.find(method, path) == found


def test_a_place_has_one_page(routes):
    """Two pages for one place are a mistake of ours, told at the start."""
    with pytest.raises(ValueError, match="GET /fixed has a page already"):
        routes.add("GET", "/fixed", other)

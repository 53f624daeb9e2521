"""Which page answers a request: a table of methods and paths. Pure."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from aiohttp import web

# What a page gets, too: the parts of the path that its pattern names.
Page = Callable[[web.BaseRequest, Mapping[str, str]], Awaitable[web.StreamResponse]]

_NAMED = re.compile(r"\{([a-z_]+)\}")


class _Place(NamedTuple):
    pattern: re.Pattern[str]
    pages: dict[str, Page]  # by method


class Routes:
    """Filled once, before anything is served."""

    def __init__(self) -> None:
        self._fixed: dict[str, dict[str, Page]] = {}  # by path
        self._patterns: dict[str, _Place] = {}

    def add(self, method: str, path: str, page: Page) -> None:
        """`path`: "{name}" stands for one part of it. Who is asked for GET answers HEAD, too.

        Raises ValueError when another page has the place.
        """
        if _NAMED.search(path):
            pattern = re.compile(_NAMED.sub(r"(?P<\1>[^/]+)", path))
            pages = self._patterns.setdefault(path, _Place(pattern, {})).pages
        else:
            pages = self._fixed.setdefault(path, {})
        for name in (method, "HEAD") if method == "GET" else (method,):
            if pages.setdefault(name, page) is not page:
                raise ValueError(f"{name} {path} has a page already")

    def find(self, method: str, path: str) -> tuple[Page, Mapping[str, str]] | frozenset[str]:
        """The page and the named parts; without one, the methods that the path does have (none: no such path)."""
        pages = self._fixed.get(path)
        parts: Mapping[str, str] = {}
        if pages is None:
            for place in self._patterns.values():
                match = place.pattern.fullmatch(path)
                if match:
                    pages, parts = place.pages, match.groupdict()
                    break
            else:
                return frozenset()
        page = pages.get(method)
        return frozenset(pages) if page is None else (page, parts)

"""HAProxy for the single-machine stack: which binary, and its configuration from the templates in haproxy/."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from string import Template

from common.errors import ConfigError

_MAX_FILES = 20_000
_SPARE_FILES = 200  # listeners, health checks, the runtime API, threads' own descriptors


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a pool; addresses are HOST:PORT."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Door:
    """A pool and where HAProxy listens for it, HOST:PORT."""

    bind: str
    servers: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class Doors:
    """All that HAProxy listens for. The servers of irc, http, ircs and https are the same edges by name."""

    irc: Door
    http: Door
    clue: Door
    exchange: Door
    ircs: Door | None = None   # None: no TLS
    https: Door | None = None


def find() -> str | None:
    """Path of haproxy (also in the folders that Debian leaves out of users' PATH); None: not installed.

    TALLGRASS_HAPROXY names another binary, or "none" to do without.
    """
    wanted = os.environ.get("TALLGRASS_HAPROXY", "")
    if wanted == "none":
        return None
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise ConfigError(f"TALLGRASS_HAPROXY={wanted!r} is no program: give haproxy's path, or none")
        return found
    return shutil.which("haproxy", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")


def max_connections(hard_limit: int) -> int:
    """How many connections `hard_limit` descriptors serve (two each); 9,900 for 20,000, and never more."""
    files = _MAX_FILES if hard_limit == resource.RLIM_INFINITY else min(hard_limit, _MAX_FILES)
    return (files - _SPARE_FILES) // 2


def configuration(doors: Doors, *, maxconn: int, stats_socket: str) -> str:
    """The text of haproxy.cfg."""
    tls_sections = ""
    if doors.ircs and doors.https:
        tls_sections = _template("tls.cfg").substitute(
            ircs_bind=doors.ircs.bind,
            ircs_servers=_lines(doors.ircs.servers, "track http_edges/{name}"),
            https_bind=doors.https.bind,
            https_servers=_lines(doors.https.servers, "track http_edges/{name}"),
        )
    return _template("haproxy.cfg").substitute(
        maxconn=maxconn,
        stats_socket=stats_socket,
        irc_bind=doors.irc.bind,
        irc_servers=_lines(doors.irc.servers, "send-proxy track http_edges/{name}"),
        http_bind=doors.http.bind,
        http_servers=_lines(doors.http.servers),
        tls_sections=tls_sections,
        clue_bind=doors.clue.bind,
        clue_servers=_lines(doors.clue.servers),
        exchange_bind=doors.exchange.bind,
        exchange_servers=_lines(doors.exchange.servers),
    )


def _template(name: str) -> Template:
    return Template(resources.files("haproxy").joinpath(name).read_text("utf-8"))


def _lines(servers: Iterable[Server], options: str = "") -> str:
    return "\n".join(
        f"    server {s.name} {s.address} {options.format(name=s.name)}".rstrip() for s in servers
    )

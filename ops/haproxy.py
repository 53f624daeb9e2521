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
    agent: int = 0  # port of its agent-check, on the address' host; 0: it has none


@dataclass(frozen=True, slots=True)
class Door:
    """A pool and where HAProxy listens for it, HOST:PORT."""

    bind: str
    servers: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class Homes:
    """Where channels live, as far as their names say; the doorkeeper (ops/doorkeeper.py) tells of the others."""

    cluster: str                # this HAProxy's
    clusters: tuple[str, ...]   # all that share the directory
    default: str                # cluster of channels
    rooms: str                  # cluster of temporary rooms

    def pool(self, cluster: str) -> str:
        """The backend with the edges of `cluster`."""
        return "http_edges" if cluster == self.cluster else f"http_{cluster}"


@dataclass(frozen=True, slots=True)
class Doors:
    """All that HAProxy listens for. The servers of irc, http, ircs and https are the same edges by name."""

    irc: Door
    http: Door
    clue: Door
    exchange: Door
    ircs: Door | None = None   # None: no TLS
    https: Door | None = None
    homes: Homes | None = None  # None: the cluster is alone


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


def configuration(doors: Doors, *, maxconn: int, stats_socket: str, homes_map: str = "") -> str:
    """The text of haproxy.cfg. `homes_map`: path of the map that doors.homes needs; the file has to be there."""
    tls_sections = ""
    if doors.ircs and doors.https:
        tls_sections = _template("tls.cfg").substitute(
            ircs_bind=doors.ircs.bind,
            ircs_servers=_edges(doors.ircs.servers, "track http_edges/{name}"),
            https_bind=doors.https.bind,
            https_servers=_edges(doors.https.servers, "track http_edges/{name}"),
        )
    routes = pools = ""
    if doors.homes:
        homes = doors.homes
        routes = _template("homes.cfg").substitute(
            homes_map=homes_map, default_pool=homes.pool(homes.default), rooms_pool=homes.pool(homes.rooms)
        )
        pools = "".join(
            _template("guests.cfg").substitute(pool=homes.pool(name), cluster=name)
            for name in homes.clusters
            if name != homes.cluster
        )
    return _template("haproxy.cfg").substitute(
        maxconn=maxconn,
        stats_socket=stats_socket,
        irc_bind=doors.irc.bind,
        irc_servers=_edges(doors.irc.servers, "send-proxy track http_edges/{name}"),
        http_bind=doors.http.bind,
        http_routes=routes,
        http_servers=_edges(doors.http.servers),
        guest_pools=pools,
        tls_sections=tls_sections,
        clue_bind=doors.clue.bind,
        clue_servers=_lines(doors.clue.servers),
        exchange_bind=doors.exchange.bind,
        exchange_servers=_lines(doors.exchange.servers),
    )


# Of every edge, static or added at run time. The agent answers a percentage of it: of 1, nothing would be left.
EDGE_WEIGHT = "weight 100"
AGENT = "agent-check agent-inter 1s"
HEALTH = "check inter 1s fastinter 500ms downinter 500ms rise 1 fall 3"


def _template(name: str) -> Template:
    return Template(resources.files("haproxy").joinpath(name).read_text("utf-8"))


def _edges(servers: Iterable[Server], options: str = "") -> str:
    return "\n".join(
        " ".join(
            part
            for part in (
                f"    server {s.name} {s.address}",
                EDGE_WEIGHT,
                f"{AGENT} agent-port {s.agent}" if s.agent else "",
                options.format(name=s.name),
            )
            if part
        )
        for s in servers
    )


def _lines(servers: Iterable[Server], options: str = "") -> str:
    return "\n".join(
        f"    server {s.name} {s.address} {options.format(name=s.name)}".rstrip() for s in servers
    )

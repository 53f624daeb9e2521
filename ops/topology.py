"""What one machine runs: how many of which service, on which ports, who asks whom. Ports are given from outside."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from clue.config import ClueConfig
from common.errors import ConfigError
from edge.config import EdgeConfig
from exchange.config import Config as ExchangeConfig
from ops.haproxy import Door, Doors, Server

CLUSTERS = ("main", "event", "group", "test")
_INNER = "127.0.0.1"  # what users need not reach listens there

# The usual ports of IRC over TLS and of WebSocket over TLS, seen from the usual plain ones.
_IRCS_AFTER_IRC = 6697 - 6667
_HTTPS_AFTER_HTTP = 8443 - 8080


@dataclass(frozen=True, slots=True)
class Options:
    """What `tallgrass up` was asked for. None: the default for this machine."""

    cluster: str = "main"
    edges: int | None = None
    clues: int | None = None
    exchanges: int | None = None
    redis_shards: int = 2
    haproxies: int | None = None
    host: str = "127.0.0.1"     # where users connect
    irc_port: int = 6667        # 0: any free port
    http_port: int = 8080       # 0: any free port
    auth: str = "open"
    limits: bool = True
    statsd: str = ""            # HOST:PORT; empty: none
    log_format: str = "text"    # or "json"
    tls_cert: str = ""          # path; empty: no TLS
    tls_key: str = ""

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTERS:
            raise ConfigError(f"--clusters {self.cluster}: a cluster is one of {', '.join(CLUSTERS)}")
        for option, count, most in (
            ("--edges", self.edges, 32),
            ("--clues", self.clues, 16),
            ("--exchanges", self.exchanges, 16),
            ("--haproxies", self.haproxies, 4),
        ):
            if count is not None and not 1 <= count <= most:
                raise ConfigError(f"{option} {count}: one machine runs 1 to {most}")
        if not 2 <= self.redis_shards <= 32:
            raise ConfigError(f"--redis-shards {self.redis_shards}: there are 2 to 32 (a lane lies on one shard)")
        host, _, port = self.statsd.rpartition(":")
        if self.statsd and not (host and port.isdigit()):
            raise ConfigError(f"--statsd {self.statsd}: give HOST:PORT")
        if self.auth == "open" and not _is_loopback(self.host):
            raise ConfigError(
                f"--auth open lets anybody in under any name, so it serves 127.0.0.1 only, not {self.host}: "
                "use --auth token, and make tokens with `tallgrass user add NAME`"
            )

    def with_tls(self, certificate: Path, key: Path) -> Options:
        return replace(self, tls_cert=str(certificate.absolute()), tls_key=str(key.absolute()))


@dataclass(frozen=True, slots=True)
class Topology:
    """One process per entry of redis_ports, clues, exchanges and edges, and one HAProxy per entry of doors."""

    options: Options
    redis_ports: tuple[int, ...]
    clues: tuple[ClueConfig, ...]
    exchanges: tuple[ExchangeConfig, ...]
    edges: tuple[EdgeConfig, ...]
    doors: tuple[Doors, ...]    # the first has the usual ports; empty: without HAProxy
    irc: str                    # HOST:PORT for users
    ws: str                     # URL
    ircs: str                   # HOST:PORT; empty: no TLS
    wss: str
    control: str                # HOST:PORT of the Control service


def plan(
    options: Options,
    *,
    haproxy: bool,
    control_token: str,
    inner_port: Callable[[], int],
    public_port: Callable[[int, str], int],
) -> Topology:
    """Lay the stack out. `inner_port()` gives a free port, `public_port(port, option)` checks one (0: finds one).

    Raises ConfigError when it cannot be done.
    """
    clue_count, exchange_count = _pool_sizes(options, haproxy)
    edge_count = options.edges or (2 if haproxy else 1)

    irc = public_port(options.irc_port, "--irc-port")
    http = public_port(options.http_port, "--http-port")
    ircs = https = 0
    if options.tls_cert:
        ircs = public_port(_after(options.irc_port, _IRCS_AFTER_IRC), "--irc-port")
        https = public_port(_after(options.http_port, _HTTPS_AFTER_HTTP), "--http-port")

    redis_ports = tuple(inner_port() for _ in range(options.redis_shards))
    clue_ports = [inner_port() for _ in range(clue_count)]
    exchange_ports = [inner_port() for _ in range(exchange_count)]
    haproxies = (options.haproxies or 1) if haproxy else 0
    clue_pools = [f"{_INNER}:{inner_port()}" for _ in range(haproxies)] or [f"{_INNER}:{clue_ports[0]}"]
    exchange_pools = [f"{_INNER}:{inner_port()}" for _ in range(haproxies)] or [f"{_INNER}:{exchange_ports[0]}"]
    # Who asks goes to the next one when the one it uses fails (common/rpc.py).
    clue_pool, exchange_pool = ",".join(clue_pools), ",".join(exchange_pools)

    clues = tuple(
        ClueConfig(
            cluster=options.cluster,
            instance=f"clue-{number}",
            grpc_host=_INNER,
            grpc_port=port,
            advertise_host=_INNER,
            redis_shards=tuple(f"127.0.0.1:{redis}" for redis in redis_ports),
            exchange_address=exchange_pool,
            auth=options.auth,
            limits=options.limits,
            control_token=control_token,
            statsd=options.statsd,
            log_format=options.log_format,
        )
        for number, port in enumerate(clue_ports, 1)
    )
    exchanges = tuple(
        ExchangeConfig(
            cluster=options.cluster,
            instance=f"exchange-{number}",
            grpc_host=_INNER,
            grpc_port=port,
            advertise_host=_INNER,
            clue_address=clue_pool,
            statsd=options.statsd,
            log_format=options.log_format,
        )
        for number, port in enumerate(exchange_ports, 1)
    )
    # Users' ports are HAProxy's, or else the first edge's.
    public = (irc, http, ircs, https)
    edges = tuple(
        EdgeConfig(
            cluster=options.cluster,
            instance=f"edge-{number}",
            host=_INNER if haproxy else options.host,
            irc_port=ports[0],
            http_port=ports[1],
            link_port=inner_port(),
            irc_tls_port=ports[2],
            https_port=ports[3],
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            advertise_host=_INNER,
            clue_address=clue_pool,
            limits=options.limits,
            statsd=options.statsd,
            log_format=options.log_format,
        )
        for number in range(1, edge_count + 1)
        for ports in [
            public
            if number == 1 and not haproxy
            else (inner_port(), inner_port(), *((inner_port(), inner_port()) if ircs else (0, 0)))
        ]
    )
    shown = _shown(options.host)
    return Topology(
        options=options,
        redis_ports=redis_ports,
        clues=clues,
        exchanges=exchanges,
        edges=edges,
        doors=tuple(
            _doors(
                options.host,
                public if number == 0 else tuple(inner_port() if port else 0 for port in public),
                edges,
                (clue_pools[number], clues),
                (exchange_pools[number], exchanges),
            )
            for number in range(haproxies)
        ),
        irc=f"{shown}:{irc}",
        ws=f"ws://{shown}:{http}",
        ircs=f"{shown}:{ircs}" if ircs else "",
        wss=f"wss://{shown}:{https}" if https else "",
        control=clue_pools[0],
    )


def _pool_sizes(options: Options, haproxy: bool) -> tuple[int, int]:
    if haproxy:
        return options.clues or 2, options.exchanges or 2
    for option, count in (
        ("--clues", options.clues),
        ("--exchanges", options.exchanges),
        ("--haproxies", options.haproxies),
    ):
        if count is not None and count > 1:
            raise ConfigError(f"{option} {count} needs HAProxy: install haproxy, or leave it at 1")
    return 1, 1


def _doors(
    host: str,
    public: tuple[int, ...],
    edges: tuple[EdgeConfig, ...],
    clue: tuple[str, tuple[ClueConfig, ...]],
    exchange: tuple[str, tuple[ExchangeConfig, ...]],
) -> Doors:
    irc, http, ircs, https = public

    def door(port: int, port_of: Callable[[EdgeConfig], int]) -> Door:
        return Door(f"{host}:{port}", tuple(Server(e.instance, f"{_INNER}:{port_of(e)}") for e in edges))

    def pool(bind: str, members: tuple[ClueConfig, ...] | tuple[ExchangeConfig, ...]) -> Door:
        return Door(bind, tuple(Server(m.instance, f"{_INNER}:{m.grpc_port}") for m in members))

    return Doors(
        irc=door(irc, lambda edge: edge.irc_port),
        http=door(http, lambda edge: edge.http_port),
        clue=pool(*clue),
        exchange=pool(*exchange),
        ircs=door(ircs, lambda edge: edge.irc_tls_port) if ircs else None,
        https=door(https, lambda edge: edge.https_port) if https else None,
    )


def _after(port: int, distance: int) -> int:
    return port + distance if port and port + distance <= 65_535 else 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str) -> str:
    """Where a user of this machine connects when we listen on `host`."""
    return "127.0.0.1" if host == "0.0.0.0" else host

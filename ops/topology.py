"""What one machine runs: how many of which service, on which ports, who asks whom. Ports are given from outside."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from clue.config import ClueConfig
from common.errors import ConfigError
from edge.config import EdgeConfig
from exchange.config import ExchangeConfig
from ops.haproxy import Door, Doors, Homes, Server
from ops.promoter import Promotion

CLUSTERS = ("main", "event", "group", "test")
ALONE = "test"  # shares nothing with the others, not even the directory
ROOMS = "group"  # the home of inboxes and temporary rooms, where it is one of the clusters
_INNER = "127.0.0.1"  # what users need not reach listens there

# The usual ports of IRC over TLS and of WebSocket over TLS, seen from the usual plain ones.
_IRCS_AFTER_IRC = 6697 - 6667
_HTTPS_AFTER_HTTP = 8443 - 8080


@dataclass(frozen=True, slots=True)
class Options:
    """What `tallgrass up` was asked for, for one cluster. None: the default for this machine."""

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
    # Settings of edge/config.py, clue/config.py and exchange/config.py that differ from their defaults, by name.
    edge: Mapping[str, Any] = field(default_factory=dict)
    clue: Mapping[str, Any] = field(default_factory=dict)
    exchange: Mapping[str, Any] = field(default_factory=dict)
    promotion: Promotion | None = None  # None: channels are moved by hand only

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
class Shared:
    """What a cluster has in common with others of this machine."""

    directory: str              # HOST:PORT of the directory's Redis
    clusters: tuple[str, ...]   # that share it, this one included; channels live on the first unless they were moved

    @property
    def default_home(self) -> str:
        return self.clusters[0]

    @property
    def inbox_home(self) -> str:
        return ROOMS if ROOMS in self.clusters else self.default_home


@dataclass(frozen=True, slots=True)
class Topology:
    """One cluster: a process per entry of redis_ports, clues, exchanges and edges, an HAProxy per entry of doors."""

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
    prefix: str = ""            # of its processes' names: "event-" where there are several clusters
    shared: Shared | None = None


def plan(
    options: Options,
    *,
    prefix: str = "",
    shared: Shared | None = None,
    haproxy: bool,
    control_token: str,
    inner_port: Callable[[], int],
    public_port: Callable[[int, str], int],
) -> Topology:
    """Lay one cluster out. `inner_port()` gives a free port, `public_port(port, option)` checks one (0: finds one).

    Raises ConfigError when it cannot be done.
    """
    clue_count, exchange_count = _pool_sizes(options, haproxy)
    homes = None
    if shared and len(shared.clusters) > 1:
        homes = Homes(options.cluster, shared.clusters, shared.default_home, shared.inbox_home)
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
        _tuned(options, "clue", ClueConfig(
            cluster=options.cluster,
            instance=f"{prefix}clue-{number}",
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
            directory=shared.directory if shared else "",
            clue_pool=clue_pool if shared else "",
            default_home=shared.default_home if shared else "",
            inbox_home=shared.inbox_home if shared else "",
        ))
        for number, port in enumerate(clue_ports, 1)
    )
    exchanges = tuple(
        _tuned(options, "exchange", ExchangeConfig(
            cluster=options.cluster,
            instance=f"{prefix}exchange-{number}",
            grpc_host=_INNER,
            grpc_port=port,
            advertise_host=_INNER,
            clue_address=clue_pool,
            statsd=options.statsd,
            log_format=options.log_format,
        ))
        for number, port in enumerate(exchange_ports, 1)
    )
    # Users' ports are HAProxy's, or else the first edge's.
    public = (irc, http, ircs, https)
    edges = tuple(
        _tuned(options, "edge", EdgeConfig(
            cluster=options.cluster,
            instance=f"{prefix}edge-{number}",
            host=_INNER if haproxy else options.host,
            irc_port=ports[0],
            http_port=ports[1],
            link_port=inner_port(),
            agent_port=inner_port(),
            irc_tls_port=ports[2],
            https_port=ports[3],
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            advertise_host=_INNER,
            clue_address=clue_pool,
            limits=options.limits,
            statsd=options.statsd,
            log_format=options.log_format,
        ))
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
                homes,
            )
            for number in range(haproxies)
        ),
        irc=f"{shown}:{irc}",
        ws=f"ws://{shown}:{http}",
        ircs=f"{shown}:{ircs}" if ircs else "",
        wss=f"wss://{shown}:{https}" if https else "",
        control=clue_pools[0],
        prefix=prefix,
        shared=shared,
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
    homes: Homes | None,
) -> Doors:
    irc, http, ircs, https = public

    def door(port: int, port_of: Callable[[EdgeConfig], int]) -> Door:
        servers = (Server(e.instance, f"{_INNER}:{port_of(e)}", e.agent_port) for e in edges)
        return Door(f"{host}:{port}", tuple(servers))

    def pool(bind: str, members: tuple[ClueConfig, ...] | tuple[ExchangeConfig, ...]) -> Door:
        return Door(bind, tuple(Server(m.instance, f"{_INNER}:{m.grpc_port}") for m in members))

    return Doors(
        irc=door(irc, lambda edge: edge.irc_port),
        http=door(http, lambda edge: edge.http_port),
        clue=pool(*clue),
        exchange=pool(*exchange),
        ircs=door(ircs, lambda edge: edge.irc_tls_port) if ircs else None,
        https=door(https, lambda edge: edge.https_port) if https else None,
        homes=homes,
    )


C = TypeVar("C", ClueConfig, ExchangeConfig, EdgeConfig)


def _tuned(options: Options, service: str, settings: C) -> C:
    """With the options' own settings of that service. Raises ConfigError naming the one that cannot be."""
    tuning = getattr(options, service)
    check_tuning(service, tuning)
    return replace(settings, **tuning)


def check_tuning(service: str, tuning: Mapping[str, Any]) -> None:
    """Raises ConfigError when there is no such setting, or its value is of another kind."""
    config = _CONFIGS[service]
    hints = get_type_hints(config)
    takes = sorted(hints.keys() - _DECIDED)
    for name, value in tuning.items():
        if name in _DECIDED and name in hints:
            raise ConfigError(f"{service} setting {name} is decided by the stack: leave it out")
        if name not in takes:
            raise ConfigError(f"{service} has no setting {name!r}: it takes {', '.join(takes)}")
        wanted = hints[name]
        kinds = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}.get(wanted, (list, tuple))
        if not isinstance(value, kinds) or (isinstance(value, bool) and wanted is not bool):
            raise ConfigError(f"{service} setting {name} = {value!r}: it takes {_KINDS.get(wanted, 'a list of texts')}")
    try:
        replace(config(**({"clue_address": "h:1"} if service == "exchange" else {})), **tuning)
    except ConfigError as error:
        raise ConfigError(f"{service} setting: {error}") from None


_CONFIGS: dict[str, type[Any]] = {"edge": EdgeConfig, "clue": ClueConfig, "exchange": ExchangeConfig}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
# By the stack itself: who is where, who asks whom, and what one option says for all.
_DECIDED = frozenset({
    "cluster", "instance", "host", "irc_port", "http_port", "link_host", "link_port", "irc_tls_port",
    "https_port", "tls_cert", "tls_key", "agent_host", "agent_port", "advertise_host", "clue_address",
    "limits", "statsd", "log_format", "grpc_host", "grpc_port", "redis_shards", "redis_sentinels",
    "redis_cluster", "exchange_address", "auth", "control_token", "directory", "clue_pool", "default_home",
    "inbox_home",
})


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

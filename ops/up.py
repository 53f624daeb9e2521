"""`tallgrass up`: options checked, the data folder taken, the clusters laid out and run."""

from __future__ import annotations

import argparse
import datetime
import os
from dataclasses import replace
from pathlib import Path

import uvloop

from common.errors import ConfigError
from ops import haproxy, instruments
from ops.console import say
from ops.data_folder import DataFolder
from ops.ports import free_port, require_free
from ops.promoter import parse as parse_promotion
from ops.selfsigned import ensure_pair
from ops.stack import Part, Stack
from ops.topology import ALONE, Options, Shared, Topology, plan
from ops.topology_file import read as read_topology


def run(arguments: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT. Raises ConfigError or StartError when it cannot be."""
    # Wrong options are told before anything is made or taken.
    clusters = [_with_tls(arguments, options) for options in _clusters(arguments)]
    haproxy_path = haproxy.find()
    programs = instruments.find() if arguments.metrics else None
    folder = DataFolder(Path(arguments.data))
    folder.acquire()
    folder.require_layout([options.cluster for options in clusters])
    parts = [folder.cluster(options.cluster) if len(clusters) > 1 else folder for options in clusters]
    for options, part in zip(clusters, parts, strict=True):
        part.require_made_for(options.cluster, options.redis_shards)
    if arguments.tls:
        pair = ensure_pair(folder.path / "tls", datetime.datetime.now(datetime.UTC))
        clusters = [options.with_tls(*pair) for options in clusters]
    # Where `tallgrass top` listens. Nobody listening costs nothing: metrics are thrown, not handed over.
    top = "" if clusters[0].statsd else f"127.0.0.1:{free_port()}"
    measured = instruments.plan(programs, folder, free_port, repeat=top) if programs else None
    statsd = measured.statsd if measured else clusters[0].statsd or top
    sharing = tuple(options.cluster for options in clusters if options.cluster != ALONE)
    shared = Shared(f"127.0.0.1:{free_port()}", sharing) if len(sharing) > 1 else None
    laid_out = [
        Part(_plan(replace(options, statsd=statsd), part, shared, haproxy_path, several=len(clusters) > 1), part)
        for options, part in zip(clusters, parts, strict=True)
    ]
    if haproxy_path is None:
        say("haproxy is not installed: one clue, one exchange, and users connect to the edges themselves")
    for options in clusters:
        if not options.limits:
            where = f" in cluster {options.cluster}" if len(clusters) > 1 else ""
            say(f"WARNING: --limits off{where}: no rate limits and no duplicate rule; for benches only")
    if measured:
        say(f"metrics: Graphite at {measured.graphite}; for Grafana's dashboards see docs/metrics.md")
    stack = Stack(laid_out, folder, haproxy_path=haproxy_path, say=say, instruments=measured, top=top)
    uvloop.run(stack.run())


def _plan(
    options: Options, folder: DataFolder, shared: Shared | None, haproxy_path: str | None, *, several: bool
) -> Topology:
    return plan(
        options,
        prefix=f"{options.cluster}-" if several else "",
        shared=shared if options.cluster != ALONE else None,
        haproxy=haproxy_path is not None,
        control_token=folder.control_token(),
        inner_port=free_port,
        public_port=lambda port, option: require_free(options.host, port, option),
    )


def _clusters(arguments: argparse.Namespace) -> list[Options]:
    """One for each cluster; the first has the usual ports. Raises ConfigError."""
    if arguments.topology:
        if arguments.clusters:
            raise ConfigError("--topology names the clusters itself: leave out either it or --clusters")
        if arguments.promote:
            raise ConfigError("--promote with --topology: write it into the file, as [clusters.main.promote]")
        clusters = list(read_topology(Path(arguments.topology)))
    else:
        names = [name for name in (arguments.clusters or "main").split(",") if name]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"--clusters {arguments.clusters}: {name} is in it twice")
        clusters = [_options(arguments, name, first=number == 0) for number, name in enumerate(names)]
        if arguments.promote:
            clusters[0] = replace(clusters[0], promotion=parse_promotion(arguments.promote))
    sharing = [options.cluster for options in clusters if options.cluster != ALONE]
    for options in clusters:
        promotion = options.promotion
        if promotion and (promotion.to not in sharing or promotion.to == options.cluster or options.cluster == ALONE):
            raise ConfigError(
                f"cluster {options.cluster} cannot promote channels to {promotion.to}: "
                f"clusters that share a directory here are {', '.join(sharing)}"
            )
    return clusters


def _options(arguments: argparse.Namespace, cluster: str, *, first: bool) -> Options:
    return Options(
        cluster=cluster,
        edges=arguments.edges,
        clues=arguments.clues,
        exchanges=arguments.exchanges,
        redis_shards=arguments.redis_shards,
        haproxies=arguments.haproxies,
        host=arguments.host,
        irc_port=arguments.irc_port if first else 0,
        http_port=arguments.http_port if first else 0,
        auth=arguments.auth,
        limits=arguments.limits == "on",
        statsd=arguments.statsd,
        log_format=arguments.log_format,
    )


def _with_tls(arguments: argparse.Namespace, options: Options) -> Options:
    if arguments.metrics and arguments.statsd:
        raise ConfigError("--metrics starts a statsd of its own: leave out either it or --statsd")
    given = (arguments.tls_cert, arguments.tls_key)
    if arguments.tls and any(given):
        raise ConfigError("--tls self makes its own certificate: leave out either it or --tls-cert and --tls-key")
    if any(given) and not all(given):
        raise ConfigError("--tls-cert and --tls-key go together: give both or none")
    for option, path in zip(("--tls-cert", "--tls-key"), given, strict=True):
        if path and not os.access(path, os.R_OK):
            raise ConfigError(f"{option} {path}: there is no such file, or it may not be read")
    return options.with_tls(Path(given[0]), Path(given[1])) if all(given) else options

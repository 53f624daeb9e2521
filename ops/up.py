"""`tallgrass up`: options checked, the data folder taken, the stack laid out and run."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from dataclasses import replace
from pathlib import Path

import uvloop

from common.errors import ConfigError
from ops import haproxy, instruments
from ops.data_folder import DataFolder
from ops.ports import free_port, require_free
from ops.selfsigned import ensure_pair
from ops.stack import Stack
from ops.topology import CLUSTERS, Options, plan


def run(arguments: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT. Raises ConfigError or StartError when it cannot be."""
    # Wrong options are told before anything is made or taken.
    options = _options(arguments)
    haproxy_path = haproxy.find()
    programs = instruments.find() if arguments.metrics else None
    folder = DataFolder(Path(arguments.data))
    folder.acquire()
    folder.require_made_for(options.cluster, options.redis_shards)
    if arguments.tls:
        options = options.with_tls(*ensure_pair(folder.path / "tls", datetime.datetime.now(datetime.UTC)))
    # Where `tallgrass top` listens. Nobody listening costs nothing: metrics are thrown, not handed over.
    top = "" if options.statsd else f"127.0.0.1:{free_port()}"
    measured = instruments.plan(programs, folder, free_port, repeat=top) if programs else None
    options = replace(options, statsd=measured.statsd if measured else options.statsd or top)
    topology = plan(
        options,
        haproxy=haproxy_path is not None,
        control_token=folder.control_token(),
        inner_port=free_port,
        public_port=lambda port, option: require_free(options.host, port, option),
    )
    if haproxy_path is None:
        _say("haproxy is not installed: one clue, one exchange, and users connect to the edges themselves")
    if not options.limits:
        _say("WARNING: --limits off: no rate limits and no duplicate rule; for benches only")
    if measured:
        _say(f"metrics: Graphite at {measured.graphite}; for Grafana's dashboards see docs/metrics.md")
    stack = Stack(topology, folder, haproxy_path=haproxy_path, say=_say, instruments=measured, top=top)
    uvloop.run(stack.run())


def _options(arguments: argparse.Namespace) -> Options:
    clusters = arguments.clusters
    if "," in clusters:
        raise ConfigError(f"--clusters {clusters}: one `tallgrass up` runs one cluster so far: {', '.join(CLUSTERS)}")
    options = Options(
        cluster=clusters,
        edges=arguments.edges,
        clues=arguments.clues,
        exchanges=arguments.exchanges,
        redis_shards=arguments.redis_shards,
        haproxies=arguments.haproxies,
        host=arguments.host,
        irc_port=arguments.irc_port,
        http_port=arguments.http_port,
        auth=arguments.auth,
        limits=arguments.limits == "on",
        statsd=arguments.statsd,
        log_format=arguments.log_format,
    )
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


def _say(text: str) -> None:
    print(f"tallgrass: {text}", file=sys.stderr, flush=True)

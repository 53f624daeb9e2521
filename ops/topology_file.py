"""A topology file: which clusters one machine runs, each with what differs from the defaults.

TOML, as deploy/topology.example.toml: what stands at the top is for all clusters, a table [clusters.NAME] for one.
A word that is not known is refused with its place, so a misspelled limit cannot go unnoticed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from ops.promoter import Promotion
from ops.topology import CLUSTERS, Options, check_tuning

_FOR_ALL: dict[str, type] = {"host": str, "auth": str, "limits": bool, "log_format": str, "statsd": str}
_COUNTS = ("edges", "clues", "exchanges", "redis_shards", "haproxies", "irc_port", "http_port")
_OF_ONE: dict[str, type] = {**dict.fromkeys(_COUNTS, int), "auth": str, "limits": bool, "host": str}
_SERVICES = ("edge", "clue", "exchange")
_PROMOTION: dict[str, type] = {"members": int, "rate": float, "for_s": float, "cool_s": float, "to": str}
_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def read(path: Path) -> tuple[Options, ...]:
    """The clusters in the file's order; the first one has the usual ports. Raises ConfigError."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"--topology {path}: {error.strerror}: give the path of a topology file") from None
    try:
        return options_of(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--topology {path}: this is no TOML: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"--topology {path}: {error}") from None


def options_of(content: Mapping[str, Any]) -> tuple[Options, ...]:
    """What the parsed file asks for. Raises ConfigError."""
    clusters = content.get("clusters")
    for_all = {name: value for name, value in content.items() if name != "clusters"}
    _check("the top of the file", for_all, _FOR_ALL, "[clusters.NAME]")
    if not isinstance(clusters, Mapping) or not clusters:
        raise ConfigError("it names no cluster: add a table [clusters.main]")
    return tuple(
        _options(name, table, for_all, first=number == 0) for number, (name, table) in enumerate(clusters.items())
    )


def _options(name: str, table: Any, for_all: Mapping[str, Any], *, first: bool) -> Options:
    place = f"[clusters.{name}]"
    if name not in CLUSTERS:
        raise ConfigError(f"{place}: a cluster is one of {', '.join(CLUSTERS)}")
    if not isinstance(table, Mapping):
        raise ConfigError(f"{place} is {table!r}: write it as a table of settings")
    tuning = {service: _table(place, table, service) for service in _SERVICES}
    promotion = _table(place, table, "promote") if "promote" in table else None
    plain = {key: value for key, value in table.items() if key not in (*_SERVICES, "promote")}
    _check(place, plain, _OF_ONE, "[clusters.NAME.edge], .clue, .exchange and .promote")
    for service, settings in tuning.items():
        try:
            check_tuning(service, settings)
        except ConfigError as error:
            raise ConfigError(f"[clusters.{name}.{service}]: {error}") from None
    if promotion is not None:
        _check(f"[clusters.{name}.promote]", promotion, _PROMOTION, "")
    ports: dict[str, Any] = {} if first else {"irc_port": 0, "http_port": 0}
    try:
        return Options(
            cluster=name,
            **{**for_all, **ports, **plain},
            edge=_frozen(tuning["edge"]),
            clue=_frozen(tuning["clue"]),
            exchange=_frozen(tuning["exchange"]),
            promotion=Promotion(**promotion) if promotion is not None else None,
        )
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None


def _table(place: str, table: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, Mapping):
        raise ConfigError(f"{place}: {name} = {found!r}: write it as a table, {place[:-1]}.{name}]")
    return dict(found)


def _check(place: str, values: Mapping[str, Any], known: Mapping[str, type], besides: str) -> None:
    for name, value in values.items():
        if name not in known:
            also = f", and the tables {besides}" if besides else ""
            raise ConfigError(f"{place} has no setting {name!r}: it takes {', '.join(known)}{also}")
        wanted = known[name]
        kinds = (int, float) if wanted is float else (wanted,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and wanted is not bool):
            raise ConfigError(f"{place}: {name} = {value!r}: it takes {_KINDS[wanted]}")
        if name.endswith("_port") and value not in range(65_536):
            raise ConfigError(f"{place}: {name} = {value}: a port is 0 (any free one) to 65535")


def _frozen(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}

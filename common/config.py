"""Settings: the environment into one frozen dataclass per service. The only reader of the environment.

A field `redis_shards` of a service is set by TALLGRASS_REDIS_SHARDS. Types: str, int, float, bool (on/off) and
tuple[str, ...] (comma list). Values are checked here for their type, by the dataclass' __post_init__ for their sense.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from common.errors import ConfigError

PREFIX = "TALLGRASS_"
_BOOL = {"on": True, "true": True, "1": True, "yes": True, "off": False, "false": False, "0": False, "no": False}

C = TypeVar("C")


def load(cls: type[C], environ: Mapping[str, str]) -> C:
    """Build `cls` from the environment; fields without a variable keep their default.

    Raises ConfigError naming the variable when one is missing or unusable.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        variable = PREFIX + field.name.upper()
        raw = environ.get(variable)
        if raw is not None:
            values[field.name] = _parse(variable, raw, hints[field.name])
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{variable} is not set: {field.metadata.get('help', 'it has no default')}")
    return cls(**values)


def dump(config: Any) -> dict[str, str]:
    """The variables that make `load` build this very config (for starting a child process)."""
    return {PREFIX + f.name.upper(): _format(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _parse(variable: str, raw: str, wanted: Any) -> Any:
    try:
        if wanted is bool:
            return _BOOL[raw.lower()]
        if wanted in (int, float, str):
            return wanted(raw)
        if typing.get_origin(wanted) is tuple:
            return tuple(part.strip() for part in raw.split(",") if part.strip())
    except (KeyError, ValueError):
        name = "on or off" if wanted is bool else getattr(wanted, "__name__", str(wanted))
        raise ConfigError(f"{variable}={raw!r} cannot be used: it takes {name}") from None
    raise AssertionError(f"{variable}: no reader for {wanted}")


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)

"""common/config.py: the environment into a dataclass, and clear words when it does not fit."""

from dataclasses import dataclass

import pytest

from common.config import dump, load
from common.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    name: str
    port: int = 6667
    rest_s: float = 1.5
    limits: bool = True
    shards: tuple[str, ...] = ()


def test_defaults_hold_where_nothing_is_set():
    """Fields without a variable keep their default."""
    assert load(Settings, {"TALLGRASS_NAME": "a"}) == Settings("a")


def test_every_type_is_read():
    """str, int, float, on/off and comma lists."""
    environ = {
        "TALLGRASS_NAME": "b",
        "TALLGRASS_PORT": "0",
        "TALLGRASS_REST_S": "2",
        "TALLGRASS_LIMITS": "off",
        "TALLGRASS_SHARDS": "h:1, h:2",
    }
    assert load(Settings, environ) == Settings("b", 0, 2.0, False, ("h:1", "h:2"))


def test_dump_is_the_inverse_of_load():
    """What a parent dumps, its child loads."""
    settings = Settings("c", 1, 0.25, False, ("x:1", "y:2"))
    assert load(Settings, dump(settings)) == settings


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "TALLGRASS_NAME is not set"),
        ({"TALLGRASS_NAME": "a", "TALLGRASS_PORT": "many"}, "TALLGRASS_PORT='many' cannot be used: it takes int"),
        ({"TALLGRASS_NAME": "a", "TALLGRASS_LIMITS": "perhaps"}, "it takes on or off"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(environ, words):
    """The error names the variable, its value and what it takes."""
    with pytest.raises(ConfigError, match=words):
        load(Settings, environ)

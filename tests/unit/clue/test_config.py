"""Settings that cannot be used are refused with what would do."""

import pytest

from clue.config import ClueConfig
from common import config
from common.errors import ConfigError


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("TALLGRASS_AUTH", "closed", "open or token"),
        ("TALLGRASS_REDIS_SHARDS", "", "HOST:PORT"),
        ("TALLGRASS_GRPC_PORT", "70000", "0 to 65535"),
        ("TALLGRASS_LIMITS", "maybe", "on or off"),
    ],
)
def test_refused(variable, value, says):
    with pytest.raises(ConfigError, match=variable) as caught:
        config.load(ClueConfig, {variable: value})
    assert says in str(caught.value)


def test_round_trip():
    """What is dumped for a child process loads as the same."""
    settings = ClueConfig(redis_shards=("a:1", "b:2"), auth="token", limits=False, control_token="x")
    assert config.load(ClueConfig, config.dump(settings)) == settings

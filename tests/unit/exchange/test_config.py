"""The exchange's settings."""

import pytest

from common.config import load
from common.errors import ConfigError
from exchange.config import ExchangeConfig


def test_clue_address_is_required():
    """Without TALLGRASS_CLUE_ADDRESS the error names it and says what it is."""
    with pytest.raises(ConfigError, match=r"TALLGRASS_CLUE_ADDRESS is not set: HOST:PORT"):
        load(ExchangeConfig, {})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CLUE_ADDRESS", "nowhere"),
        ("GRPC_PORT", "70000"),
        ("PACE_MS", "-1"),
        ("QUEUE_BYTES", "1"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_unusable_values_are_refused_by_name(variable, value):
    """A value that cannot work is refused at start, and the error names its variable."""
    with pytest.raises(ConfigError, match=f"TALLGRASS_{variable}="):
        load(ExchangeConfig, {"TALLGRASS_CLUE_ADDRESS": "127.0.0.1:1", f"TALLGRASS_{variable}": value})

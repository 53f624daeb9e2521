"""What commands have in common: words for people, and channels as people type them."""

from __future__ import annotations

import sys

from common.errors import ConfigError
from common.names import fold_channel


def say(text: str) -> None:
    """Progress and trouble, beside a command's result."""
    print(f"tallgrass: {text}", file=sys.stderr, flush=True)


def report(text: str) -> None:
    """One line of a result that comes bit by bit."""
    print(text, flush=True)


def channel_named(text: str) -> str:
    """ "#name", for a name with or without "#". Raises ConfigError."""
    channel = fold_channel(text if text.startswith("#") else f"#{text}")
    if channel is None:
        raise ConfigError(f"{text!r} is no channel: 1 to 25 letters, digits and _")
    return channel

"""Our error tree. Foreign errors (sockets, Redis, gRPC) become these once, at the border, with the remote named."""

from __future__ import annotations


class TallgrassError(Exception):
    """Base of all errors that we raise on purpose."""


class ConfigError(TallgrassError):
    """A setting is missing or cannot be used. The text names the setting, its value and what would do."""


class RemoteError(TallgrassError):
    """Something we asked did not answer as it should.

    `remote` names who ("clue-1@127.0.0.1:4101"), `operation` what we asked for, `cause` what happened instead.
    """

    def __init__(self, remote: str, operation: str, cause: str) -> None:
        super().__init__(f"{operation} at {remote}: {cause}")
        self.remote = remote
        self.operation = operation
        self.cause = cause

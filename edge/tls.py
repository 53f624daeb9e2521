"""One TLS context for all listeners of this edge; a new certificate is taken over without dropping anybody."""

from __future__ import annotations

import ssl

from cryptography import x509

from common.errors import ConfigError


class Certificate:
    def __init__(self, chain: str, key: str) -> None:
        """Raises ConfigError when the pair cannot be used."""
        self._chain = chain
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A fifth of the memory of a TLS session is its compression and ticket state; neither helps chat.
        self.context.options |= ssl.OP_NO_COMPRESSION
        self.expires = 0.0  # Unix seconds
        self.reload()

    def reload(self) -> None:
        """Read the files again: handshakes from now on use them, sessions that are up keep theirs."""
        try:
            self.context.load_cert_chain(self._chain, self._key)
            with open(self._chain, "rb") as chain:
                leaf = x509.load_pem_x509_certificate(chain.read())
            self.expires = leaf.not_valid_after_utc.timestamp()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigError(
                f"TLS certificate {self._chain} with key {self._key}: {error}. Give a PEM chain and its key."
            ) from error

"""Settings of one exchange, from the environment (TALLGRASS_CLUE_ADDRESS and so on)."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeConfig:
    cluster: str = "main"
    instance: str = "exchange-1"  # unique in the cluster
    grpc_host: str = "127.0.0.1"  # address to listen on
    grpc_port: int = 0  # 0: any free port
    advertise_host: str = ""  # what others dial; empty: grpc_host
    clue_address: str = field(metadata={"help": "HOST:PORT of the clue pool, where the directory is asked"})
    pace_ms: float = 4.0  # least time between two deliveries of a busy link, milliseconds; 0: none
    queue_bytes: int = 16 * 1024 * 1024  # bound of one edge's queue, bytes; past it the oldest are dropped
    statsd: str = ""  # HOST:PORT; empty: no metrics are sent
    log_level: str = "INFO"
    log_format: str = "text"  # or "json"

    def __post_init__(self) -> None:
        if not 0 <= self.grpc_port <= 65_535:
            raise ConfigError(f"TALLGRASS_GRPC_PORT={self.grpc_port} cannot be used: it takes 0 (any) to 65535")
        host, _, port = self.clue_address.rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigError(f"TALLGRASS_CLUE_ADDRESS={self.clue_address!r} cannot be used: it takes HOST:PORT")
        if not 0 <= self.pace_ms <= 1_000:
            raise ConfigError(f"TALLGRASS_PACE_MS={self.pace_ms} cannot be used: it takes 0 to 1000 (milliseconds)")
        if self.queue_bytes < 64 * 1024:
            raise ConfigError(f"TALLGRASS_QUEUE_BYTES={self.queue_bytes} cannot be used: it takes 65536 or more")
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ConfigError(
                f"TALLGRASS_LOG_LEVEL={self.log_level!r} cannot be used: it takes DEBUG, INFO, WARNING or ERROR"
            )

"""Settings of one clue. Read from TALLGRASS_* by common.config; units and the meaning of zero stand behind each."""

from __future__ import annotations

from dataclasses import dataclass

from clue.homes import DIRECTORY, TEST
from common.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ClueConfig:
    cluster: str = "main"  # also claimed on each Redis server: clusters share none
    instance: str = "clue-1"
    grpc_host: str = "127.0.0.1"  # where it listens
    grpc_port: int = 4100  # 0: any free port
    advertise_host: str = "127.0.0.1"  # what the directory tells others
    redis_shards: tuple[str, ...] = (
        "127.0.0.1:6379",
    )  # HOST:PORT of plain servers; order and number are part of the data
    redis_sentinels: tuple[str, ...] = ()  # HOST:PORT; set: redis_shards are names, and Sentinels know the addresses
    redis_cluster: tuple[str, ...] = ()  # HOST:PORT of seeds of a Redis Cluster; set: redis_shards is not looked at
    directory: str = ""  # HOST:PORT of the Redis that clusters share; empty: this one is alone
    clue_pool: str = ""  # HOST:PORT[,HOST:PORT], where other clusters reach this one's clues; empty: this clue
    default_home: str = ""  # cluster where channels live that were not moved; empty: this one
    inbox_home: str = ""  # likewise all inboxes and temporary rooms
    room_empty_ms: int = 60_000  # a temporary room ends after so long with nobody in it
    exchange_address: str = "127.0.0.1:4200"  # an exchange, or HAProxy in front of them
    auth: str = "open"  # open: any nick with any token, created at first sight; token: only tokens that were added
    limits: bool = True  # off (benches only): no rate limits, no 1 s floor, no duplicate rule
    lockout_s: int = (
        0  # for who sent too much, all ordinary messages are refused for so long, and told; 0: only the excess
    )
    control_token: str = ""  # for operators' calls; empty: they are not served
    statsd: str = ""  # HOST:PORT; empty: metrics stay in the process
    log_level: str = "INFO"
    log_format: str = "text"  # or "json"

    def __post_init__(self) -> None:
        if self.auth not in ("open", "token"):
            raise ConfigError(f"TALLGRASS_AUTH={self.auth!r} cannot be used: it takes open or token")
        if not self.redis_shards and not self.redis_cluster:
            raise ConfigError("TALLGRASS_REDIS_SHARDS is empty: name at least one server, HOST:PORT")
        if self.cluster == DIRECTORY:
            raise ConfigError(f"TALLGRASS_CLUSTER={self.cluster!r} cannot be used: it is the shared directory's name")
        if self.directory and self.cluster == TEST:
            raise ConfigError(
                f"TALLGRASS_DIRECTORY={self.directory!r} cannot be used: the cluster {TEST!r} shares nothing. Leave it "
                f"empty, or name the cluster otherwise"
            )
        for name, home in (("DEFAULT", self.default_home), ("INBOX", self.inbox_home)):
            if home not in ("", self.cluster) and not self.directory:
                raise ConfigError(
                    f"TALLGRASS_{name}_HOME={home!r} cannot be used: only clusters that share a directory "
                    f"(TALLGRASS_DIRECTORY) reach each other's channels"
                )
        if not 0 <= self.lockout_s <= 86_400:
            raise ConfigError(f"TALLGRASS_LOCKOUT_S={self.lockout_s} cannot be used: 0 to 86400 s, 0 is none")
        if not 0 <= self.grpc_port <= 65_535:
            raise ConfigError(f"TALLGRASS_GRPC_PORT={self.grpc_port} cannot be used: 0 to 65535, 0 is any free port")

"""Settings of one edge. Read from TALLGRASS_* by common.config; units and the meaning of zero stand behind each."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    cluster: str = "main"
    instance: str = "edge-1"
    host: str = "127.0.0.1"             # where users' sockets listen
    irc_port: int = 6667                # 0: any free port
    http_port: int = 8080               # WebSocket and health; 0: any free port
    link_host: str = "127.0.0.1"        # where the link listens: an inner address, never the public one
    link_port: int = 0                  # EdgeLink (gRPC), for exchanges; 0: any free port
    agent_host: str = "127.0.0.1"       # where HAProxy's agent-check is answered: an inner address
    agent_port: int = 0                 # 0: any free port; -1: it is not answered
    irc_tls_port: int = 6697            # used when a certificate is set; 0: any free port
    https_port: int = 8443              # likewise
    tls_cert: str = ""                  # PEM chain; empty: no TLS. Read again on SIGHUP
    tls_key: str = ""
    advertise_host: str = "127.0.0.1"   # what others dial: exchanges the link, users the ports
    clue_address: str = "127.0.0.1:4100"
    limits: bool = True                 # off (benches): no bound on sessions per address
    sessions_per_address: int = 64
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1")  # may send PROXY; not counted per address without it
    statsd: str = ""                    # HOST:PORT; empty: metrics stay in the process
    log_level: str = "INFO"
    log_format: str = "text"            # or "json"
    drain_s: float = 2.0                # RECONNECTs are spread over it when the edge stops; then sockets close
    registration_s: float = 20.0        # a session that has not logged in by then is closed
    ping_s: float = 240.0               # twitchAPI gives up after 10 silent minutes, pydle after 5 (clients.md 33)
    write_buffer: int = 1_048_576       # bytes one member may leave unread before it is passed over
    slow_s: float = 30.0                # passed over for longer: disconnected
    presence_s: float = 10.0            # between reports of who is here; others' JOIN and PART come as often
    trace_every: int = 1000             # messages, of which one is followed through all hops; 0: only requested ones
    coalesce_max_ms: float = 75.0       # the longest that a publication waits for others of its channel

    def __post_init__(self) -> None:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ConfigError("TALLGRASS_TLS_CERT and TALLGRASS_TLS_KEY go together: set both or none")

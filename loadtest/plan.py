"""What a run does, as one value that all its processes share: who comes, from where, through which door, and says what.

Everything about viewer or chatter number n follows from n, so processes need not agree on anything while they run.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.errors import ConfigError
from loadtest.target import Target

SHAPES = ("tpp", "raid", "steady", "storm", "longtail")

# One ordinary user may send 20 messages in 30 s and one a second: a little slower than that.
SPACING_S = 1.7
SENDERS_AT_MOST = 2_000
HERD = 250                   # viewers of one herd, served by one greenlet
PROCESS_VIEWERS = 9_000      # of one process: below its 20,000 descriptors, and a second core can help
JOINS = 20                   # as many as one may join at once; for more, 10 s have to pass
PER_ADDRESS = 50             # sessions of one source address; edges allow 64

MAIN = "#tpp"
RAIDED = "#raided"
CALM = "#calm"
# Where those are who only see what happens to others: they sit in a channel that a storm spares, or in the one raided.
STAYED_IN = {"storm": CALM, "raid": RAIDED}

# A machine's peak of `make load`: viewers of one busy channel per core, with the whole stack on the same cores.
VIEWERS_PER_CORE = 5_000


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one session comes from and where it goes."""

    host: str
    port: int
    source: str        # our own address
    login: str         # folded
    edge: str          # instance; "": whichever HAProxy chooses
    tls: bool = False
    websocket: bool = False
    tagged: bool = True   # asks for twitch.tv/tags and twitch.tv/commands


@dataclass(frozen=True, slots=True)
class Plan:
    """Shares are 0 to 1, of all viewers."""

    shape: str
    target: Target
    viewers: int                 # at the peak
    rate: float                  # messages a second into the main channel
    seconds: float               # how long they are sent
    run: str = field(default_factory=lambda: f"k{secrets.token_hex(2)}")
    workers: int = 0             # processes of the crowd; 0: as many as the viewers need
    apart: bool = True           # those who stay, and who speaks to them, have one more process to themselves
    haproxy: float = 0.1         # come through HAProxy, the others straight to the edges
    websocket: float = 0.1
    tls: float = 0.0
    tagged: bool = True
    herd: int = 0                # viewers of one herd; 0: what suits their number
    moderators: int = 1
    flappers: int = 2
    slow_readers: int = 2
    spammers: int = 1
    tail_channels: int = 0       # long tail: small channels besides the main one
    tail_rate: float = 0.0       # messages a second into all small channels together
    calm_rate: float = 10.0      # storm: messages a second into the channel of those who stay

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ConfigError(f"shape {self.shape!r}: one of {', '.join(SHAPES)}")
        for option, value, least, most in (
            ("--viewers", self.viewers, 10, 200_000),
            ("--rate", self.rate, 0.1, 5_000),
            ("--seconds", self.seconds, 1, 3_600),
            ("--haproxy", self.haproxy, 0, 1),
            ("--websocket", self.websocket, 0, 1),
            ("--tls", self.tls, 0, 1),
        ):
            if not least <= value <= most:
                raise ConfigError(f"{option} {value:g}: {least:g} to {most:g}")
        if self.shape == "longtail" and not (self.tail_channels and self.tail_rate):
            raise ConfigError("--shape longtail needs small channels and messages for them")
        if self.tls and not self.target.ircs:
            raise ConfigError("--tls: this stack has no TLS ports: start it with `tallgrass up --tls self`")
        if not self.workers:
            least = 2 if self.viewers > 500 or self.chatters > 200 else 1
            object.__setattr__(self, "workers", max(least, -(-self.viewers // PROCESS_VIEWERS)))
        object.__setattr__(self, "apart", self.apart and self.shape in STAYED_IN)
        if not self.herd:
            object.__setattr__(self, "herd", min(HERD, max(10, self.viewers // (4 * self.workers))))

    # -- how many ---------------------------------------------------------------------------------------------------

    @property
    def processes(self) -> int:
        return self.workers + self.apart

    @property
    def chatters(self) -> int:
        """As many as may send `rate` under the limits that bind everybody."""
        return senders_for(self.rate)

    @property
    def herds(self) -> int:
        return -(-self.viewers // self.herd)

    @property
    def stayed_herds(self) -> int:
        """Storm and raid: herds that stay where they are, one in twenty."""
        return max(1, self.herds // 20) if self.shape in STAYED_IN else 0

    @property
    def tail_herds(self) -> int:
        """Long tail: each viewer is in JOINS small channels, so that each channel has two on average."""
        if self.shape != "longtail":
            return 0
        return max(1, math.ceil(2 * self.tail_channels / JOINS / self.herd))

    @property
    def readers_expected(self) -> int:
        return (self.herds + self.stayed_herds + self.tail_herds) * self.herd

    # -- who --------------------------------------------------------------------------------------------------------

    def viewer(self, number: int) -> Seat:
        """The seat of viewer `number`, counted from 0."""
        target = self.target
        websocket = _in_share(number, 61, 13, self.websocket)
        tls = _in_share(number, 83, 29, self.tls)
        kind = ("https" if tls else "http") if websocket else ("ircs" if tls else "irc")
        names = sorted(target.edges)
        edge = names[number % len(names)]
        if target.proxied and _in_share(number, 37, 7, self.haproxy):
            edge, address = "", {"irc": target.irc, "http": target.ws, "ircs": target.ircs, "https": target.wss}[kind]
        else:
            address = target.edges[edge].get(kind, "")
        if not address:  # a bare server speaks plain IRC only
            kind, websocket, tls, address = "irc", False, False, target.edges[edge]["irc"]
        host, _, port = address.rpartition(":")
        return Seat(
            host, int(port), source(number), f"tgview{number}", edge, tls=tls, websocket=websocket, tagged=self.tagged
        )

    def sender(self, number: int) -> Seat:
        """The seat of chatter (or moderator, spammer, flapper ...) `number`."""
        seat = self.viewer(number)
        return Seat(
            seat.host, seat.port, source(number, second_byte=8), f"tgchat{number}", seat.edge,
            tls=seat.tls, websocket=seat.websocket, tagged=True,
        )  # fmt: skip

    # -- between processes ------------------------------------------------------------------------------------------

    def write(self, path: Path) -> None:
        path.touch(mode=0o600)  # the control token is inside
        path.write_text(json.dumps(asdict(self)), "utf-8")


def read_plan(path: Path) -> Plan:
    found = json.loads(path.read_text("utf-8"))
    return Plan(**{**found, "target": Target(**found["target"])})


def senders_for(rate: float) -> int:
    return min(SENDERS_AT_MOST, max(1, math.ceil(rate * SPACING_S)))


def source(number: int, second_byte: int = 16) -> str:
    """A loopback address for session `number`: 50 share one, as ports of one address are few."""
    address = number // PER_ADDRESS
    return f"127.{second_byte + address // 62_500}.{address // 250 % 250}.{1 + address % 250}"


def tail_channels_of(number: int, channels: int) -> list[str]:
    """The small channels of tail viewer `number`: neighbours on a ring, so that each gets the same number."""
    return [f"#tail{(number * JOINS + at) % channels}" for at in range(JOINS)]


def machine_viewers() -> int:
    """The peak that suits this machine."""
    return min(50_000, VIEWERS_PER_CORE * len(os.sched_getaffinity(0)))


def _in_share(number: int, factor: int, shift: int, share: float) -> bool:
    """Spread evenly: of any 100 neighbouring numbers, `share` are in."""
    return (number * factor + shift) % 100 < share * 100

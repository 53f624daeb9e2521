"""The stack that a run is aimed at, and whether it may be."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from ops.data_folder import DataFolder

CLUSTER = "test"


@dataclass(frozen=True, slots=True)
class Target:
    """Addresses are HOST:PORT; empty where there is none."""

    name: str
    cluster: str
    irc: str                                  # the public door
    ws: str = ""
    ircs: str = ""
    wss: str = ""
    edges: dict[str, dict[str, str]] = field(default_factory=dict)   # instance to its "irc", "http", "ircs", "https"
    open_auth: bool = True                    # any name gets in with any token
    limits: bool = True
    control: str = ""                         # HOST:PORT of clue's Control; empty: no stack but a bare server
    control_token: str = ""
    pids: dict[str, int] = field(default_factory=dict)               # of its processes, for CPU and memory

    @property
    def proxied(self) -> bool:
        """The door is HAProxy, not the first edge itself."""
        return all(self.irc != edge["irc"] for edge in self.edges.values())


def local_stack(data: str) -> Target:
    """The stack that runs in the data folder; of several clusters in it, the one named test. Raises ConfigError when
    no stack runs there."""
    folder = DataFolder(Path(data))
    stack = folder.read_stack()
    clusters: dict[str, dict[str, Any]] = stack.get("clusters") or {}
    cluster, services = CLUSTER if CLUSTER in clusters else stack["cluster"], stack["services"]
    # What else there is, is the first cluster's.
    stack = {**stack, **clusters.get(cluster, {})}
    token_file = stack.get("control_token_file")
    token = Path(token_file).read_text("ascii").strip() if token_file else folder.control_token()
    edges = [s for s in services if s["service"] == "edge" and s.get("cluster", cluster) == cluster]
    return Target(
        name=f"the stack in {folder.path.name}",
        cluster=cluster,
        irc=stack["irc"],
        ws=_host_port(stack["ws"]),
        ircs=stack["ircs"],
        wss=_host_port(stack["wss"]),
        edges={edge["name"]: dict(edge["addresses"]) for edge in edges},
        open_auth=stack["auth"] == "open",
        limits=stack["limits"],
        control=stack["control"],
        control_token=token,
        # Those of other clusters as well: what they take is none of other programs' doing.
        pids={**{s["name"]: s["pid"] for s in services if s["pid"]}, "tallgrass up": stack["pid"]},
    )


def bare_server(address: str, pid: int) -> Target:
    """The C fan-out of the calibration: one address, no stack around it."""
    return Target(
        name="the bare fan-out in C", cluster=CLUSTER, irc=address, edges={"fan-out": {"irc": address}},
        limits=False, pids={"fan-out": pid},
    )  # fmt: skip


def require_permitted(target: Target, *, yes_really: bool) -> None:
    """Raises ConfigError for a stack that is not the test cluster's, or not on this machine."""
    for address in (target.irc, *(edge["irc"] for edge in target.edges.values())):
        host = address.rpartition(":")[0]
        if not ipaddress.ip_address(host).is_loopback:
            raise ConfigError(f"{address} is not on this machine: the load goes to 127.0.0.0/8 only")
    if target.cluster != CLUSTER and not yes_really:
        raise ConfigError(
            f"{target.name} is cluster {target.cluster}, which has users, and has no cluster {CLUSTER}: start one for "
            f"the load with `tallgrass up --clusters {CLUSTER} --data DIR`, or say --yes-really"
        )


def _host_port(url: str) -> str:
    return url.partition("://")[2]

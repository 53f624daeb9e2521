"""The doctor's parts that need no stack: which clusters there are, what a line of Redis says, and what the checks make
of facts that are hard to cause. Faults that can be caused are in tests/system/test_doctor.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError
from ops import doctor, doctor_checks
from ops.control import Target
from ops.doctor_checks import Level, examine
from ops.doctor_facts import (
    Certificate,
    Clue,
    Connection,
    Edge,
    Exchange,
    Facts,
    Haproxy,
    Link,
    Redis,
    connection,
    places,
)

STACK: dict[str, Any] = {
    "cluster": "main", "control": "127.0.0.1:1", "haproxy_socket": "/first.sock", "statsd": "h:8125", "top": "h:9",
    "ircs": "127.0.0.1:6697", "wss": "wss://127.0.0.1:8443",
    "services": [
        {"name": "main-haproxy", "service": "haproxy", "cluster": "main"},
        {"name": "event-edge-1", "service": "edge", "cluster": "event"},
        {"name": "directory", "service": "redis", "cluster": ""},
    ],
    "clusters": {
        "main": {
            "control": "127.0.0.1:1", "control_token_file": "/main", "haproxy_socket": "/main.sock",
            "ircs": "127.0.0.1:6697", "wss": "wss://127.0.0.1:8443",
        },
        "event": {
            "control": "127.0.0.1:2", "control_token_file": "/event", "haproxy_socket": "", "ircs": "", "wss": "",
        },
    },
}  # fmt: skip


def test_each_cluster_of_a_stack_is_a_place_of_its_own(tmp_path):
    """With its own token, processes and doors; what belongs to none is looked at with the first one."""
    main, event = places(STACK, Target("127.0.0.1:1", "t", STACK), tmp_path, lambda path: f"token of {path}")
    assert (main.cluster, main.target.address, main.target.token) == ("main", "127.0.0.1:1", "token of /main")
    assert [entry["name"] for entry in main.services] == ["main-haproxy", "directory"]
    assert main.haproxies == (("main-haproxy", "/main.sock"),)
    assert main.tls == ("127.0.0.1:6697", "127.0.0.1:8443")
    assert main.statsd == "h:8125"
    assert (event.cluster, event.target.token) == ("event", "token of /event")
    assert [entry["name"] for entry in event.services] == ["event-edge-1"]
    assert (event.haproxies, event.tls) == ((), ())


def test_metrics_for_top_alone_are_no_statsd(tmp_path):
    stack = {**STACK, "statsd": "h:9"}
    assert {place.statsd for place in places(stack, Target("", "t", stack), tmp_path, str)} == {""}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            "id=7 addr=127.0.0.1:50000 laddr=127.0.0.1:7000 fd=9 name=clue-1@main age=70 idle=61 flags=N cmd=evalsha",
            Connection("127.0.0.1:50000", "clue-1@main", 70, 61, False),
        ),
        ("id=8 addr=h:1 name= age=1 idle=0 flags=S cmd=replconf", Connection("h:1", "", 1, 0, True)),
        ("id=9 addr=h:2 name=sentinel-1f-cmd age=1 idle=0 flags=N", Connection("h:2", "sentinel-1f-cmd", 1, 0, True)),
    ],
)
def test_a_connection_of_redis(line, wanted):
    """Name, age and idle time; replicas and Sentinels are the server's own."""
    assert connection(line) == wanted


def redis(name: str, **more: Any) -> Redis:
    found = {"info": {"role": "master", "tcp_port": name.rpartition(":")[2]}, "identity": "main", "runs": (name,)}
    return Redis(name=name, clue="clue-1", available=True, **{**found, **more})


def clue(*servers: Redis, **more: Any) -> Clue:
    return Clue(instance="clue-1", address="h:1", redis=servers, **more)


WELL = Facts(
    cluster="main", window_s=1.0, clues=(clue(redis("redis-0@h:7000"), redis("redis-1@h:7001")),),
    edges=(Edge("edge-1", "h:8080", grpc_address="h:9"),), registered=("clue/clue-1", "edge/edge-1"),
    exchanges=(Exchange("exchange-1", "h:5", links=(Link("edge-1", "h:9", True, 0, 0, 100),)),),
)  # fmt: skip


def edge(**changes: Any) -> Facts:
    return replace(WELL, edges=(replace(WELL.edges[0], **changes),))


def link(**changes: Any) -> Facts:
    (exchange,) = WELL.exchanges
    return replace(WELL, exchanges=(replace(exchange, links=(replace(exchange.links[0], **changes),)),))


def servers(*found: Redis) -> Facts:
    return replace(WELL, clues=(clue(*found),))


def test_nothing_is_wrong_with_what_is_well():
    assert [result for result in examine(WELL) if result.findings] == []


@pytest.mark.parametrize(
    ("facts", "check", "level", "part"),
    [
        (
            servers(redis("redis-0@h:7000", runs=("a",)), redis("redis-1@h:7001", runs=("a",))),
            "redis sharding", Level.BAD, "redis-1@h:7001: it is the same server as redis-0@h:7000",
        ),
        (
            servers(redis("redis-0@h:7000", identity="event"), redis("redis-1@h:7001")),
            "redis answers", Level.BAD, "redis-0@h:7000: it belongs to 'event', not to 'main'",
        ),
        (
            servers(
                redis("redis-0@h:7000", config={"appendonly": "yes"},
                      info={"aof_enabled": "1", "aof_last_write_status": "err"}),
                redis("redis-1@h:7001"),
            ),
            "redis durability", Level.BAD, "its last write to the append-only file failed",
        ),
        (link(queue_bytes=2_000_000), "exchange links", Level.WARN, "to edge-1@h:9: 2,000,000 bytes wait"),
        (link(silent_ms=4_000), "exchange links", Level.BAD, "the edge was last heard 4.0 s ago"),
        (link(up=False), "exchange links", Level.BAD, "no link: the exchange dials it in vain"),
        (edge(links={"exchange-1": 3.5}), "exchange links", Level.BAD, "edge-1@h:9: exchange-1 is silent for 3.5 s"),
        (edge(draining=True), "edge ready", Level.WARN, "edge-1@h:8080: it drains"),
        (edge(files=90, max_files=100), "all descriptors", Level.BAD, "90 of 100 descriptors"),
        (
            replace(WELL, clues=(replace(WELL.clues[0], homes_version=9),)),
            "all directory", Level.WARN, "edge-1@h:8080: it knows homes of version 0, clue of 9",
        ),
        (
            replace(WELL, certificates=(Certificate("h:6697", days_left=3.0),)),
            "door certificates", Level.WARN, "expires in 3.0 days",
        ),
        (
            replace(WELL, haproxies=(Haproxy("haproxy", "/gone.sock", problem="No such file or directory"),)),
            "door servers", Level.BAD, "HAProxy does not answer",
        ),
        (replace(WELL, problem="no answer"), "clue answers", Level.BAD, "clues of main: no answer"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(facts, check, level, part):
    """The check's finding has its level, says where and what, and what to do; no other check is disturbed by it."""
    wrong = {f"{result.hop} {result.check}": result.findings for result in examine(facts) if result.findings}
    assert set(wrong) == {check}
    (found,) = wrong[check]
    assert found.level is level
    assert part in f"{found.where}: {found.what}"
    assert found.fix


def test_a_guest_is_its_own_clusters_concern():
    """An edge of another cluster is looked at for its links, not for its sessions."""
    guest = Edge("edge-1", "h:8081", cluster="event", not_ready="draining", grpc_address="h:10")
    facts = replace(WELL, edges=(*WELL.edges, guest), clusters=("event", "main"))
    wrong = {f"{result.hop} {result.check}" for result in examine(facts) if result.findings}
    assert wrong == {"exchange links"}


def test_replicas_and_other_clusters_of_the_directory_are_no_strangers():
    shared = (Connection("h:1", "clue-1@event", 9, 0, False), Connection("h:2", "", 9, 0, True))
    directory = redis("directory@h:1", directory=True, identity="directory", connections=shared)
    facts = replace(WELL, clues=(clue(*WELL.clues[0].redis, directory),), clusters=("main", "event"))
    assert list(doctor_checks.redis_connections(facts)) == []
    stranger = replace(facts, clusters=("main",))
    (found,) = doctor_checks.redis_connections(stranger)
    assert (found.level, "a service of cluster 'event'" in found.what) == (Level.BAD, True)


def test_json_has_every_check_with_its_level():
    found = json.loads(doctor.as_json({"main": examine(link(up=False))}))
    assert found["level"] == "BAD"
    checks = found["clusters"]["main"]
    assert len(checks) == len(doctor_checks.CHECKS)
    (wrong,) = [check for check in checks if check["level"] != "ok"]
    assert wrong["findings"][0]["level"] == "BAD"


def test_every_check_says_what_it_looked_at_when_all_is_well():
    assert all(result.ok for result in examine(replace(WELL, haproxies=(Haproxy("h", "/s"),))))


def test_a_tokens_file_that_may_not_be_read(tmp_path):
    with pytest.raises(ConfigError, match="only who started the stack may read it"):
        doctor._token(str(Path(tmp_path) / "none"))

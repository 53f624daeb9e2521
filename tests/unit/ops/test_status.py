"""ops/status.py: what the stack's file, the directories and clue say, joined and drawn."""

from __future__ import annotations

import json
import os
from typing import Any

from common.pb import clue_pb2
from ops import status
from ops.control import Target
from ops.status import Answers

NOW = 1_000_000
STACK: dict[str, Any] = {
    "cluster": "main", "pid": 1, "irc": "127.0.0.1:6667", "ws": "ws://127.0.0.1:8080", "ircs": "", "wss": "",
    "auth": "open", "limits": True, "control": "127.0.0.1:4100", "haproxy_socket": "/s",
    "services": [
        {"name": "edge-1", "service": "edge", "pid": os.getpid(), "addresses": {"irc": "127.0.0.1:1"}, "log": "/l"},
        {"name": "redis-1", "service": "redis", "pid": None, "addresses": {"redis": "127.0.0.1:2"}, "log": "/l"},
    ],
}  # fmt: skip


def registration(pid: int, **more: Any) -> clue_pb2.Registration:
    return clue_pb2.Registration(service="edge", instance="edge-1", pid=pid, sessions=7, last_seen_ms=NOW, **more)


def answers(*registrations: clue_pb2.Registration, problem: str = "available", **more: Any) -> Answers:
    shards = more.pop("shards", ())
    directory = clue_pb2.Directory(services=registrations, **more)
    return Answers(directory, clue_pb2.Diagnosis(shards=shards), problem)


def local(*registrations: clue_pb2.Registration, **more: Any) -> status.Facts:
    target = Target("127.0.0.1:4100", "t", STACK)
    return status.join(target, {"main": answers(*registrations, **more)}, now_ms=NOW)


def remote(registered: clue_pb2.Registration) -> status.Service:
    (service,) = status.join(Target("h:1", "t", None), {"": answers(registered)}, now_ms=NOW).services
    return service


def test_a_process_is_joined_with_its_registration() -> None:
    edge = local(registration(os.getpid(), draining=True, weight=40, max_sessions=9_000)).services[0]
    assert (edge.alive, edge.registered, edge.sessions, edge.draining) == (True, True, 7, True)
    assert (edge.weight, edge.max_sessions, edge.cluster) == (40, 9_000, "main")


def test_the_registration_of_an_earlier_process_is_not_the_present_ones() -> None:
    edge = local(registration(1)).services[0]
    assert (edge.alive, edge.registered, edge.sessions) == (True, False, None)


def test_a_process_that_is_gone_is_down() -> None:
    facts = local()
    assert [service.alive for service in facts.services] == [True, False]
    assert [line.split()[2] for line in status.as_text(facts).splitlines()[2:]] == ["up,", "DOWN"]


def test_a_silent_directory_is_told_and_the_processes_are_still_shown() -> None:
    text = status.as_text(local(problem="no answer"))
    assert "directory: no answer" in text
    assert "edge-1" in text


def test_json_has_every_service_with_name_pid_and_addresses() -> None:
    facts = json.loads(status.as_json(local()))
    assert facts["services"][0]["name"] == "edge-1"
    assert facts["services"][0]["pid"] == os.getpid()
    assert facts["services"][0]["addresses"] == {"irc": "127.0.0.1:1"}
    assert facts["irc"] == "127.0.0.1:6667"


def test_a_remote_service_is_alive_while_it_registers() -> None:
    assert remote(registration(1)).alive
    old = registration(1)
    old.last_seen_ms = NOW - 20_000
    assert not remote(old).alive


def test_the_largest_channels_are_summed_over_edges_and_named_with_their_homes() -> None:
    """Members add up; the rate is the log's, which every edge sees."""
    big = clue_pb2.ChannelLoad(channel="#big", members=30, rate=5.0)
    small = clue_pb2.ChannelLoad(channel="#small", members=40, rate=1.0)
    edges = [registration(1, largest=[big, small]), registration(2, largest=[big])]
    homes = [clue_pb2.Home(channel="#big", cluster="event", move="1")]
    (cluster,) = local(*edges, homes=homes, homes_version=3).clusters
    assert [(c.name, c.members, c.rate, c.home) for c in cluster.channels] == [
        ("#big", 60, 5.0, "event"), ("#small", 40, 1.0, ""),
    ]  # fmt: skip
    text = status.as_text(local(*edges, homes=homes))
    assert "away from home: #big on event" in text
    (line,) = [line for line in text.splitlines() if line.startswith("#small")]
    assert line.split() == ["#small", "40", "1.0", "main"]


def test_shards_are_shown_with_what_they_hold_or_why_they_do_not_answer() -> None:
    shards = [
        clue_pb2.ShardFacts(
            name="redis-0@h:1", available=True, keys=1_234, clients=["a", "b"],
            info={"used_memory": "2097152", "instantaneous_ops_per_sec": "77"},
        ),
        clue_pb2.ShardFacts(name="redis-1@h:2", cause="refused"),
    ]  # fmt: skip
    lines = status.as_text(local(shards=shards)).splitlines()
    (up,) = [line.split() for line in lines if line.startswith("redis-0@")]
    (down,) = [line for line in lines if line.startswith("redis-1@")]
    assert up == ["redis-0@h:1", "up", "1,234", "2.0", "2", "77"]
    assert "DOWN: refused" in down


def test_several_clusters_each_with_its_own() -> None:
    """A process belongs to its cluster, whatever the other has in its directory; what is shared stands apart."""
    main = {**STACK["services"][0], "name": "main-edge-1", "cluster": "main"}
    event = {**STACK["services"][0], "name": "event-edge-1", "cluster": "event", "pid": os.getppid()}
    directory = {"name": "directory", "service": "redis", "pid": None, "addresses": {}, "log": "", "cluster": ""}
    described = {"control": "127.0.0.1:4100", "irc": "127.0.0.1:6667", "ws": "ws://127.0.0.1:8080"}
    stack = {
        **STACK, "services": [main, event, directory],
        "clusters": {"main": described, "event": {**described, "control": "127.0.0.1:5", "irc": "127.0.0.1:7777"}},
    }  # fmt: skip
    told = {
        "main": answers(registration(os.getpid(), cluster="main")),
        "event": answers(registration(os.getppid(), cluster="event", weight=3), registration(os.getpid())),
    }
    facts = status.join(Target("127.0.0.1:4100", "t", stack), told, now_ms=NOW)
    assert [(c.name, [s.name for s in c.services], c.sessions) for c in facts.clusters] == [
        ("main", ["main-edge-1"], 7), ("event", ["event-edge-1"], 7),
    ]  # fmt: skip
    text = status.as_text(facts)
    assert "cluster event: 127.0.0.1:7777  ws://127.0.0.1:8080, 7 sessions" in text
    assert text.splitlines()[-1].split()[:3] == ["directory", "-", "DOWN"]

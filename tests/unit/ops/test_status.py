from __future__ import annotations

import json
import os
from typing import Any

from common.pb import clue_pb2
from ops import status
from ops.control import Target

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


def local(*registrations: clue_pb2.Registration, problem: str = "available") -> status.Facts:
    directory = clue_pb2.Directory(services=registrations)
    return status.join(Target("127.0.0.1:4100", "t", STACK), directory, problem, now_ms=NOW)


def remote(registered: clue_pb2.Registration) -> status.Service:
    directory = clue_pb2.Directory(services=[registered])
    (service,) = status.join(Target("h:1", "t", None), directory, "available", now_ms=NOW).services
    return service


def test_a_process_is_joined_with_its_registration() -> None:
    edge = local(registration(os.getpid(), draining=True)).services[0]
    assert (edge.alive, edge.registered, edge.sessions, edge.draining) == (True, True, 7, True)


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

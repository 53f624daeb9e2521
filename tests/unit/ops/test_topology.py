from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from common.errors import ConfigError
from ops.haproxy import Homes
from ops.topology import Options, Shared, Topology, plan


def laid_out(options: Options, *, haproxy: bool = True, **several: Any) -> Topology:
    inner = count(20_000)

    def public(port: int, option: str) -> int:
        return port or next(inner)

    return plan(
        options, haproxy=haproxy, control_token="secret", inner_port=lambda: next(inner), public_port=public, **several
    )


def test_with_haproxy_there_are_two_of_each() -> None:
    stack = laid_out(Options())
    assert (len(stack.edges), len(stack.clues), len(stack.exchanges), len(stack.redis_ports)) == (2, 2, 2, 2)


def test_without_haproxy_there_is_one_of_each() -> None:
    stack = laid_out(Options(), haproxy=False)
    assert (len(stack.edges), len(stack.clues), len(stack.exchanges), stack.doors) == (1, 1, 1, ())


def test_without_haproxy_users_ports_are_the_first_edges() -> None:
    stack = laid_out(Options(edges=3), haproxy=False)
    assert (stack.edges[0].irc_port, stack.edges[0].http_port) == (6667, 8080)
    assert (stack.irc, stack.ws) == ("127.0.0.1:6667", "ws://127.0.0.1:8080")
    assert 6667 not in [edge.irc_port for edge in stack.edges[1:]]


def test_with_haproxy_users_ports_are_its_own() -> None:
    stack = laid_out(Options())
    (doors,) = stack.doors
    assert (doors.irc.bind, doors.http.bind) == ("127.0.0.1:6667", "127.0.0.1:8080")
    assert [server.name for server in doors.irc.servers] == ["edge-1", "edge-2"]


def test_edges_and_exchanges_ask_the_clue_pool_and_clues_the_exchange_pool() -> None:
    stack = laid_out(Options())
    (doors,) = stack.doors
    asked = {edge.clue_address for edge in stack.edges} | {e.clue_address for e in stack.exchanges} | {stack.control}
    assert asked == {doors.clue.bind}
    assert {clue.exchange_address for clue in stack.clues} == {doors.exchange.bind}


def test_two_haproxies_are_two_ways_to_the_same_pools() -> None:
    """The usual ports are the first one's; services know both inner addresses, users the first."""
    stack = laid_out(Options(haproxies=2))
    first, second = stack.doors
    assert first.irc.bind == "127.0.0.1:6667" != second.irc.bind
    assert stack.edges[0].clue_address == f"{first.clue.bind},{second.clue.bind}"
    assert stack.clues[0].exchange_address == f"{first.exchange.bind},{second.exchange.bind}"
    assert first.clue.servers == second.clue.servers


def test_without_haproxy_they_ask_each_other() -> None:
    stack = laid_out(Options(), haproxy=False)
    assert stack.edges[0].clue_address == f"127.0.0.1:{stack.clues[0].grpc_port}"
    assert stack.clues[0].exchange_address == f"127.0.0.1:{stack.exchanges[0].grpc_port}"


def test_no_port_is_used_twice() -> None:
    stack = laid_out(Options(edges=4, redis_shards=3, tls_cert="c", tls_key="k"))
    (doors,) = stack.doors
    assert doors is not None
    used = [
        int(door.bind.rpartition(":")[2])
        for door in (doors.irc, doors.http, doors.ircs, doors.https, doors.clue, doors.exchange)
        if door is not None
    ]
    used += [clue.grpc_port for clue in stack.clues] + [exchange.grpc_port for exchange in stack.exchanges]
    used += [*stack.redis_ports]
    for edge in stack.edges:
        used += [edge.irc_port, edge.http_port, edge.link_port, edge.irc_tls_port, edge.https_port, edge.agent_port]
    assert len(used) == len(set(used)) == 6 + 2 + 2 + 3 + 4 * 6


def test_a_cluster_alone_knows_nothing_of_others() -> None:
    stack = laid_out(Options())
    assert {(clue.directory, clue.clue_pool, clue.default_home, clue.inbox_home) for clue in stack.clues} == {("",) * 4}
    assert {edge.instance for edge in stack.edges} == {"edge-1", "edge-2"}
    assert stack.doors[0].homes is None


def test_one_of_several_is_named_after_its_cluster_and_told_of_the_directory() -> None:
    shared = Shared("127.0.0.1:9", ("main", "event", "group"))
    stack = laid_out(Options(cluster="event"), prefix="event-", shared=shared)
    assert [edge.instance for edge in stack.edges] == ["event-edge-1", "event-edge-2"]
    (clue, _) = stack.clues
    assert (clue.directory, clue.clue_pool) == ("127.0.0.1:9", stack.doors[0].clue.bind)
    assert (clue.default_home, clue.inbox_home) == ("main", "group")
    assert stack.doors[0].homes == Homes("event", ("main", "event", "group"), "main", "group")


def test_without_a_group_cluster_the_first_one_has_the_rooms() -> None:
    assert Shared("h:1", ("event", "main")).inbox_home == "event"


def test_tls_is_on_the_usual_ports() -> None:
    stack = laid_out(Options(tls_cert="c", tls_key="k"))
    assert (stack.ircs, stack.wss) == ("127.0.0.1:6697", "wss://127.0.0.1:8443")
    assert {edge.tls_cert for edge in stack.edges} == {"c"}


def test_every_address_listens_when_asked_to_but_inner_ones_do_not() -> None:
    """With tokens, users of other machines may come; Redis, clue and exchange stay on loopback."""
    stack = laid_out(Options(host="0.0.0.0", auth="token"))
    (doors,) = stack.doors
    assert doors.irc.bind == "0.0.0.0:6667"
    assert stack.irc == "127.0.0.1:6667"
    assert {edge.host for edge in stack.edges} | {clue.grpc_host for clue in stack.clues} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Options(cluster="prod"), "a cluster is one of"),
        (lambda: Options(edges=0), "--edges 0"),
        (lambda: Options(redis_shards=33), "--redis-shards 33"),
        (lambda: Options(host="192.0.2.1"), "--auth open"),
        (lambda: Options(statsd="here"), "--statsd here"),
        (lambda: laid_out(Options(clues=2), haproxy=False), "--clues 2 needs HAProxy"),
        (lambda: laid_out(Options(exchanges=2), haproxy=False), "--exchanges 2 needs HAProxy"),
    ],
)
def test_what_cannot_be_is_told_by_option(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()

import resource
from dataclasses import replace

import pytest

from common.errors import ConfigError
from ops import haproxy
from ops.haproxy import Door, Doors, Homes, Server

DOORS = Doors(
    irc=Door("127.0.0.1:6667", (Server("edge-1", "127.0.0.1:1"), Server("edge-2", "127.0.0.1:2"))),
    http=Door("127.0.0.1:8080", (Server("edge-1", "127.0.0.1:3"), Server("edge-2", "127.0.0.1:4"))),
    clue=Door("127.0.0.1:5", (Server("clue-1", "127.0.0.1:6"),)),
    exchange=Door("127.0.0.1:7", (Server("exchange-1", "127.0.0.1:8"),)),
)


@pytest.mark.parametrize(
    ("files", "connections"),
    [(20_000, 9_900), (1_024, 412), (1_000_000, 9_900), (resource.RLIM_INFINITY, 9_900)],
)
def test_maxconn_fits_the_descriptor_limit(files: int, connections: int) -> None:
    assert haproxy.max_connections(files) == connections


def test_irc_servers_get_the_users_address_and_the_health_of_http() -> None:
    text = haproxy.configuration(DOORS, maxconn=10, stats_socket="/s")
    assert "    server edge-2 127.0.0.1:2 weight 100 send-proxy track http_edges/edge-2\n" in text


def test_an_edge_with_an_agent_is_asked_in_each_pool() -> None:
    door = Door("127.0.0.1:1", (Server("edge-1", "127.0.0.1:2", 3),))
    text = haproxy.configuration(Doors(door, door, DOORS.clue, DOORS.exchange), maxconn=10, stats_socket="/s")
    assert "    server edge-1 127.0.0.1:2 weight 100 agent-check agent-inter 1s agent-port 3\n" in text
    assert (
        "    server edge-1 127.0.0.1:2 weight 100 agent-check agent-inter 1s agent-port 3 send-proxy "
        "track http_edges/edge-1\n" in text
    )


def test_a_cluster_alone_has_no_map_and_no_pools_of_others() -> None:
    text = haproxy.configuration(DOORS, maxconn=10, stats_socket="/s")
    assert "map_str" not in text
    assert [line for line in text.splitlines() if line.startswith("backend http")] == ["backend http_edges"]


def test_one_of_several_has_a_pool_for_each_of_the_others() -> None:
    homes = Homes("event", ("main", "event", "group"), "main", "group")
    text = haproxy.configuration(replace(DOORS, homes=homes), maxconn=10, stats_socket="/s", homes_map="/d/homes.map")
    pools = [line.split()[1] for line in text.splitlines() if line.startswith("backend http")]
    assert pools == ["http_edges", "http_main", "http_group"]
    assert "map_str(/d/homes.map)" in text
    assert "str(http_main)" in text  # a channel that was not moved


def test_without_tls_there_are_no_tls_doors() -> None:
    assert "ircs" not in haproxy.configuration(DOORS, maxconn=10, stats_socket="/s")


def test_an_unusable_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLGRASS_HAPROXY", "/nowhere/haproxy")
    with pytest.raises(ConfigError, match="TALLGRASS_HAPROXY='/nowhere/haproxy'"):
        haproxy.find()


def test_haproxy_can_be_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLGRASS_HAPROXY", "none")
    assert haproxy.find() is None

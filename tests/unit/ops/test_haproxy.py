import resource

import pytest

from common.errors import ConfigError
from ops import haproxy
from ops.haproxy import Door, Doors, Server

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
    assert "    server edge-2 127.0.0.1:2 send-proxy track http_edges/edge-2\n" in text


def test_without_tls_there_are_no_tls_doors() -> None:
    assert "ircs" not in haproxy.configuration(DOORS, maxconn=10, stats_socket="/s")


def test_an_unusable_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLGRASS_HAPROXY", "/nowhere/haproxy")
    with pytest.raises(ConfigError, match="TALLGRASS_HAPROXY='/nowhere/haproxy'"):
        haproxy.find()


def test_haproxy_can_be_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLGRASS_HAPROXY", "none")
    assert haproxy.find() is None

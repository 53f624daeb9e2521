from collections import Counter

import pytest

from common.errors import ConfigError
from loadtest.plan import PER_ADDRESS, read_plan, senders_for, source, tail_channels_of
from loadtest.target import require_permitted
from tests.unit.loadtest.plans import EDGES, plan, target


def test_shares_are_kept():
    """Of a thousand viewers the asked share comes through HAProxy, over WebSocket, over TLS; edges share the rest."""
    made = plan(haproxy=0.1, websocket=0.25, tls=0.05)
    seats = [made.viewer(number) for number in range(1_000)]
    assert sum(seat.edge == "" for seat in seats) == 100
    assert sum(seat.websocket for seat in seats) == 250
    assert sum(seat.tls for seat in seats) == 50
    edges = Counter(seat.edge for seat in seats)
    assert abs(edges["edge-1"] - edges["edge-2"]) <= 40


def test_a_seat_goes_to_the_port_of_its_kind():
    """Plain IRC, WebSocket and TLS each have their own port, at the edge or at HAProxy."""
    made = plan(haproxy=0.5, websocket=0.5, tls=0.5)
    kinds = {(False, False): "irc", (True, False): "http", (False, True): "ircs", (True, True): "https"}
    doors = {"irc": 6667, "http": 8080, "ircs": 6697, "https": 8443}
    seen = set()
    for number in range(200):
        seat = made.viewer(number)
        kind = kinds[seat.websocket, seat.tls]
        expected = int(EDGES[seat.edge][kind].rpartition(":")[2]) if seat.edge else doors[kind]
        assert seat.port == expected
        seen.add((seat.edge, kind))
    assert len(seen) == 12


def test_an_address_serves_no_more_sessions_than_an_edge_allows():
    """Source addresses are loopback, and 50 sessions share one."""
    addresses = Counter(source(number) for number in range(60_000))
    assert max(addresses.values()) == PER_ADDRESS
    assert all(address.startswith("127.") for address in addresses)
    assert all(0 < int(part) < 255 or part == "0" for address in addresses for part in address.split("."))
    assert not {source(number, 8) for number in range(10_000)} & set(addresses)


def test_a_plan_survives_the_way_to_another_process(tmp_path):
    """What is read is what was written, and nobody else can read the control token in it."""
    made = plan(target=target(control="127.0.0.1:9", control_token="secret"))
    made.write(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == made
    assert (tmp_path / "plan.json").stat().st_mode & 0o077 == 0


def test_a_process_holds_no_more_viewers_than_its_descriptors_allow():
    """Fifty thousand viewers are spread over enough processes."""
    made = plan(viewers=50_000)
    assert made.viewers / made.workers <= 9_000
    assert made.herds * made.herd >= 50_000


@pytest.mark.parametrize("shape", ["steady", "storm", "longtail"])
def test_fifteen_thousand_fit_with_descriptors_to_spare(shape):
    """The crowd, in a storm twice while old connections end, is below 20,000 in each process of the load."""
    made = plan(shape=shape, viewers=15_000, tail_channels=10_000, tail_rate=50.0)
    crowd = -(-made.herds // made.workers) * made.herd
    speakers = made.chatters + 200
    epolls = 2 * made.herds
    assert crowd + speakers + epolls < 18_000
    assert 2 * crowd + epolls < 20_000


@pytest.mark.parametrize("haproxy", [0.0, 0.1])
def test_an_address_stays_below_an_edges_bound_while_its_sessions_are_replaced(haproxy):
    """In a storm an edge may have an address' old sessions and its new ones at once: 64 are allowed."""
    made = plan(viewers=15_000, haproxy=haproxy)
    seats = [made.viewer(number) for number in range(15_000)]
    through = Counter(seat.source for seat in seats if not seat.edge)
    direct = Counter((seat.edge, seat.source) for seat in seats if seat.edge)
    assert all(2 * (count + through[source]) <= 64 for (_, source), count in direct.items())


def test_who_stays_has_a_process_of_its_own():
    """A storm and a raid have one process more than the crowd's, other shapes have not."""
    storm, raid, steady = plan(shape="storm"), plan(shape="raid"), plan()
    assert (storm.processes, raid.processes, steady.processes) == (storm.workers + 1, raid.workers + 1, steady.workers)
    assert plan(shape="storm", apart=False).processes == storm.workers
    assert storm.stayed_herds >= 1
    assert steady.stayed_herds == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"viewers": 3}, "--viewers 3: 10 to"),
        ({"rate": 0}, "--rate 0: "),
        ({"haproxy": 2}, "--haproxy 2: "),
        ({"tls": 0.1, "target": target(ircs="")}, "tallgrass up --tls self"),
        ({"shape": "square"}, "one of tpp, raid"),
    ],
)
def test_what_cannot_be_done_is_told(changes, words):
    """A wrong option is an error that names it."""
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        plan(**changes)


def test_chatters_stay_below_the_limits():
    """There are so many that each sends less than 20 messages in 30 s."""
    for rate in (1, 30, 800):
        assert rate / senders_for(rate) * 30 < 20


def test_each_small_channel_has_the_same_number_of_viewers():
    """Viewers of the tail are spread evenly over the small channels."""
    readers = Counter(channel for number in range(1_000) for channel in tail_channels_of(number, 10_000))
    assert len(readers) == 10_000
    assert set(readers.values()) == {2}


def test_only_the_test_cluster_is_loaded():
    """Another cluster is refused with what to do instead, unless one insists."""
    with pytest.raises(ConfigError, match=r"tallgrass up --clusters test.*--yes-really"):
        require_permitted(target(cluster="main"), yes_really=False)
    require_permitted(target(cluster="main"), yes_really=True)
    require_permitted(target(), yes_really=False)


def test_other_machines_are_never_loaded():
    """An address that is not loopback is refused, whatever one says."""
    with pytest.raises(ConfigError, match="not on this machine"):
        require_permitted(target(irc="192.0.2.1:6667"), yes_really=True)

"""What the doorkeeper tells HAProxy, from what the directory says and what HAProxy has."""

from __future__ import annotations

from common.pb import clue_pb2
from ops.doorkeeper import (
    Edge,
    Known,
    Seen,
    State,
    known,
    plan_changes,
    read_map,
    read_map_name,
    read_servers,
)  # fmt: skip

NEW = Edge("edge-3", "main", "127.0.0.1:11", "127.0.0.1:12", "127.0.0.1:13")
STATIC = {"edge-1": Seen("127.0.0.1:2", False)}


def commands(wanted: Known, state: State) -> list[str]:
    return [command for change in plan_changes(wanted, state) for command in change.commands]


def test_an_edge_that_registers_becomes_a_server_checked_and_weighed() -> None:
    told = commands(Known("main", (NEW,), {}), State({"http_edges": STATIC}))
    assert told == [
        "add server http_edges/edge-3:127.0.0.1:12 127.0.0.1:12 check inter 1s fastinter 500ms downinter 500ms rise 1 "
        "fall 3 weight 100 agent-check agent-inter 1s agent-addr 127.0.0.1 agent-port 13",
        "enable health http_edges/edge-3:127.0.0.1:12",
        "enable agent http_edges/edge-3:127.0.0.1:12",
        "set server http_edges/edge-3:127.0.0.1:12 state ready",
    ]


def test_irc_servers_get_the_users_address_and_are_checked_at_the_http_port() -> None:
    (change,) = plan_changes(Known("main", (NEW,), {}), State({"irc_edges": {}}))
    assert " send-proxy port 12 " in change.commands[0]
    assert change.commands[0].startswith("add server irc_edges/edge-3:127.0.0.1:11 127.0.0.1:11 check ")


def test_an_edge_without_an_agent_is_weighed_by_nobody() -> None:
    edge = Edge("edge-3", "main", "", "127.0.0.1:12", "")
    told = commands(Known("main", (edge,), {}), State({"http_edges": {}, "irc_edges": {}}))
    assert [command.split()[0] for command in told] == ["add", "enable", "set"]
    assert "agent" not in " ".join(told)


def test_what_is_there_is_not_said_again() -> None:
    there = {"http_edges": {**STATIC, "edge-3:127.0.0.1:12": Seen("127.0.0.1:12", False)}}
    edges = (NEW, Edge("edge-1", "main", "127.0.0.1:1", "127.0.0.1:2", ""))
    assert plan_changes(Known("main", edges, {}), State(there)) == []


def test_one_that_is_gone_takes_nobody_new_and_then_is_removed() -> None:
    name = "edge-3:127.0.0.1:12"
    (leaves,) = plan_changes(Known("main", (), {}), State({"http_edges": {name: Seen("127.0.0.1:12", False)}}))
    assert leaves.leaves
    assert leaves.commands == (f"set server http_edges/{name} state maint",)
    (ends,) = plan_changes(Known("main", (), {}), State({"http_edges": {name: Seen("127.0.0.1:12", True)}}))
    assert ends.ends
    assert ends.commands == (f"del server http_edges/{name}",)


def test_one_that_comes_back_in_time_is_taken_in_again() -> None:
    there = {"http_edges": {"edge-3:127.0.0.1:12": Seen("127.0.0.1:12", True)}}
    told = commands(Known("main", (NEW,), {}), State(there))
    assert told == ["set server http_edges/edge-3:127.0.0.1:12 state ready"]


def test_what_the_configuration_says_itself_is_never_touched() -> None:
    """Static edges that are gone, the inner pools, and backends of somebody else."""
    state = State({"http_edges": STATIC, "clue_pool": {"clue-1": Seen("h:1", False)}, "other": {}})
    assert plan_changes(Known("main", (), {}), state) == []


def test_edges_of_other_clusters_are_in_their_own_pools() -> None:
    guest = Edge("event-edge-1", "event", "127.0.0.1:21", "127.0.0.1:22", "")
    told = commands(Known("main", (guest,), {}), State({"http_edges": {}, "irc_edges": {}, "http_event": {}}))
    assert [command.split()[2] for command in told if command.startswith("add")] == [
        "http_event/event-edge-1:127.0.0.1:22"
    ]


def test_the_map_says_where_moved_channels_live() -> None:
    wanted = Known("event", (), {"tpp": "event", "loud": "group", "same": "group"})
    state = State({}, {"loud": "http_edges", "same": "http_group", "old": "http_group"}, "/m/homes.map")
    assert commands(wanted, state) == [
        "add map /m/homes.map tpp http_edges",
        "set map /m/homes.map loud http_group",
        "del map /m/homes.map old",
    ]


def test_without_a_map_homes_are_not_told() -> None:
    assert plan_changes(Known("main", (), {"tpp": "event"}), State({})) == []


def test_the_directory_is_read_with_own_edges_from_the_services() -> None:
    def edge(cluster: str, name: str, port: int) -> clue_pb2.Registration:
        return clue_pb2.Registration(
            service="edge", cluster=cluster, instance=name, irc_address=f"h:{port}", http_address=f"h:{port + 1}"
        )

    directory = clue_pb2.Directory(
        services=[edge("", "edge-1", 1), edge("event", "guest", 3), clue_pb2.Registration(service="clue")],
        clusters=[
            clue_pb2.Cluster(name="main", edges=[edge("main", "gone", 9)]),
            clue_pb2.Cluster(name="event", edges=[edge("event", "guest", 3)]),
        ],
        homes=[clue_pb2.Home(channel="#tpp", cluster="event")],
    )
    assert known(directory, "main") == Known(
        "main", (Edge("guest", "event", "h:3", "h:4", ""), Edge("edge-1", "main", "h:1", "h:2", "")), {"tpp": "event"}
    )


def test_haproxys_answers_are_read() -> None:
    state = (
        "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state x srv_port\n"
        "3 http_edges 1 edge-1 127.0.0.1 2 0 0 28001\n3 http_edges 2 edge-2:h:2 127.0.0.1 2 5 0 28002\n"
    )
    assert read_servers(state) == {
        "http_edges": {"edge-1": Seen("127.0.0.1:28001", False), "edge-2:h:2": Seen("127.0.0.1:28002", True)}
    }
    maps = "# id (file) description\n-1 (/d/other.map) pattern loaded\n0 (/d/main/homes.map) pattern loaded from file\n"
    assert read_map_name(maps) == "/d/main/homes.map"
    assert read_map("0x7f4c tpp http_event\n0x7f5c loud http_edges\n") == {"tpp": "http_event", "loud": "http_edges"}

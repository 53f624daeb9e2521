"""Topology files: what they say is done, and what they cannot say is refused with its place."""

from pathlib import Path

import pytest

from common.errors import ConfigError
from ops import topology_file
from ops.promoter import Promotion
from ops.topology import Options, plan

EXAMPLE = Path(__file__).parents[3] / "deploy" / "topology.example.toml"


def read(tmp_path: Path, text: str) -> tuple[Options, ...]:
    path = tmp_path / "topology.toml"
    path.write_text(text)
    return topology_file.read(path)


def laid_out(options: Options):
    return plan(
        options, haproxy=True, control_token="t", inner_port=iter(range(20_000, 30_000)).__next__,
        public_port=lambda port, option: port or 1,
    )  # fmt: skip


def test_the_example_is_four_clusters() -> None:
    clusters = topology_file.read(EXAMPLE)
    assert [one.cluster for one in clusters] == ["main", "event", "group", "test"]
    assert [one.irc_port for one in clusters] == [6667, 0, 0, 0]
    assert clusters[0].promotion == Promotion(2000, 50.0, 30.0, 600.0, "event")
    assert [one.limits for one in clusters] == [True, True, True, False]


def test_what_stands_at_the_top_is_for_all_and_a_cluster_may_say_otherwise(tmp_path: Path) -> None:
    first, second = read(tmp_path, 'auth = "token"\n[clusters.main]\n[clusters.test]\nauth = "open"\n')
    assert (first.auth, second.auth) == ("token", "open")


def test_settings_of_services_reach_each_of_their_processes(tmp_path: Path) -> None:
    (options,) = read(
        tmp_path,
        "[clusters.main]\nedges = 2\n"
        + "[clusters.main.edge]\ncoalesce_max_ms = 50\ntrusted_proxies = ['10.0.0.1']\n"
        + "[clusters.main.clue]\nlockout_s = 7\n[clusters.main.exchange]\npace_ms = 2.5\n",
    )
    topology = laid_out(options)
    assert {(edge.coalesce_max_ms, edge.trusted_proxies) for edge in topology.edges} == {(50, ("10.0.0.1",))}
    assert {clue.lockout_s for clue in topology.clues} == {7}
    assert {exchange.pace_ms for exchange in topology.exchanges} == {2.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it names no cluster"),
        ("[clusters.main", "this is no TOML"),
        ("egdes = 2\n[clusters.main]", "the top of the file has no setting 'egdes'"),
        ("[clusters.prod]", "[clusters.prod]: a cluster is one of main, event, group, test"),
        ("[clusters.main]\negdes = 2", "[clusters.main] has no setting 'egdes': it takes edges, clues"),
        ("[clusters.main]\nedges = 'two'", "[clusters.main]: edges = 'two': it takes a whole number"),
        ("[clusters.main]\nedges = true", "edges = True: it takes a whole number"),
        ("[clusters.main]\nedges = 99", "--edges 99: one machine runs 1 to 32"),
        ("[clusters.main]\nirc_port = 70000", "irc_port = 70000: a port is 0"),
        ("[clusters.main.edge]\ncoalesce = 1", "[clusters.main.edge]: edge has no setting 'coalesce'"),
        ("[clusters.main.edge]\nirc_port = 1", "edge setting irc_port is decided by the stack"),
        ("[clusters.main.edge]\ndrain_s = 'long'", "edge setting drain_s = 'long': it takes a number"),
        ("[clusters.main.clue]\nlockout_s = -1", "TALLGRASS_LOCKOUT_S=-1 cannot be used"),
        ("[clusters.main]\nedge = 3", "[clusters.main]: edge = 3: write it as a table, [clusters.main.edge]"),
        ("[clusters.main.promote]\nmembers = 0", "members is 1 or more"),
        ("[clusters.main.promote]\nsize = 1", "[clusters.main.promote] has no setting 'size'"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"--topology {tmp_path / 'topology.toml'}: ")
    assert told in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the path of a topology file"):
        topology_file.read(tmp_path / "none.toml")

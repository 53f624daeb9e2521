"""Whom the operator's commands ask: a local stack's clusters, or clues named by address."""

from pathlib import Path

import pytest

from common.errors import ConfigError
from ops.control import Target, find, find_all
from ops.data_folder import DataFolder


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A running stack of main and event."""
    folder = DataFolder(tmp_path)
    folder.acquire()
    clusters = {}
    for name, port in (("main", 1), ("event", 2)):
        token = tmp_path / f"{name}-token"
        token.write_text(f"secret-{name}\n")
        clusters[name] = {"control": f"h:{port}", "control_token_file": str(token), "shared": True}
    folder.write_stack({"cluster": "main", "control": "h:1", "clusters": clusters, "services": []})
    return str(tmp_path)


def test_the_first_cluster_is_asked_unless_another_is_named(data: str) -> None:
    first, other = find(data=data, control="", token=""), find(data=data, control="", token="", cluster="event")
    assert (first.address, first.token) == ("h:1", "secret-main")
    assert (other.address, other.token) == ("h:2", "secret-event")


def test_a_cluster_that_does_not_run_is_told(data: str) -> None:
    with pytest.raises(ConfigError, match="--cluster group: this stack runs main, event"):
        find(data=data, control="", token="", cluster="group")


def test_all_clusters_of_a_local_stack_are_found(data: str) -> None:
    found = find_all(data=data, controls=(), environ={})
    assert {name: target.token for name, target in found.items()} == {"main": "secret-main", "event": "secret-event"}


def test_remote_clusters_are_named_with_tokens_from_the_environment(tmp_path: Path) -> None:
    environ = {"TALLGRASS_CONTROL_TOKEN": "all", "TALLGRASS_CONTROL_TOKEN_EVENT": "own"}
    found = find_all(data=str(tmp_path), controls=("main=a:1", "event=b:2"), environ=environ)
    assert found == {"main": Target("a:1", "all", None), "event": Target("b:2", "own", None)}


def test_a_remote_cluster_may_stand_beside_the_local_ones(data: str) -> None:
    found = find_all(data=data, controls=("group=c:3",), environ={"TALLGRASS_CONTROL_TOKEN": "t"})
    assert {name: target.address for name, target in found.items()} == {"main": "h:1", "event": "h:2", "group": "c:3"}


@pytest.mark.parametrize(
    ("control", "environ", "told"),
    [
        ("a:1", {"TALLGRASS_CONTROL_TOKEN": "t"}, "give CLUSTER=HOST:PORT"),
        ("main=a", {"TALLGRASS_CONTROL_TOKEN": "t"}, "is no address: give HOST:PORT of a clue"),
        ("main=a:1", {}, "set TALLGRASS_CONTROL_TOKEN_MAIN or TALLGRASS_CONTROL_TOKEN"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, control: str, environ: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        find_all(data=str(tmp_path), controls=(control,), environ=environ)

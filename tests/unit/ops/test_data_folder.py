import stat
from pathlib import Path

import pytest

from common.errors import ConfigError
from ops.data_folder import DataFolder


def test_a_second_owner_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    DataFolder(tmp_path).acquire()
    pid = (tmp_path / "lock").read_text().strip()
    with pytest.raises(ConfigError, match=f"in use by the stack with pid {pid}"):
        DataFolder(tmp_path).acquire()


def test_running_is_known_from_outside(tmp_path: Path) -> None:
    assert not DataFolder(tmp_path).running
    DataFolder(tmp_path).acquire()
    assert DataFolder(tmp_path).running


def test_no_stack_is_one_clear_line(tmp_path: Path) -> None:
    """What is missing, where, and what to do."""
    with pytest.raises(ConfigError, match=rf"no stack runs in {tmp_path}.*tallgrass up"):
        DataFolder(tmp_path).read_stack()


def test_a_starting_stack_asks_for_patience(tmp_path: Path) -> None:
    """What a killed stack left in stack.json is not believed."""
    (tmp_path / "stack.json").write_text('{"pid": 1}')
    DataFolder(tmp_path).acquire()
    with pytest.raises(ConfigError, match="still starting"):
        DataFolder(tmp_path).read_stack()


def test_a_running_stack_is_read(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.acquire()
    folder.write_stack({"pid": 7})
    assert DataFolder(tmp_path).read_stack() == {"pid": 7}


def test_the_control_token_stays_and_is_its_owners(tmp_path: Path) -> None:
    token = DataFolder(tmp_path).control_token()
    assert len(token) == 48
    assert DataFolder(tmp_path).control_token() == token
    assert stat.S_IMODE((tmp_path / "control-token").stat().st_mode) == 0o600


def test_data_is_not_used_with_another_number_of_shards(tmp_path: Path) -> None:
    """Keys would be looked for on the wrong shard, and users be lost."""
    DataFolder(tmp_path).require_made_for("main", 2)
    DataFolder(tmp_path).require_made_for("main", 2)
    with pytest.raises(ConfigError, match="cluster main with 2 Redis shards, not for main with 3"):
        DataFolder(tmp_path).require_made_for("main", 3)


def test_data_is_not_used_by_another_cluster(tmp_path: Path) -> None:
    DataFolder(tmp_path).require_made_for("main", 2)
    with pytest.raises(ConfigError, match="not for event"):
        DataFolder(tmp_path).require_made_for("event", 2)


def test_the_log_of_an_earlier_run_is_set_aside(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.acquire()
    folder.log("edge-1").write_text("earlier\n")
    assert not folder.log("edge-1").exists()
    assert (tmp_path / "logs" / "edge-1.log.old").read_text() == "earlier\n"


def test_each_of_several_clusters_has_its_own_folder_and_logs_stay_together(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.acquire()
    event = folder.cluster("event")
    event.require_made_for("event", 2)
    assert event.control_token() != folder.cluster("main").control_token()
    assert event.log("event-edge-1") == tmp_path / "logs" / "event-edge-1.log"
    assert (tmp_path / "event" / "cluster.json").exists()


def test_data_of_one_cluster_alone_is_not_taken_by_several(tmp_path: Path) -> None:
    """And it is said how to move it."""
    folder = DataFolder(tmp_path)
    folder.require_made_for("main", 2)
    folder.require_layout(["main"])
    with pytest.raises(ConfigError, match=r"for the cluster main alone.*mkdir main && mv cluster\.json"):
        folder.require_layout(["main", "event"])


def test_data_of_several_clusters_is_not_taken_by_one(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    for name in ("main", "event"):
        folder.cluster(name).require_made_for(name, 2)
    folder.require_layout(["main", "event"])
    with pytest.raises(ConfigError, match="--clusters event,main"):
        folder.require_layout(["main"])

import pytest

from loadtest.target import local_stack, require_permitted
from ops.data_folder import DataFolder

ONE = {
    "cluster": "main", "pid": 7, "irc": "127.0.0.1:6667", "ws": "ws://127.0.0.1:8080", "ircs": "", "wss": "",
    "auth": "open", "limits": True, "control": "127.0.0.1:4100",
    "services": [
        {"name": "edge-1", "service": "edge", "pid": 8, "addresses": {"irc": "127.0.0.1:1"}},
        {"name": "clue-1", "service": "clue", "pid": 9, "addresses": {"grpc": "127.0.0.1:2"}},
    ],
}  # fmt: skip


def several(token_file):
    """Clusters main and test side by side, as `tallgrass up --clusters main,test` writes them."""
    return {
        **ONE,
        "ircs": "127.0.0.1:6697",
        "clusters": {
            "main": {"irc": "127.0.0.1:6667", "ws": "ws://127.0.0.1:8080", "control": "127.0.0.1:4100"},
            "test": {
                "irc": "127.0.0.1:7667", "ws": "ws://127.0.0.1:9080", "ircs": "", "control": "127.0.0.1:5100",
                "control_token_file": str(token_file),
            },
        },
        "services": [
            {"name": f"{cluster}-edge-1", "service": "edge", "cluster": cluster, "pid": pid, "addresses": {"irc": irc}}
            for cluster, pid, irc in (("main", 8, "127.0.0.1:1"), ("test", 9, "127.0.0.1:3"))
        ],
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    made = DataFolder(tmp_path / "data")
    made.acquire()
    return made


def test_a_stack_of_one_cluster_is_taken_as_it_is(folder):
    """Its addresses, processes and control token."""
    folder.write_stack(ONE)
    found = local_stack(str(folder.path))
    assert (found.cluster, found.irc, found.ws, found.control) == (
        "main", "127.0.0.1:6667", "127.0.0.1:8080", "127.0.0.1:4100",
    )  # fmt: skip
    assert found.edges == {"edge-1": {"irc": "127.0.0.1:1"}}
    assert found.pids == {"edge-1": 8, "clue-1": 9, "tallgrass up": 7}
    assert found.control_token == folder.control_token()


def test_of_several_clusters_the_one_named_test_is_loaded(folder, tmp_path):
    """Nothing of another cluster is left in the target but its processes, whose time is not that of strangers."""
    (tmp_path / "token").write_text("of-test\n")
    folder.write_stack(several(tmp_path / "token"))
    found = local_stack(str(folder.path))
    require_permitted(found, yes_really=False)
    assert (found.cluster, found.irc, found.ws, found.control) == (
        "test", "127.0.0.1:7667", "127.0.0.1:9080", "127.0.0.1:5100",
    )  # fmt: skip
    assert found.ircs == ""
    assert found.control_token == "of-test"
    assert list(found.edges) == ["test-edge-1"]
    assert set(found.pids) == {"main-edge-1", "test-edge-1", "tallgrass up"}

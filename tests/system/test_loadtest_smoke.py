"""The load suite in small: against the bare fan-out, against one that loses lines, and against a whole stack."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.calibrate import fan_out
from loadtest.plan import Plan
from tests.support.stack import ROOT, environment, running_stack

pytestmark = pytest.mark.timeout(180)


def load(*arguments, report):
    """`python -m loadtest ARGUMENTS`: the finished process, and its report if there is one."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", *arguments, "--report", str(report)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    reports = sorted(Path(report).glob("*/report.json"))
    return done, json.loads(reports[-1].read_text()) if reports else None


def run_at(target, folder):
    """A small steady load at a bare server, in a process of its own: locust patches the one it is in."""
    folder.mkdir()
    plan = Plan(shape="steady", target=target, viewers=400, rate=10.0, seconds=4.0, workers=2)
    plan.write(folder / "given.json")
    code = (
        "import pathlib, sys; from loadtest.plan import read_plan; from loadtest.run import carry_out;"
        "folder = pathlib.Path(sys.argv[1]); carry_out(read_plan(folder / 'given.json'), folder, None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "report.json").read_text())


def test_a_faultless_server_is_found_well(tmp_path):
    """Every viewer is checked, and all that was sent is counted at each of them."""
    with fan_out(tmp_path) as target:
        found = run_at(target, tmp_path / "run")
    viewers = found["checks"]["#tpp"]["viewers"]
    assert found["status"] == "well", found["summary"]
    assert found["gathered"]["viewers"] == 400
    assert viewers["sampled"] + viewers["exact"] == 400
    assert found["totals"]["sent"] > 20
    assert found["totals"]["delivered"] == pytest.approx(400 * found["totals"]["sent"], rel=0.02)


def test_lost_lines_are_found(tmp_path):
    """A server that leaves out one write in 500 is found faulty, also where nobody reads but only counts bytes."""
    with fan_out(tmp_path, lose=500) as target:
        found = run_at(target, tmp_path / "run")
    assert found["status"] == "faulty"
    assert found["checks"]["#tpp"]["viewers"]["short"] > 0


def test_a_stack_is_loaded_and_nothing_is_lost(tmp_path):
    """Viewers and chatters over TCP, TLS and WebSocket, at the edges and through HAProxy, get everything once."""
    with running_stack(tmp_path / "data", "--clusters", "test", "--tls", "self") as stack:
        done, found = load(
            "steady", "--data", str(stack.data), "--viewers", "200", "--rate", "10", "--seconds", "6",
            "--websocket", "0.3", "--tls", "0.2", "--haproxy", "0.2", report=tmp_path / "report",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert found["status"] == "well", found["summary"]
    assert found["gathered"]["viewers"] == 200
    assert found["totals"]["refused"] == 0
    assert found["totals"]["disconnected"] == 0
    check = found["checks"]["#tpp"]
    assert check["log"]["messages"] == check["told"]["allowed"] > 20
    assert check["viewers"]["exact"] > 100
    acts = {"/timeout", "/untimeout", "/ban", "/unban", "/delete", "/clear", "/emoteonly", "/slow", "/uniquechat"}
    assert acts <= set(found["moderation"]["shown"])
    assert {"edge-1", "edge-2", "clue-1", "redis-1", "load-1", "load-master", "load-runner"} <= set(found["services"])
    (page,) = (tmp_path / "report").glob("*/report.html")
    assert "<svg" in page.read_text()
    assert not list((tmp_path / "report").rglob("plan.json")), "it holds the control token"


def test_a_storm_is_measured_by_those_who_stay(tmp_path):
    """Everybody comes back, nobody is turned away, and a process of its own saw those who stayed before and after."""
    page = tmp_path / "load.md"
    page.write_text("# Load\n")
    with running_stack(tmp_path / "data", "--clusters", "test") as stack:
        done, found = load(
            "storm", "--data", str(stack.data), "--viewers", "200", "--rate", "10", "--seconds", "9",
            "--update", str(page), report=tmp_path / "report",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    back = found["returning"]
    assert back["back"] == back["left"] >= 200
    assert back["turned_away"] == 0
    assert all(found["stayed"][phase]["count"] > 0 for phase in ("before", "during", "after"))
    assert found["plan"]["apart"]
    assert found["checks"]["#calm"]["log"]["messages"] == found["checks"]["#calm"]["told"]["allowed"] > 20
    assert "<!-- storm: begin -->" in page.read_text()


def test_a_raid_is_delivered_whole_where_it_lands(tmp_path):
    """Raiders get all that is said after they have come, those at home all of it, and each is counted where it is."""
    with running_stack(tmp_path / "data", "--clusters", "test") as stack:
        done, found = load(
            "raid", "--data", str(stack.data), "--viewers", "200", "--rate", "10", "--seconds", "12",
            "--websocket", "0", report=tmp_path / "report",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(found["delays"]) == {"raided", "stayed", "tpp"}
    raided = found["checks"]["#raided"]
    assert raided["log"]["messages"] == raided["told"]["allowed"] > 50
    assert raided["viewers"]["exact"] > 150
    assert found["series"]["viewers"][-1] == found["gathered"]["viewers"] >= 200


def test_a_cluster_with_users_is_refused(tmp_path):
    """A stack whose cluster is not `test` is left alone, and the way out is told."""
    with running_stack(tmp_path / "data") as stack:
        done, found = load("steady", "--data", str(stack.data), "--viewers", "10", report=tmp_path / "report")
        assert all(service["sessions"] in (0, None) for service in stack.status()["services"])
    assert done.returncode == 2
    assert "--clusters test" in done.stderr
    assert "--yes-really" in done.stderr
    assert found is None


def test_beside_a_cluster_with_users_the_test_cluster_is_loaded(tmp_path):
    """Of a stack with both, the test cluster gets the traffic, without being named."""
    with running_stack(tmp_path / "data", "--clusters", "main,test") as stack:
        done, found = load(
            "steady", "--data", str(stack.data), "--viewers", "100", "--rate", "10", "--seconds", "4",
            report=tmp_path / "report",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert found["plan"]["cluster"] == "test"
    assert found["checks"]["#tpp"]["log"]["messages"] > 20
    spent = {
        cluster: sum(one["cpu_s"] for name, one in found["services"].items() if name.startswith(f"{cluster}-edge-"))
        for cluster in ("main", "test")
    }
    assert spent["test"] > spent["main"]


def test_without_a_stack_the_error_says_what_to_do(tmp_path):
    """A folder in which nothing runs is an error, not a traceback."""
    done, _ = load("steady", "--data", str(tmp_path / "nothing"), report=tmp_path / "report")
    assert done.returncode == 2
    assert "tallgrass up" in done.stderr
    assert "Traceback" not in done.stderr

"""`tallgrass verify` against a real stack: well, with an edge that does not answer, and with nobody to ask."""

import json
import os
import signal

import pytest

from tests.support.stack import running_stack, tallgrass


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with running_stack(tmp_path_factory.mktemp("verify") / "stack", "--edges", "2") as running:
        yield running


def test_all_is_well(stack):
    """Every canary is seen once at each edge, in order, and the exit status is 0."""
    done = stack.run("verify", "#verified", "--count", "40", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["posted"], report["logged"], report["audit"]["allowed"]) == (40, 40, 40)
    assert {edge["edge"]: edge["sight"]["seen"] for edge in report["edges"]} == {"edge-1": 40, "edge-2": 40}
    assert all(edge["p50_ms"] > 0 for edge in report["edges"])


def test_for_people(stack):
    """Without --json there is a line for each edge and one that says it all."""
    done = stack.run("verify", "verified", "--count", "5", "--edges", "edge-2")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].split()[:5] == ["edge-2", "5/5", "0", "0", "0"]
    assert lines[-1] == "#verified: every edge saw exactly what the log holds, in its order, once"


def test_an_edge_that_hangs_is_found(stack):
    """An edge that takes connections and says nothing makes the status 1, and is named; the other one is still read."""
    pid = stack.service("edge-2")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        done = stack.run("verify", "#verified", "--count", "10", "--timeout", "3", "--json")
    finally:
        os.kill(pid, signal.SIGCONT)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    problems = {edge["edge"]: edge["problem"] for edge in report["edges"]}
    assert problems["edge-1"] == ""
    assert "not done within" in problems["edge-2"]
    assert report["edges"][0]["sight"]["seen"] == 10


def test_nobody_to_ask(tmp_path):
    """Without a stack the status is 2, with one line that says what to do."""
    done = tallgrass("verify", "#verified", "--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("tallgrass: no stack runs in")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["#no-channel"], "is no channel"),
        (["#c", "--count", "0"], "--count 0"),
        (["#c", "--rate", "1000"], "--rate 1000"),
        (["#c", "--login", "bob"], "--token"),
    ],
)
def test_what_makes_no_sense(arguments, words):
    """A wrong argument is told in one line, with status 2."""
    done = tallgrass("verify", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr

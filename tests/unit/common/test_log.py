"""common/log.py: one line an event, complaints summarized."""

import io
import json
import logging

import pytest

from common import log as log_module
from common.errors import ConfigError
from common.log import Log
from tests.support.eventually import eventually


@pytest.fixture
def lines(request, monkeypatch):
    """The log's output as written so far, one entry a line."""
    stream = io.StringIO()
    monkeypatch.setattr(log_module.sys, "stderr", stream)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log_module.configure("edge", "edge-1", "main", form=getattr(request, "param", "text"))
    yield lambda: stream.getvalue().splitlines()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_names_the_service_the_event_and_the_remote(lines):
    """key=value pairs follow the event; values with spaces are quoted."""
    Log().info("link_down", remote="exchange-1@127.0.0.1:4000", operation="deliver", cause="timed out")
    (line,) = lines()
    assert " info    edge/edge-1@main link_down remote=exchange-1@127.0.0.1:4000 operation=deliver" in line
    assert line.endswith('cause="timed out"')


def test_a_value_cannot_forge_a_line(lines):
    """Line ends in a value are escaped."""
    Log().info("session", cause="a\r\nb")
    assert lines()[0].endswith('cause="a\\r\\nb"')
    assert len(lines()) == 1


def test_a_storm_of_one_complaint_is_one_line(lines, monkeypatch):
    """Within a second the same event, remote and cause is written once; the next line counts what was left out."""
    now = 100.0
    monkeypatch.setattr(log_module.time, "monotonic", lambda: now)
    log = Log()
    for _ in range(50):
        log.warning("call_failed", remote="clue-1", cause="refused")
    log.warning("call_failed", remote="clue-2", cause="refused")
    assert len(lines()) == 2
    now = 101.5
    log.warning("call_failed", remote="clue-1", cause="refused")
    assert lines()[-1].endswith("left_out=49")


async def test_the_end_of_a_storm_is_counted(lines, monkeypatch):
    """What was left out when no other complaint follows is told by a line of its own."""
    monkeypatch.setattr(log_module, "_REPEAT_S", 0.05)
    log = Log()
    for _ in range(5):
        log.warning("call_failed", remote="clue-1", cause="refused")
    await eventually(lambda: len(lines()) == 2)
    assert lines()[1].endswith("call_failed remote=clue-1 cause=refused left_out=4")


@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_json_lines_hold_the_same_fields(lines):
    """With form="json" a line is one object: who, when, what, and the event's fields as they are."""
    Log().warning("link_down", remote="exchange-1@127.0.0.1:4000", attempt=2, channel=None)
    line = json.loads(lines()[-1])
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning", "service": "edge", "instance": "edge-1", "cluster": "main", "event": "link_down",
        "remote": "exchange-1@127.0.0.1:4000", "attempt": 2,
    }  # fmt: skip


def test_an_unknown_form_is_refused():
    """The error names the variable and what it takes."""
    with pytest.raises(ConfigError, match="TALLGRASS_LOG_FORMAT='xml' cannot be used: it takes text or json"):
        log_module.configure("edge", "edge-1", "main", form="xml")

"""common/registrar.py: registering until cancelled; failures are counted each, and logged once."""

import asyncio
import contextlib

from common.errors import RemoteError
from common.log import Log
from common.metrics import Metrics
from common.pb import clue_pb2
from common.registrar import Registrar
from tests.support.eventually import eventually


class Clock:
    def monotonic(self):
        return 0.0

    async def sleep(self, seconds):
        await asyncio.sleep(0.001)


class Clue:
    remote = "clue@x"

    def __init__(self):
        self.calls = []
        self.error = ""
        self.available = True

    async def call(self, method, request, *, timeout):
        self.calls.append((method, request.sessions))
        if self.error:
            raise RemoteError(self.remote, method, self.error)
        return clue_pb2.Directory(available=self.available)


@contextlib.asynccontextmanager
async def registering(clue, metrics, registration=None):
    answers = []
    registrar = Registrar(
        clue, registration or clue_pb2.Registration, answers.append, metrics, Log(), Clock()
    )
    task = asyncio.create_task(registrar.run())
    try:
        yield registrar, answers
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_call_has_the_figures_of_its_time():
    """The registration is asked for before each."""
    sessions = iter(range(1_000_000))
    clue = Clue()
    async with registering(clue, Metrics(), lambda: clue_pb2.Registration(sessions=next(sessions))) as (_, answers):
        await eventually(lambda: len(answers) >= 3)
    assert clue.calls[:3] == [("Register", 0), ("Register", 1), ("Register", 2)]


async def test_a_cluster_that_is_gone_is_logged_once(caplog):
    """Each failure is counted; the log has one line when it begins, one when its kind changes, one when it is over."""
    clue, metrics = Clue(), Metrics()
    clue.error = "UNAVAILABLE: failed to connect to 127.0.0.1:1"
    async with registering(clue, metrics) as (_, answers):
        await eventually(lambda: metrics.counters["directory_failures"] >= 5)
        clue.error = "UNAVAILABLE: connection refused"
        failures = metrics.counters["directory_failures"]
        await eventually(lambda: metrics.counters["directory_failures"] >= failures + 5)
        assert answers == []
        clue.error, clue.available = "", False
        await eventually(lambda: len(answers) >= 5)
        clue.available = True
        answered = len(answers)
        await eventually(lambda: len(answers) >= answered + 5)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "directory_unavailable"
    ] * 2


async def test_goodbye_may_fail(caplog):
    """Nobody waits for it: the entry ends by itself."""
    clue = Clue()
    clue.error = "UNAVAILABLE: gone"
    async with registering(clue, Metrics()) as (registrar, _):
        await registrar.leave()
    assert ("Leave", 0) in clue.calls
    assert "leave_failed" in [record.getMessage() for record in caplog.records]

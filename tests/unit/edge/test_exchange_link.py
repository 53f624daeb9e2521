"""One link's interest: what its reports say, and when an announcement is done."""

import asyncio

import pytest

from common.log import Log
from common.metrics import Metrics
from common.pb.exchange_pb2 import EdgeHello, ExchangeHello
from edge.exchange_link import ExchangeLink, ExchangeLinks


class Context:
    """Takes the reports that a link writes; each write waits until `take` is called."""

    def __init__(self):
        self._reports = asyncio.Queue(maxsize=0)
        self._taken = asyncio.Semaphore(0)

    async def write(self, report):
        self._reports.put_nowait(report)
        await self._taken.acquire()

    async def take(self):
        report = await asyncio.wait_for(self._reports.get(), 5)
        self._taken.release()
        return report

    async def peek(self):
        return await asyncio.wait_for(self._reports.get(), 5)

    def taken(self):
        self._taken.release()


@pytest.fixture
async def link():
    return ExchangeLink(
        ExchangeHello(instance="exchange-1", run=7), "127.0.0.1:9", EdgeHello(instance="edge-1", run=5), "main", 0.0
    )


@pytest.fixture
async def context(link):
    made = Context()
    task = asyncio.create_task(link.report(made))
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_first_report_has_the_hello_and_the_whole_interest(link, context):
    """Hello and interest number 1 come first, even when nothing is wanted yet."""
    report = await context.take()
    assert (report.hello.instance, report.hello.run) == ("edge-1", 5)
    assert report.interest.number == 1
    assert list(report.interest.add) == []


async def test_changes_made_while_a_report_is_written_go_as_one(link, context):
    """Many changes during one write become one Interest; one that was taken back is not in it."""
    await context.peek()
    link.announce(["#a"])
    link.announce(["#b", "#c"])
    link.withdraw(["#c", "#old"])
    link.withdraw(["#d"])
    link.announce(["#d"])
    context.taken()
    report = await context.take()
    assert report.interest.number == 2
    assert sorted(report.interest.add) == ["#a", "#b", "#d"]
    assert sorted(report.interest.remove) == ["#c", "#old"]


async def test_an_announcement_is_done_when_its_own_number_is_confirmed(link, context):
    """The confirmation of an earlier interest does not count."""
    await context.peek()
    waiting = link.announce(["#a"])
    context.taken()
    await context.take()
    link.confirm(1)
    assert not waiting.done()
    link.confirm(2)
    assert waiting.done()


async def test_a_broken_link_keeps_nobody_waiting(link):
    """When the link breaks, what waits for it is done."""
    waiting = link.announce(["#a"])
    link.broken()
    assert waiting.done()


async def test_heartbeats_come_when_there_is_no_news(link, context):
    """Without news a report with neither hello nor interest is written, saying what was applied."""
    await context.take()
    link.applied = 3
    report = await context.take()
    assert not report.HasField("interest")
    assert not report.HasField("hello")
    assert report.applied == 3


async def test_without_a_link_an_announcement_is_done_at_once():
    """There is nobody to wait for."""
    links = ExchangeLinks("edge-1", "main", 5, Metrics(), Log())
    await asyncio.wait_for(links.announce(["#a"], "main"), 1)

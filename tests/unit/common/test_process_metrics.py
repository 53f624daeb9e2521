"""common/process_metrics.py: what a process tells about itself."""

import asyncio
import gc
import os
import time

from common.metrics import Metrics
from common.process_metrics import ProcessMetrics
from tests.support.eventually import eventually


async def test_descriptors_memory_and_pauses_are_measured():
    """Open files are counted as they are, memory in bytes; a collection is a pause; all of it ends with `run`."""
    metrics = Metrics("tallgrass.main.edge.edge-1")
    task = asyncio.create_task(ProcessMetrics(metrics).run())
    await asyncio.sleep(0)
    before = metrics.snapshot()
    ends = os.pipe()
    assert metrics.snapshot()["process.fds"] == before["process.fds"] + 2
    for end in ends:
        os.close(end)
    assert before["process.memory_bytes"] > 10_000_000
    assert before["process.fd_limit"] >= before["process.fds"]
    assert metrics.timings["gc.pause_ms"].count == 1  # also for a service that leaves nothing to collect
    gc.collect()
    assert metrics.timings["gc.pause_ms"].count == 2
    callbacks = len(gc.callbacks)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(gc.callbacks) == callbacks - 1


async def test_a_loop_that_is_held_up_is_late(caplog):
    """Work that does not let go of the loop is measured, and told when it is long."""
    metrics = Metrics("tallgrass.main.edge.edge-1")
    process = ProcessMetrics(metrics)
    task = asyncio.create_task(process.run())
    await asyncio.sleep(0)
    time.sleep(0.6)  # noqa: ASYNC251 (this is the fault)
    await eventually(lambda: metrics.timings["loop.lag_ms"].max_ms > 250)
    assert process.lag_s > 0.05
    assert [record.message for record in caplog.records] == ["loop_late"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

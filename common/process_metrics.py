"""What every service tells about its own process: how late its loop is, the collector's pauses, descriptors, memory."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from typing import Any

from common.log import Log
from common.metrics import Metrics

_PROBE_S = 0.25
_SMOOTHING = 0.2
_LATE_S = 0.25  # worth a line in the log; users notice


class ProcessMetrics:
    """Counts from its construction on; `run` measures the loop. `lag_s`: the loop's smoothed lateness, seconds."""

    def __init__(self, metrics: Metrics) -> None:
        self.lag_s = 0.0
        self._metrics = metrics
        self._log = Log()
        self._cpu_s = time.process_time()
        self._cpu_at = time.monotonic()
        self._pause_began = 0.0
        gc.callbacks.append(self._collected)
        metrics.gauges(self._read)

    async def run(self) -> None:
        """How late the loop calls back: the process' own measure of being busy. Until cancelled."""
        gc.collect(0)  # some microseconds: a service that leaves little garbage has its series from the start, too
        try:
            while True:
                before = time.monotonic()
                await asyncio.sleep(_PROBE_S)
                late = max(time.monotonic() - before - _PROBE_S, 0.0)
                self.lag_s += (late - self.lag_s) * _SMOOTHING
                self._metrics.timing("loop.lag_ms", late * 1e3)
                if late > _LATE_S:
                    cause = "more work than it can do, or it was stopped"
                    self._log.warning("loop_late", cause=cause, ms=round(late * 1e3))
        finally:
            gc.callbacks.remove(self._collected)

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._pause_began = time.perf_counter()
        else:
            self._metrics.timing("gc.pause_ms", (time.perf_counter() - self._pause_began) * 1e3)

    def _read(self) -> dict[str, float]:
        cpu_s, now = time.process_time(), time.monotonic()
        percent = 100 * (cpu_s - self._cpu_s) / max(now - self._cpu_at, 1e-3)
        self._cpu_s, self._cpu_at = cpu_s, now
        return {
            "process.cpu_percent": round(percent, 1),
            "process.memory_bytes": _resident_bytes(),
            "process.fds": _open_files(),
            "process.fd_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        }


def _resident_bytes() -> int:
    """0 where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _open_files() -> int:
    """Open descriptors. Since Linux 6.2 the folder's size says it at once; listing 15,000 takes milliseconds."""
    try:
        return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0

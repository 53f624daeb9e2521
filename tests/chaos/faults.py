"""The faults: each hurts the cluster for real, and returns the moment (monotonic seconds) at which its cause has ended.

For a killed process that is when its successor has been started; what that one needs until it serves counts as repair.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.cluster import Cluster
from tests.chaos.load import Load, SlowReader
from tests.support.eventually import eventually

_SLOW_READERS = 3
_SLOW_CUT_S = 120.0


@dataclass(frozen=True)
class Setting:
    cluster: Cluster
    load: Load
    scale: float = 1.0  # of the lengths in seconds; the short form uses less than 1

    def pick(self, service: str) -> str:
        """One process of a service, by the seed."""
        return self.load.random.choice(self.cluster.names(service))


Inject = Callable[[Setting], Awaitable[float]]


@dataclass(frozen=True)
class Fault:
    name: str            # as on the command line
    title: str
    inject: Inject
    hung: bool = False   # a stopped process: goal 5 s instead of 3
    graceful: bool = False  # nobody's message may remain without an answer, not even of those who are sent away


def killed(service: str) -> Inject:
    async def inject(setting: Setting) -> float:
        name = setting.pick(service)
        await setting.cluster.again(name, setting.cluster.kill(name))
        return time.monotonic()

    return inject


def frozen(service: str, seconds: float = 10.0, *, scaled: bool = True) -> Inject:
    async def inject(setting: Setting) -> float:
        pid = setting.cluster.freeze(setting.pick(service))
        try:
            await asyncio.sleep(seconds * (setting.scale if scaled else 1.0))
        finally:
            setting.cluster.thaw(pid)
        return time.monotonic()

    return inject


async def nothing(setting: Setting) -> float:
    await asyncio.sleep(3 * setting.scale)
    return time.monotonic()


async def rolling_restart(setting: Setting) -> float:
    """Everything, one after the other, each when the one before serves again."""
    cluster = setting.cluster
    for name in cluster.names("redis", "exchange", "clue", "haproxy", "edge"):
        await cluster.again(name, cluster.terminate(name))
        await cluster.ready(name)
    return time.monotonic()


async def haproxies_reloaded(setting: Setting) -> float:
    """One after the other is stopped as for a new configuration, and started again."""
    cluster = setting.cluster
    for name in cluster.names("haproxy"):
        await cluster.again(name, cluster.terminate(name))
        await cluster.ready(name)
    return time.monotonic()


async def link_cut(setting: Setting) -> float:
    """Nothing passes between exchange-1 and edge-2, and no connection is closed."""
    await setting.cluster.cut_link()
    try:
        await asyncio.sleep(15 * setting.scale)
    finally:
        setting.cluster.heal_link()
    return time.monotonic()


async def no_exchange(setting: Setting) -> float:
    """All exchanges are killed as often as they come back, for 5 s."""
    cluster = setting.cluster
    until = time.monotonic() + 5 * setting.scale
    names = cluster.names("exchange")
    last = dict.fromkeys(names, 0)
    while time.monotonic() < until:
        for name in names:
            last[name] = cluster.kill(name) or last[name]
        await asyncio.sleep(0.02)
    await asyncio.gather(*(cluster.again(name, pid) for name, pid in last.items()))
    return time.monotonic()


async def slow_readers(setting: Setting) -> float:
    """Members of all channels that read nothing, until their edges have cut them off."""
    edges = [setting.load.edges[name] for name in sorted(setting.load.edges)]
    readers = [SlowReader(edges[n % len(edges)], 9_000 + n, setting.load.channels) for n in range(_SLOW_READERS)]
    try:
        await asyncio.gather(*(reader.enter() for reader in readers))
        await eventually(lambda: all(reader.gone for reader in readers), _SLOW_CUT_S)
    finally:
        for reader in readers:
            reader.close()
    return time.monotonic()


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("none", "nothing (for comparison)", nothing),
        Fault("kill-edge", "kill -9 of one edge", killed("edge")),
        Fault("kill-clue", "kill -9 of one clue", killed("clue")),
        Fault("kill-exchange", "kill -9 of one exchange", killed("exchange")),
        Fault("kill-haproxy", "kill -9 of one of two HAProxies", killed("haproxy")),
        Fault("reload-haproxy", "reload of one HAProxy after the other (stopped and started)", haproxies_reloaded,
              graceful=True),
        Fault("kill-redis", "kill -9 of one Redis shard", killed("redis")),
        Fault("stop-edge", "SIGSTOP of one edge, 10 s", frozen("edge"), hung=True),
        Fault("stop-clue", "SIGSTOP of one clue, 10 s", frozen("clue"), hung=True),
        Fault("stop-exchange", "SIGSTOP of one exchange, 10 s", frozen("exchange"), hung=True),
        Fault("stop-haproxy", "SIGSTOP of one of two HAProxies, 10 s", frozen("haproxy"), hung=True),
        # Between the time-out of a try and the end of all tries: late first tries meet their own repeats.
        Fault("stall-redis", "SIGSTOP of one Redis shard, 3 s", frozen("redis", 3.0, scaled=False), hung=True),
        Fault("stop-redis", "SIGSTOP of one Redis shard, 10 s", frozen("redis"), hung=True),
        Fault("rolling", "rolling restart of everything", rolling_restart, graceful=True),
        Fault("cut-link", "link cut between one exchange and one edge, 15 s", link_cut),
        Fault("no-exchange", "all exchanges gone for 5 s", no_exchange),
        Fault("slow-readers", "three members of all channels that do not read, until they are cut off", slow_readers),
    )
}

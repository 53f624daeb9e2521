"""`tallgrass verify CHANNEL`: does everyone in this channel see what its log holds?

Posts numbered messages ("canaries") as ordinary users, spread over all edges, reads them as an anonymous viewer at
every edge, reads the channel's log through clue, and compares (ops/checker.py). Users of the channel see the canaries.
It keeps the rules that bind everybody: 20 messages in 30 s and one a second for each user, no text twice.

Exit status, for cron: 0 all is well; 1 something was lost, repeated, out of order, or wrongly answered, or an edge
cannot be read; 2 it could not be found out.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import math
import os
import secrets
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from common import rpc
from common.errors import ConfigError, RemoteError, TallgrassError
from common.irc.message import Message
from common.lifecycle import within
from common.pb import chat_pb2, clue_pb2, clue_pb2_grpc
from common.sharding import lane
from ops import console
from ops.canary import ANONYMOUS, Canary
from ops.checker import Audit, Chain, Fate, audit, compare, percentile
from ops.control import Control, Target, at_home, find
from ops.verify_report import EdgeReport, Report, as_json, as_text, send

WELL, FAULTY, UNKNOWN = 0, 1, 2

SPACING_S = 1.7           # between two messages of one user: 17.6 in 30 s, where 20 are allowed
_ENTER_S = 10.0
_POLL_S = 0.2
_CALL_S = 3.0
_USER = "tallgrass_canary_"
_UNCONFIRMED = "could not be confirmed"  # what an edge says when it does not know (edge/session.py)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. Rates in messages a second, times in seconds."""

    channel: str
    edges: tuple[str, ...] = ()   # instances; empty: all
    count: int = 100
    rate: float = 20.0
    timeout_s: float = 10.0       # from the last canary until everything has to be everywhere
    login: str = ""               # post as this user only; empty: users of our own, as many as the rate takes
    token: str = ""

    @property
    def writers(self) -> int:
        return 1 if self.login else min(self.count, math.ceil(self.rate * SPACING_S))

    @property
    def pace(self) -> float:
        """Messages a second that `writers` users may post."""
        return min(self.rate, self.writers / SPACING_S)


def add_parser(commands: Any, add_target: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `verify` to the subparsers `commands`; `add_target` adds --data, --control and --control-token."""
    parser = commands.add_parser(
        "verify",
        help="post numbered messages and check that every edge shows exactly what the log holds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("channel", metavar="CHANNEL", help="its users see the messages")
    parser.add_argument("--edges", default="all", metavar="NAME,...", help="default: all in the directory")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="messages to post (default: 100)")
    parser.add_argument("--rate", type=float, default=20.0, metavar="N", help="messages a second (default: 20)")
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S",
        help="seconds after the last message until all must be everywhere (default: 10)",
    )  # fmt: skip
    parser.add_argument("--login", default="", metavar="NAME", help="post as this user, slowly")
    parser.add_argument("--token", default="", metavar="T", help="token of --login")
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    parser.add_argument(
        "--statsd", default=os.environ.get("TALLGRASS_STATSD", ""), metavar="HOST:PORT",
        help="send the result there as gauges tallgrass.CLUSTER.verify.CHANNEL.* (default: $TALLGRASS_STATSD)",
    )  # fmt: skip
    add_target(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """The command. Ends the process with the exit status above."""
    try:
        plan = _plan(arguments)
        target = find(
            data=arguments.data, control=arguments.control, token=arguments.control_token, cluster=arguments.cluster
        )
        target = asyncio.run(at_home(target, plan.channel))
        say = (lambda text: None) if arguments.json else console.say
        report = asyncio.run(Verification(target, plan, say).run())
        send(report, arguments.statsd, _cluster(target))
    except TallgrassError as error:
        print(f"tallgrass: {error}", file=sys.stderr)
        sys.exit(UNKNOWN)
    print(as_json(report) if arguments.json else as_text(report))
    sys.exit(report.status)


def _plan(arguments: argparse.Namespace) -> Plan:
    channel = console.channel_named(arguments.channel)
    if not 1 <= arguments.count <= 1_000_000:
        raise ConfigError(f"--count {arguments.count}: 1 to 1000000")
    if not 0.01 <= arguments.rate <= 100:
        raise ConfigError(f"--rate {arguments.rate:g}: 0.01 to 100 messages a second")
    if not 0.1 <= arguments.timeout <= 3_600:
        raise ConfigError(f"--timeout {arguments.timeout:g}: 0.1 to 3600 seconds")
    if bool(arguments.login) != bool(arguments.token):
        raise ConfigError("--login and --token go together: give both or none")
    edges = () if arguments.edges == "all" else tuple(part for part in arguments.edges.split(",") if part)
    return Plan(
        channel=channel,
        edges=edges,
        count=arguments.count,
        rate=arguments.rate,
        timeout_s=arguments.timeout,
        login=arguments.login.lower(),
        token=arguments.token.removeprefix("oauth:"),
    )


def _cluster(target: Target) -> str:
    if target.stack is None:
        return "remote"
    clusters = target.stack["clusters"]
    return str(next(name for name, entry in clusters.items() if entry["control"] == target.address))


class Verification:
    """One run. Everything on one loop; `run` once."""

    def __init__(self, target: Target, plan: Plan, say: Callable[[str], None]) -> None:
        self._target = target
        self._plan = plan
        self._say = say
        self._name = secrets.token_hex(4)
        self._prefix = f"canary {self._name} "
        self._posted: dict[int, float] = {}
        self._fates: dict[int, Fate] = {}
        self._refusals: Counter[str] = Counter()
        self._logged: list[int] = []
        self._chain = Chain(0)
        self._unread = ""            # why the log could not be read lately
        self._views: dict[str, _View] = {}
        self._news = asyncio.Event()

    async def run(self) -> Report:
        """Raises ConfigError or RemoteError when there is nothing to check, or nobody to ask."""
        plan = self._plan
        addresses = await self._edges()
        self._views = {edge: _View(address) for edge, address in addresses.items()}
        writers: list[_Writer] = []
        async with rpc.channel(self._target.address) as link:
            stub: Any = clue_pb2_grpc.ClueStub(link)
            try:
                await asyncio.gather(*(self._watch(view) for view in self._views.values()))
                writers = await self._enter_writers()
                self._chain.last = await self._head(stub)
                self._say(
                    f"posting {plan.count} messages to {plan.channel} as {len(writers)} users, {plan.pace:.3g}/s, "
                    f"about {plan.count / plan.pace:.0f} s; reading at {len(self._views)} edges ..."
                )
                reading = asyncio.create_task(self._read_log(stub))
                try:
                    await self._post(writers)
                    await within(plan.timeout_s, self._settle())
                    await asyncio.sleep(_POLL_S)  # what comes twice comes a little later
                finally:
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
                await self._replay(stub)
            finally:
                for writer in writers:
                    writer.end()
                for view in self._views.values():
                    view.end()
                canaries = [view.canary for view in self._views.values() if view.canary]
                await asyncio.gather(*(canary.leave() for canary in [*canaries, *(w.canary for w in writers)]))
        return self._report()

    # -- who takes part -----------------------------------------------------------------------------------------

    async def _edges(self) -> dict[str, str]:
        directory = await Control(self._target).directory()
        if not directory.available:
            raise RemoteError(self._target.address, "GetDirectory", "the directory's Redis shard does not answer")
        found = {s.instance: s.irc_address for s in directory.services if s.service == "edge"}
        if self._target.stack:
            # One that should be there and is not in the directory is a finding, not a reason to look away.
            own = (s for s in self._target.stack["services"] if s["service"] == "edge" and s["cluster"] in self._near())
            found = {**{s["name"]: s["addresses"]["irc"] for s in own}, **found}
        for name in self._plan.edges:
            if name not in found:
                known = ", ".join(sorted(found)) or "none"
                raise ConfigError(f"--edges {name}: there is no such edge; there are {known}")
        if not found:
            raise ConfigError("no edge is in the directory: is one running?")
        return {name: found[name] for name in sorted(found) if not self._plan.edges or name in self._plan.edges}

    def _near(self) -> set[str]:
        """The local clusters whose edges serve the channel: of those that share a directory, all."""
        assert self._target.stack is not None
        clusters = self._target.stack["clusters"]
        asked = {name for name, entry in clusters.items() if entry["control"] == self._target.address}
        if any(clusters[name]["shared"] for name in asked):
            return {name for name, entry in clusters.items() if entry["shared"]}
        return asked

    async def _watch(self, view: _View) -> None:
        view.canary = Canary(view.address, ANONYMOUS, "", self._plan.channel, lambda message: self._seen(view, message))
        try:
            await view.canary.enter(_ENTER_S)
        except RemoteError as error:
            view.problem = str(error)

    async def _enter_writers(self) -> list[_Writer]:
        plan = self._plan
        addresses = [view.address for view in self._views.values() if not view.problem]
        if not addresses:
            raise RemoteError(
                next(iter(self._views.values())).address, f"join {plan.channel}",
                "no edge can be read: " + "; ".join(view.problem for view in self._views.values()),
            )  # fmt: skip
        writers = []
        # Others than those of a run that has just ended: their messages would still count against ours.
        first = 1 + int(time.time()) % 60 * plan.writers
        for index in range(plan.writers):
            login = plan.login or f"{_USER}{first + index}"
            writers.append(_Writer(self, addresses[index % len(addresses)], login, await self._token(login)))
        await asyncio.gather(*(writer.canary.enter(_ENTER_S) for writer in writers))
        return writers

    async def _token(self, login: str) -> str:
        """Always the same one for a login, so that two runs at a time do not lock each other out."""
        if self._plan.login:
            return self._plan.token
        token = hmac.new(self._target.token.encode(), login.encode(), hashlib.sha256).hexdigest()[:30]
        if not self._target.stack or self._target.stack["auth"] != "open":
            await Control(self._target).add_user(login, token, login)
        return token

    # -- what is done -------------------------------------------------------------------------------------------

    async def _post(self, writers: list[_Writer]) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(1, self._plan.count + 1):
            due = begun + (number - 1) / self._plan.pace
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            writer = writers[number % len(writers)]
            self._posted[number] = loop.time()
            self._fates[number] = Fate.UNANSWERED
            writer.post(number, f"{self._prefix}{number}/{self._plan.count}")

    async def _settle(self) -> None:
        """Until nothing is left to wait for."""
        while not self._complete():
            self._news.clear()
            await self._news.wait()

    async def _read_log(self, stub: Any) -> None:
        while True:
            await self._replay(stub)
            self._news.set()
            await asyncio.sleep(_POLL_S)

    async def _replay(self, stub: Any) -> None:
        """Take what is new in the log."""
        channel = self._plan.channel
        more = True
        while more:
            request = clue_pb2.ReplayRequest(channel=channel, after_seq=self._chain.last)
            try:
                reply = await stub.Replay(request, timeout=_CALL_S, metadata=rpc.lane_metadata(lane(channel)))
            except grpc.aio.AioRpcError as error:
                self._unread = str(rpc.remote_error(self._target.address, "Replay", error))
                return
            if not reply.available:
                self._unread = f"the log of {channel} cannot be read: its Redis shard does not answer"
                return
            self._unread = ""
            for entry in chat_pb2.Entries.FromString(reply.entries).entry:
                publication = chat_pb2.Publication.FromString(entry.publication)
                number = self._number(publication.line.text)
                if self._chain.take(entry.seq, entry.prev) and number:
                    self._logged.append(number)
            more = reply.more

    async def _head(self, stub: Any) -> int:
        channel = self._plan.channel
        request = clue_pb2.HeadsRequest(channels=[channel])
        try:
            reply = await stub.Heads(request, timeout=_CALL_S, metadata=rpc.lane_metadata(lane(channel)))
        except grpc.aio.AioRpcError as error:
            raise rpc.remote_error(self._target.address, "Heads", error) from None
        if not reply.heads[0].available:
            raise RemoteError(self._target.address, "Heads", f"the Redis shard of {channel} does not answer")
        return int(reply.heads[0].seq)

    # -- what is found ------------------------------------------------------------------------------------------

    def decided(self, number: int, message: Message) -> None:
        """The sender's answer: USERSTATE or NOTICE."""
        self._news.set()
        if message.command == "USERSTATE":
            self._fates[number] = Fate.ALLOWED
            return
        words = message.params[-1]
        self._fates[number] = Fate.UNCONFIRMED if _UNCONFIRMED in words else Fate.DENIED
        self._refusals[words] += 1

    def cut_off(self, number: int) -> None:
        """The sender's connection ended before an answer."""
        self._fates[number] = Fate.CUT_OFF

    def _seen(self, view: _View, message: Message) -> None:
        if message.command == "PRIVMSG" and (number := self._number(message.params[-1])):
            self._news.set()
            view.seen.append(number)
            view.delays.append(asyncio.get_running_loop().time() - self._posted[number])

    def _number(self, text: str) -> int:
        """Of a canary of this run; 0: it is none."""
        if not text.startswith(self._prefix):
            return 0
        return int(text[len(self._prefix) :].partition("/")[0])

    def _complete(self) -> bool:
        """Nothing is left to wait for."""
        logged = set(self._logged)
        return (
            Fate.UNANSWERED not in self._fates.values()
            and all(n in logged for n, fate in self._fates.items() if fate is Fate.ALLOWED)
            and all(len(set(view.seen)) >= len(logged) for view in self._views.values() if not view.problem)
        )

    def _report(self) -> Report:
        edges = [self._edge_report(edge, view) for edge, view in self._views.items()]
        found = audit(self._fates, self._logged)
        status, summary = self._judge(edges, found)
        return Report(
            channel=self._plan.channel,
            run=self._name,
            status=status,
            summary=summary,
            posted=len(self._posted),
            logged=len(self._logged),
            audit=found,
            refusals=dict(self._refusals),
            edges=edges,
        )

    def _judge(self, edges: list[EdgeReport], found: Audit) -> tuple[int, str]:
        if self._unread:
            return UNKNOWN, self._unread
        if self._chain.gaps:
            return UNKNOWN, "the log was cut before it could be read: the channel is too busy for this check"
        faulty = [report.edge for report in edges if not report.faultless]
        if faulty:
            return FAULTY, "not everything was seen, once and in order, at " + ", ".join(faulty)
        if not found.faultless or self._chain.setbacks:
            return FAULTY, "what senders were told and the log do not agree"
        if not found.allowed:
            return UNKNOWN, "no message was let in, so nothing could be checked"
        return WELL, "every edge saw exactly what the log holds, in its order, once"

    def _edge_report(self, edge: str, view: _View) -> EdgeReport:
        if view.problem and not view.seen:
            return EdgeReport(edge, view.address, view.problem)
        return EdgeReport(
            edge=edge,
            address=view.address,
            problem=view.problem,
            sight=compare(list(dict.fromkeys(self._logged)), view.seen),
            p50_ms=round(percentile(view.delays, 50) * 1e3, 1),
            p99_ms=round(percentile(view.delays, 99) * 1e3, 1),
            max_ms=round(max(view.delays, default=0.0) * 1e3, 1),
        )


class _View:
    """What one edge shows to an anonymous viewer."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.canary: Canary | None = None
        self.problem = ""
        self.seen: list[int] = []       # in the order of arrival
        self.delays: list[float] = []   # s

    def end(self) -> None:
        """Note when the edge has closed the connection."""
        if not self.problem and self.canary is not None and not self.canary.open:
            self.problem = f"{self.address} closed the connection during the check"


class _Writer:
    """One user who posts. Answers come in the order of the posts."""

    def __init__(self, verification: Verification, address: str, login: str, token: str) -> None:
        self.canary = Canary(address, login, token, verification._plan.channel, self._answered)
        self._verification = verification
        self._open: deque[int] = deque()  # posted, without an answer

    def post(self, number: int, text: str) -> None:
        self._open.append(number)
        self.canary.say(text)

    def end(self) -> None:
        """Account for what will not be answered any more, because the edge closed the connection."""
        if not self.canary.open:
            for number in self._open:
                self._verification.cut_off(number)

    def _answered(self, message: Message) -> None:
        if message.command in ("USERSTATE", "NOTICE") and self._open:
            # The USERSTATE of the join has no id, and comes before any post.
            if message.command == "USERSTATE" and "id" not in message.tags:
                return
            self._verification.decided(self._open.popleft(), message)

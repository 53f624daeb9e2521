"""Who takes part, as locust's users. Each behaviour states its question; its tag picks it (`locust --tags`).

Fixed numbers of chatters and of the odd ones come first; herds of viewers are what a shape makes more or fewer.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace
from typing import ClassVar

import gevent
from gevent.event import Event
from locust import User, constant_pacing, tag, task
from locust.env import Environment
from locust.exception import StopUser

from loadtest import marks
from loadtest.audit import FATES
from loadtest.herd import SAMPLE_EVERY, Control, Herd, Viewer
from loadtest.irc_client import IrcClient, Refused, now
from loadtest.moderation import ANSWER_S, SPAM, Act, Watch, acts
from loadtest.plan import CALM, JOINS, MAIN, RAIDED, SPACING_S, STAYED_IN, Plan, Seat, senders_for, tail_channels_of
from loadtest.timing import Recorder
from ops.checker import Fate

_TAIL_FIRST = 100_000        # viewers' numbers of the tail, and of those who stay, do not meet the crowd's
_STAYED_FIRST = 150_000
_ODD_FIRST = 5_000           # senders' numbers of moderators and so on; chatters have those below
_FLAPPER_NAMES = 6           # one every 2 s: each joins twenty channels every 12 s, which the limits let it
_AGAIN_S = 2.0
# Of each kind, so many are members of their channel. The others speak without having joined, as bots do: a thousand
# readers on greenlets of their own would make the load its own bottleneck. Herds are there to read.
JOINED_SPEAKERS = 100


class World:
    """What all users of one process share; one for each locust environment."""

    def __init__(self, plan: Plan, environment: Environment, worker: int) -> None:
        self.plan = plan
        self.environment = environment
        self.worker = worker
        self.apart = plan.apart and worker == plan.workers   # the process of those who stay
        self.recorder = Recorder(now)
        self.control = Control()
        self.herds: list[Herd] = []
        self.fates: dict[str, dict[int, int]] = {}     # channel to number to index of Fate
        self.denials: Counter[str] = Counter()
        self._next: Counter[str] = Counter()
        self.chance = random.Random(f"{plan.run} {worker}")

    def number(self, kind: str) -> int:
        """The next number of a kind of user: no two processes give the same one."""
        nth = self._next[kind]
        self._next[kind] += 1
        return nth if self.apart else self.worker + nth * self.plan.workers

    def fire(self, name: str, ms: float, error: str = "") -> None:
        """One request, as locust counts them."""
        self.environment.events.request.fire(
            request_type="IRC", name=name, response_time=ms, response_length=0,
            exception=Refused(error) if error else None, context={},
        )  # fmt: skip


class ChatUser(User):
    """Somebody of the plan."""

    abstract = True
    world: ClassVar[World]   # set when locust's environment is made


# -- viewers ---------------------------------------------------------------------------------------------------------


class LurkerHerd(ChatUser):
    """Question: does everyone who only watches get everything, in time? One locust user is a herd of viewers."""

    weight = 1
    stays: ClassVar[bool] = False
    sample_every: ClassVar[int] = SAMPLE_EVERY

    @property
    def label(self) -> str:
        return MAIN.removeprefix("#")

    def channels(self, number: int) -> list[str]:
        return [MAIN]

    def first(self) -> int:
        return 0

    def on_start(self) -> None:
        world = self.world
        size = world.plan.herd
        index = world.number(type(self).__name__)
        every = min(self.sample_every, max(1, size // 3))
        # Not the first of each herd alone: who joined late is written to late.
        offset = index * 7
        viewers = [
            Viewer(world.plan.viewer(number), self.channels(number - self.first()), (number + offset) % every == 0)
            for number in range(self.first() + index * size, self.first() + (index + 1) * size)
        ]
        if index < 2 * world.plan.workers:
            # Each edge makes frames of its own: in a process' first herds somebody has to read them, for the others.
            for viewer in {viewer.kind: viewer for viewer in viewers if viewer.countable}.values():
                viewer.sampled = True
        self.herd = Herd(
            viewers, run=world.plan.run, label=self.label, recorder=world.recorder, control=world.control,
            fire=world.fire, stays=self.stays,
        )  # fmt: skip
        world.herds.append(self.herd)

    @tag("lurker")
    @task
    def watch(self) -> None:
        self.herd.run()
        raise StopUser

    def on_stop(self) -> None:
        self.herd.close()


class StayedHerd(LurkerHerd):
    """Question: what does a storm or a raid do to those who are not part of it?"""

    weight = 0
    fixed_count = 0
    stays = True

    @property
    def label(self) -> str:
        return STAYED_IN[self.world.plan.shape].removeprefix("#")

    def channels(self, number: int) -> list[str]:
        return [STAYED_IN[self.world.plan.shape]]

    def first(self) -> int:
        return _STAYED_FIRST


class TailHerd(LurkerHerd):
    """Question: do thousands of small channels get theirs beside a giant? Little comes, so everybody reads."""

    weight = 0
    fixed_count = 0
    sample_every = 1

    @property
    def label(self) -> str:
        return "tail"

    def channels(self, number: int) -> list[str]:
        return tail_channels_of(number, self.world.plan.tail_channels)

    def first(self) -> int:
        return _TAIL_FIRST


# -- speakers --------------------------------------------------------------------------------------------------------


class Speaker(ChatUser):
    """A user with one connection, which it makes again when it is lost."""

    abstract = True
    kind: ClassVar[str]
    numbers_from: ClassVar[int] = 0
    channel: ClassVar[str] = MAIN

    def on_start(self) -> None:
        self.number = self.numbers_from + self.world.number(self.kind)
        self.said = 0
        self.client: IrcClient | None = None
        gevent.sleep(self.world.chance.uniform(0, 2.0))
        self.enter()

    def enter(self) -> bool:
        """Connect, log in and join, if not connected."""
        if self.client is not None and self.client.open:
            return True
        world = self.world
        begun = now()
        client = IrcClient(self.world.plan.sender(self.number), on_end=self._lost)
        try:
            client.connect()
            client.log_in()
            world.fire("login", (now() - begun) * 1e3)
            if self.channel and self.number - self.numbers_from < JOINED_SPEAKERS:
                client.join(self.channel)
                world.fire("join", (now() - begun) * 1e3)
        except (Refused, OSError, gevent.Timeout) as error:
            world.fire("join", (now() - begun) * 1e3, str(error) or "time-out")
            world.recorder.count(f"lost: {self.kind}: {str(error)[:60]}")
            client.close()
            gevent.sleep(_AGAIN_S)
            return False
        self.client = client
        return True

    def say(self, channel: str, text: str, label: str) -> Fate:
        """Send, wait for the verdict, and keep account of it."""
        world, client = self.world, self.client
        assert client is not None
        number = self.number << marks.SENDER_SHIFT | self.said + 1
        self.said += 1
        fates = world.fates.setdefault(channel, {})
        begun = now()
        fates[number] = FATES.index(Fate.UNANSWERED)
        world.recorder.count(f"sent {label}")
        fate, told = client.say(channel, marks.stamp(text, world.plan.run, number, begun))
        done = now()
        fates[number] = FATES.index(fate)
        world.recorder.count(f"{fate.value} {label}")
        if fate is Fate.ALLOWED:
            world.recorder.delay(f"verdict {label}", (done - begun) * 1e3, done)
        elif told:
            world.denials[told[:100]] += 1
        error = "" if fate in (Fate.ALLOWED, Fate.DENIED) else f"{fate.value}: {told}"
        world.fire(f"say {label}", (done - begun) * 1e3, error)
        return fate

    def _lost(self, why: str) -> None:
        if not self.world.control.stopping:
            self.world.recorder.count(f"lost: {self.kind}: {why[:60]}")
            self.world.fire("stay", 0, why)

    def on_stop(self) -> None:
        if self.client is not None:
            self.client.close()


class Chatter(Speaker):
    """Question: how long from sending to one's own verdict, and to another's screen, at the rate of the plan?"""

    kind = "chatter"
    weight = 0
    fixed_count = 0
    label: ClassVar[str] = MAIN.removeprefix("#")

    def rate(self) -> float:
        return self.world.plan.rate

    def on_start(self) -> None:
        super().on_start()
        self._pace = max(senders_for(self.rate()) / self.rate(), 0.0)
        self._due = 0.0

    def wait_time(self) -> float:
        """The next moment of an even pace; a verdict that took long does not make a burst."""
        at = now()
        if not self.world.control.speaking:
            self._due = 0.0
            return 0.05
        if not self._due:
            self._due = at + self.world.chance.uniform(0, self._pace)
        else:
            self._due = max(self._due + self._pace, at - self._pace)
        return max(0.0, self._due - at)

    @tag("chatter")
    @task
    def speak(self) -> None:
        if not self.enter() or not self.world.control.speaking or not self._due:
            return
        self.say(self.target(), marks.words(self.world.chance), self.label)

    def target(self) -> str:
        return self.channel


class CalmChatter(Chatter):
    """Speaks to those who stay in a storm."""

    kind = "calm chatter"
    numbers_from = 3_000
    channel = CALM
    label = CALM.removeprefix("#")

    def rate(self) -> float:
        return self.world.plan.calm_rate


class TailChatter(Chatter):
    """Speaks in one small channel after the other, joined or not, as bots do."""

    kind = "tail chatter"
    numbers_from = 7_000
    channel = ""
    label = "tail"

    def rate(self) -> float:
        return self.world.plan.tail_rate

    def target(self) -> str:
        return f"#tail{self.world.chance.randrange(self.world.plan.tail_channels)}"


class RaidedChatter(Chatter):
    """Speaks in the channel that is raided, before and after."""

    kind = "raided chatter"
    numbers_from = 4_000
    channel = RAIDED
    label = RAIDED.removeprefix("#")

    def rate(self) -> float:
        return self.world.plan.rate


class Spammer(Speaker):
    """Question: are the limits kept, and is everybody told? Ten messages a second from one user."""

    kind = "spammer"
    numbers_from = _ODD_FIRST
    weight = 0
    fixed_count = 0
    wait_time = constant_pacing(0.1)

    @tag("spammer")
    @task
    def spam(self) -> None:
        if self.world.control.speaking and self.enter():
            self.say(self.channel, SPAM, "spam")


class Moderator(ChatUser):
    """Question: does moderating go on under load? The broadcaster does all that a moderator can (moderation.py), one
    thing after the other, and each time waits until its own screen shows it, as everybody's does."""

    weight = 0
    fixed_count = 0

    def on_start(self) -> None:
        plan = self.world.plan
        number = _ODD_FIRST + 300 + self.world.number("moderator")
        self._seat = replace(plan.sender(number), login=MAIN.removeprefix("#"))
        self._client: IrcClient | None = None
        self._watch = Watch(MAIN)
        groups = acts(plan.sender(_ODD_FIRST).login)
        self._next = itertools.cycle(groups)
        self._pace = min(5.0, plan.seconds / (len(groups) + 1))   # so that each is done at least once

    def wait_time(self) -> float:
        return self._pace

    @tag("moderator")
    @task
    def moderate(self) -> None:
        if self.world.control.speaking and self._enter():
            for act in next(self._next):
                self._do(act)

    def _do(self, act: Act) -> None:
        world, client = self.world, self._client
        assert client is not None
        shown = Event()
        line = self._watch.prepare(act, shown.set)
        if line is None:
            return
        begun, error = now(), ""
        try:
            client.send_raw(f"PRIVMSG {MAIN} :{line}\r\n".encode())
            if not shown.wait(ANSWER_S):
                error = f"{act.name}: after {ANSWER_S:g} s there was no {self._watch.missing()}"
        except (Refused, OSError) as refused:
            error = f"{act.name}: {refused}"
        if error:
            world.recorder.count(f"unmoderated {error[:150]}")
        else:
            world.recorder.delay(f"moderate {act.name}", (now() - begun) * 1e3)
        world.fire(act.name, (now() - begun) * 1e3, error)

    def _enter(self) -> bool:
        """Log in and join, if not there. Whom it will time out and ban must be a user first."""
        if self._client is not None and self._client.open:
            return True
        self._client = IrcClient(self._seat, on_line=self._watch.take)
        troublemaker = IrcClient(self.world.plan.sender(_ODD_FIRST))
        try:
            for client in (self._client, troublemaker):
                client.connect()
                client.log_in()
            self._client.join(MAIN)
        except (Refused, OSError, gevent.Timeout) as error:
            self.world.recorder.count(f"lost: moderator: {str(error)[:60]}")
            self._client.close()
            return False
        finally:
            troublemaker.close()
        return True

    def on_stop(self) -> None:
        if self._client is not None:
            self._client.close()


class Flapper(ChatUser):
    """Question: what do users cost who connect, join many channels, leave, and go?"""

    weight = 0
    fixed_count = 0
    wait_time = constant_pacing(2.0)

    def on_start(self) -> None:
        first = _ODD_FIRST + 100 + self.world.number("flapper") * _FLAPPER_NAMES
        self._numbers = itertools.cycle(range(first, first + _FLAPPER_NAMES))

    @tag("flapper")
    @task
    def flap(self) -> None:
        world = self.world
        if not world.control.speaking:
            return
        channels = [f"#flap{world.chance.randrange(500)}" for _ in range(JOINS)]
        channels = list(dict.fromkeys(channels))
        begun = now()
        client = IrcClient(world.plan.sender(next(self._numbers)))
        try:
            client.connect()
            client.log_in()
            client.join(*channels)
            client.part(*channels)
            world.recorder.count("flaps")
            world.fire("flap", (now() - begun) * 1e3)
        except (Refused, OSError, gevent.Timeout) as error:
            world.recorder.count(f"error: flap: {(str(error) or 'time-out')[:60]}")
            world.fire("flap", (now() - begun) * 1e3, str(error) or "time-out")
        finally:
            client.close()


class SlowReader(ChatUser):
    """Question: does one who does not read hurt the others? It joins and never reads; the edge may disconnect it."""

    weight = 0
    fixed_count = 0
    wait_time = constant_pacing(5.0)

    def on_start(self) -> None:
        world = self.world
        seat = world.plan.sender(_ODD_FIRST + 200 + world.number("slow reader"))
        seat = Seat(seat.host, seat.port, seat.source, seat.login, seat.edge)
        if seat.edge:
            host, _, port = world.plan.target.edges[seat.edge]["irc"].rpartition(":")
        else:
            host, _, port = world.plan.target.irc.rpartition(":")
        self._client = IrcClient(Seat(host, int(port), seat.source, seat.login, seat.edge), receive_buffer=4096)
        self._client.connect(read=False)
        self._client.send_raw(f"PASS oauth:{seat.login}token\r\nNICK {seat.login}\r\n".encode())

    @tag("slow")
    @task
    def sit(self) -> None:
        """Ask for the join once the login is done, then sit there."""
        try:
            self._client.send_raw(f"JOIN {MAIN}\r\n".encode())
        except (Refused, OSError):
            self.world.recorder.count("slow readers disconnected")
            raise StopUser from None

    def on_stop(self) -> None:
        self._client.close()


def cast(plan: Plan) -> dict[type[User], int]:
    """How many of each kind take part besides the herds of the crowd."""
    stack = bool(plan.target.control)
    shape = plan.shape
    return {
        Chatter: plan.chatters,
        StayedHerd: plan.stayed_herds,
        CalmChatter: senders_for(plan.calm_rate) if shape == "storm" else 0,
        TailHerd: plan.tail_herds,
        TailChatter: senders_for(plan.tail_rate) if shape == "longtail" else 0,
        RaidedChatter: senders_for(plan.rate) if shape == "raid" else 0,
        Spammer: plan.spammers if stack and plan.target.limits else 0,
        Moderator: plan.moderators if stack else 0,
        Flapper: plan.flappers if stack else 0,
        SlowReader: plan.slow_readers if stack else 0,
    }


# Those who have a process of their own.
APART: tuple[type[User], ...] = (StayedHerd, CalmChatter, RaidedChatter)

__all__ = ["APART", "SPACING_S", "ChatUser", "LurkerHerd", "World", "cast"]

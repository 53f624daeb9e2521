"""Four clusters of one `tallgrass up`: guests, moves, rooms, edges that come and go, and one cluster's death."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ops import cli, haproxy, mover
from ops.control import Control, Target, find_all
from ops.haproxy_runtime import ask
from ops.move import Move
from ops.mover import Mover, home, move, token
from ops.promoter import Promotion
from ops.promoting import Promoting
from tests.chaos.episode import Outcome
from tests.chaos.load import Load
from tests.chaos.log_reader import LogReader
from tests.chaos.moves import STEPS, Moves, Stage, judged, plain
from tests.support.irc import Client, Door
from tests.support.stack import ROOT, RunningStack, environment, running_stack, tallgrass

pytestmark = [
    pytest.mark.skipif(haproxy.find() is None, reason="HAProxy is not installed: it routes by channel here"),
    pytest.mark.timeout(180),
]
SHARED = ("main", "event", "group")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    options = ("--clusters", "main,event,group,test", "--edges", "1", "--clues", "1", "--exchanges", "1")
    with running_stack(tmp_path_factory.mktemp("c") / "data", *options, "--limits", "off") as running:
        yield running


@pytest.fixture
def targets(stack: RunningStack) -> dict[str, Target]:
    found = find_all(data=str(stack.data), controls=(), environ={})
    return {name: target for name, target in found.items() if name in SHARED}


def facts(stack: RunningStack) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((stack.data / "stack.json").read_text())
    return found


def door(address: str, transport: str = "tcp") -> Door:
    host, _, port = address.removeprefix("ws://").rpartition(":")
    return Door(transport, host, int(port))


def fresh(stem: str) -> str:
    """A name that no other test uses."""
    return f"{stem}{secrets.token_hex(4)}"


async def user(address: str, nick: str, *channels: str) -> Client:
    client = await Client.connect(door(address))
    await client.login(nick)
    if channels:
        await client.join(*channels)
    return client


async def until(what: str, ask_: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not await ask_():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.1)


async def servers(stack: RunningStack, cluster: str, backend: str) -> dict[str, tuple[str, int]]:
    """By name: status, and sessions now."""
    (answer,) = await ask(facts(stack)["clusters"][cluster]["haproxy_socket"], ("show stat",))
    header, *lines = answer.removeprefix("# ").splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=False)) for line in lines]
    return {
        row["svname"]: (row["status"], int(row["scur"] or 0))
        for row in rows
        if row["pxname"] == backend and row["svname"] != "BACKEND"
    }


# -- what stands where ------------------------------------------------------------------------------------------------


def test_processes_are_named_by_their_cluster_and_its_data_lies_apart(stack: RunningStack) -> None:
    assert list(stack.edges) == ["main-edge-1", "event-edge-1", "group-edge-1", "test-edge-1"]
    assert set(stack.others) == {"event", "group", "test"}
    names = {service["name"]: service["cluster"] for service in facts(stack)["services"]}
    assert names["event-clue-1"] == "event"
    assert names["directory"] == ""
    for cluster in ("main", "event", "group", "test"):
        assert json.loads((stack.data / cluster / "cluster.json").read_text())["cluster"] == cluster
        assert (stack.data / cluster / "redis-1" / "redis.conf").exists()
        assert (stack.data / "logs" / f"{cluster}-edge-1.log").exists()


def test_the_test_cluster_is_told_nothing_of_the_others(stack: RunningStack) -> None:
    """No address and no token of theirs is in the environment of its processes, and none of its in theirs."""
    found = facts(stack)
    tokens = {name: Path(entry["control_token_file"]).read_text().strip() for name, entry in found["clusters"].items()}
    assert len(set(tokens.values())) == 4
    assert {name for name, entry in found["clusters"].items() if entry["shared"]} == set(SHARED)
    secret = {
        cluster: {tokens[cluster], *found["clusters"][cluster]["redis"], found["clusters"][cluster]["control"]}
        for cluster in tokens
    }
    for service in found["services"]:
        if service["service"] not in ("edge", "clue", "exchange"):
            continue
        text = Path(f"/proc/{service['pid']}/environ").read_text().split("\0")
        settings = "\n".join(line for line in text if line.startswith("TALLGRASS_"))
        if service["cluster"] == "test":
            assert found["directory"] not in settings
            foreign = set().union(*(secret[name] for name in SHARED))
        else:
            foreign = secret["test"]
        assert not [one for one in foreign if one in settings], service["name"]


def test_data_of_several_clusters_is_not_started_as_one(stack: RunningStack, tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "cluster.json").write_text('{"cluster": "main", "redis_shards": 2}')
    done = tallgrass("up", "--data", str(tmp_path), "--irc-port", "0", "--http-port", "0")
    assert done.returncode == 1
    assert "was made for the clusters main: start them with --clusters main" in done.stderr


# -- guests -----------------------------------------------------------------------------------------------------------


async def test_users_of_all_clusters_meet_in_a_channel(stack: RunningStack) -> None:
    """A channel of main, seen and spoken in from the edges of event and group; test is another world."""
    channel = "#" + fresh("meet")
    ann = await user(stack.edges["main-edge-1"], fresh("ann"), channel)
    bob = await user(stack.edges["event-edge-1"], fresh("bob"), channel)
    eve = await user(stack.edges["group-edge-1"], fresh("eve"), channel)
    stranger = await user(stack.edges["test-edge-1"], fresh("mallory"), channel)
    async with ann, bob, eve, stranger:
        for speaker, others in ((ann, (bob, eve)), (bob, (ann, eve)), (eve, (ann, bob))):
            text = fresh("hello ")
            assert (await speaker.say(channel, text)).command == "USERSTATE"
            for other in others:
                assert (await other.hear(channel)).params[-1] == text
        assert [line for line in await stranger.fence() if "PRIVMSG" in line] == []


async def test_a_whisper_crosses_clusters(stack: RunningStack) -> None:
    ann, bob = fresh("ann"), fresh("bob")
    receiver = await user(stack.edges["event-edge-1"], bob)
    sender = await user(stack.edges["main-edge-1"], ann)
    async with receiver, sender:
        await sender.send(f"PRIVMSG #{ann} :/w {bob} psst")
        line = await receiver.expect("WHISPER")
        assert (line.nick, line.params) == (ann, [bob, "psst"])


async def test_a_room_made_over_http_is_joined_from_another_cluster(stack: RunningStack) -> None:
    """Two hundred ask for one name at the same time: one makes it."""
    name, owner = fresh("room"), fresh("owner")
    (url,) = {s["addresses"]["http"] for s in facts(stack)["services"] if s["name"] == "main-edge-1"}
    headers = {"Authorization": "Bearer anything"}
    guest = await user(stack.edges["main-edge-1"], owner)
    async with guest, aiohttp.ClientSession(headers=headers) as session:

        async def make() -> int:
            body = {"name": name, "login": owner}
            async with session.post(f"http://{url}/rooms", json=body) as response:
                return response.status

        answers = await asyncio.gather(*(make() for _ in range(200)))
        assert (answers.count(201), answers.count(200)) == (1, 199)
        member = await user(stack.edges["event-edge-1"], fresh("member"), f"#_{name}")
        async with member:
            await guest.join(f"#_{name}")
            await member.say(f"#_{name}", "in here")
            assert (await guest.hear(f"#_{name}")).params[-1] == "in here"


# -- moves ------------------------------------------------------------------------------------------------------------


async def test_a_moved_channel_is_where_home_says_and_everybody_stays(
    stack: RunningStack, targets: dict[str, Target]
) -> None:
    """--dry-run changes nothing; a move says each step with its figures; who is connected goes on talking."""
    channel = "#" + fresh("moves")
    ann = await user(stack.edges["main-edge-1"], fresh("ann"), channel)
    bob = await user(stack.edges["event-edge-1"], fresh("bob"), channel)
    async with ann, bob:
        await ann.say(channel, "before")
        await bob.hear(channel)
        dry = await asyncio.to_thread(stack.run, "move", channel, "event", "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert f"{channel} lives on main: 1 entries in the log" in dry.stdout
        assert (await home(channel, targets)).startswith("main ")
        done = await asyncio.to_thread(stack.run, "move", channel, "event")
        assert done.returncode == 0, done.stderr
        *steps, last = done.stdout.splitlines()
        assert tuple(line.split()[0] for line in steps) == STEPS
        assert last.startswith(f"{channel} moved from main to event in ")
        assert (await asyncio.to_thread(stack.run, "home", channel)).stdout.startswith("event ")
        for speaker, other in ((ann, bob), (bob, ann)):
            text = fresh("after ")
            assert (await speaker.say(channel, text)).command == "USERSTATE"
            assert (await other.hear(channel)).params[-1] == text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("#tpp", "test"), "the cluster test shares nothing with the others"),
        (("#tpp", "prod"), "prod is no cluster that a channel can be moved to: there are event, group, main"),
        (("#tpp",), "move #tpp where? Name a cluster: event, group, main"),
        (("not a name", "event"), "'not a name' is no channel"),
        (("#_room", "event"), "'#_room' cannot be moved: inboxes and temporary rooms stay"),
    ],
)
def test_what_cannot_be_moved_is_told(stack: RunningStack, arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(("move", *arguments, "--data", str(stack.data)))
    assert told in str(ended.value.code)
    assert "\n" not in str(ended.value.code)


async def test_the_public_door_follows_a_move(stack: RunningStack, targets: dict[str, Target]) -> None:
    """A WebSocket at main's HAProxy that names a channel gets to an edge of the cluster where it lives."""
    name = fresh("door")

    async def pool_of(path: str) -> str:
        before = {pool: await sessions(pool) for pool in ("http_edges", "http_event", "http_group")}
        async with aiohttp.ClientSession() as session, session.ws_connect(stack.ws + path) as websocket:
            await websocket.send_str("CAP LS 302\r\n")
            assert "CAP" in await websocket.receive_str(timeout=10)
            (found,) = [pool for pool, count in before.items() if await sessions(pool) > count]
        return found

    async def sessions(pool: str) -> int:
        return sum(count for _, count in (await servers(stack, "main", pool)).values())

    for pool in ("http_event", "http_group"):

        async def up(pool: str = pool) -> bool:
            return any(state.startswith("UP") for state, _ in (await servers(stack, "main", pool)).values())

        await until(f"{pool} has an edge that is up", up)
    assert await pool_of(f"/c/{name}") == "http_edges"
    await move(f"#{name}", "event", targets)

    async def moved() -> bool:
        return await pool_of(f"/c/{name}") == "http_event"

    await until("the map says so", moved)
    assert await pool_of(f"/?channel={name.upper()}") == "http_event"
    assert await pool_of("/c/_room") == "http_group"
    assert await pool_of("/") == "http_edges"
    await move(f"#{name}", "main", targets)

    async def back() -> bool:
        return await pool_of(f"/c/{name}") == "http_edges"

    await until("the map has forgotten it", back)


@asynccontextmanager
async def chatting(
    stack: RunningStack, targets: dict[str, Target], edges: tuple[str, ...], rate: float = 20.0
) -> AsyncIterator[Stage]:
    """Sixty members of one channel at these edges."""
    addresses = {name: stack.edges[name] for name in edges}
    clues = [
        s["addresses"]["grpc"] for s in facts(stack)["services"] if s["service"] == "clue" and s["cluster"] in targets
    ]
    load = Load(addresses, connections=60, channels=1, rate=rate, seed=secrets.randbits(31))
    load.channels[0] = "#" + fresh("load")
    for seat in load.seats:
        seat.channel = load.channels[0]
    load._by_channel = {load.channels[0]: load.seats}
    load._turn = {load.channels[0]: 0}
    logs = LogReader(clues, load.channels, load.ledger.text)
    try:
        await load.enter()
        logs.start()
        yield Stage(None, load, logs, targets, print)
    finally:
        await load.leave()
        await logs.stop()


def assert_faultless(outcome: Outcome, *, closed: int = 0) -> None:
    assert outcome.problems == [], outcome.details
    assert outcome.settled
    assert outcome.closed == closed
    assert outcome.deliveries > 1_000


async def test_nothing_is_lost_repeated_or_out_of_order_when_a_channel_moves(
    stack: RunningStack, targets: dict[str, Target]
) -> None:
    """Four moves under load: every connection sees exactly the log, and each sender has its verdict."""
    async with chatting(stack, targets, ("main-edge-1", "event-edge-1", "group-edge-1")) as place:
        moves = Moves()
        assert_faultless(await judged(place, "moves", "moves", lambda: plain(place, moves, 4)))
        assert len(moves.pauses_s) == 4


async def abandoned(channel: str, to: str, targets: dict[str, Target], step: str) -> None:
    """A mover that dies as soon as `step` is done: nothing is tidied up."""
    async with connected(targets) as controls:
        directory = await controls["main"].directory()
        lives = {entry.channel: entry.cluster for entry in directory.homes}.get(channel, "main")
        reached: list[str] = []
        mover = Mover(Move(channel, to, token(), lives), controls, lambda line: reached.append(line.split()[0]))
        while step not in reached:
            call = mover._steps.due
            assert call is not None, f"over before {step}: {reached}"
            await mover.step(call)


@asynccontextmanager
async def connected(targets: dict[str, Target]) -> AsyncIterator[dict[str, Control]]:
    async with AsyncExitStack() as opened:
        yield {name: await opened.enter_async_context(Control(target)) for name, target in targets.items()}


async def test_a_mover_may_die_after_any_step(stack: RunningStack, targets: dict[str, Target]) -> None:
    """Chat goes on at one home, and a second move finishes what the first began: nothing is lost."""
    async with chatting(stack, targets, ("main-edge-1", "event-edge-1")) as place:

        async def die_and_move() -> None:
            at = "main"
            for step in STEPS[1:]:
                to = "event" if at == "main" else "main"
                await abandoned(place.channel, to, targets, step)
                await move(place.channel, to, targets)
                assert (await home(place.channel, targets)).startswith(f"{to} ")
                at = to

        assert_faultless(await judged(place, "kill-mover", "kill-mover", die_and_move))


async def test_an_abandoned_move_is_undone(stack: RunningStack, targets: dict[str, Target]) -> None:
    channel = "#" + fresh("undone")
    await abandoned(channel, "event", targets, "copy")
    assert "a move to event is under way" in await home(channel, targets)
    done = await asyncio.to_thread(stack.run, "move", channel, "--abort")
    assert done.stdout == f"the move of {channel} to event is undone: it lives on main\n", done.stderr
    assert "under way" not in await home(channel, targets)
    assert "no move of it is under way" in await mover.abort(channel, targets)


async def test_a_hot_channel_is_promoted_and_comes_back(
    stack: RunningStack, targets: dict[str, Target], tmp_path: Path
) -> None:
    """Each decision is told with its figures."""
    channel = "#" + fresh("hot")
    told: list[str] = []
    rule = Promotion(members=4, rate=1_000.0, for_s=1.0, cool_s=1.0)
    promoting = asyncio.create_task(Promoting(rule, "main", targets, tmp_path / "promoted", told.append).run())
    edges = ("main-edge-1", "event-edge-1", "main-edge-1", "event-edge-1")
    members = [await user(stack.edges[edge], fresh("member"), channel) for edge in edges]

    async def lives_on(cluster: str) -> bool:
        return (await home(channel, targets)).startswith(f"{cluster} ")

    try:
        await until("it is promoted", lambda: lives_on("event"))
        for member in members:
            await member.close()
        await until("it is back", lambda: lives_on("main"), 30)
    finally:
        promoting.cancel()
        await asyncio.gather(promoting, return_exceptions=True)
    assert f"main promoter: {channel} goes to event: 4 members" in told[0]


# -- edges that come and go -------------------------------------------------------------------------------------------


async def test_an_edge_joins_at_run_time_takes_a_drained_ones_users_and_leaves(stack: RunningStack) -> None:
    """`tallgrass edge` and `tallgrass drain`: HAProxy knows of both within seconds, and nobody is refused."""

    async def state(name: str) -> str:
        found = await servers(stack, "event", "irc_edges")
        return next((status for server, (status, _) in found.items() if server.partition(":")[0] == name), "none")

    joined = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.cli", "edge", "--cluster", "event", "--data", str(stack.data),
        cwd=ROOT, env=environment(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async def is_in(name: str, wanted: str) -> bool:
            return (await state(name)).startswith(wanted)

        await until("the new edge is up in HAProxy", lambda: is_in("event-edge-2", "UP"))
        nick = fresh("sent")
        sent_away = await user(stack.edges["event-edge-1"], nick)
        draining = asyncio.create_task(asyncio.to_thread(stack.run, "drain", "event-edge-1", "--within", "1"))
        assert "RECONNECT" in (await sent_away.expect("RECONNECT")).raw
        await until("HAProxy sends nobody there", lambda: is_in("event-edge-1", "DRAIN"))
        again = await user(stack.others["event"]["irc"], nick)
        assert sum(count for _, count in (await servers(stack, "event", "irc_edges")).values()) >= 1
        new = await servers(stack, "event", "irc_edges")
        assert [count for server, (_, count) in new.items() if server.startswith("event-edge-2:")] == [1]
        await sent_away.close()
        done = await draining
        assert done.returncode == 0, done.stderr
        assert "event-edge-1: empty after " in done.stdout
        back = await asyncio.to_thread(stack.run, "drain", "event-edge-1", "--back")
        assert back.stdout == "event-edge-1 takes users again\n"
        await until("HAProxy sends users there again", lambda: is_in("event-edge-1", "UP"))
        await again.close()
    finally:
        joined.send_signal(signal.SIGINT)
        await asyncio.wait_for(joined.wait(), 30)
    assert joined.returncode == 0
    await until("HAProxy has forgotten it", lambda: is_in("event-edge-2", "none"))


# -- isolation: last, for it hurts ------------------------------------------------------------------------------------


async def test_a_cluster_that_dies_entirely_is_not_felt_by_another(
    stack: RunningStack, targets: dict[str, Target]
) -> None:
    """kill -9 of all processes of event while main serves: nothing is lost or late there, and event comes back."""
    alive = {name: target for name, target in targets.items() if name == "main"}
    async with chatting(stack, alive, ("main-edge-1",)) as place:

        async def kill_event() -> None:
            for service in facts(stack)["services"]:
                if service["cluster"] == "event" and service["pid"]:
                    os.kill(service["pid"], signal.SIGKILL)
            await asyncio.sleep(3)

        outcome = await judged(place, "kill-event", "kill-event", kill_event)
        assert_faultless(outcome)
        assert outcome.late_verdicts == 0
        assert outcome.repair_s == 0

    async def serves() -> bool:
        try:
            guest = await user(stack.edges["event-edge-1"], fresh("back"), "#" + fresh("again"))
        except (OSError, AssertionError):
            return False
        await guest.close()
        return True

    await until("event serves again", serves, 40)

"""Two clusters with real Redis, clues, exchanges and edges: guests everywhere, and moves that nobody notices."""

from __future__ import annotations

import asyncio
import signal
import time

import aiohttp
import pytest
import pytest_asyncio

from common.pb import clue_pb2
from tests.support.clusters import house

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(tmp_path_factory):
    async with house(tmp_path_factory.mktemp("clusters")) as running:
        yield running


async def moved(two, channel, source="main", target="event", redirect="none", within_s=0):
    mover = two.mover(channel, source, target)
    await mover.until("settle")
    finish = clue_pb2.FinishMoveRequest(channel=channel, move=mover.token, redirect=redirect, within_s=within_s)
    await mover.new.operate("FinishMove", finish)


async def hears(client, channel, *texts):
    assert [(await client.hear(channel)).params[1] for _ in texts] == list(texts)


# -- guests ---------------------------------------------------------------------------------------------------------


async def test_a_channel_of_another_cluster_is_read_and_spoken_in(two, name, channel):
    """On every edge of both, by people on every edge of both."""
    edges = [*two.main.edges, *two.event.edges]
    people = [await two.enter(edge, name(), channel) for edge in edges]
    for number, person in enumerate(people):
        said = await person.say(channel, f"hello {number}")
        assert "USERSTATE" in said.raw
        for other in people:
            if other is not person:
                await hears(other, channel, f"hello {number}")


async def test_whispers_reach_users_of_either_cluster(two, name):
    """Inboxes live on one of them."""
    there, here = name(), name()
    guest = await two.enter(two.event.edges[0], there)
    local = await two.enter(two.main.edges[0], here)
    for sender, receiver, login in ((local, guest, there), (guest, local, here)):
        await sender.send(f"PRIVMSG #{here} :/w {login} psst")
        assert (await receiver.expect("WHISPER")).params[-1] == "psst"


async def test_names_are_of_both_clusters(two, name, channel):
    """Who is on an edge of the other cluster is listed."""
    here, there = name(), name()
    reader = await two.enter(two.main.edges[0], here, channel)
    await two.enter(two.event.edges[0], there, channel)

    async def listed():
        await reader.send(f"NAMES {channel}")
        lines = await reader.collect_until(f" 366 {here} ")
        return {login for line in lines if " 353 " in line for login in line.rpartition(":")[2].split()}

    async with asyncio.timeout(15):
        while not {here, there} <= await listed():
            await asyncio.sleep(0.3)


# -- moves ----------------------------------------------------------------------------------------------------------


class Load:
    """Two writers and two readers of a channel, one of each on an edge of each cluster."""

    def __init__(self, channel, writers, readers):
        self.channel, self.writers, self.readers = channel, writers, readers
        self._stop = asyncio.Event()
        self._writing = [asyncio.create_task(self._write(*writer)) for writer in enumerate(writers)]

    async def _write(self, number, client):
        lines = 0
        while not self._stop.is_set():
            await client.send(f"PRIVMSG {self.channel} :{number} {lines}")
            lines += 1
            await asyncio.sleep(0.02)
        return lines

    async def check(self):
        """Every line has its verdict, and is read once and in its writer's order; readers saw nothing else."""
        self._stop.set()
        sent = [await task for task in self._writing]
        for client in self.writers:
            await client.send(f"PRIVMSG {self.channel} :end")
        for client, lines in zip(self.writers, sent, strict=True):
            answers = [await client.answer(self.channel) for _ in range(lines + 1)]
            assert {answer.command for answer in answers} == {"USERSTATE"}
        for reader in self.readers:
            seen, ends, other = [], 0, []
            while ends < 2:
                line = await reader.expect(".")
                if line.command != "PRIVMSG":
                    other.append(line.raw)
                elif line.params[1] == "end":
                    ends += 1
                else:
                    seen.append(tuple(map(int, line.params[1].split())))
            assert other == []
            for number in (0, 1):
                assert [line for writer, line in seen if writer == number] == list(range(sent[number]))


async def load(two, name, channel):
    writers = [await two.enter(cluster.edges[0], name(), channel) for cluster in (two.main, two.event)]
    readers = [await two.enter(cluster.edges[1], name(), channel) for cluster in (two.main, two.event)]
    return Load(channel, writers, readers)


async def test_a_move_under_load_is_seen_by_nobody(two, name, channel):
    """There and back, twice: no line is lost, repeated or out of order, and each has its verdict."""
    under_way = await load(two, name, channel)
    for source, target in (("main", "event"), ("event", "main")) * 2:
        await asyncio.sleep(0.3)
        await moved(two, channel, source, target)
    await asyncio.sleep(0.3)
    await under_way.check()


async def test_a_mover_that_dies_after_the_switch_is_not_needed(two, name, channel):
    """The edges settle the move themselves, with the first message."""
    under_way = await load(two, name, channel)
    await asyncio.sleep(0.3)
    mover = two.mover(channel, "main", "event")
    await mover.until("switch")
    await asyncio.sleep(1.0)
    assert not (await mover.settle()).elsewhere.cluster
    await under_way.check()
    await mover.finish()


async def test_a_clue_that_is_killed_after_the_switch_repeats_nothing(two, name, channel):
    """Batches that it had committed without an answer are known at the new home by their numbers."""
    under_way = await load(two, name, channel)
    for source, target in (("main", "event"), ("event", "main")):
        await asyncio.sleep(0.3)
        mover = two.mover(channel, source, target)
        await mover.until("changes")
        two.clusters[source].signal(signal.SIGSTOP, "exchange")
        await asyncio.sleep(0.2)  # what is committed now is not answered: no exchange takes it
        await mover.freeze()
        await mover.changes()
        await mover.switch()
        two.clusters[source].signal(signal.SIGKILL, "clue")
        two.clusters[source].signal(signal.SIGCONT, "exchange")
        two.restart(two.clusters[source], "clue")
        await mover.settle()
        await mover.finish()
        await two.answering(source)
    await under_way.check()


async def test_history_goes_along_and_does_not_show_the_move(two, name, channel):
    """CHATHISTORY at the new home has what was said before."""
    history = ("batch", "draft/chathistory", "message-tags", "server-time", "twitch.tv/tags", "twitch.tv/commands")
    client = await two.enter(two.main.edges[0], name(), channel, capabilities=history)
    await client.say(channel, "before")
    await moved(two, channel)
    await client.say(channel, "after")
    await client.send(f"CHATHISTORY LATEST {channel} * 10")
    await client.expect("BATCH \\+")
    lines = await client.collect_until("BATCH -")
    assert [line.rpartition(" :")[2] for line in lines] == ["before", "after"]


async def test_a_channel_is_joined_where_it_moved_to(two, name, channel):
    """By people who come after the move, before and after the directory has told the edges."""
    first = await two.enter(two.main.edges[0], name(), channel)
    await moved(two, channel)
    at_once = await two.enter(two.main.edges[1], name(), channel)
    await eventually_home(two.main.edges[1], channel, "event")
    later = await two.enter(two.main.edges[1], name(), channel)
    await first.say(channel, "everybody?")
    await hears(at_once, channel, "everybody?")
    await hears(later, channel, "everybody?")


async def eventually_home(edge, channel, cluster, within_s=10.0):
    """The edge's directory knows of the move."""
    async with asyncio.timeout(within_s), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{edge.http}/servers", params={"channel": channel}) as answer:
                if (await answer.json())["cluster"] == cluster:
                    return
            await asyncio.sleep(0.1)


async def test_readers_alone_follow_without_an_edge_that_speaks(two, name, channel):
    """Nobody of this edge says anything: what is published at the new home comes all the same."""
    reader = await two.enter(two.main.edges[1], name(), channel)
    await moved(two, channel)
    speaker = await two.enter(two.event.edges[0], name(), channel)
    await speaker.say(channel, "hello from the new home")
    await hears(reader, channel, "hello from the new home")


@pytest.mark.parametrize(("redirect", "asked"), [("none", set()), ("clients", {"free"}), ("all", {"free", "busy"})])
async def test_sessions_are_asked_to_follow(two, name, redirect, asked):
    """Those that know RECONNECT and have no other channel here, or all that know it; never those at the new home."""
    channel, other = f"#{name()}", f"#{name()}"
    people = {
        "free": await two.enter(two.main.edges[0], name(), channel),
        "busy": await two.enter(two.main.edges[0], name(), channel, other),
        "plain": await two.enter(two.main.edges[0], name(), channel, capabilities=("twitch.tv/tags",)),
        "there": await two.enter(two.event.edges[0], name(), channel),
    }
    await moved(two, channel, redirect=redirect, within_s=1)
    speaker = await two.enter(two.event.edges[1], name(), channel)
    await asyncio.sleep(1.2)  # within_s is over
    await speaker.say(channel, "done")
    told = set()
    for who, client in people.items():
        lines = await client.collect_until("PRIVMSG .* :done$")
        if any("RECONNECT" in line for line in lines):
            told.add(who)
    assert told == asked


# -- a cluster that is gone -----------------------------------------------------------------------------------------


async def test_a_frozen_cluster_disturbs_only_its_channels(two, name, channel):
    """Clue and exchange of event hang (SIGSTOP): channels on main are spoken in, joined and read as ever, on its edges
    too; the channel that lives there says that it is unavailable, and comes back with it.
    """
    away = f"#{name()}"
    writer = await two.enter(two.main.edges[0], name(), channel, away)
    reader = await two.enter(two.main.edges[1], name(), channel, away)
    await moved(two, away)
    await writer.say(away, "before")
    await hears(reader, away, "before")
    two.event.signal(signal.SIGSTOP, "clue", "exchange")
    try:
        await writer.send(f"PRIVMSG {away} :lost")
        began = time.monotonic()
        slowest = 0.0
        for number in range(40):
            started = time.monotonic()
            assert (await writer.say(channel, f"{number}")).command == "USERSTATE"
            await hears(reader, channel, f"{number}")
            slowest = max(slowest, time.monotonic() - started)
            await asyncio.sleep(0.1)
        newcomer = await two.enter(two.main.edges[1], name(), channel)
        assert slowest < 1.0
        await writer.say(channel, "welcome")
        await hears(newcomer, channel, "welcome")
        told = await writer.expect(f"NOTICE {away} ")
        assert "could not be confirmed" in told.raw
        assert time.monotonic() - began < 12
    finally:
        two.event.signal(signal.SIGCONT, "clue", "exchange")
    async with asyncio.timeout(20):
        while (await writer.say(away, "back")).command != "USERSTATE":
            await asyncio.sleep(0.2)
    await reader.expect(f"PRIVMSG {away} :back")


async def test_an_exchange_that_is_killed_at_the_home_is_polled_for(two, name, channel):
    """Edges of both clusters read the log of the channel that lives there, until it is back."""
    writer = await two.enter(two.event.edges[0], name(), channel)
    reader = await two.enter(two.main.edges[0], name(), channel)
    await moved(two, channel)
    two.event.signal(signal.SIGKILL, "exchange")
    try:
        await asyncio.gather(writer.say(channel, "1"), writer.say(channel, "2"))
        await hears(reader, channel, "1", "2")
    finally:
        two.restart(two.event, "exchange")
    await eventually_linked(two.main.edges[0], 2)
    await writer.say(channel, "3")
    await hears(reader, channel, "3")


async def eventually_linked(edge, links, within_s=20.0):
    async with asyncio.timeout(within_s), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{edge.http}/statusz") as answer:
                facts = await answer.json()
            if sum(link["up"] for link in facts["links"]) == links and not facts["missing"]:
                return
            await asyncio.sleep(0.1)


# -- pages ----------------------------------------------------------------------------------------------------------


async def page(edge, method, path, body=None, token="anything", **query):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, edge.http + path, json=body, params=query, headers=headers) as answer,
    ):
        return answer.status, await answer.json() if answer.content_type == "application/json" else None


async def test_servers_of_a_channel(two, name, channel):
    """Those of its home, in the classic shape, the least loaded first."""
    await moved(two, channel)
    edge = two.main.edges[0]
    await eventually_home(edge, channel, "event")
    status, found = await page(edge, "GET", "/servers", channel=channel)
    assert (status, found["cluster"]) == (200, "event")
    there = {each.registration.irc_address: each.registration.http_address for each in two.event.edges}
    assert set(found["servers"]) == set(there)
    assert found["websockets_servers"] == [there[address] for address in found["servers"]]
    _, here = await page(two.event.edges[0], "GET", "/servers", channel=name())
    assert here["cluster"] == "main"
    assert (await page(edge, "GET", "/servers", channel="no such name!"))[0] == 400


async def test_a_room_is_made_once_and_joined(two, name):
    """However many ask at the same moment, on edges of both clusters: one makes it, the others join."""
    wanted, people = name(), [name() for _ in range(20)]
    edges = [*two.main.edges, *two.event.edges]
    answers = await asyncio.gather(
        *(
            page(edges[number % 4], "POST", "/rooms", {"name": wanted, "login": login})
            for number, login in enumerate(people)
        )
    )
    assert sorted(status for status, _ in answers) == [200] * 19 + [201]
    assert {found["channel"] for _, found in answers} == {f"#_{wanted}"}
    assert len({found["owner"] for _, found in answers}) == 1
    one = await two.enter(two.main.edges[0], people[0], f"#_{wanted}")
    other = await two.enter(two.event.edges[0], people[1], f"#_{wanted}")
    await one.say(f"#_{wanted}", "hello")
    await hears(other, f"#_{wanted}", "hello")


async def test_a_room_for_invited_ones(two, name):
    """Its maker lets others in; who was not invited is told so."""
    edge, owner, guest, stranger = two.main.edges[0], name(), name(), name()
    await two.enter(edge, guest)
    status, room = await page(edge, "POST", "/rooms", {"invite_only": True, "login": owner})
    assert status == 201
    channel = room["channel"]
    path = f"/rooms/{channel[2:]}"
    assert (await page(edge, "GET", path, login=guest))[0] == 404
    assert (await page(edge, "POST", f"{path}/members", {"members": [guest], "login": stranger}))[0] == 403
    assert (await page(edge, "POST", f"{path}/members", {"members": [guest], "login": owner}))[0] == 204
    assert (await page(edge, "GET", path, login=guest))[0] == 200
    inside = await two.enter(two.event.edges[0], guest, channel)
    maker = await two.enter(two.event.edges[1], owner, channel)
    await maker.say(channel, "welcome")
    await hears(inside, channel, "welcome")
    outside = await two.enter(edge, stranger)
    await outside.send(f"JOIN {channel}")
    assert (await outside.expect("NOTICE")).params[0] == channel


async def test_rooms_need_a_token(two, name):
    """And a name that can be one."""
    edge = two.main.edges[0]
    assert (await page(edge, "POST", "/rooms", {"login": name()}, token=""))[0] == 401
    assert (await page(edge, "POST", "/rooms", {}))[0] == 401
    assert (await page(edge, "POST", "/rooms", {"login": name(), "name": "no such name"}))[0] == 400


async def test_a_token_says_whose_room_it_is(two, name):
    """One that was made for a user, without more; it is nobody else's."""
    login, edge = name(), two.main.edges[0]
    user = await two.main.clue.operate("AddUser", clue_pb2.AddUserRequest(login=login))
    status, room = await page(edge, "POST", "/rooms", {}, token=user.token)
    assert (status, room["owner"], room["created"]) == (201, login, True)
    assert (await page(edge, "POST", "/rooms", {"login": name()}, token=user.token))[0] == 401
    status, found = await page(edge, "GET", f"/rooms/{room['channel'][2:]}", token=user.token)
    assert (status, found["channel"]) == (200, room["channel"])
    assert (await page(edge, "GET", "/rooms/no_such_room", token=user.token))[0] == 404


# -- emptying an edge -----------------------------------------------------------------------------------------------


async def agent(edge):
    host, _, port = edge.registration.agent_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def drain(two, edge, **more):
    request = clue_pb2.DrainRequest(edge=edge.instance, **more)
    return await two.event.clue.operate("Drain", request)


async def test_an_edge_is_emptied_and_takes_users_again(two, name, channel):
    """Everybody is asked to reconnect, who stays is closed with a reason; nobody is let in; until it is called back."""
    edge = two.event.edges[1]
    assert (await agent(edge)).startswith("up ready ")
    people = [await two.enter(edge, name(), channel) for _ in range(5)]
    assert (await drain(two, edge, within_s=4)).sessions >= 0
    asked = await asyncio.gather(*(client.expect("RECONNECT") for client in people))
    assert len(asked) == 5
    assert await agent(edge) == "drain\n"
    async with aiohttp.ClientSession() as http, http.get(f"{edge.http}/readyz") as ready:
        assert (ready.status, await ready.text()) == (503, "draining\n")
    await people[0].close()
    for client in people[1:]:
        assert any("The server is going away" in line for line in await client.end())
    _, found = await page(two.main.edges[0], "GET", "/servers", channel=channel)
    assert edge.registration.irc_address not in found["servers"]
    await drain(two, edge, back=True)
    await eventually_async(agent, edge, lambda answer: answer.startswith("up ready "))
    await two.enter(edge, name(), channel)


async def eventually_async(ask, edge, good, within_s=10.0):
    async with asyncio.timeout(within_s):
        while not good(await ask(edge)):
            await asyncio.sleep(0.1)


async def test_the_directory_is_told_how_loaded_an_edge_is(two, name, channel):
    """Weight, places, and the largest channels with what is said in them."""
    edge = two.main.edges[0]
    people = [await two.enter(edge, name(), channel) for _ in range(3)]
    for number in range(10):
        await people[0].say(channel, str(number))

    async def told():
        directory = await two.directory("main")
        (found,) = [s for s in directory.services if s.run == edge.registration.run]
        return found

    async def ready():
        found = await told()
        loads = {load.channel: load for load in found.largest}
        return channel in loads and loads[channel].members == 3

    async with asyncio.timeout(10):
        while not await ready():
            await asyncio.sleep(0.2)
    found = await told()
    assert found.cluster == "main"
    assert 1 <= found.weight <= 100
    assert found.max_sessions > 100
    assert found.agent_address


# -- killed ---------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize(("dead", "alive"), [("event", "main"), ("main", "event")])
async def test_a_cluster_that_is_killed_is_not_noticed_by_the_other(tmp_path, dead, alive):
    """kill -9 of all its processes: nobody on the other loses a line or waits, and people come in."""
    async with house(tmp_path, edges=1, inbox_home=alive) as two:
        cluster, channel = two.clusters[alive], "#lives"
        edge = cluster.edges[0]
        if alive == "event":
            await moved(two, channel)
        writer = await two.enter(edge, "writer", channel)
        reader = await two.enter(edge, "reader", channel)
        await writer.say(channel, "before")
        await hears(reader, channel, "before")
        two.clusters[dead].signal(signal.SIGKILL)
        slowest = 0.0
        for number in range(60):
            started = time.monotonic()
            assert (await writer.say(channel, str(number))).command == "USERSTATE"
            await hears(reader, channel, str(number))
            slowest = max(slowest, time.monotonic() - started)
            await asyncio.sleep(0.1)
        assert slowest < 1.5  # nobody waited for a try of 2 s that a dead process did not answer
        newcomer = await two.enter(edge, "newcomer", channel)
        await writer.say(channel, "welcome")
        await hears(newcomer, channel, "welcome")
        async with aiohttp.ClientSession() as http, http.get(f"{edge.http}/readyz") as ready:
            assert ready.status == 200
        log = (two.folder / f"{alive}-edge-1.log").read_text().splitlines()
        told = [line for line in log if "directory_unavailable" in line and f'"clue of {dead}@' in line]
        assert len(told) == 1  # once, not every two seconds

"""What clusters share: addresses, edges, homes and accounts in one Redis, and going on without it."""

import contextlib
import os
import signal
import time

import grpc
import pytest

from clue import accounts, keys, shared
from clue.config import ClueConfig
from clue.server import running
from common.errors import ConfigError
from common.pb import chat_pb2, clue_pb2
from tests.support.clue import Move, clues, clusters, directory_of, exchange
from tests.support.eventually import eventually
from tests.support.redis import redis_server

pytestmark = pytest.mark.timeout(60)

ALLOWED = clue_pb2.Verdict.ALLOWED
ADMITTED = clue_pb2.JoinResult.ADMITTED
ACCEPTED, REFUSED, UNAVAILABLE = (
    clue_pb2.LoginResult.ACCEPTED,
    clue_pb2.LoginResult.REFUSED,
    clue_pb2.LoginResult.UNAVAILABLE,
)


@pytest.fixture(scope="module")
def shards(four_servers):
    """Of a cluster alone."""
    return four_servers[:2]


async def log_in(clue, nick, token="x"):
    request = clue_pb2.AuthenticateRequest(logins=[clue_pb2.Login(nick=nick, token=token)])
    return (await clue.stub.Authenticate(request)).results[0]


def registration(instance="edge-1", cluster="main", run=7, **more):
    return clue_pb2.Registration(service="edge", instance=instance, cluster=cluster, run=run, **more)


# -- addresses, edges, homes ----------------------------------------------------------------------------------------


async def test_clusters_learn_of_each_other(main_and_event):
    """Of their clues' addresses and of their own edges, not of their guests."""
    main, event = main_and_event
    await main.clue.stub.Register(registration(irc_address="127.0.0.1:6667", sessions=3))
    await main.clue.stub.Register(registration(cluster="event", irc_address="127.0.0.1:6668"))

    def told(found):
        return any(len(one.edges) == 1 for one in found.clusters if one.name == "main")

    found = await directory_of(event.clue, told)
    ours = {one.name: one for one in found.clusters}
    assert ours.keys() == {"main", "event"}
    assert ours["main"].clue_address in [clue.address for clue in main.clues]
    assert (ours["main"].edges[0].irc_address, ours["main"].edges[0].sessions) == ("127.0.0.1:6667", 3)
    assert abs(ours["main"].last_seen_ms - time.time() * 1000) < 10_000
    assert (found.shared, found.default_home, found.inbox_home) == (True, "main", "event")


async def test_guests_are_listed_beside_own_edges(main_and_event):
    """So that exchanges dial them; also when they are called like an edge of this cluster."""
    main, _ = main_and_event
    await main.clue.stub.Register(registration(run=1))
    found = await main.clue.stub.Register(registration(cluster="event", run=2))
    edges = [(one.instance, one.cluster, one.run) for one in found.services if one.service == "edge"]
    assert edges == [("edge-1", "event", 2), ("edge-1", "main", 1)]
    await main.clue.stub.Leave(registration(cluster="event", run=2))
    found = await main.clue.stub.Register(registration(run=1))
    assert [one.cluster for one in found.services if one.service == "edge"] == ["main"]


async def test_homes_are_told_once(main_and_event):
    """Only to those who have another version of them."""
    main, event = main_and_event
    await Move("#chan", main.clue, event.clue, "main", "event").all()
    found = await directory_of(main.clues[1], lambda known: len(known.homes) == 1)
    again = await main.clues[1].stub.Register(registration(homes_version=found.homes_version))
    assert (again.homes_version, list(again.homes)) == (found.homes_version, [])
    await Move("#chan", event.clue, main.clue, "event", "main").all()
    found = await directory_of(main.clues[1], lambda known: known.homes_version > found.homes_version)
    assert list(found.homes) == []


async def test_a_cluster_alone_knows_of_no_others(pair):
    """Without a directory."""
    found = await pair[0].stub.Register(registration())
    assert (list(found.clusters), found.homes_version, found.shared, found.default_home) == ([], 0, False, "")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await Move("#chan", pair[0], pair[1], "main", "event").begin()
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "TALLGRASS_DIRECTORY is not set" in caught.value.details()


async def test_an_order_is_for_one_run_of_one_edge(pair):
    """It is told with each registration of that run, the newest order; another run gets none."""
    first, second = pair
    await first.stub.Register(registration(sessions=5))
    await first.stub.Register(registration("edge-2"))
    reply = await first.operate("Drain", clue_pb2.DrainRequest(edge="edge-1", within_s=30))
    assert reply.sessions == 5
    order = (await second.stub.Register(registration())).order
    assert (order.drain, order.within_s) == (True, 30)
    assert (await second.stub.Register(registration("edge-2"))).order.number == 0
    await second.operate("Drain", clue_pb2.DrainRequest(edge="edge-1", back=True))
    later = (await first.stub.Register(registration())).order
    assert (later.drain, later.number > order.number) == (False, True)
    assert (await first.stub.Register(registration(run=8))).order.number == 0
    assert (await first.stub.Register(registration(run=7))).order.number == 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await first.operate("Drain", clue_pb2.DrainRequest(edge="edge-9"))
    assert "there are edge-1, edge-2" in caught.value.details()


# -- accounts -------------------------------------------------------------------------------------------------------


async def test_an_account_is_the_same_everywhere(main_and_event):
    """Its id and looks; a change made in one cluster is seen in the other, and no id is given twice."""
    main, event = main_and_event
    made = (await log_in(main.clue, "Bob")).user
    there = (await log_in(event.clue, "bob")).user
    assert there == made
    others = [(await log_in(cluster.clue, f"user{i}")).user.user_id for i, cluster in enumerate([main, event] * 3)]
    assert len({made.user_id, *others}) == 7
    staff = clue_pb2.AddUserRequest(login="bob", display_name="BoB", user_type="staff")
    await event.clue.operate("AddUser", staff)
    [verdict] = await event.clue.say("#x", (made.user_id, "bob"), "hm")
    assert verdict.elsewhere.cluster == "main"


async def test_a_guest_speaks_with_its_own_looks(main_and_event):
    """A user of event who was never on main speaks in a channel of main."""
    main, event = main_and_event
    ann = (await log_in(event.clue, "Ann")).user
    joined = await main.clue.join("#chan", ann.user_id, "ann")
    assert (joined.outcome, joined.chatter.display_name) == (ADMITTED, "Ann")
    cat = (await log_in(event.clue, "Cat")).user
    [verdict] = await main.clues[1].say("#chan", (cat.user_id, "cat"), "hello")
    assert (verdict.outcome, verdict.chatter.display_name) == (ALLOWED, "Cat")


async def test_a_changed_account_reaches_the_copies(main_and_event, monkeypatch):
    """Behind what its user does, when the copy was not compared for some time."""
    monkeypatch.setattr(accounts, "COMPARED_S", 0.0)
    main, event = main_and_event
    bob = (await log_in(main.clue, "bob")).user
    await log_in(event.clue, "bob")
    [changed] = await main.clue.say("#chan", (bob.user_id, "bob"), "/color red")
    assert changed.notices[0].msg_id == "color_changed"

    async def color():
        return (await log_in(event.clue, "bob")).user.color

    deadline = time.monotonic() + 10
    while await color() != "#FF0000":
        assert time.monotonic() < deadline


async def test_tokens_are_known_in_all_clusters(four_servers, directory_server, main_and_event):
    """In token mode: one added in main proves its user in event, at once, even where a copy without it is."""
    redis = {cluster.name: cluster.redis for cluster in main_and_event}
    async with clusters(directory_server.address, redis, auth="token") as (main, event):
        assert (await log_in(event.clue, "bob", "first")).outcome == REFUSED
        await main.clue.operate("AddUser", clue_pb2.AddUserRequest(login="bob", token="first"))
        assert (await log_in(event.clue, "bob", "first")).outcome == ACCEPTED
        await main.clue.operate("AddUser", clue_pb2.AddUserRequest(login="bob", token="second"))
        assert (await log_in(event.clue, "bob", "second")).outcome == ACCEPTED
        assert (await log_in(event.clue, "bob", "third")).outcome == REFUSED


async def test_an_account_made_before_there_was_a_directory(four_servers, directory_server, main_and_event):
    """It keeps its id, and the directory learns of it."""
    main, event = main_and_event
    async with exchange() as (_, address), clues(1, main.redis, address) as [alone]:
        before = (await log_in(alone, "old")).user
    assert (await log_in(main.clue, "old")).user == before
    with directory_server.client() as redis:
        await eventually(lambda: redis.hget(keys.user("old"), "id") == b"%d" % before.user_id)
    assert (await log_in(event.clue, "old")).user == before


# -- without the directory ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stopped(server):
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextlib.contextmanager
def killed(server):
    server.stop()
    yield
    server.start()


@pytest.mark.parametrize("gone", [killed, stopped])
async def test_without_the_directory(four_servers, gone, monkeypatch):
    """Chat, joins, known accounts and guests go on; moves and new accounts wait, and say so; then all is well again."""
    monkeypatch.setattr(shared, "REFRESH_S", 0.1)
    monkeypatch.setattr(shared, "LATELY_S", 1.0)
    for server in four_servers:
        with server.client() as client:
            client.flushall()
    addresses = [server.address for server in four_servers]
    redis = {"main": addresses[:2], "event": addresses[2:]}
    with redis_server() as directory:
        async with clusters(directory.address, redis, limits=False) as (main, event):
            bob, ann = [(await log_in(cluster.clue, nick)).user for cluster, nick in ((main, "Bob"), (event, "Ann"))]
            await main.clue.say("#chan", (bob.user_id, "bob"), "before")
            await Move("#moved", main.clue, event.clue, "main", "event").all()
            await directory_of(main.clue, lambda found: len(found.homes) == 1)
            with gone(directory):
                await directory_of(main.clue, lambda found: not found.shared)
                found = await main.clue.stub.Register(registration())
                assert ({one.name for one in found.clusters}, len(found.homes)) == ({"main", "event"}, 1)
                started = time.monotonic()
                assert (await log_in(main.clue, "bob")).user == bob
                [verdict] = await main.clue.say("#chan", (bob.user_id, "bob"), "during")
                assert verdict.outcome == ALLOWED
                assert (await main.clue.join("#chan", bob.user_id, "bob")).outcome == ADMITTED
                assert (await event.clue.join("#moved")).outcome == ADMITTED
                assert time.monotonic() - started < 3.0  # a time-out for each of them would take longer
                guest = await main.clue.join("#chan", ann.user_id, "ann")
                assert (guest.outcome, guest.chatter.display_name) == (ADMITTED, "ann")
                [verdict] = await main.clue.say("#chan", (ann.user_id, "ann"), "as a guest")
                assert verdict.outcome == ALLOWED
                [colored] = await main.clue.say("#chan", (bob.user_id, "bob"), "/color red")
                assert colored.notices[0].msg_id == "color_changed"
                assert (await log_in(main.clue, "newcomer")).outcome == UNAVAILABLE
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await Move("#chan", main.clue, event.clue, "main", "event").begin()
                assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
                assert "the shared directory does not answer" in caught.value.details()
            await directory_of(main.clue, lambda found: found.shared)
            await directory_of(event.clue, lambda found: found.shared)
            assert (await log_in(main.clue, "newcomer")).outcome == ACCEPTED
            with directory.client() as client:
                await eventually(lambda: client.hget(keys.user("bob"), "color") == b"#FF0000")
            move = Move("#chan", main.clue, event.clue, "main", "event")
            await move.all()
            assert (await event.clue.join("#chan")).outcome == ADMITTED


async def test_a_clue_starts_without_the_directory(four_servers, monkeypatch):
    """From the copy in its own shard: clusters and homes are as the directory said last."""
    monkeypatch.setattr(shared, "REFRESH_S", 0.1)
    for server in four_servers:
        with server.client() as client:
            client.flushall()
    addresses = [server.address for server in four_servers]
    redis = {"main": addresses[:2], "event": addresses[2:]}
    with redis_server() as directory:
        async with clusters(directory.address, redis) as (main, event):
            await Move("#moved", main.clue, event.clue, "main", "event").all()
            for cluster in (main, event):
                await directory_of(cluster.clue, lambda found: len(found.homes) == 1)
        directory.stop()
        settings = {"directory": directory.address, "default_home": "main", "cluster": "main"}
        async with exchange() as (_, address), clues(1, redis["main"], address, **settings) as [clue]:
            found = await clue.stub.Register(registration())
            assert (found.shared, {one.name for one in found.clusters}) == (False, {"main", "event"})
            assert [(home.channel, home.cluster) for home in found.homes] == [("#moved", "event")]
            assert (await clue.join("#moved")).elsewhere.cluster == "event"


# -- the identity of servers ----------------------------------------------------------------------------------------


async def refusal(**settings):
    """Why a clue does not start."""
    with pytest.raises(ConfigError) as caught:
        async with running(ClueConfig(grpc_port=0, **settings)):
            pass
    return str(caught.value)


async def test_no_cluster_uses_the_servers_of_another(main_and_event, directory_server):
    """Nor the directory as a shard, nor a shard as the directory; the error names the setting."""
    main, event = main_and_event
    text = await refusal(cluster="test", redis_shards=(main.redis[0],))
    assert "belongs to cluster 'main'" in text
    assert "TALLGRASS_REDIS_SHARDS" in text
    text = await refusal(cluster="test", redis_shards=(directory_server.address,))
    assert "is the directory that clusters share" in text
    text = await refusal(cluster="main", redis_shards=tuple(main.redis), directory=event.redis[0])
    assert "TALLGRASS_DIRECTORY" in text
    assert "belongs to cluster 'event'" in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cluster": "test", "directory": "127.0.0.1:1"}, "shares nothing"),
        ({"cluster": "directory"}, "the shared directory's name"),
        ({"default_home": "event"}, "TALLGRASS_DEFAULT_HOME"),
        ({"inbox_home": "group"}, "TALLGRASS_INBOX_HOME"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    """The test cluster with a directory; homes elsewhere without one."""
    with pytest.raises(ConfigError, match=words):
        ClueConfig(**settings)


# -- other clusters' logs -------------------------------------------------------------------------------------------


def inbox(taking, name):
    """What the exchange was given for that inbox."""
    return [chat_pb2.Publication.FromString(entry.publication) for log, entry in taking.taken if log == name]


async def test_a_whisper_goes_to_the_inboxes_cluster(main_and_event):
    """Once, also when its batch is repeated."""
    main, event = main_and_event
    bob, _ = await main.clue.login("bob", "ann")
    request = main.clue.batch({"#chan": [(bob, "bob", "/w ann psst")]})
    [sent] = await main.clue.submit(request)
    assert sent.outcome == clue_pb2.Verdict.COMMAND
    request.attempt = 2
    await main.clue.submit(request)
    await eventually(lambda: inbox(event.taking, "@ann"))
    found = inbox(event.taking, "@ann")
    assert {(one.id, one.whisper.text) for one in found} == {(request.channels[0].submissions[0].id, "psst")}
    entries, _ = await event.clue.replay("@ann")
    assert len(entries) == 1
    assert inbox(main.taking, "@ann") == []


async def test_a_whisper_that_cannot_be_carried_is_told(four_servers, directory_server, main_and_event):
    """At once, and what else was said in the batch is decided."""
    redis = {cluster.name: cluster.redis for cluster in main_and_event}
    async with clusters(directory_server.address, {"main": redis["main"]}, inbox_home="group") as [main]:
        bob, _ = await main.clue.login("bob", "ann")
        started = time.monotonic()
        said = [(bob, "bob", text) for text in ("/w ann psst", "hello")]
        whispered, spoken = await main.clue.submit(main.clue.batch({"#chan": said}))
        assert whispered.notices[0].msg_id == "command_unavailable"
        assert spoken.outcome == ALLOWED
        assert time.monotonic() - started < 2.0


async def test_moderators_of_another_cluster_do_not_hold_a_message(four_servers, directory_server, main_and_event):
    """What waits for them is answered without them, and the notice given up is counted."""
    redis = {cluster.name: cluster.redis for cluster in main_and_event}
    async with clusters(directory_server.address, {"main": redis["main"]}, inbox_home="group") as [main]:
        [bob] = await main.clue.login("bob")
        held = clue_pb2.Term(term="maybe", action="hold")
        await main.clue.operate("SetWords", clue_pb2.SetWordsRequest(channel="#chan", terms=[held]))
        [verdict] = await main.clue.say("#chan", (bob, "bob"), "maybe")
        assert verdict.denial == "msg_rejected"
        await eventually(lambda: main.clue.metrics.counters["posts.given_up"] == 1)


async def test_a_raid_on_a_channel_of_another_cluster(main_and_event):
    """It arrives there, unless the raider is banned there."""
    main, event = main_and_event
    bob, _ = await main.clue.login("bob", "ann")
    await Move("#ann", main.clue, event.clue, "main", "event").all()
    await event.clue.operate("SetModes", clue_pb2.SetModesRequest(channel="#ann", subs_only=True))
    [raided] = await main.clue.say("#bob", (bob, "bob"), "/raid ann")
    assert raided.notices[0].msg_id == "raid_notice_restricted_chat"
    entries, _ = await event.clue.replay("#ann")
    last = chat_pb2.Publication.FromString(entries[-1].publication)
    assert (last.user_notice.msg_id, last.room_id) == ("raid", (await event.clue.join("#ann")).room.room_id)
    await main.clue.say("#bob", (bob, "bob"), "/unraid")
    await event.clue.operate("SetBan", clue_pb2.SetBanRequest(channel="#ann", login="bob", banned=True))
    [refused] = await main.clue.say("#bob", (bob, "bob"), "/raid ann")
    assert refused.notices[0].msg_id == "raid_error_forbidden"


async def test_posts_find_a_log_that_moved(main_and_event):
    """A raid on a channel that this clue still takes for its own, and one that has not settled yet."""
    main, event = main_and_event
    await Move("#chan", main.clue, event.clue, "main", "event").until("switch")
    publication = chat_pb2.Publication(id="1", cleared=chat_pb2.Cleared()).SerializeToString()
    post = clue_pb2.PostRequest(log="#chan", source="x", batch=1, publications=[publication])
    reply = await main.clue.stub.Post(post)
    assert reply.elsewhere.cluster == "event"
    assert (await event.clue.stub.Post(post)).elsewhere.cluster == "main"

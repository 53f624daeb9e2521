"""The scripts on real Redis, the newer and the oldest that must do."""

import time

import pytest

from clue import keys, scripts
from clue.facts import Profile
from tests.support.redis import BINARIES, redis_cluster, redis_server

CHANNEL = "#chan"
KEYS = keys.of_channel(CHANNEL)
NOW = 1_800_000_000_000


@pytest.fixture(scope="module", params=BINARIES, ids=["newer", "oldest"][: len(BINARIES)])
def server(request):
    with redis_server(binary=request.param) as running:
        yield running


@pytest.fixture
def redis(server):
    with server.client() as client:
        client.flushall()
        for source in scripts.SOURCES.values():
            client.script_load(source)
        yield client


def run(redis, command):
    return redis.execute_command(*command)


def plain(text="x"):
    return ("+", text.encode())


def guarded(text="x", *, user=7, floor=1000, unique="", suffix=b""):
    return ("*", b"publication of " + text.encode(), user, floor, text.encode(), unique, suffix)


def action(*operations, result="=x"):
    arguments = [argument for operation in operations for argument in operation]
    return ("!", result, len(arguments), *arguments)


def write(name, field, value, *, state=True):
    return ("s" if state else "w", scripts.COMMIT_KEYS[name], field, value)


def version(redis):
    return (redis.hget(KEYS.head, "version") or b"0").decode()


BAN = action(write("bans", "7", "0 bob"), ("p", b"ban"))


def group(batch, *items, edge=1, version="0"):
    return [edge, batch, version, len(items), *(argument for item in items for argument in item)]


def commit(redis, *groups, now=NOW):
    """Returns prev of the first entry, and for each group its kind and results."""
    prev, *results = run(redis, scripts.commit(CHANNEL, now, groups))
    return int(prev), [result.decode().split(" ") for result in results]


def log(redis):
    return [(int(i.partition(b"-")[0]), int(f[b"p"]), f[b"d"]) for i, f in redis.xrange(KEYS.log)]


def test_log_begins_at_the_time(redis):
    """A log begins above all numbers that it may have had, in microseconds; prev 0: none."""
    before = time.time_ns() // 1_000_000 * 1000
    prev, [[kind, seq]] = commit(redis, group(1, plain("a")))
    assert (kind, prev) == ("N", 0)
    assert before <= int(seq) <= before + 60_000_000 < 2**53
    assert log(redis) == [(int(seq), 0, b"a")]


def test_numbers_count_up(redis):
    """Numbers count by one over groups and calls, and each entry names the one before it."""
    _, [[_, a, b], [_, c]] = commit(redis, group(1, plain("a"), plain("b")), group(1, plain("c"), edge=2))
    prev, [[_, d]] = commit(redis, group(2, plain("d")))
    first = int(a)
    assert [int(n) for n in (a, b, c, d)] == [first, first + 1, first + 2, first + 3]
    assert prev == first + 2
    assert [(seq, before) for seq, before, _ in log(redis)] == [
        (first, 0), (first + 1, first), (first + 2, first + 1), (first + 3, first + 2),
    ]  # fmt: skip


def test_denied_items_keep_their_place(redis):
    """A denial decided before is among the results and takes no number."""
    _, [[_, *results]] = commit(redis, group(1, ("-", "msg_banned:0:"), plain(), ("-", "msg_timedout:5:")))
    assert [results[0], results[2]] == ["-msg_banned:0:", "-msg_timedout:5:"]
    assert len(log(redis)) == 1


def test_repeat(redis):
    """The same batch again has the results it had, whatever was decided meanwhile, and is in the log once."""
    _, [[kind, *results]] = commit(redis, group(5, guarded("a"), ("-", "msg_banned:0:")))
    _, [[again, *repeated]] = commit(redis, group(5, ("-", "msg_duplicate:0:"), plain("z"), version="old"))
    assert (kind, again) == ("N", "R")
    assert repeated == results
    assert len(log(redis)) == 1


def test_superseded(redis):
    """A batch older than one already committed does nothing."""
    commit(redis, group(5, plain()))
    assert commit(redis, group(4, plain()))[1] == [["S"]]
    assert commit(redis, group(10, plain()))[1][0][0] == "N"
    assert commit(redis, group(9, plain()))[1] == [["S"]]
    assert len(log(redis)) == 2


def test_an_empty_commit_fences(redis):
    """A commit without anything to append still supersedes what is older."""
    assert commit(redis, group(3, ("-", "msg_banned:0:")))[1] == [["N", "-msg_banned:0:"]]
    assert commit(redis, group(2, plain()))[1] == [["S"]]
    assert log(redis) == []


def test_edges_do_not_share_batches(redis):
    """Batch numbers are each edge run's own."""
    commit(redis, group(5, plain(), edge=1))
    assert commit(redis, group(1, plain(), edge=2))[1][0][0] == "N"


def test_stale(redis):
    """A group decided on another version does nothing; others of the call are committed."""
    _, [old, current, denied] = commit(
        redis,
        group(1, plain(), guarded(), ("-", "x:0:"), version="7"),
        group(1, plain(), edge=2),
        group(1, ("-", "x:0:"), edge=3, version="7"),
    )
    assert (old, current[0], denied) == (["V"], "N", ["V"])
    assert len(log(redis)) == 1
    assert commit(redis, group(1, plain()))[1][0][0] == "N"


@pytest.mark.parametrize(("after_ms", "result"), [(29_999, "-msg_duplicate"), (30_000, None)])
def test_duplicate(redis, after_ms, result):
    """The same text is refused for less than 30 s after it was last delivered."""
    commit(redis, group(1, guarded("a")))
    _, [[_, second]] = commit(redis, group(2, guarded("a")), now=NOW + after_ms)
    assert second == result or (result is None and second.isdecimal())


def test_duplicate_of_the_last_delivered(redis):
    """Another text between frees the first one; a refused one does not."""
    results = [
        commit(redis, group(i, guarded(text)), now=NOW + i * 2000)[1][0][1]
        for i, text in enumerate(["a", "b", "a", "a", "c"])
    ]
    assert [result.isdecimal() for result in results] == [True, True, True, False, True]


def test_duplicate_in_one_batch(redis):
    """The rule holds within a batch and between users."""
    _, [[_, *results]] = commit(redis, group(1, guarded("a", floor=0), guarded("a", floor=0), guarded("a", user=8)))
    assert [results[0].isdecimal(), results[1], results[2].isdecimal()] == [True, "-msg_duplicate", True]


@pytest.mark.parametrize(
    ("floor", "after_ms", "result"),
    [
        (1000, 999, "-msg_ratelimit"),
        (1000, 1000, None),
        (10_000, 1, "-msg_slowmode:10"),
        (10_000, 9_001, "-msg_slowmode:1"),
        (10_000, 10_000, None),
        (0, 0, None),
    ],
)
def test_floor(redis, floor, after_ms, result):
    """Below the floor it is the rate limit, in slow mode the seconds left are told."""
    commit(redis, group(1, guarded("a", floor=floor)))
    _, [[_, second]] = commit(redis, group(2, guarded("b", floor=floor)), now=NOW + after_ms)
    assert second == result or (result is None and second.isdecimal())


def test_restart_skips_numbers(server, redis):
    """After a restart numbers go on at the time, and prev names the log's true last entry."""
    _, [[_, a]] = commit(redis, group(1, plain("a")))
    redis.hset(KEYS.head, "run", "another")
    while redis.time()[0] * 10**6 + redis.time()[1] < int(a) + 2000:
        pass
    prev, [[_, b]] = commit(redis, group(2, plain("b")))
    assert prev == int(a)
    assert int(b) > int(a) + 1
    _, [[_, c]] = commit(redis, group(3, plain("c")))
    assert int(c) == int(b) + 1


def test_lost_head(redis):
    """Without a head the log itself says where it goes on."""
    _, [[_, a]] = commit(redis, group(1, plain("a")))
    ahead = int(a) + 10**12  # as when the clock went back
    redis.xadd(KEYS.log, {"p": a, "d": "b"}, id=f"{ahead}-0")
    redis.delete(KEYS.head)
    prev, [[_, c]] = commit(redis, group(2, plain("c")))
    assert (prev, int(c)) == (ahead, ahead + 1)


def test_log_is_bounded(redis):
    """The log keeps about its bound of entries, and all keys of an idle channel go away; bans and roles do not."""
    for batch in range(1, 16):
        commit(redis, group(batch, *[plain("x" * 50)] * 100))
    assert scripts.LOG_ENTRIES <= redis.xlen(KEYS.log) <= scripts.LOG_ENTRIES + 200
    for key in (KEYS.log, KEYS.head, KEYS.batches):
        assert 0 < redis.ttl(key) <= scripts.LOG_TTL_S


def test_a_version_is_not_forgotten(redis):
    """The head of a channel whose state was changed stays: its version must never be "0" again."""
    commit(redis, group(1, plain()))
    commit(redis, group(2, BAN))
    commit(redis, group(3, plain(), version=version(redis)))
    assert redis.ttl(KEYS.head) == -1


def test_last_is_trimmed(redis):
    """Users who have not spoken for two minutes are forgotten."""
    for batch in range(3):
        users = range(batch * 500, batch * 500 + 500)
        commit(redis, group(batch + 1, *[guarded("a", user=user) for user in users]), now=NOW + batch * 100_000)
    assert redis.hlen(KEYS.last) == 1000
    assert redis.hexists(KEYS.last, "1499")
    assert not redis.hexists(KEYS.last, "0")


def test_gone_edges_are_forgotten(redis):
    """A new edge's first batch clears away those of edges that are gone."""
    commit(redis, group(1, plain(), edge=1))
    commit(redis, group(1, plain(), edge=2), now=NOW + 500_000)
    commit(redis, group(1, plain(), edge=3), now=NOW + 700_000)
    assert sorted(redis.hkeys(KEYS.batches)) == [b"2", b"3"]


def test_action(redis):
    """State, version, entry and what is kept of it change together; an empty value deletes."""
    _, [[kind, result]] = commit(redis, group(1, BAN))
    [(seq, before, publication)] = log(redis)
    assert (kind, result) == ("N", f"=x@{seq}-{seq}")
    assert (before, publication, redis.hget(KEYS.bans, "7")) == (0, b"ban", b"0 bob")
    decided_on = version(redis)
    assert decided_on != "0"
    undone = action(write("bans", "7", ""), ("p", b"unban"), ("p", b"more"), result="=y")
    prev, [[_, result, message]] = commit(redis, group(2, undone, plain("a"), version=decided_on))
    assert (prev, result, int(message)) == (seq, f"=y@{seq + 1}-{seq + 2}", seq + 3)
    assert not redis.exists(KEYS.bans)
    assert int(version(redis)) > int(decided_on)


def test_repeated_action(redis):
    """The same batch again does nothing and is answered the same."""
    _, first = commit(redis, group(1, BAN, action(result="=nothing")))
    decided_on = version(redis)
    _, again = commit(redis, group(1, BAN, action(result="=nothing")))
    assert (first[0][1:], again[0][0], first[0][2]) == (again[0][1:], "R", "=nothing")
    assert (len(log(redis)), version(redis)) == (1, decided_on)


def test_action_on_a_stale_version(redis):
    """An action decided on another version does nothing, nor does what follows one in the same call."""
    assert commit(redis, group(1, BAN, version="5"))[1] == [["V"]]
    assert not redis.exists(KEYS.bans, KEYS.head, KEYS.log)
    _, results = commit(redis, group(1, BAN), group(1, plain(), edge=2), group(1, plain(), edge=3, version=""))
    assert [result[0] for result in results] == ["N", "V", "N"]
    assert [publication for _, _, publication in log(redis)] == [b"ban", b"x"]


def test_write_without_state(redis):
    """What is no state leaves the version as it is."""
    _, results = commit(
        redis, group(1, action(write("held", "id", f"{NOW} x", state=False))), group(1, plain(), edge=2)
    )
    assert [result[0] for result in results] == ["N", "N"]
    assert (version(redis), redis.hget(KEYS.held, "id")) == ("0", f"{NOW} x".encode())
    assert redis.ttl(KEYS.held) > 0


def test_held_is_trimmed(redis):
    """Expired ones go when there are many."""
    for batch, (count, expires) in enumerate([(150, NOW - 1), (51, NOW + 1)]):
        items = [action(write("held", f"{batch}-{i}", f"{expires} x", state=False)) for i in range(count)]
        commit(redis, group(batch + 1, *items))
    assert redis.hlen(KEYS.held) == 51


def test_not_a_batch(redis):
    """Without an edge run nothing is remembered, and nothing repeated."""
    assert [commit(redis, group(0, plain(), edge=""))[1][0][0] for _ in range(2)] == ["N", "N"]
    assert (len(log(redis)), redis.exists(KEYS.batches)) == (2, 0)


def test_unique(redis):
    """A text is refused while it is among the user's last 50; other users may say it."""

    def say(batch, *texts, user=7):
        items = [guarded(f"{text:08}", floor="", unique="1", user=user) for text in texts]
        return [code.isdecimal() or code for code in commit(redis, group(batch, *items))[1][0][1:]]

    assert say(1, 1, 2, 1) == [True, True, "-msg_r9k"]
    assert say(2, 1, user=8) == [True]
    assert say(3, *range(3, 51)) == [True] * 48
    assert say(4, 1, 51, 1) == ["-msg_r9k", True, True]
    assert redis.ttl(KEYS.unique) > 0


def test_first_message(redis):
    """The suffix is appended to the first message of each user only, and its day is kept."""
    suffix = b"20000 \x00suffix"
    items = [guarded(text, floor="", user=user, suffix=suffix) for text, user in (("a", 7), ("b", 7), ("c", 8))]
    _, [[_, *results]] = commit(redis, group(1, *items))
    assert [result[-1] == "f" for result in results] == [True, False, True]
    assert [p.removeprefix(b"publication of ") for _, _, p in log(redis)] == [b"a\x00suffix", b"b", b"c\x00suffix"]
    assert redis.hgetall(KEYS.first) == {b"7": b"20000", b"8": b"20000"}


def test_facts(redis):
    """Facts come in one piece, with "" for what is not there; a room that the caller has is left out."""
    assert run(redis, scripts.facts(CHANNEL, (7,))) == [b"0", b"0", [], [b"", b"", b""]]
    redis.hset(KEYS.room, "room_id", 3)
    redis.hset(KEYS.roles, "8", "mod,sub al")
    redis.hset(KEYS.first, "8", "20000")
    _, [[_, result]] = commit(redis, group(1, BAN))
    found, head, room, users = run(redis, scripts.facts(CHANNEL, (7, 8)))
    assert (found.decode(), f"=x@{int(head)}-{int(head)}") == (version(redis), result)
    assert (room, users) == ([b"room_id", b"3"], [b"0 bob", b"", b"", b"", b"mod,sub al", b"20000"])
    assert run(redis, scripts.facts(CHANNEL, (), found.decode()))[2] == []


def test_find(redis):
    """A message is found by its id, with what names it after it; a part of an id finds nothing."""
    ids = [f"00000000-0000-4000-8000-{i:012}" for i in range(300)]
    publications = [b"\x0a\x24" + one.encode() + b"text" for one in ids]
    commit(redis, group(1, *[("+", publication) for publication in publications]))
    commit(redis, group(2, plain(f"deleted {ids[3]}")))
    assert run(redis, scripts.find(CHANNEL, ids[3])) == [f"deleted {ids[3]}".encode(), publications[3]]
    assert run(redis, scripts.find(CHANNEL, ids[299])) == [publications[299]]
    assert run(redis, scripts.find(CHANNEL, ids[0][:-1] + "x")) == []


def allow(redis, letters, *, version="", ordinary=3, privileged=5, window_ms=60_000, lockout_ms=0):
    return run(redis, scripts.allow("bob", version, letters, ordinary, privileged, window_ms, lockout_ms))


def test_allow_bounds(redis):
    """Each message counts; an ordinary one is refused at the lower bound, a privileged one at the higher."""
    assert allow(redis, "oooo")[0] == b"1110"
    assert allow(redis, "opppo")[0] == b"01100"
    assert allow(redis, "n")[0] == b"1"


def test_allow_privileged_fill_the_lower_bound(redis):
    """The docs' choice: what was sent with privilege counts where there is none."""
    assert allow(redis, "pppo")[0] == b"1110"


def test_allow_window(redis):
    """The bounds are whole again when the window that the first message began is over."""
    assert allow(redis, "oooo", window_ms=150)[0] == b"1110"
    deadline = time.monotonic() + 5
    while allow(redis, "o", window_ms=150)[0] != b"1":
        assert time.monotonic() < deadline


def test_allow_without_limits(redis):
    """A bound of 0 neither refuses nor counts."""
    assert allow(redis, "o" * 50, ordinary=0, privileged=0)[0] == b"1" * 50
    assert not redis.exists(keys.limits("bob"))


def test_allow_lockout(redis):
    """Who goes over the lower bound is refused where there is no privilege, until the lock-out is over."""
    assert allow(redis, "oooo", window_ms=100, lockout_ms=400)[0] == b"1110"
    deadline = time.monotonic() + 5
    while redis.exists(keys.limits("bob")):
        assert time.monotonic() < deadline
    assert allow(redis, "op", window_ms=100, lockout_ms=400)[0] == b"01"
    while allow(redis, "o", window_ms=100, lockout_ms=400)[0] != b"1":
        assert time.monotonic() < deadline


def test_allow_tells_of_profiles(redis):
    """The profile comes along only when the caller's is another version."""
    assert allow(redis, "o")[1:] == [b""] * 6
    made = run(redis, scripts.ensure_user("bob", 7, "Bob", NOW))
    assert allow(redis, "n")[1:] == [field or b"" for field in made]
    assert allow(redis, "n", version=made[4].decode()) == [b"1"]


def test_ensure_user(redis):
    """An account is made once; renaming raises its version, a token does not."""
    made = run(redis, scripts.ensure_user("bob", 7, "Bob", NOW))
    assert made[:4] == [b"7", b"bob", b"Bob", b""]
    assert run(redis, scripts.ensure_user("bob", 8, "BOB", NOW)) == made
    assert run(redis, scripts.ensure_user("bob", 8, "BOB", NOW, token_field="token:x")) == made
    assert redis.hexists(keys.user("bob"), "token:x")
    renamed = run(redis, scripts.ensure_user("bob", "", "", NOW, changes={"display_name": "BoB", "type": "staff"}))
    assert (renamed[:3], renamed[5]) == ([b"7", b"bob", b"BoB"], b"staff")
    assert run(redis, scripts.ensure_user("nobody", "", "", NOW, changes={"color": "x"})) == [b""] * 6
    assert int(renamed[4]) > int(made[4])


def test_user_ids(redis):
    """Blocks follow each other; after a restart they go on far above."""
    first = int(run(redis, scripts.take_user_ids(1000)))
    assert int(run(redis, scripts.take_user_ids(1000))) == first + 1000
    time.sleep(1.1)  # the rule counts in seconds
    redis.hset(keys.USER_IDS, "run", "another")
    later = int(run(redis, scripts.take_user_ids(1000)))
    assert later >= first + 2000
    redis.delete(keys.USER_IDS)
    assert int(run(redis, scripts.take_user_ids(1000))) >= first + 1000


def test_directory(redis):
    """Services register with any bytes, leave only as the run that registered last, and are forgotten in silence."""
    stored = bytes(range(256))
    order, _, found = run(redis, scripts.directory(6000, "register", "edge/e1", 5, stored))
    assert order == b""
    assert found == stored
    assert len(run(redis, scripts.directory(6000, "leave", "edge/e1", 4))) == 3
    assert run(redis, scripts.directory(6000, "leave", "edge/e1", 5)) == [b""]
    run(redis, scripts.directory(6000, "register", "edge/e1", 5, stored))
    deadline = time.monotonic() + 5
    while run(redis, scripts.directory(50, "read")) != [b""]:
        assert time.monotonic() < deadline
    assert not redis.exists(keys.DIRECTORY)


def test_replay(redis):
    """Entries come oldest first, after the one excluded, bounded."""
    _, [[_, a, b, c]] = commit(redis, group(1, plain("a"), plain("b"), plain("c")))
    found = run(redis, scripts.replay(CHANNEL, f"({a}", "+", 1))
    assert found == [f"{b}-0".encode(), [b"p", a.encode(), b"d", b"b"]]
    assert run(redis, scripts.replay(CHANNEL, c, c, 10))[0] == f"{c}-0".encode()


HERE = scripts.Here("main", "")
AWAY = scripts.Here("event", "main")  # the same channel, as the other cluster is told of it
MOVE, LATER = "1800000000000-a", "1800000000000-b"


def step(redis, name, move=MOVE, *, here=HERE, to="event", freeze_ms=60_000):
    """Where it lives, or why not ("": it was done)."""
    reply = run(redis, scripts.move(CHANNEL, name, move, here, to, freeze_ms))
    return reply if isinstance(reply, bytes) else reply[0].decode()


def take(redis, number, move=MOVE):
    """Names of what has changed, and the range of the log."""
    why, after, upto, _ = run(redis, scripts.take(CHANNEL, move, number, HERE))
    assert why == b""
    return redis.smembers(KEYS.taken), (int(after), int(upto))


def head(redis):
    return {field.decode(): value.decode() for field, value in redis.hgetall(KEYS.head).items()}


@pytest.mark.parametrize("stored", [None, "event", "event " + MOVE])
def test_nothing_is_done_elsewhere(redis, stored):
    """Whether the head says so or, where nothing is stored, the caller: commit, facts, replay, presence tell where."""
    here = scripts.Here("main", "event " + MOVE)
    if stored:
        redis.hset(KEYS.head, "home", stored)
        here = HERE
    for command in (
        scripts.commit(CHANNEL, NOW, [group(1, plain())], here),
        scripts.facts(CHANNEL, (7,), "", here),
        scripts.replay(CHANNEL, "-", "+", 5, here),
        scripts.presence(CHANNEL, 1, 60_000, "full", 5, ["bob"], (), (), here),
        scripts.create_room(CHANNEL, Profile(7, "bob", "Bob", "", "1"), (), False, here),
        scripts.expire_room(CHANNEL, 0, here),
        scripts.take(CHANNEL, MOVE, 1, here),
        scripts.move(CHANNEL, "freeze", MOVE, here, "event"),
    ):
        assert run(redis, command) == (stored or "event " + MOVE).encode()
    assert [redis.exists(key) for key in KEYS] == [int(bool(stored)), *[0] * (len(KEYS) - 1)]


def test_what_is_stored_counts(redis):
    """More than what the caller takes for the home."""
    redis.hset(KEYS.head, "home", "main " + MOVE)
    command = scripts.commit(CHANNEL, NOW, [group(1, plain())], scripts.Here("main", "event"))
    assert run(redis, command)[1].startswith(b"N")


def test_changes_are_noted(redis):
    """Each field that a commit or a report touches, from the beginning of a move on; not before it."""
    commit(redis, group(1, guarded("a")))
    assert not redis.exists(KEYS.dirty)
    assert step(redis, "begin") == ""
    commit(redis, group(1, guarded("b", unique="1", suffix=b"20000 x"), edge=2), now=NOW + 5000)
    commit(redis, group(2, BAN, action(write("held", "id", f"{NOW} x", state=False)), edge=2, version=""))
    run(redis, scripts.presence(CHANNEL, 5, 60_000, "full", 0, ["bob"], (), ()))
    assert redis.smembers(KEYS.dirty) == {
        b"last 7", b"unique 7", b"first 7", b"batches 2", b"bans 7", b"held id", b"edges ", b"chatters:5 ",
    }  # fmt: skip


def test_rounds(redis):
    """Each brings what has changed since the one before began, the same number the same again, 0 all of it."""
    commit(redis, group(1, plain("a")))
    first = log(redis)[-1][0]
    step(redis, "begin")
    commit(redis, group(2, plain("b")))
    second = log(redis)[-1][0]
    assert take(redis, 1) == ({b"batches 1"}, (first, second))
    commit(redis, group(1, BAN, edge=2))
    third = log(redis)[-1][0]
    assert take(redis, 1) == ({b"batches 1"}, (first, second))
    assert take(redis, 2) == ({b"batches 2", b"bans 7"}, (second, third))
    assert take(redis, 3) == (set(), (third, third))
    step(redis, "abort")
    step(redis, "begin", LATER)
    commit(redis, group(3, plain("c"), version=""))
    commit(redis, group(2, plain("d"), edge=2, version=""))
    assert take(redis, 0, LATER)[0] == {b"batches 1", b"batches 2"}
    commit(redis, group(1, plain("e"), edge=3, version=""))
    assert take(redis, 0, LATER) == ({b"batches 1", b"batches 2", b"batches 3"}, (third, log(redis)[-1][0]))


def test_frozen(redis):
    """Nothing is committed, a repeat is answered, an older batch is still older; reports are asked for again."""
    commit(redis, group(5, plain("a")))
    step(redis, "begin")
    assert step(redis, "freeze") == ""
    _, results = commit(redis, group(5, plain()), group(4, plain()), group(6, plain()), group(1, plain(), edge=2))
    assert [result[0] for result in results] == ["R", "S", "F", "F"]
    assert run(redis, scripts.presence(CHANNEL, 5, 60_000, "full", 0, ["bob"], (), ()))[0] == 0
    assert len(log(redis)) == 1
    assert not redis.exists(keys.chatters_of(CHANNEL) + "5")
    assert not redis.exists(KEYS.dirty)


def test_a_freeze_ends(redis):
    """By itself, by the server's clock."""
    step(redis, "begin")
    step(redis, "freeze", freeze_ms=100)
    assert commit(redis, group(1, plain()))[1] == [["F"]]
    deadline = time.monotonic() + 5
    while commit(redis, group(1, plain()))[1] == [["F"]]:
        assert time.monotonic() < deadline
    assert step(redis, "switch") == "it is not frozen (any more)"


def test_the_switch(redis):
    """The point of no return: only frozen, only when all was read; what is left behind expires, the head does not."""
    commit(redis, group(1, guarded("a"), BAN))
    step(redis, "begin")
    assert step(redis, "switch") == "it is not frozen (any more)"
    commit(redis, group(2, plain("b"), version=""))
    step(redis, "freeze")
    assert "has changed" in step(redis, "switch")
    take(redis, 1)
    assert step(redis, "switch", LATER) == f"another move, {MOVE}, has begun"
    assert step(redis, "switch") == ""
    assert step(redis, "switch") == ""
    assert head(redis)["home"] == "event " + MOVE
    assert not {"moving", "frozen", "round"} & head(redis).keys()
    assert not redis.exists(KEYS.dirty, KEYS.taken)
    assert redis.ttl(KEYS.head) == -1
    for key in (KEYS.log, KEYS.bans, KEYS.last, KEYS.batches):
        assert 0 < redis.ttl(key) <= scripts.LOG_TTL_S
    for name in ("begin", "freeze", "abort"):
        assert step(redis, name, LATER) == f"event {MOVE}".encode()


def test_a_later_move_takes_over(redis):
    """Unless the earlier one is frozen; notes begin anew."""
    step(redis, "begin")
    commit(redis, group(1, plain()))
    assert step(redis, "begin", LATER) == ""
    assert not redis.exists(KEYS.dirty)
    for name in ("begin", "abort"):
        assert step(redis, name) == f"a later move, {LATER}, has begun"
    assert step(redis, "freeze") == f"another move, {LATER}, has begun"
    step(redis, "freeze", LATER)
    assert "in its last step" in step(redis, "begin", "1800000000001-a")
    assert step(redis, "abort", "") == ""
    assert commit(redis, group(2, plain()))[1][0][0] == "N"
    assert step(redis, "freeze", LATER) == "no such move is under way: begin it"


def test_a_move_that_takes_too_long(redis):
    """Its steps are refused after an hour, and nothing is noted for it any more."""
    old = f"{redis.time()[0] * 1000 - 3_700_000}-a"
    assert "too long ago" in step(redis, "begin", old)
    redis.hset(KEYS.head, "moving", old + " event")
    commit(redis, group(1, plain()))
    assert not redis.exists(KEYS.dirty)


def store(redis, *pieces, move=MOVE, first=False, number=0, here=AWAY):
    return run(redis, scripts.store(CHANNEL, move, "main", here, pieces, first=first, number=number)).decode()


def test_a_copy(redis):
    """All kinds of pieces, over what was there; it is not at home before it has settled, and then for good."""
    redis.hset(KEYS.bans, "8", "0 old")
    redis.zadd(keys.edges_of(CHANNEL), {"9": 1})
    redis.sadd(keys.chatters_of(CHANNEL) + "9", "ghost")
    ends = int(redis.time()[0] * 1000 + 60_000)
    pieces = (
        scripts.Stored(KEYS.head, "hash", 0, [b"seq", b"12", b"version", b"5", b"home", b"x", b"run", b"r"], []),
        scripts.Stored(KEYS.bans, "hash", 0, [b"7", b"0 bob", b"9", b"0 ann"], []),
        scripts.Stored(KEYS.log, "stream", 60_000, [b"11", b"0", b"a", b"12", b"11", b"b"], []),
        scripts.Stored(keys.edges_of(CHANNEL), "zset", 60_000, [b"5", str(ends).encode()], []),
        scripts.Stored(keys.chatters_of(CHANNEL) + "5", "set", 60_000, [b"ann", b"bob"], []),
    )
    assert store(redis, *pieces, first=True) == ""
    assert (head(redis)["home"], head(redis)["prepared"], head(redis)["seq"]) == ("main", MOVE, "12")
    assert redis.hgetall(KEYS.bans) == {b"7": b"0 bob", b"9": b"0 ann"}
    assert not redis.exists(keys.chatters_of(CHANNEL) + "9")
    more = (
        scripts.Stored(KEYS.bans, "hash", 0, [], [b"9"]),
        scripts.Stored(KEYS.log, "stream", 60_000, [b"12", b"11", b"b", b"13", b"12", b"c"], []),
        scripts.Stored(keys.chatters_of(CHANNEL) + "5", "set", 60_000, [b"cat"], [b""]),
    )
    assert store(redis, *more) == ""
    assert log(redis) == [(11, 0, b"a"), (12, 11, b"b"), (13, 12, b"c")]
    assert (redis.hkeys(KEYS.bans), redis.smembers(keys.chatters_of(CHANNEL) + "5")) == ([b"7"], {b"cat"})
    assert 0 < redis.pttl(KEYS.log) <= 60_000
    assert run(redis, scripts.commit(CHANNEL, NOW, [group(1, plain())], AWAY)) == b"main"
    assert step(redis, "settle", LATER, here=AWAY) == b"main"
    assert step(redis, "settle", here=AWAY) == ""
    assert step(redis, "settle", here=AWAY) == ""
    prev, [[kind, seq]] = commit_at(redis, AWAY, group(1, plain("d"), version=""))
    assert (kind, prev, int(seq) > 13) == ("N", 13, True)
    assert int(head(redis)["version"]) > 5
    assert redis.ttl(KEYS.head) == -1
    assert store(redis, *more) == "it lives here"


def commit_at(redis, here, *groups):
    prev, *results = run(redis, scripts.commit(CHANNEL, NOW, groups, here))
    return int(prev), [result.decode().split(" ") for result in results]


def test_pages_that_are_not_stored(redis):
    """Without a first one; of a move that a later one has overtaken; late ones are ignored; where the channel lives."""
    ban = scripts.Stored(KEYS.bans, "hash", 0, [b"7", b"new"], [])
    late = scripts.Stored(KEYS.bans, "hash", 0, [b"7", b"late"], [])
    assert store(redis, ban) == "no such move was prepared: store its first page"
    assert store(redis, ban, first=True, number=1) == ""
    assert store(redis, ban, number=3) == ""
    assert store(redis, late, number=2) == ""
    assert store(redis, late, number=1, first=True) == ""
    assert redis.hget(KEYS.bans, "7") == b"new"
    assert store(redis, ban, first=True, move=LATER) == ""
    assert store(redis, late) == f"another move, {LATER}, has begun"
    assert store(redis, late, first=True) == "a later move has begun"
    redis.hset(KEYS.head, "home", "main")
    assert store(redis, late, first=True, here=HERE, move="1800000000001-a") == "it lives here"


def test_an_aborted_copy(redis):
    """Goes, but not where the channel lives."""
    store(redis, scripts.Stored(KEYS.bans, "hash", 0, [b"7", b"x"], []), first=True)
    assert step(redis, "abort", here=AWAY) == b"main"
    assert head(redis) == {"home": "main"}
    assert not redis.exists(KEYS.bans)
    assert step(redis, "settle", here=AWAY) == b"main"


def test_settling_where_all_was_lost(redis):
    """Nothing is stored: the old home's word counts, and the log begins anew above all its numbers."""
    assert step(redis, "settle", here=AWAY) == ""
    assert head(redis)["home"] == "event " + MOVE
    assert commit_at(redis, AWAY, group(1, plain(), version=""))[1][0][0] == "N"


def test_limits_rise(redis):
    """To what was taken elsewhere, and never fall."""
    run(redis, scripts.raise_limit("bob", 15, 60_000, 0))
    run(redis, scripts.raise_limit("bob", 5, 60_000, 60_000))
    assert redis.get(keys.limits("bob")) == b"15"
    assert 0 < redis.pttl(keys.limits("bob")) <= 60_000
    assert redis.exists(keys.lockout("bob"))


def test_homes_in_the_directory(redis):
    """A later move is not overwritten by an earlier one; the version changes with each change, and only then."""

    def share(version=0):
        return run(redis, scripts.share("main", b"entry", version))

    version, clusters, homes = share()
    assert (clusters[0], clusters[1].partition(b" ")[2], homes) == (b"main", b"entry", [])
    assert int(version) > 0
    assert share()[0] == version
    assert run(redis, scripts.set_home(CHANNEL, "event " + LATER, LATER, by_name=False)) == 1
    assert run(redis, scripts.set_home(CHANNEL, "group " + MOVE, MOVE, by_name=False)) == 0
    assert run(redis, scripts.set_home(CHANNEL, "main " + MOVE, MOVE, by_name=True)) == 0
    assert run(redis, scripts.set_home(CHANNEL, "event " + LATER, LATER, by_name=False)) == 0
    second, _, homes = share(int(version))
    assert (int(second) > int(version), homes) == (True, [CHANNEL.encode(), ("event " + LATER).encode()])
    assert share(int(second))[2] == []
    assert run(redis, scripts.set_home(CHANNEL, "main 1800000000001-a", "1800000000001-a", by_name=True)) == 1
    assert share(int(second))[2] == []
    assert int(share()[0]) > int(second)


def test_copied_accounts(redis):
    """The newer side wins, tokens of both count, and only the authority's id is taken over."""
    flat = {b"id": b"7", b"login": b"bob", b"display_name": b"Bob", b"version": b"5", b"token:a": b"1"}

    def copy(authority=True, **changes):
        fields = {**flat, **{name.encode(): value for name, value in changes.items()}}
        pairs = [part for pair in fields.items() for part in pair]
        return run(redis, scripts.copy_user("bob", pairs, authority=authority))

    assert copy()[:3] == [b"7", b"bob", b"Bob"]
    assert copy(version=b"4", display_name=b"Old")[2] == b"Bob"
    assert copy(version=b"6", display_name=b"New", authority=False)[2] == b"New"
    copy(**{"version": b"1", "token:b": b"2"})
    assert redis.hmget(keys.user("bob"), "token:a", "token:b") == [b"1", b"2"]
    assert copy(id=b"8", version=b"9", display_name=b"Other", authority=False)[2] == b"New"
    assert copy(id=b"8", version=b"1", display_name=b"Other")[:3] == [b"8", b"bob", b"Other"]


def test_an_order_is_told_to_its_run(redis):
    """And forgotten with it."""
    redis.hset(keys.ORDERS, "edge/e1", "5 100 1 30")
    assert run(redis, scripts.directory(6000, "register", "edge/e1", 5, b"x"))[0] == b"5 100 1 30"
    assert run(redis, scripts.directory(6000, "read"))[0] == b""
    assert run(redis, scripts.directory(6000, "register", "edge/e1", 6, b"x"))[0] == b""
    assert not redis.exists(keys.ORDERS)


def test_slots():
    """Our slots are the server's own."""
    from common import sharding

    with redis_cluster(nodes=1) as [node], node.client() as client:
        for key in (
            "123456789",
            "foo{}{bar}",
            "foo{{bar}}zap",
            "",
            KEYS.log,
            keys.user("bob"),
            keys.DIRECTORY,
            "{#\u00e4}",
        ):
            assert sharding.slot(key) == client.execute_command("CLUSTER", "KEYSLOT", key)

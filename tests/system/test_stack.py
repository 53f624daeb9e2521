"""The `tallgrass` command with the real stack: start, use, die, stop, start again."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from common.pb import clue_pb2, clue_pb2_grpc
from common.turns import TURN_NS
from ops import haproxy
from tests.support.stack import RunningStack, running_stack, tallgrass
from tests.support.turns import KNOWN, own_turn_ns, turns_ns

pytestmark = pytest.mark.timeout(240)
needs_haproxy = pytest.mark.skipif(haproxy.find() is None, reason="haproxy is not installed")


class Irc:
    """A blocking IRC user, just enough to see that the stack serves one."""

    def __init__(self, address: str, nick: str, token: str = "any", *, tls: ssl.SSLContext | None = None) -> None:
        host, _, port = address.rpartition(":")
        self._socket: socket.socket = socket.create_connection((host, int(port)), timeout=20)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname=host)
        self._lines = self._socket.makefile("rb")
        self.send("CAP REQ :twitch.tv/tags twitch.tv/commands", f"PASS oauth:{token}", f"NICK {nick}")

    def send(self, *lines: str) -> None:
        self._socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def until(self, part: str) -> str:
        """The next line with `part` in it; the socket's time-out bounds the wait."""
        for raw in self._lines:
            line: str = raw.decode().rstrip("\r\n")
            if part in line:
                return line
        raise AssertionError(f"closed before {part!r} came")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Irc:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def eventually(what: str, ask: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(stack: RunningStack) -> list[int]:
    return [service["pid"] for service in stack.status()["services"]]


def head(stack: RunningStack, channel: str) -> int:
    """The newest seq of the channel's log."""
    with grpc.insecure_channel(stack.status()["control"]) as link:
        reply = clue_pb2_grpc.ClueStub(link).Heads(clue_pb2.HeadsRequest(channels=[channel]), timeout=10)
    (found,) = reply.heads
    assert found.available
    return int(found.seq)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack of the default size for the tests that leave it as it was."""
    with running_stack(tmp_path_factory.mktemp("up") / "data", "--tls", "self") as running:
        yield running


@needs_haproxy
def test_the_default_stack_is_two_of_each(stack: RunningStack) -> None:
    services = [service["name"] for service in stack.status()["services"]]
    assert services == [
        "edge-1", "edge-2", "clue-1", "clue-2", "exchange-1", "exchange-2", "haproxy", "redis-1", "redis-2",
    ]  # fmt: skip


def test_all_but_edges_have_short_turns_of_the_cpu(stack: RunningStack) -> None:
    """common/turns.py: also the threads that gRPC, Redis and HAProxy have started since."""
    found = {service["name"]: turns_ns(service["pid"]) for service in stack.status()["services"]}
    edges = {name: turns for name, turns in found.items() if name.startswith("edge")}
    assert set().union(*edges.values()) == {own_turn_ns()}
    others = {thread for name, turns in found.items() if name not in edges for thread in turns}
    assert others == {TURN_NS if KNOWN else own_turn_ns()}


def test_the_ready_line_tells_every_door(stack: RunningStack) -> None:
    """Each address in it lets a user in."""
    assert list(stack.edges) == ["edge-1", "edge-2"]
    for number, address in enumerate([stack.irc, *stack.edges.values()]):
        with Irc(address, f"door{number}") as user:
            user.until(" 376 ")


def test_irc_over_tls_is_served_with_the_self_made_certificate(stack: RunningStack) -> None:
    context = ssl.create_default_context(cafile=str(stack.data / "tls" / "cert.pem"))
    with Irc(stack.ircs, "private", tls=context) as user:
        user.until(" 376 ")


def test_users_of_two_edges_meet(stack: RunningStack) -> None:
    """A line goes edge, clue, exchange, other edge."""
    with Irc(stack.edges["edge-1"], "ann") as ann, Irc(stack.edges["edge-2"], "bob") as bob:
        for user in (ann, bob):
            user.send("JOIN #meadow")
            user.until(" ROOMSTATE ")
        ann.send("PRIVMSG #meadow :hello over there")
        assert bob.until("PRIVMSG").endswith("PRIVMSG #meadow :hello over there")


def test_status_fits_people_and_programs(stack: RunningStack) -> None:
    """All are up; the sessions of an edge are counted."""
    eventually("all registered", lambda: all(s["registered"] for s in stack.status()["services"]
                                             if s["service"] in ("edge", "clue", "exchange")))  # fmt: skip
    assert all(service["alive"] for service in stack.status()["services"])
    text = stack.run("status").stdout
    assert text.splitlines()[0].startswith("cluster main (pid ")
    assert "DOWN" not in text
    with Irc(stack.edges["edge-1"], "counted") as user:
        user.until(" 376 ")
        eventually("a session is counted", lambda: stack.service("edge-1")["sessions"] >= 1)


def test_a_second_stack_in_the_same_folder_is_refused(stack: RunningStack) -> None:
    done = tallgrass("up", "--data", str(stack.data), "--irc-port", "0", "--http-port", "0")
    assert done.returncode == 1
    assert done.stderr.startswith("tallgrass: data folder ")
    assert f"in use by the stack with pid {stack.process.pid}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_user_add_prints_the_token_and_nothing_else(stack: RunningStack) -> None:
    done = stack.run("user", "add", "Carol", "--token", "abc123def456")
    assert (done.stdout, done.stderr, done.returncode) == ("abc123def456\n", "", 0)
    made = stack.run("user", "add", "dave").stdout
    assert len(made.strip()) >= 16


def test_a_role_is_seen_by_its_user(stack: RunningStack) -> None:
    with Irc(stack.irc, "erin") as erin:
        erin.until(" 376 ")
        done = stack.run("role", "#glade", "erin", "mod")
        assert done.returncode == 0, done.stderr
        erin.send("JOIN #glade")
        assert "mod=1" in erin.until(" USERSTATE ")


def test_a_wrong_control_token_is_one_clear_line(stack: RunningStack) -> None:
    done = stack.run("user", "add", "mallory", "--control-token", "guess")
    assert done.returncode == 1
    assert "does not take this control token" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_stack_is_reached_from_elsewhere_by_address_and_token(stack: RunningStack) -> None:
    token = (stack.data / "control-token").read_text().strip()
    control = stack.status()["control"]
    done = tallgrass("status", "--control", f"http://{control}", TALLGRASS_CONTROL_TOKEN=token)
    assert done.returncode == 0, done.stderr
    assert "edge-1" in done.stdout


def test_secrets_are_for_their_owner_only(stack: RunningStack) -> None:
    for secret in ("control-token", "tls/key.pem"):
        assert stat.S_IMODE((stack.data / secret).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["edge-2", "clue-1", "exchange-1", "redis-2"])
def test_a_killed_service_is_reported_and_comes_back(stack: RunningStack, name: str) -> None:
    """The stack says who died and how; afterwards users of both edges meet again."""
    before = stack.service(name)["pid"]
    os.kill(before, signal.SIGKILL)
    eventually("started again", lambda: stack.service(name)["pid"] not in (None, before))
    assert f"{name} (pid {before}) was ended by SIGKILL; starting it again in " in stack.stderr()

    def meet() -> bool:
        try:
            with Irc(stack.edges["edge-1"], "ann") as ann, Irc(stack.edges["edge-2"], "bob") as bob:
                for user in (ann, bob):
                    user.send("JOIN #again")
                    user.until(" ROOMSTATE ")
                text = f"after {name} {time.monotonic()}"
                ann.send(f"PRIVMSG #again :{text}")
                return bob.until("PRIVMSG").endswith(text)
        except (OSError, AssertionError):
            return False

    eventually("users meet again", meet, 60)


def test_sigterm_stops_everything_and_a_restart_remembers(tmp_path: Path) -> None:
    """Tokens, roles and the numbering of a channel are in the data folder; the numbering goes on."""
    data = tmp_path / "data"
    options = ("--auth", "token", "--edges", "1", "--clues", "1", "--exchanges", "1")
    with running_stack(data, *options) as first:
        token = first.run("user", "add", "Frank").stdout.strip()
        assert first.run("role", "#home", "frank", "vip").returncode == 0
        before = head(first, "#home")
        assert before > 0  # the role is an entry of the log
        children = pids(first)
        assert first.stop() == 0
        assert [pid for pid in children if lives(pid)] == []
        assert "no stack runs in" in first.run("status").stderr
    with running_stack(data, *options) as second:
        with Irc(second.irc, "frank", "wrong") as user:
            user.until("Login authentication failed")
        with Irc(second.irc, "frank", token) as user:
            user.until(" 376 ")
            user.send("JOIN #home")
            assert "vip" in user.until(" USERSTATE ")
        assert head(second, "#home") == before
        assert second.run("role", "#home", "frank", "mod").returncode == 0
        assert head(second, "#home") > before


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="children are bound on Linux only")
def test_nothing_outlives_a_killed_stack(tmp_path: Path) -> None:
    """After SIGKILL of `tallgrass up` all its children end, and the folder can be used again."""
    data = tmp_path / "data"
    options = ("--edges", "1", "--clues", "1", "--exchanges", "1")
    with running_stack(data, *options) as killed:
        children = pids(killed)
        killed.process.kill()
        killed.process.wait()
        eventually("all ended", lambda: not any(lives(pid) for pid in children))
        assert "no stack runs in" in killed.run("status").stderr
    with running_stack(data, *options) as again, Irc(again.irc, "grace") as user:
        user.until(" 376 ")


def test_without_haproxy_and_redis_on_path_it_runs_all_the_same(tmp_path: Path) -> None:
    """Python and pip are enough: Redis comes in a wheel, users connect to the edges, and it says so."""
    empty = tmp_path / "empty"
    empty.mkdir()
    with running_stack(tmp_path / "data", PATH=str(empty), TALLGRASS_HAPROXY="none") as small:
        assert "haproxy is not installed: one clue, one exchange" in small.stderr()
        assert small.edges == {"edge-1": small.irc}
        with Irc(small.irc, "heidi") as user:
            user.until(" 376 ")

"""edge/agent.py asked by a real HAProxy: weights, drain, and the way back."""

import asyncio
import csv
import subprocess

import pytest

from common.errors import ConfigError
from common.metrics import Metrics
from edge.agent import Agent
from ops import haproxy
from tests.support.ports import free_port

PROGRAM = haproxy.find()

CONFIGURATION = """
global
    stats socket {socket} level admin
defaults
    mode tcp
    timeout connect 1s
    timeout client 5s
    timeout server 5s
listen irc
    bind 127.0.0.1:{port}
    server edge-1 127.0.0.1:{agent} weight 100 agent-check agent-port {agent} agent-inter 100ms
"""


@pytest.fixture
async def agent():
    """What is set as `weight` is what the edge would say."""
    agent = Agent(lambda: agent.says, metrics := Metrics())
    agent.says, agent.metrics = 75, metrics
    server = await agent.listen("127.0.0.1", 0)
    agent.port = server.sockets[0].getsockname()[1]
    yield agent
    server.close()
    await server.wait_closed()


async def ask(port, said=b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


@pytest.mark.parametrize(("weight", "answer"), [(100, b"up ready 100%\n"), (1, b"up ready 1%\n"), (0, b"drain\n")])
async def test_whoever_connects_is_told_and_closed(agent, weight, answer):
    """One line, whatever the other side says (HAProxy's agent-send)."""
    agent.says = weight
    assert await ask(agent.port) == answer
    assert await ask(agent.port, b"hello\n") == answer
    assert agent.metrics.counters["agent.checks"] == 2


async def test_a_port_that_is_taken_is_said(agent):
    """With its address."""
    with pytest.raises(ConfigError, match=f"127.0.0.1:{agent.port}"):
        await agent.listen("127.0.0.1", agent.port)


async def shown(socket, command=b"show stat\n"):
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(command)
    text = (await reader.read()).decode()
    writer.close()
    return text


async def until(socket, weight, status):
    async def now():
        rows = csv.DictReader((await shown(socket)).lstrip("# ").splitlines())
        return next((row["weight"], row["status"]) for row in rows if row["svname"] == "edge-1")

    async with asyncio.timeout(10):
        while await now() != (weight, status):
            await asyncio.sleep(0.05)


@pytest.mark.skipif(PROGRAM is None, reason="haproxy is not installed")
async def test_haproxy_follows(agent, tmp_path):
    """The weight is a percentage of the configured one; in drain it gets nobody; both are taken back."""
    path, socket = tmp_path / "haproxy.cfg", tmp_path / "haproxy.sock"
    path.write_text(CONFIGURATION.format(socket=socket, port=free_port(), agent=agent.port))
    process = await asyncio.to_thread(subprocess.Popen, [PROGRAM, "-db", "-f", str(path)])
    try:
        async with asyncio.timeout(10):
            while not socket.exists():
                await asyncio.sleep(0.05)
        await until(socket, "75", "no check")
        agent.says = 20
        await until(socket, "20", "no check")
        agent.says = 0
        await until(socket, "20", "DRAIN (agent)")
        agent.says = 90
        await until(socket, "90", "no check")
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 10)

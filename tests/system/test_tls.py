"""TLS end to end: IRC and WebSocket over it through the public door, and a new certificate without dropping anybody."""

import asyncio
import datetime
import os
import shutil
import signal
import ssl

import aiohttp
import pytest
from cryptography import x509

from ops.selfsigned import ensure_pair
from tests.support.stack import running_stack

DEADLINE_S = 15.0
LOGIN = "PASS oauth:any\r\nNICK {}\r\nJOIN #secret\r\n"


@pytest.fixture
def stack(tmp_path):
    with running_stack(tmp_path / "data", "--tls", "self") as running:
        yield running


def trusting(stack):
    return ssl.create_default_context(cafile=str(stack.data / "tls" / "cert.pem"))


class IrcUser:
    """A user of IRC over TLS."""

    async def enter(self, address, nick, context):
        host, _, port = address.rpartition(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=host)
        self.writer.write(LOGIN.format(nick).encode())
        await self.hears(" 366 ")
        return self

    def serial(self):
        der = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(der).serial_number

    async def say(self, text):
        self.writer.write(f"PRIVMSG #secret :{text}\r\n".encode())

    async def hears(self, words):
        async with asyncio.timeout(DEADLINE_S):
            while True:
                line = (await self.reader.readuntil(b"\n")).decode()
                if words in line:
                    return

    async def leave(self):
        self.writer.close()
        await self.writer.wait_closed()


async def until_serial_changes(address, old):
    """Connect anew until a certificate with another serial number is shown, trusted or not."""
    context = ssl._create_unverified_context()
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(DEADLINE_S):
        while True:
            _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=host)
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            await writer.wait_closed()
            if x509.load_der_x509_certificate(der).serial_number != old:
                return
            await asyncio.sleep(0.05)


async def test_irc_and_websocket_users_meet_over_tls(stack):
    """A line goes from IRC over TLS to secure WebSocket and back, both through the public ports."""
    context = trusting(stack)
    ann = await IrcUser().enter(stack.ircs, "ann", context)
    async with aiohttp.ClientSession() as session, session.ws_connect(stack.wss, ssl=context) as ben:
        await ben.send_str(LOGIN.format("ben"))

        async def ben_hears(words):
            async with asyncio.timeout(DEADLINE_S):
                while words not in (await ben.receive_str()):
                    pass

        await ben_hears(" 366 ")
        await ann.say("to ben")
        await ben_hears("PRIVMSG #secret :to ben\r\n")
        await ben.send_str("PRIVMSG #secret :to ann")
        await ann.hears("PRIVMSG #secret :to ann")
    await ann.leave()


async def test_a_new_certificate_is_taken_over_without_dropping_anybody(stack, tmp_path):
    """After SIGHUP new connections see the new certificate; those that are up chat on."""
    ann = await IrcUser().enter(stack.ircs, "ann", trusting(stack))
    old = ann.serial()
    new = ensure_pair(tmp_path / "new", datetime.datetime.now(datetime.UTC))
    for path in new:
        shutil.copy(path, stack.data / "tls" / path.name)
    edges = [service for service in stack.status()["services"] if service["service"] == "edge"]
    for edge in edges:
        os.kill(edge["pid"], signal.SIGHUP)
    for edge in edges:
        await until_serial_changes(edge["addresses"]["ircs"], old)
    ben = await IrcUser().enter(stack.ircs, "ben", trusting(stack))
    assert ben.serial() != old
    await ben.say("still there?")
    await ann.hears("PRIVMSG #secret :still there?")
    await ann.leave()
    await ben.leave()


async def test_a_certificate_that_cannot_be_used_leaves_the_old_one(stack):
    """A broken file is told in the log, and the edge goes on with what it has."""
    path = stack.data / "tls" / "cert.pem"
    context = trusting(stack)
    path.write_text("this is no certificate")
    edge = stack.service("edge-1")
    os.kill(edge["pid"], signal.SIGHUP)
    async with asyncio.timeout(DEADLINE_S):
        while "certificate_kept" not in (stack.data / "logs" / "edge-1.log").read_text():
            await asyncio.sleep(0.05)
    ann = await IrcUser().enter(edge["addresses"]["ircs"], "ann", context)
    await ann.leave()

"""Real chat clients, unmodified but for the host and the port, against a whole stack (clients.md).

Two logins of each of the thirteen meet in one channel, over TCP and WebSocket, and all say something at the same time.
The drivers are in tests/clients; each test reads the record of that one meeting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.clients.meeting import CHANNEL, CLIENTS, TAGS, WITNESS, Meeting, RealClient, greeting, hold
from tests.support.irc import Door
from tests.support.stack import running_stack


@pytest.fixture(scope="module")
def meeting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meeting]:
    folder = tmp_path_factory.mktemp("clients")
    with running_stack(folder / "data", "--edges", "2") as stack:
        host, _, port = stack.irc.rpartition(":")
        url = urlsplit(stack.ws)
        assert url.hostname
        assert url.port
        yield asyncio.run(hold(Door("tcp", host, int(port)), Door("websocket", url.hostname, url.port), folder))


def each(clients: Iterable[RealClient]) -> pytest.MarkDecorator:
    cases = [
        pytest.param(client, id=client.name, marks=pytest.mark.skipif(bool(client.missing), reason=client.missing))
        for client in clients
    ]
    return pytest.mark.parametrize("client", cases)


every_client = each(CLIENTS)


@every_client
def test_it_logs_in_and_joins(meeting: Meeting, client: RealClient) -> None:
    """The client itself says that it is in the channel."""
    for login in client.logins:
        assert len(meeting.guests[login].of("joined")) == 1, meeting.guests[login].text_of()


@every_client
def test_it_is_heard_once_with_its_exact_text(meeting: Meeting, client: RealClient) -> None:
    """By the witness; its own call to speak has returned as well, which for some means that the USERSTATE came."""
    for login in client.logins:
        assert [line.params[1] for line in meeting.said if line.nick == login] == [greeting(login)], (
            meeting.guests[login].text_of()
        )
        assert len(meeting.guests[login].of("said")) == 1, meeting.guests[login].text_of()


@every_client
def test_it_hears_everybody_once_and_in_the_order_of_the_channel(meeting: Meeting, client: RealClient) -> None:
    """The other login of the same client, all others, the witness; not itself: it shows its own words by itself."""
    for login in client.logins:
        expected = [(line.nick, line.params[1]) for line in meeting.said if client.hears_itself or line.nick != login]
        expected.append((WITNESS, greeting(WITNESS)))
        heard = meeting.guests[login].of("heard")
        assert [(report["from"], report["text"]) for report in heard] == expected, meeting.guests[login].text_of()
        assert {report["channel"] for report in heard} == {CHANNEL}


@each(client for client in CLIENTS if client.reads_tags)
def test_it_reads_the_tags_that_were_sent(meeting: Meeting, client: RealClient) -> None:
    """The id, the names and ids of user and room, and the time, each as the witness saw it."""
    sent = {line.params[1]: {tag: line.tags[tag] for tag in TAGS} for line in meeting.said}
    for login in client.logins:
        heard = meeting.guests[login].of("heard")
        read = {report["text"]: report["tags"] for report in heard if report["text"] in sent}
        assert len(read) >= len(sent) - 1, meeting.guests[login].text_of()
        for text, tags in read.items():
            assert {tag: tags[tag] for tag in TAGS} == sent[text]


@every_client
def test_it_parts_and_leaves_without_trouble(meeting: Meeting, client: RealClient) -> None:
    """The client itself says that it is out of the channel; nothing failed on the way, and it ends by itself."""
    for login in client.logins:
        guest = meeting.guests[login]
        assert len(guest.of("parted")) == 1, guest.text_of()
        assert guest.of("failed") == [], guest.text_of()
        assert guest.exit_code == 0, guest.text_of()

"""The Api service of clues over real Redis: who asks, how often, and what a lost shard does to it."""

import asyncio

import pytest

from clue import api_callers, keys
from common import rpc
from common.pb import api_pb2, api_pb2_grpc, clue_pb2
from common.sharding import shard
from tests.support.clue import clues
from tests.support.redis import redis_servers

Standing = api_pb2.Standing
MODES = api_pb2.ReadRequest.MODES


@pytest.fixture(scope="module")
def shards():
    with redis_servers(2) as servers:
        yield servers


class Asking:
    """One clue's Api, called with a user's token."""

    def __init__(self, clue):
        self.clue = clue
        self._channel = rpc.channel(clue.address)
        self._stub = api_pb2_grpc.ApiStub(self._channel)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        await self._channel.close()

    async def add(self, login):
        """An account; its id and token."""
        reply = await self.clue.operate("AddUser", clue_pb2.AddUserRequest(login=login))
        return reply.user.user_id, reply.token

    async def users(self, token, user_id=0, **asked):
        caller = api_pb2.Caller(token=token, user_id=user_id)
        return await self._stub.GetUsers(api_pb2.GetUsersRequest(caller=caller, **asked), timeout=5)

    async def act(self, token, user_id, broadcaster_id, **what):
        request = api_pb2.ActRequest(
            caller=api_pb2.Caller(token=token, user_id=user_id), broadcaster_id=broadcaster_id, **what
        )
        return await self._stub.Act(request, timeout=5)

    async def read(self, token, broadcaster_id, what=MODES, user_id=0, assumed_id=0):
        caller = api_pb2.Caller(token=token, user_id=user_id, assumed_id=assumed_id)
        request = api_pb2.ReadRequest(caller=caller, broadcaster_id=broadcaster_id, what=what)
        return await self._stub.Read(request, timeout=5)


def outcome(reply):
    return Standing.Outcome.Name(reply.standing.outcome)


async def test_in_token_mode_the_token_is_its_owners(redis, taking):
    """Nobody's is refused, another's name is refused, and the owner need not be named."""
    async with clues(1, redis, taking.address, auth="token") as [clue], Asking(clue) as asking:
        bob, token = await asking.add("bob")
        eve, _ = await asking.add("eve")
        assert [one.user.login for one in (await asking.users(token)).users] == ["bob"]
        assert [one.user.login for one in (await asking.users(token.upper(), ids=[eve])).users] == ["eve"]
        assert outcome(await asking.users("nobodys")) == "NO_TOKEN"
        assert outcome(await asking.users("")) == "NO_TOKEN"
        assert outcome(await asking.act(token, eve, bob, message="hello")) == "OTHER_USER"
        assert outcome(await asking.act("nobodys", bob, bob, message="hello")) == "NO_TOKEN"
        said = await asking.act(token, 0, bob, message="hello")
        assert said.verdicts[0].outcome == clue_pb2.Verdict.ALLOWED


async def test_in_open_mode_any_token_acts_for_whom_the_request_names(redis, taking):
    """As any token lets anybody log in; one that was added is its owner's all the same."""
    async with clues(1, redis, taking.address) as [clue], Asking(clue) as asking:
        bob, eve = await clue.login("bob", "eve")
        assert [one.user.user_id for one in (await asking.users("any", logins=["bob", "nobody"])).users] == [bob]
        assert (await asking.users("any")).users == []
        assert (await asking.act("any", eve, bob, message="hi")).verdicts[0].outcome == clue_pb2.Verdict.ALLOWED
        assert outcome(await asking.act("any", 0, bob, message="hi")) == "NO_TOKEN"
        assert outcome(await asking.act("any", 999, bob, message="hi")) == "OTHER_USER"
        assert outcome(await asking.read("any", bob, api_pb2.ReadRequest.BANS)) == "NO_PERMISSION"
        assert outcome(await asking.read("any", bob, api_pb2.ReadRequest.BANS, assumed_id=bob)) == "ACCEPTED"
        _, token = await asking.add("bob")
        assert outcome(await asking.act(token, eve, bob, message="hi")) == "OTHER_USER"


async def test_too_many_requests(redis, taking, monkeypatch):
    """Of one user, whatever the clue, in a minute; messages have a limit of their own, which the answer tells."""
    monkeypatch.setattr(api_callers, "REQUESTS_A_MIN", 3)
    async with clues(2, redis, taking.address) as (first, second), Asking(first) as one, Asking(second) as other:
        bob, token = await one.add("bob")
        left = [(await asking.users(token)).standing for asking in (one, other, one)]
        assert [(s.outcome, s.limit, s.remaining) for s in left] == [
            (Standing.ACCEPTED, 3, 2), (Standing.ACCEPTED, 3, 1), (Standing.ACCEPTED, 3, 0),
        ]  # fmt: skip
        assert outcome(await other.users(token)) == "LIMITED"
        assert outcome(await other.act(token, bob, bob, commands=[api_pb2.Command(name="clear")])) == "LIMITED"
        said = await other.act(token, bob, bob, message="hello")
        assert (said.standing.limit, said.standing.remaining) == (100, 99)  # the own channel


async def test_commands_of_the_api_take_no_message(redis, taking):
    """They are counted as requests alone."""
    async with clues(1, redis, taking.address) as [clue], Asking(clue) as asking:
        bob, token = await asking.add("bob")
        eve, _ = await asking.add("eve")
        for name in ("ban", "unban") * 5:
            done = await asking.act(token, bob, bob, commands=[api_pb2.Command(name=name, user_id=eve)])
            assert done.verdicts[0].notices[0].msg_id == f"{name}_success"
        said = await asking.act(token, bob, bob, message="hello")
        assert said.standing.remaining == 99


async def test_a_lost_shard(redis, shards, taking):
    """What needs it is UNAVAILABLE, and works again when it is back."""
    async with clues(1, redis, taking.address) as [clue], Asking(clue) as asking:
        logins = [f"user{i}" for i in range(40)]
        ids = dict(zip(logins, await clue.login(*logins), strict=True))
        lost = next(login for login in logins if shard(keys.of_channel("#" + login).head, 2) == 1)
        await asyncio.to_thread(shards[1].stop)
        try:
            reply = await asking.read("any", ids[lost])
            assert outcome(reply) == "UNAVAILABLE"
        finally:
            await asyncio.to_thread(shards[1].start)
        async with asyncio.timeout(20):
            while outcome(await asking.read("any", ids[lost])) != "ACCEPTED":
                await asyncio.sleep(0.2)


async def test_an_account_whose_id_was_not_listed(redis, shards, taking):
    """It is found by id once somebody has asked for it by login."""
    async with clues(1, redis, taking.address) as [clue], Asking(clue) as asking:
        [bob] = await clue.login("bob")
        for server in shards:
            with server.client() as client:
                client.delete(keys.logins(bob))
        assert (await asking.users("any", ids=[bob])).users == []
        await asking.users("any", logins=["bob"])
        [found] = (await asking.users("any", ids=[bob])).users
        assert (found.user.login, found.created_ms > 0) == ("bob", True)

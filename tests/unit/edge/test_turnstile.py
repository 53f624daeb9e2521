"""edge/turnstile.py: in order, a few at a time, and one's fault is not another's."""

import asyncio
import time

import pytest

from edge.turnstile import TURN_S, Turnstile
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio


async def test_all_are_called_in_the_order_put():
    turnstile, called = Turnstile(), []
    for number in range(100):
        turnstile.put(lambda number=number: called.append(number))
    assert (called, len(turnstile)) == ([], 100)
    await eventually(lambda: len(called) == 100)
    assert called == list(range(100))
    assert len(turnstile) == 0


async def test_others_are_served_between_two_of_a_storm():
    """Each call takes a whole turn: what the loop has to do besides is done after each of them."""
    turnstile, happened = Turnstile(), []

    def long_call() -> None:
        until = time.monotonic() + TURN_S
        while time.monotonic() < until:
            pass
        happened.append("storm")
        asyncio.get_running_loop().call_soon(happened.append, "chat")

    for _ in range(3):
        turnstile.put(long_call)
    await eventually(lambda: len(happened) == 6)
    assert happened == ["storm", "chat"] * 3


async def test_what_is_put_from_within_is_called_after_those_who_waited():
    turnstile, called = Turnstile(), []
    turnstile.put(lambda: turnstile.put(lambda: called.append("late")))
    turnstile.put(lambda: called.append("early"))
    await eventually(lambda: len(called) == 2)
    assert called == ["early", "late"]


async def test_a_call_that_raises_holds_up_nobody():
    turnstile, called, raised = Turnstile(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
    turnstile.put(lambda: 1 // 0)
    turnstile.put(lambda: called.append(1))
    await eventually(lambda: called)
    assert [type(error) for error in raised] == [ZeroDivisionError]
    turnstile.put(lambda: called.append(2))
    await eventually(lambda: called == [1, 2])

"""common/batcher.py: one call under way, order kept, every future answered."""

import asyncio

import pytest

from common.batcher import Batcher


def recorder():
    """The batches that were sent, and a `send` that gives the items back."""
    sent = []

    async def send(items):
        sent.append(list(items))
        return items

    return sent, send


async def test_an_idle_batcher_sends_at_once():
    """The first item does not wait for company."""
    sent, send = recorder()
    assert await Batcher(send, limit=10).put(1) == 1
    assert sent == [[1]]


async def test_what_arrives_during_a_call_is_the_next_batch():
    """While one call is under way, items gather, and keep their order."""
    sent, gate = [], asyncio.Event()

    async def send(items):
        sent.append(list(items))
        await gate.wait()
        return [item * 10 for item in items]

    batcher = Batcher(send, limit=10)
    first = batcher.put(1)
    await asyncio.sleep(0)
    rest = [batcher.put(n) for n in (2, 3, 4)]
    gate.set()
    assert await asyncio.gather(first, *rest) == [10, 20, 30, 40]
    assert sent == [[1], [2, 3, 4]]


async def test_a_batch_is_bounded():
    """More items than the limit go in several calls, in order."""
    sent, send = recorder()
    batcher = Batcher(send, limit=2)
    await asyncio.gather(*(batcher.put(n) for n in range(5)))
    assert sent == [[0, 1], [2, 3], [4]]


async def test_an_error_reaches_those_of_its_batch_only():
    """A failed call fails its own items; the next batch goes out as usual."""
    calls = 0

    async def send(items):
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("gone")
        return items

    batcher = Batcher(send, limit=1)
    bad, good = batcher.put(1), batcher.put(2)
    with pytest.raises(ConnectionError):
        await bad
    assert await good == 2
    await batcher.close()
    assert batcher.idle


async def test_a_caller_that_went_away_disturbs_nobody():
    """A cancelled future is passed over; its neighbours get their results."""

    async def send(items):
        await asyncio.sleep(0)
        return items

    batcher = Batcher(send, limit=10)
    gone, here = batcher.put(1), batcher.put(2)
    gone.cancel()
    assert await here == 2


async def test_a_wrong_number_of_results_fails_the_batch():
    """Results are matched by place, so a short answer must not shift them."""

    async def send(items):
        return items[:-1]

    batcher = Batcher(send, limit=10)
    one, two = batcher.put(1), batcher.put(2)
    with pytest.raises(AssertionError):
        await one
    with pytest.raises(AssertionError):
        await two


async def test_waiting_items_can_be_taken_back():
    """Those that are not under way yet, in order; the others are sent as if they had never been there."""
    sent, gate = [], asyncio.Event()

    async def send(items):
        sent.append(list(items))
        await gate.wait()
        return items

    batcher = Batcher(send, limit=10)
    first = batcher.put(1)
    await asyncio.sleep(0)
    rest = {item: batcher.put(item) for item in (2, 3, 4, 5)}
    assert batcher.withdraw(lambda item: item % 2 == 1) == [3, 5]
    gate.set()
    assert await asyncio.gather(first, rest[2], rest[4]) == [1, 2, 4]
    assert sent == [[1], [2, 4]]
    assert rest[3].cancelled()
    assert rest[5].cancelled()


async def test_a_batcher_with_a_rest_gathers_what_comes_meanwhile():
    """The first is sent at once; those that follow within the rest go together."""
    sent, send = recorder()
    batcher = Batcher(send, limit=10, due=lambda item, began: began + 0.2)
    await batcher.put(1)
    second = batcher.put(2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert sent == [[1]]
    assert await asyncio.gather(second, batcher.put(3)) == [2, 3]
    assert sent == [[1], [2, 3]]


async def test_a_full_batch_does_not_rest():
    """Nothing could be gathered any more."""
    sent, send = recorder()
    batcher = Batcher(send, limit=2, due=lambda item, began: began + 60.0)
    await asyncio.gather(*(batcher.put(number) for number in range(4)))
    assert sent == [[0, 1], [2, 3]]


async def test_a_batch_that_becomes_full_during_a_rest_is_sent():
    """Whoever comes last does not wait for the others' rest."""
    sent, send = recorder()
    batcher = Batcher(send, limit=2, due=lambda item, began: began + 60.0)
    first = batcher.put(1), batcher.put(2)
    await asyncio.gather(*first)
    third = batcher.put(3)
    for _ in range(5):
        await asyncio.sleep(0)
    assert sent == [[1, 2]]
    assert await asyncio.gather(third, batcher.put(4)) == [3, 4]
    assert sent == [[1, 2], [3, 4]]


async def test_a_newcomer_may_end_the_rest_of_those_who_wait():
    """They are asked again when one comes: by then it may be known that nobody follows."""
    sent, send = recorder()
    until = {1: 60.0}
    batcher = Batcher(send, limit=10, due=lambda item, began: asyncio.get_running_loop().time() + until.get(item, 60.0))
    first = batcher.put(1)
    for _ in range(5):
        await asyncio.sleep(0)
    assert sent == []
    until[1] = -1.0
    assert await asyncio.gather(first, batcher.put(2)) == [1, 2]
    assert sent == [[1, 2]]


async def test_what_is_taken_back_during_a_rest_is_not_sent():
    """And the batcher ends without a batch."""
    sent, send = recorder()
    batcher = Batcher(send, limit=10, due=lambda item, began: began + 0.05)
    await batcher.put(1)
    batcher.put(2)
    await asyncio.sleep(0)
    assert batcher.withdraw(lambda item: item == 2) == [2]
    await batcher.close()
    assert sent == [[1]]


async def test_an_urgent_item_ends_the_rest():
    """It goes at once, and takes along what waits."""
    sent, send = recorder()
    batcher = Batcher(send, limit=10, due=lambda item, began: began + 60.0 if item < 10 else 0.0)
    await batcher.put(1)
    patient = batcher.put(2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert sent == [[1]]
    assert await asyncio.gather(patient, batcher.put(10)) == [2, 10]
    assert sent == [[1], [2, 10]]

import asyncio
import threading

import pytest

from serving.inference.fair_turns import FairTurns

PATIENCE_SECONDS = 20


def test_the_caller_with_the_least_work_done_comes_first():
    """The caller that has used the threads least goes first; many pieces delay no other caller."""
    order = []

    async def scenario():
        turns = FairTurns(1, "test")
        held = threading.Event()
        first = asyncio.create_task(turns.run("a", lambda: held.wait(PATIENCE_SECONDS)))
        await asyncio.sleep(0)
        callers = ["a", "a", "a", "b", "c", "c"]
        others = [
            asyncio.create_task(turns.run(name, lambda name=name: order.append(name)))
            for name in callers
        ]
        await asyncio.sleep(0.05)
        held.set()
        await asyncio.gather(first, *others)

    asyncio.run(scenario())

    assert order[:2] == ["b", "c"]
    assert sorted(order) == ["a", "a", "a", "b", "c", "c"]


def test_a_free_thread_is_used_by_whoever_has_work():
    """A single caller may use all threads at the same time."""
    together = threading.Barrier(3)

    async def scenario():
        turns = FairTurns(3, "test")
        pieces = [turns.run("a", lambda: together.wait(PATIENCE_SECONDS)) for _ in range(3)]
        return await asyncio.gather(*pieces)

    assert sorted(asyncio.run(scenario())) == [0, 1, 2]


def test_callers_that_give_up_leave_their_turn():
    """A cancelled caller frees its turn, whether it waits or runs; a failure fails alone."""

    async def scenario():
        turns = FairTurns(1, "test")
        held = threading.Event()
        running = asyncio.create_task(turns.run("a", lambda: held.wait(PATIENCE_SECONDS)))
        waiting = asyncio.create_task(turns.run("b", int))
        await asyncio.sleep(0.05)
        running.cancel()
        waiting.cancel()
        held.set()
        await asyncio.gather(running, waiting, return_exceptions=True)
        just_given = asyncio.create_task(turns.run("d", int))
        await asyncio.sleep(0)
        just_given.cancel()
        with pytest.raises(ZeroDivisionError):
            await turns.run("c", lambda: 1 // 0)
        return await turns.run("c", lambda: "done")

    assert asyncio.run(scenario()) == "done"

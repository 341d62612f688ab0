import asyncio
import threading

import pytest

from serving.engine.unloading import Unloading


class SlowServable:
    """Closes once it is allowed to, in whichever thread is told to close it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may_close = threading.Event()
        self.error = error

    def __str__(self) -> str:
        return "m/1"

    def close(self) -> None:
        """See Servable."""
        self.may_close.wait(30)
        if self.error is not None:
            raise self.error


def test_waiting_for_what_is_unloaded_has_a_limit():
    """What is not closed in time is named, and closes later all the same."""
    servable = SlowServable()

    async def scenario():
        unloading, closed = Unloading(), []
        assert await unloading.wait(10)  # nothing is unloaded
        unloading.begin(servable, lambda: closed.append(True))
        in_time = await unloading.wait(0.01)
        names = unloading.names
        servable.may_close.set()
        return in_time, names, await unloading.wait(10), closed, unloading.names

    assert asyncio.run(scenario()) == (False, ["m/1"], True, [True], [])


def test_what_fails_to_close_is_unloaded_with_a_line_in_the_log(caplog):
    """Its caller is told as ever: the version is gone."""
    servable = SlowServable(ValueError("stuck"))
    servable.may_close.set()

    async def scenario():
        unloading, closed = Unloading(), []
        unloading.begin(servable, lambda: closed.append(True))
        await unloading.wait(10)
        return closed

    assert asyncio.run(scenario()) == [True]
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.getMessage() == "closing m/1 failed"
    assert str(record.exc_info[1]) == "stuck"


def test_what_was_loaded_for_nobody_is_closed_again():
    """Its loading goes on in a thread when the caller is cancelled."""
    servable = SlowServable()

    async def scenario():
        unloading, loaded = Unloading(), asyncio.Event()

        async def load():
            await loaded.wait()
            return servable

        waiting = asyncio.create_task(unloading.unless_cancelled(load()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        before = unloading.names
        loaded.set()
        for _ in range(10):
            await asyncio.sleep(0)
        closing, tasks = unloading.names, list(unloading._tasks)
        servable.may_close.set()
        done = await unloading.wait(10)
        return before, closing, done, [task.exception() for task in tasks]

    assert asyncio.run(scenario()) == ([], ["m/1"], True, [None])


def test_what_cannot_be_loaded_for_nobody_leaves_nothing_to_close():
    """The error is nobody's any more."""

    async def scenario():
        unloading, failing = Unloading(), asyncio.Event()

        async def load():
            await failing.wait()
            raise ValueError

        waiting = asyncio.create_task(unloading.unless_cancelled(load()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        failing.set()
        for _ in range(10):
            await asyncio.sleep(0)
        return unloading.names

    assert asyncio.run(scenario()) == []

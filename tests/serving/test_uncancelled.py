"""Tests of waiting for work that goes on when the caller gives up."""

import asyncio

import pytest

from serving.uncancelled import uncancelled


def run(*, fails: bool) -> tuple[list[str], list[object]]:
    """Cancel a caller, end the work afterwards; return what the work did, and what was logged."""
    done: list[str] = []
    logged: list[object] = []

    async def work() -> str:
        await asyncio.sleep(0.01)
        done.append("work")
        if fails:
            raise ValueError
        return "result"

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        task = asyncio.create_task(work())
        caller = asyncio.create_task(uncancelled(task))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert not task.done()
        if not fails:
            assert await uncancelled(task) == "result"
        await asyncio.wait([task])
        await asyncio.sleep(0)

    asyncio.run(main())
    return done, logged


def test_work_goes_on_when_its_caller_is_cancelled():
    """The work ends, and a second caller gets its result."""
    assert run(fails=False) == (["work"], [])


def test_an_error_after_the_caller_has_gone_is_not_logged_as_unhandled():
    """`asyncio.shield` logs it from Python 3.14 on."""
    assert run(fails=True) == (["work"], [])


def test_an_error_reaches_the_caller():
    """Work that fails raises its error, also if it has failed already."""

    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(0, result=None))
        task.cancel()
        failing = asyncio.get_running_loop().create_future()
        failing.set_exception(ValueError("broken"))
        with pytest.raises(ValueError, match="broken"):
            await uncancelled(failing)
        with pytest.raises(asyncio.CancelledError):
            await uncancelled(task)

    asyncio.run(main())

"""Waiting for work that goes on when the caller gives up."""

import asyncio
from typing import TypeVar

_Result = TypeVar("_Result")


async def uncancelled(work: asyncio.Future[_Result]) -> _Result:
    """Wait for work and return its result; if the caller is cancelled, the work goes on.

    `asyncio.shield` does the same up to Python 3.13. From 3.14 on it logs the error of work whose
    caller was cancelled, with a traceback, even if another caller handles the error.

    Raises:
        BaseException: what the work raised.
    """
    if not work.done():
        work.add_done_callback(_take_note)
        await asyncio.wait([work])
    return work.result()


def _take_note(work: asyncio.Future[_Result]) -> None:
    """Retrieve the error, so that asyncio does not log it as one that nobody has seen."""
    if not work.cancelled():
        work.exception()

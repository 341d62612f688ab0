"""What the loading of a version is at, said in the log every few seconds while it lasts.

Whoever does a part of the work notes it; whoever waits for all of it has it reported.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0


@dataclass
class _Progress:
    stage: str = "waiting for a thread"


_CURRENT: ContextVar[_Progress | None] = ContextVar("loading progress", default=None)


def note(stage: str) -> None:
    """Note what the loading that this call belongs to is at; anywhere else, nothing happens.

    Args:
        stage: In the log's words, such as "proving row independence".
    """
    progress = _CURRENT.get()
    if progress is not None:
        progress.stage = stage


@contextlib.asynccontextmanager
async def reported(servable: str, *, seconds: float = INTERVAL_SECONDS) -> AsyncIterator[None]:
    """While the block lasts, log now and then that it does, and what it is at.

    Args:
        servable: What is loaded, as `name/version`.
        seconds: Between two lines.
    """
    progress = _Progress()
    token = _CURRENT.set(progress)  # `asyncio.to_thread` hands it on
    reporting = asyncio.create_task(_report(servable, progress, seconds))
    try:
        yield
    finally:
        _CURRENT.reset(token)
        reporting.cancel()


async def _report(servable: str, progress: _Progress, seconds: float) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(seconds)
        waited = time.monotonic() - began
        logger.info("still loading %s after %.0f s: %s", servable, waited, progress.stage)

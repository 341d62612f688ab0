"""Logs the stage that the loading of a version has reached, every few seconds.

The code that loads a version calls `note` at each stage; the code that waits for it uses
`reported`.
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
    """Set the stage of the loading in progress; outside a `reported` block this does nothing.

    Args:
        stage: Text for the log, such as "proving row independence".
    """
    progress = _CURRENT.get()
    if progress is not None:
        progress.stage = stage


@contextlib.asynccontextmanager
async def reported(servable: str, *, seconds: float = INTERVAL_SECONDS) -> AsyncIterator[None]:
    """Log the stage at intervals while the block runs.

    Args:
        servable: The version that is loaded, as `name/version`.
        seconds: Interval between two log lines.
    """
    progress = _Progress()
    token = _CURRENT.set(progress)  # `asyncio.to_thread` copies the context into the thread
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

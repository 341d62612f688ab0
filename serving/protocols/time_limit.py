"""The time that a REST call may take."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.errors import DeadlineExceeded


@asynccontextmanager
async def time_limit(timeout_in_ms: int) -> AsyncIterator[float]:
    """Cancel what runs longer than REST calls may.

    Args:
        timeout_in_ms: Milliseconds that it may take (`--rest_api_timeout_in_ms`).

    Yields:
        `time.monotonic()` after which nobody waits for the answer.

    Raises:
        DeadlineExceeded: it took longer.
    """
    seconds = timeout_in_ms / 1000
    try:
        async with asyncio.timeout(seconds):
            yield time.monotonic() + seconds
    except TimeoutError:
        msg = (
            f"Timed out after {timeout_in_ms} ms; send smaller batches or raise the server's "
            "--rest_api_timeout_in_ms"
        )
        raise DeadlineExceeded(msg) from None

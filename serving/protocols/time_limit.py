"""The time limit of REST calls."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.errors import DeadlineExceeded


@asynccontextmanager
async def time_limit(timeout_in_ms: int) -> AsyncIterator[float]:
    """Cancel the body of an `async with` statement if it takes longer than a REST call may.

    Args:
        timeout_in_ms: Time limit in milliseconds (`--rest_api_timeout_in_ms`).

    Yields:
        The deadline, in `time.monotonic()` seconds.

    Raises:
        DeadlineExceeded: the body has taken longer.
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

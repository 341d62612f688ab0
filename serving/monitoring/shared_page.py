"""A page that is expensive to compute and that any client may request: requests share it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

# So many requests in quick succession each get a new page, which suffices for scrapers. Further
# requests get the last page, until it is PAGE_SECONDS old.
_PAGES_IN_A_ROW = 8
PAGE_SECONDS = 0.5


class SharedPage:
    """Computes a page at most eight times in a row, and then once every `PAGE_SECONDS`."""

    def __init__(
        self,
        make: Callable[[], Awaitable[bytes]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without a page; the first request computes one.

        Args:
            make: Returns a new page.
            clock: Returns the time in seconds.
        """
        self._make = make
        self._clock = clock
        self._page: asyncio.Future[bytes] | None = None
        self._left = float(_PAGES_IN_A_ROW)
        self._asked = clock()

    async def text(self) -> bytes:
        """Return a page that is at most half a second old; concurrent calls get the same bytes.

        Raises:
            ServingError: `make` raises it.
        """
        now = self._clock()
        refill = (now - self._asked) / PAGE_SECONDS
        self._left = min(float(_PAGES_IN_A_ROW), self._left + refill)
        self._asked = now
        under_way = self._page is not None and not self._page.done()
        if self._page is None or (not under_way and self._left >= 1):
            self._left -= 1
            self._page = asyncio.ensure_future(self._make())
        # All waiting callers share the task: if one of them is cancelled, the task must go on.
        return await asyncio.shield(self._page)

"""A page that takes long to make and is asked for by anybody: callers share it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

# So many askers in a row each get a page of their own, as scrapers do. More get the last one,
# until it is this old.
_PAGES_IN_A_ROW = 8
PAGE_SECONDS = 0.5


class SharedPage:
    """Makes a page no more often than it can be read."""

    def __init__(
        self,
        make: Callable[[], Awaitable[bytes]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            make: Gives a new page.
            clock: Seconds.
        """
        self._make = make
        self._clock = clock
        self._page: asyncio.Future[bytes] | None = None
        self._left = float(_PAGES_IN_A_ROW)
        self._asked = clock()

    async def text(self) -> bytes:
        """The page, not older than half a second; the same bytes for all who ask together.

        Raises:
            ServingError: what `make` raises.
        """
        now = self._clock()
        refill = (now - self._asked) / PAGE_SECONDS
        self._left = min(float(_PAGES_IN_A_ROW), self._left + refill)
        self._asked = now
        under_way = self._page is not None and not self._page.done()
        if self._page is None or (not under_way and self._left >= 1):
            self._left -= 1
            self._page = asyncio.ensure_future(self._make())
        # The page is for all: one who gives up does not take it from the others.
        return await asyncio.shield(self._page)

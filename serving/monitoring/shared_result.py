"""A result that is expensive to compute and that any client may request: requests share it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from serving.uncancelled import uncancelled

# So many requests in quick succession each get a new result, which suffices for scrapers. Further
# requests get the last result, until it is RESULT_SECONDS old.
_RESULTS_IN_A_ROW = 8
RESULT_SECONDS = 0.5

_Result = TypeVar("_Result")


class SharedResult(Generic[_Result]):
    """Computes a result at most eight times in a row, and then once every `RESULT_SECONDS`."""

    def __init__(
        self,
        make: Callable[[], Awaitable[_Result]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without a result; the first request computes one.

        Args:
            make: Returns a new result, which callers must not change.
            clock: Returns the time in seconds.
        """
        self._make = make
        self._clock = clock
        self._result: asyncio.Future[_Result] | None = None
        self._left = float(_RESULTS_IN_A_ROW)
        self._asked = clock()

    async def get(self) -> _Result:
        """Return a result that is at most half a second old; concurrent calls get the same one.

        Raises:
            Exception: what `make` raises.
        """
        now = self._clock()
        refill = (now - self._asked) / RESULT_SECONDS
        self._left = min(float(_RESULTS_IN_A_ROW), self._left + refill)
        self._asked = now
        under_way = self._result is not None and not self._result.done()
        if self._result is None or (not under_way and self._left >= 1):
            self._left -= 1
            self._result = asyncio.ensure_future(self._make())
        # All waiting callers share the task: if one of them is cancelled, the task must go on.
        return await uncancelled(self._result)

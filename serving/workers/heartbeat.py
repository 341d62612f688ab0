"""Notices that a process hangs: it leaves too many pings in a row unanswered.

Time is counted in pings, not read from a clock: if the whole server is paused, supervisor and all,
nobody has missed anything.
"""

import asyncio
from collections.abc import Awaitable, Callable

_PINGS = 10  # within the limit


class Heartbeat:
    """What is known of one process; it hangs once it has left so many pings unanswered.

    Attributes:
        loading: How many things it loads right now. ONNX Runtime then keeps its event loop from
            running, for minutes with a large graph, so it need not answer.
    """

    def __init__(self) -> None:
        self.loading = 0
        self._ping: asyncio.Future[object] | None = None
        self._missed = 0

    def beat(self, ping: Callable[[], Awaitable[object]]) -> bool:
        """Look at the last ping and send the next; to be called at a steady rate.

        Args:
            ping: Asks the process for an answer.

        Returns:
            Whether it hangs.
        """
        if self._ping is None or self._ping.done():
            self._missed = 0
            self._ping = asyncio.ensure_future(_quietly(ping))
        elif self.loading:
            self._missed = 0
        else:
            self._missed += 1
        return self._missed >= _PINGS

    def stop(self) -> None:
        """Wait for no answer any more."""
        if self._ping is not None:
            self._ping.cancel()


async def _quietly(ping: Callable[[], Awaitable[object]]) -> object:
    """A ping whose failure is no error: the process has ended, which its parent sees anyway."""
    try:
        return await ping()
    except Exception:  # noqa: BLE001 - see above
        return None


async def every(limit_seconds: float, beat: Callable[[], None]) -> None:
    """Call `beat` as often as it takes to notice a hanging process within the limit."""
    while True:
        await asyncio.sleep(limit_seconds / _PINGS)
        beat()

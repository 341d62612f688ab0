"""Detects that a worker process hangs: it has not answered the last ping for too long.

Time is counted in calls of `beat`, not read from a clock: if the supervisor and the workers are
paused together, no worker counts as hanging afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable

_PINGS = 10  # calls of `beat` within the time limit


class Heartbeat:
    """The heartbeat of one worker process.

    Attributes:
        loading: Number of versions that the process is loading. ONNX Runtime then blocks the event
            loop, for minutes with a large graph, so missing answers do not count.
    """

    def __init__(self) -> None:
        self.loading = 0
        self._ping: asyncio.Future[object] | None = None
        self._missed = 0

    def beat(self, ping: Callable[[], Awaitable[object]]) -> bool:
        """Check the last ping, and send another one if it was answered; call this at a steady rate.

        Args:
            ping: Sends a ping to the process and returns when it is answered.

        Returns:
            Whether the process hangs.
        """
        if self._ping is None or self._ping.done():
            self._missed = 0
            self._ping = asyncio.ensure_future(_ignore_errors(ping))
        elif self.loading:
            self._missed = 0
        else:
            self._missed += 1
        return self._missed >= _PINGS

    def stop(self) -> None:
        """Cancel the pending ping."""
        if self._ping is not None:
            self._ping.cancel()


async def _ignore_errors(ping: Callable[[], Awaitable[object]]) -> object:
    """Ping, and ignore errors: they mean that the process has ended, which the supervisor sees."""
    try:
        return await ping()
    except Exception:  # noqa: BLE001 - see above
        return None


async def every(limit_seconds: float, beat: Callable[[], None]) -> None:
    """Call `beat` at the interval that detects a hanging process within the limit.

    Args:
        limit_seconds: Time without an answer after which a process hangs.
        beat: Calls `Heartbeat.beat` of each process.
    """
    while True:
        await asyncio.sleep(limit_seconds / _PINGS)
        beat()

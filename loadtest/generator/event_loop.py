"""An event loop whose timers are exact, for requests that are due at microseconds."""

import asyncio
import select
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _ExactSelector(selectors.DefaultSelector):
    """Waits in select(), which takes microseconds, for the selector itself to become readable.

    epoll takes whole milliseconds, and both asyncio (which rounds up) and uvloop sleep in it: at
    1,000 requests/s that is the time between two of them.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See selectors.BaseSelector."""
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def run_event_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in such a loop."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_ExactSelector())) as runner:
        return runner.run(main)

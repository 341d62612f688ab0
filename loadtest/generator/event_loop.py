"""An event loop whose timers are exact to microseconds, to send requests on time."""

import asyncio
import select
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _ExactSelector(selectors.DefaultSelector):
    """A selector that waits in select() until the epoll descriptor is readable.

    select() takes microseconds, epoll whole milliseconds. asyncio (which rounds up) and uvloop
    both sleep in epoll; at 1,000 requests/s one millisecond is the time between two requests.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See selectors.BaseSelector."""
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def run_event_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in an event loop with exact timers, and return its result."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_ExactSelector())) as runner:
        return runner.run(main)

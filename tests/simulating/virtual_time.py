"""An event loop with a virtual clock: timers are exact and take no real time."""

import asyncio
import selectors
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from loadtest.generator import generator


class VirtualSelector(selectors.SelectSelector):
    """A selector that advances a virtual clock instead of sleeping."""

    now_seconds = 1000.0

    def select(self, timeout: float | None = None) -> list:
        """Advance the clock by the timeout, then return the ready events.

        Raises:
            RuntimeError: there is no timeout, so no timer will ever end the wait.
        """
        if timeout is None:
            msg = "no timer is set: every task waits for another one"
            raise RuntimeError(msg)
        self.now_seconds += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the clock of its VirtualSelector."""

    def __init__(self) -> None:
        self.clock = VirtualSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.clock.now_seconds


def run(main: Coroutine[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a coroutine while the load generator's clock is the loop's; return its result."""
    loop = VirtualLoop()
    clock = SimpleNamespace(
        monotonic_ns=lambda: round(loop.time() * 1e9), process_time=lambda: loop.time() / 10
    )
    monkeypatch.setattr(generator, "time", clock)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()

"""An event loop whose clock jumps: what would take seconds is exact and takes none."""

import asyncio
import selectors
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from loadtest.generator import generator


class VirtualSelector(selectors.SelectSelector):
    """Where a real one would sleep, time passes at once."""

    now_seconds = 1000.0

    def select(self, timeout: float | None = None) -> list:
        """Let the time pass, then see what is ready."""
        if timeout is None:
            msg = "nothing will ever happen: every task waits for another one"
            raise RuntimeError(msg)
        self.now_seconds += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time is the selector's."""

    def __init__(self) -> None:
        self.clock = VirtualSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        """Virtual seconds."""
        return self.clock.now_seconds


def run(main: Coroutine[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a coroutine, the generator's own clock being the loop's."""
    loop = VirtualLoop()
    clock = SimpleNamespace(
        monotonic_ns=lambda: round(loop.time() * 1e9), process_time=lambda: loop.time() / 10
    )
    monkeypatch.setattr(generator, "time", clock)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()

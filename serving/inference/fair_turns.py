"""Threads that callers share: whoever has had the least of them comes first.

Work comes in short pieces, so that a caller with much to do never holds the threads for long.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

Result = TypeVar("Result")

# How long it is remembered what a caller has had, once nothing of it runs or waits.
_MEMORY_SECONDS = 1.0


@dataclass(eq=False)
class _Caller:
    """Who has work under way.

    Attributes:
        seconds: Time that the threads have worked for it.
        running: Its pieces in threads now.
        waiting: Its pieces that wait for a thread, the oldest first.
    """

    seconds: float = 0.0
    running: int = 0
    waiting: "list[asyncio.Future[None]]" = field(default_factory=list)


class FairTurns:
    """Runs pieces of work in threads. For one event loop."""

    def __init__(self, threads: int, name: str) -> None:
        """Prepare.

        Args:
            threads: How many pieces may run at a time.
            name: Of the threads.
        """
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._callers: dict[Hashable, _Caller] = {}

    async def run(self, caller_name: Hashable, work: Callable[[], Result]) -> Result:
        """Run a piece of work when it is its caller's turn.

        Args:
            caller_name: Whoever asks under one name shares one turn.
            work: Runs in a thread; short.

        Raises:
            Exception: what the work raises.
        """
        caller = self._callers.setdefault(caller_name, _Caller())
        turn = asyncio.get_running_loop().create_future()
        caller.waiting.append(turn)
        self._assign()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had just been given a thread
                self._end(caller_name, caller, 0.0)
            elif turn in caller.waiting:
                caller.waiting.remove(turn)
                self._forget(caller_name, caller)
            raise
        started = time.monotonic()
        running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        # A caller that gives up leaves the thread at work until the piece is done.
        running.add_done_callback(
            lambda _: self._end(caller_name, caller, time.monotonic() - started)
        )
        return await asyncio.shield(running)

    def _assign(self) -> None:
        while self._free:
            waiting = (caller for caller in self._callers.values() if caller.waiting)
            caller = min(waiting, key=lambda c: (c.running, c.seconds), default=None)
            if caller is None:
                return
            turn = caller.waiting.pop(0)
            if turn.done():  # cancelled
                continue
            self._free -= 1
            caller.running += 1
            turn.set_result(None)

    def _end(self, name: Hashable, caller: _Caller, seconds: float) -> None:
        self._free += 1
        caller.running -= 1
        caller.seconds += seconds
        asyncio.get_running_loop().call_later(_MEMORY_SECONDS, self._forget, name, caller)
        self._assign()

    def _forget(self, name: Hashable, caller: _Caller) -> None:
        if not caller.running and not caller.waiting and self._callers.get(name) is caller:
            del self._callers[name]

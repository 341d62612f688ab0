"""Threads that callers share fairly.

The caller with the fewest pieces of work in threads comes first; of several such callers, the one
that has used the least thread time. Pieces of work are short, so that a caller with much work never
holds a thread for long.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from serving.uncancelled import uncancelled

Result = TypeVar("Result")

# A caller's thread time is forgotten at most this long after its last piece of work has ended.
_MEMORY_SECONDS = 1.0


@dataclass(eq=False)
class _Caller:
    """A caller whose work runs or waits.

    Attributes:
        seconds: Thread time that the caller has used, in seconds.
        running: Number of its pieces of work that run in threads now.
        waiting: Its pieces of work that wait for a thread, the oldest first.
    """

    seconds: float = 0.0
    running: int = 0
    waiting: "list[asyncio.Future[None]]" = field(default_factory=list)


class FairTurns:
    """Runs pieces of work in threads. Use it from one event loop only."""

    def __init__(self, threads: int, name: str) -> None:
        """Prepare.

        Args:
            threads: Number of threads: the most pieces of work that run at a time.
            name: Prefix of the threads' names.
        """
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._callers: dict[Hashable, _Caller] = {}

    async def run(self, caller_name: Hashable, work: Callable[[], Result]) -> Result:
        """Run a piece of work in a thread when it is its caller's turn, and return its result.

        Args:
            caller_name: Name of the caller; all work under one name counts as one caller's.
            work: Function that runs in a thread; it should be short.

        Raises:
            Exception: raised by `work`.
        """
        caller = self._callers.setdefault(caller_name, _Caller())
        turn = asyncio.get_running_loop().create_future()
        caller.waiting.append(turn)
        self._assign()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the piece had just been given a thread
                self._end(caller_name, caller, 0.0)
            elif turn in caller.waiting:
                caller.waiting.remove(turn)
                self._forget(caller_name, caller)
            raise
        started = time.monotonic()
        running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        # If the caller gives up, the thread is still occupied until the piece of work ends.
        running.add_done_callback(
            lambda _: self._end(caller_name, caller, time.monotonic() - started)
        )
        return await uncancelled(running)

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

"""Unloading: closes servables in the background, each in its own thread.

Closing a servable waits for its accepted requests, one of which may run for ever. Loading other
models, swapping versions and ending the process do not wait for that thread.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from serving.engine.servable import Servable
from serving.uncancelled import uncancelled

logger = logging.getLogger(__name__)


class Unloading:
    """The servables that are being closed. All methods must be called in the same event loop."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Servable] = {}

    @property
    def names(self) -> list[str]:
        """Servables that are not closed yet, as `name/version`."""
        return [str(servable) for servable in self._tasks.values()]

    def begin(self, servable: Servable, on_closed: Callable[[], None]) -> None:
        """Start to close a servable.

        Args:
            servable: A servable that has been removed from the catalog.
            on_closed: Called in the event loop when the servable's graphs are freed.
        """
        task = asyncio.create_task(_close(servable, on_closed))
        self._tasks[task] = servable
        task.add_done_callback(self._tasks.pop)

    async def unless_cancelled(self, loading: Coroutine[Any, Any, Servable]) -> Servable:
        """Wait for a servable to load; if the caller is cancelled, close the servable once loaded.

        Args:
            loading: Loads the servable in a thread, which goes on when the caller is cancelled.

        Returns:
            The loaded servable.

        Raises:
            Exception: the exception that `loading` raised.
        """
        task = asyncio.create_task(loading)
        try:
            return await uncancelled(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._close_unwanted)
            raise

    def _close_unwanted(self, loaded: asyncio.Task[Servable]) -> None:
        if not loaded.cancelled() and loaded.exception() is None:
            self.begin(loaded.result(), lambda: None)

    async def wait(self, seconds: float) -> bool:
        """Wait until all servables are closed or the time is over; return whether all are."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=seconds)
        return not self._tasks


async def _close(servable: Servable, on_closed: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    closed: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not closed.done():
            closed.set_result(None)

    def work() -> None:
        try:
            servable.close()
        except Exception:
            logger.exception("closing %s failed", servable)
        with contextlib.suppress(RuntimeError):  # the event loop has ended meanwhile
            loop.call_soon_threadsafe(settle)

    # Not `asyncio.to_thread`: Python waits for the event loop's own threads when it exits.
    threading.Thread(target=work, name=f"close-{servable}", daemon=True).start()
    await closed
    on_closed()
    logger.info("unloaded %s", servable)

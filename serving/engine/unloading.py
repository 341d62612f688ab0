"""Unloading: servables are closed beside everything else, each in a thread of its own.

Closing waits for the requests that were accepted, and so for a run that may never return. Nothing
else waits for it: other models are loaded and swapped meanwhile, and the process may end.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from serving.engine.servable import Servable

logger = logging.getLogger(__name__)


class Unloading:
    """The servables that are being closed. For one event loop alone."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Servable] = {}

    @property
    def names(self) -> list[str]:
        """What is not closed yet, as `name/version`."""
        return [str(servable) for servable in self._tasks.values()]

    def begin(self, servable: Servable, on_closed: Callable[[], None]) -> None:
        """Begin to close a servable.

        Args:
            servable: It is in no catalog any more.
            on_closed: Called in the event loop once its graphs are freed.
        """
        task = asyncio.create_task(_close(servable, on_closed))
        self._tasks[task] = servable
        task.add_done_callback(self._tasks.pop)

    async def unless_cancelled(self, loading: Coroutine[Any, Any, Servable]) -> Servable:
        """Wait for a servable that is loaded; without anybody who waits, it is closed again.

        Args:
            loading: Loads it in a thread, which goes on when its caller is cancelled.

        Raises:
            Exception: what the loading raises.
        """
        task = asyncio.create_task(loading)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._close_unwanted)
            raise

    def _close_unwanted(self, loaded: asyncio.Task[Servable]) -> None:
        if not loaded.cancelled() and loaded.exception() is None:
            self.begin(loaded.result(), lambda: None)

    async def wait(self, seconds: float) -> bool:
        """Wait until all are closed, but no longer than this; gives whether they are."""
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

    # Not the event loop's own threads: Python waits for those when it exits.
    threading.Thread(target=work, name=f"close-{servable}", daemon=True).start()
    await closed
    on_closed()
    logger.info("unloaded %s", servable)

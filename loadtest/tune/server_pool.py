"""The servers of the cells: started when a cell is measured, and kept for its next turn."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from loadtest.servers import local
from loadtest.servers.local import LocalServer
from loadtest.tune.cells import Cell

# A further server is kept only while at least this share of the machine's memory is free.
_FREE_MEMORY = 0.25


class ServerPool:
    """Servers of one model, at most a number of them at once.

    An idle server uses memory and next to no processor time.
    """

    def __init__(self, models_dir: Path, flags: list[str], logs: Path, most: int) -> None:
        """Start without servers.

        Args:
            models_dir: Folder of the models.
            flags: Flags of every server, besides those of its cell.
            logs: Folder for the servers' logs.
            most: Most servers at a time.
        """
        self._models_dir = models_dir
        self._flags = flags
        self._logs = logs
        self._most = most
        self._running: dict[Cell, tuple[LocalServer, contextlib.ExitStack]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all servers."""
        for cell in list(self._running):
            self.stop(cell)

    def server(self, cell: Cell) -> LocalServer:
        """Return the running server of a cell; start it if there is none.

        Raises:
            UsageError: The server does not start; the message has its last words.
        """
        known = self._running.pop(cell, None)
        if known is None:
            self._make_room()
            stack = contextlib.ExitStack()
            log = self._logs / f"{'-'.join(map(str, cell.values.values()))}.log"
            server = stack.enter_context(
                local.started(self._models_dir, [*cell.flags, *self._flags], log)
            )
            known = server, stack
        self._running[cell] = known  # at the end: the order is that of the last uses
        return known[0]

    def stop(self, cell: Cell) -> None:
        """Stop the server of a cell if it runs."""
        known = self._running.pop(cell, None)
        if known is not None:
            known[1].close()

    def _make_room(self) -> None:
        """Stop the servers whose last use is longest ago until another one may be started."""
        while self._running:
            memory = psutil.virtual_memory()
            fits = len(self._running) < self._most
            if fits and memory.available >= _FREE_MEMORY * memory.total:
                return
            self.stop(next(iter(self._running)))

"""Messages between the processes of a load test, read by each process' event loop."""

import asyncio
import contextlib
from multiprocessing.connection import Connection
from typing import Any

from loadtest.settings.config import LoadTestError


class PeerGone(LoadTestError):
    """The process at the other end has ended."""


class ProcessPipe:
    """One end of a pipe between processes, for asyncio; a message is a pair of kind and value."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._arrived: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)

    def send(self, kind: str, value: object) -> None:
        """Send a message; if the other process has ended, it is lost and `receive` raises."""
        with contextlib.suppress(OSError):
            self._connection.send((kind, value))

    async def receive(self) -> tuple[str, Any]:
        """Wait for the next message and return its kind and value.

        Raises:
            PeerGone: The other end is closed.
        """
        kind, value = await self._arrived.get()
        if kind == "gone":
            self._arrived.put_nowait((kind, value))
            msg = "a generator process ended unexpectedly; its own message is above"
            raise PeerGone(msg)
        return kind, value

    async def expect(self, kind: str) -> Any:  # noqa: ANN401 - each kind has its own type
        """Return the value of the next message of a kind; messages before it are dropped."""
        while True:
            received, value = await self.receive()
            if received == kind:
                return value

    def close(self) -> None:
        """Close this end."""
        if self._connection.closed:
            return
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()

    def _read(self) -> None:
        try:
            self._arrived.put_nowait(self._connection.recv())
        except (EOFError, OSError):
            self._loop.remove_reader(self._connection.fileno())
            self._arrived.put_nowait(("gone", None))

"""Answers that are finished and that their callers have not taken yet.

A client that asks and does not read makes the server keep the answers. So a connection that leaves
many bytes unread gets no further request begun until it has read some, or is gone.
"""

import asyncio
from collections.abc import Hashable

# Smaller answers are not counted: the streams that a connection may have bound them.
COUNTED_BYTES = 4096
_SHARES = 64


class UnreadAnswers:
    """Counts them by connection. For the event loop alone.

    Attributes:
        total: Bytes of all connections now.
        crowded: Whether there are so many that a request has to ask whether it may begin.
    """

    def __init__(self, limit: int) -> None:
        """Prepare.

        Args:
            limit: Bytes that all connections may leave unread before they have to wait. One answer
                may go beyond, on each connection.
        """
        self._limit = limit
        self._bytes: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, list[asyncio.Future[None]]] = {}
        self.total = 0
        self.crowded = False

    def add(self, connection: Hashable, count: int) -> None:
        """An answer is about to be sent."""
        self.total += count
        self._bytes[connection] = self._bytes.get(connection, 0) + count
        self.crowded = self.total * _SHARES > self._limit

    def remove(self, connection: Hashable, count: int) -> None:
        """It is sent, or nobody takes it any more."""
        self.total -= count
        self.crowded = self.total * _SHARES > self._limit
        left = self._bytes[connection] - count
        if left:
            self._bytes[connection] = left
        else:
            del self._bytes[connection]
        for waiting in self._waiting.pop(connection, ()):
            if not waiting.done():
                waiting.set_result(None)

    async def wait_for_room(self, connection: Hashable) -> None:
        """Return when a connection has read enough for another request to begin."""
        while self._bytes.get(connection, 0) * self._shares() > self._limit:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(connection, []).append(waiting)
            await waiting

    def _shares(self) -> int:
        """Into how many parts the limit goes: with more connections, each has less."""
        return max(_SHARES, 2 * len(self._bytes))

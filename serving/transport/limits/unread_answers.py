"""Answers that are finished and that their callers have not taken yet.

A client that asks and does not read makes the server keep the answers. So a connection that leaves
many bytes unread gets no further request begun until it has read some, or is gone. A request that
is begun counts as an answer of the usual size until it has one.
"""

import asyncio
from collections import Counter
from collections.abc import Hashable

# Smaller answers are not counted: the streams that a connection may have bound them.
COUNTED_BYTES = 4096
# Into so many parts the limit goes, or into so many for each connection that has answers unread.
_SHARES = 256
_SHARES_PER_CONNECTION = 4


class UnreadAnswers:
    """Counts them by connection. For the event loop alone.

    Attributes:
        total: Bytes of all connections now.
        crowded: Whether there are so many that a request has to ask whether it may begin.
    """

    def __init__(self, limit: int) -> None:
        """Prepare.

        Args:
            limit: A quarter of these bytes is what all connections may leave unread before they
                have to wait. One answer may go beyond, on each connection.
        """
        self._limit = limit
        self._bytes: dict[Hashable, int] = {}
        self._begun: Counter[Hashable] = Counter()  # requests that had to ask, not answered yet
        self._usual_bytes = 0
        self._waiting: dict[Hashable, list[asyncio.Future[None]]] = {}
        self.total = 0
        self.crowded = False

    def add(self, connection: Hashable, count: int) -> None:
        """An answer is about to be sent."""
        self.total += count
        self._bytes[connection] = self._bytes.get(connection, 0) + count
        self._usual_bytes = max(count, self._usual_bytes * 7 // 8)
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
        self._wake(connection)

    async def begin(self, connection: Hashable) -> None:
        """Return when a request may begin; `end` must follow once it has an answer or none.

        Args:
            connection: Where it came from.
        """
        while self._expected_bytes(connection) * self._shares() > self._limit:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(connection, []).append(waiting)
            await waiting
        self._begun[connection] += 1

    def end(self, connection: Hashable) -> None:
        """A request that `begin` let in has its answer, or has failed."""
        self._begun[connection] -= 1
        if not self._begun[connection]:
            del self._begun[connection]
        self._wake(connection)

    def _wake(self, connection: Hashable) -> None:
        for waiting in self._waiting.pop(connection, ()):
            if not waiting.done():
                waiting.set_result(None)

    def _expected_bytes(self, connection: Hashable) -> int:
        """What a connection leaves unread, and what its requests will add to that."""
        begun = self._begun.get(connection, 0)
        return self._bytes.get(connection, 0) + begun * self._usual_bytes

    def _shares(self) -> int:
        """Into how many parts the limit goes: with more connections, each has less."""
        return max(_SHARES, _SHARES_PER_CONNECTION * len(self._bytes))

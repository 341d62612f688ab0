"""The bytes of answers that are computed but that their clients have not read yet.

If a client sends requests and does not read the answers, the server has to hold them. While a
connection has many unread bytes, its further requests therefore wait until the client has read some
of them or disconnects. A request that has begun counts as an answer of the usual size until its
real answer is counted.
"""

import asyncio
from collections import Counter
from collections.abc import Hashable

# Smaller answers are not counted: the maximum number of streams a connection bounds them.
COUNTED_BYTES = 4096
# A connection may leave one share of the limit unread. There are 256 shares, or four for each
# connection with unread answers if that is more.
_SHARES = 256
_SHARES_PER_CONNECTION = 4


class UnreadAnswers:
    """Counts the unread bytes of each connection. Use it in the event loop only.

    Attributes:
        total: Unread bytes of all connections now.
        crowded: Whether `total` exceeds one share of the limit. If so, a request must await `begin`
            before it may begin.
    """

    def __init__(self, limit: int) -> None:
        """Start with no unread bytes.

        Args:
            limit: In bytes. All connections together may leave a quarter of it unread before their
                requests have to wait; each connection may exceed its part by one answer.
        """
        self._limit = limit
        self._bytes: dict[Hashable, int] = {}
        self._begun: Counter[Hashable] = Counter()  # requests between `begin` and `end`
        self._usual_bytes = 0
        self._waiting: dict[Hashable, list[asyncio.Future[None]]] = {}
        self.total = 0
        self.crowded = False

    def add(self, connection: Hashable, count: int) -> None:
        """Count an answer that is about to be sent."""
        self.total += count
        self._bytes[connection] = self._bytes.get(connection, 0) + count
        self._usual_bytes = max(count, self._usual_bytes * 7 // 8)
        self.crowded = self.total * _SHARES > self._limit

    def remove(self, connection: Hashable, count: int) -> None:
        """Stop counting an answer that was sent, or whose client has disconnected."""
        self.total -= count
        self.crowded = self.total * _SHARES > self._limit
        left = self._bytes[connection] - count
        if left:
            self._bytes[connection] = left
        else:
            del self._bytes[connection]
        self._wake(connection)

    async def begin(self, connection: Hashable) -> None:
        """Return when a request may begin; call `end` once it has its answer or has failed.

        Args:
            connection: The connection that the request came over.
        """
        while self._expected_bytes(connection) * self._shares() > self._limit:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(connection, []).append(waiting)
            await waiting
        self._begun[connection] += 1

    def end(self, connection: Hashable) -> None:
        """Stop counting a request that `begin` let in: it has its answer, or has failed."""
        self._begun[connection] -= 1
        if not self._begun[connection]:
            del self._begun[connection]
        self._wake(connection)

    def _wake(self, connection: Hashable) -> None:
        for waiting in self._waiting.pop(connection, ()):
            if not waiting.done():
                waiting.set_result(None)

    def _expected_bytes(self, connection: Hashable) -> int:
        """Return a connection's unread bytes plus the expected answers of its begun requests."""
        begun = self._begun.get(connection, 0)
        return self._bytes.get(connection, 0) + begun * self._usual_bytes

    def _shares(self) -> int:
        """Return the number of shares: the more connections have unread answers, the more."""
        return max(_SHARES, _SHARES_PER_CONNECTION * len(self._bytes))

"""The bytes of large requests that the server holds at a time, all callers together.

A limit for each message does not bound the memory: callers may send any number of messages at once.
Requests that arrive in one piece count only what they inflate to; the web server's windows bound
the rest.
"""

from serving.errors import Unavailable


class ByteBudget:
    """Counts bytes that were received and not answered yet. For the event loop alone.

    Attributes:
        limit: Most bytes at a time.
        used: Bytes held now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class Hold:
    """One request's part of a budget."""

    __slots__ = ("_budget", "_bytes")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._bytes = 0

    def take(self, count: int) -> None:
        """Hold more bytes.

        Raises:
            Unavailable: that would be more than the budget's limit.
        """
        budget = self._budget
        if budget.used + count > budget.limit:
            msg = (
                f"requests of {budget.used} bytes are under way, at most {budget.limit} may be; "
                "retry with backoff, or raise the server's --max_buffered_bytes"
            )
            raise Unavailable(msg)
        budget.used += count
        self._bytes += count

    def release(self) -> None:
        """The request is answered: it holds nothing any more."""
        self._budget.used -= self._bytes
        self._bytes = 0

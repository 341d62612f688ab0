"""The bytes of requests and answers that the server holds at a time, all callers together.

A limit for each message does not bound the memory: callers may send any number of messages at once,
and a message of a few bytes may stand for a tensor of gigabytes. What counts is the body of a
request that arrives in several pieces, what a body inflates to, its tensors as they are decoded,
and an answer until the client has taken it. A request that arrives in one piece is bounded by the
web server's windows.
"""

from collections.abc import Hashable

from serving.errors import InvalidInput, Unavailable


class ByteBudget:
    """Counts bytes that were received and not answered yet. For the event loop alone.

    The last eighth is kept for small requests, so that a few large ones cannot shut all others out.

    Attributes:
        limit: Most bytes at a time.
        used: Bytes held now.
        shared: Most bytes at a time with a request that is not small.
        small: Most bytes of a small request.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.shared = limit - limit // 8
        self.small = limit // 1024


class Hold:
    """One request's part of a budget.

    Attributes:
        caller: The connection that the request came over; None if nobody knows.
    """

    __slots__ = ("_budget", "_bytes", "caller")

    def __init__(self, budget: ByteBudget, caller: Hashable = None) -> None:
        self._budget = budget
        self.caller = caller
        self._bytes = 0

    @property
    def room(self) -> int:
        """Bytes that could be taken now; 1 if there are none, so that taking them says why."""
        budget = self._budget
        is_alone = budget.used == self._bytes
        as_any = (budget.limit if is_alone else budget.shared) - budget.used
        as_small = min(budget.limit - budget.used, budget.small - self._bytes)
        return max(1, as_any, as_small)

    def take(self, count: int) -> None:
        """Hold more bytes.

        Raises:
            InvalidInput: this request would hold more than the budget's limit, whatever others do.
            Unavailable: all requests together would.
        """
        budget = self._budget
        if self._bytes + count > budget.limit:
            msg = (
                f"request takes {self._bytes + count} bytes with its decoded tensors, expected at "
                f"most {budget.limit}; send smaller batches or raise the server's "
                "--max_buffered_bytes"
            )
            raise InvalidInput(msg)
        is_small = self._bytes + count <= budget.small
        is_alone = budget.used == self._bytes
        if budget.used + count > (budget.limit if is_small or is_alone else budget.shared):
            msg = (
                f"requests of {budget.used} bytes are under way, at most {budget.limit} may be; "
                "retry with backoff, or raise the server's --max_buffered_bytes"
            )
            raise Unavailable(msg)
        budget.used += count
        self._bytes += count

    def give_back(self, count: int) -> None:
        """Hold so many bytes less."""
        self._budget.used -= count
        self._bytes -= count

    def release(self) -> None:
        """The request is answered: it holds nothing any more."""
        self._budget.used -= self._bytes
        self._bytes = 0

"""A budget for the bytes of requests that the server holds, all callers together.

A size limit for each message does not bound the memory: callers may send any number of messages at
once, and a message of a few bytes may decode to a tensor of gigabytes. Until a request is answered,
the budget counts its body if that arrives in several pieces, its inflated body and its decoded
tensors. The web server's windows bound a body that arrives in one piece. `unread_answers` counts
the answers until the clients have read them.
"""

from collections.abc import Hashable

from serving.errors import InvalidInput, Unavailable


class ByteBudget:
    """Counts the bytes that all `Hold` objects hold. Use it in the event loop's thread only.

    The last eighth of the budget is reserved for small requests, so that a few large requests
    cannot exclude all others.

    Attributes:
        limit: Most bytes held at a time.
        used: Bytes held now.
        shared: Most bytes held at a time after a request that is not small has taken its part.
        small: Most bytes that a small request holds.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.shared = limit - limit // 8
        self.small = limit // 1024


class Hold:
    """The bytes of a budget that one request holds.

    Attributes:
        caller: The connection that the request came over; None if it is unknown.
    """

    __slots__ = ("_budget", "_bytes", "caller")

    def __init__(self, budget: ByteBudget, caller: Hashable = None) -> None:
        self._budget = budget
        self.caller = caller
        self._bytes = 0

    @property
    def room(self) -> int:
        """Bytes that `take` would grant now; 1 if none are left: `take` then raises its error."""
        budget = self._budget
        is_alone = budget.used == self._bytes
        as_any = (budget.limit if is_alone else budget.shared) - budget.used
        as_small = min(budget.limit - budget.used, budget.small - self._bytes)
        return max(1, as_any, as_small)

    def take(self, count: int) -> None:
        """Hold `count` more bytes.

        Raises:
            InvalidInput: this request alone would hold more than the budget's limit.
            Unavailable: all requests together would hold more than the budget allows.
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
                f"requests in flight hold {budget.used} bytes of at most {budget.limit}; retry "
                "with backoff, or raise the server's --max_buffered_bytes"
            )
            raise Unavailable(msg)
        budget.used += count
        self._bytes += count

    def give_back(self, count: int) -> None:
        """Hold `count` bytes less."""
        self._budget.used -= count
        self._bytes -= count

    def release(self) -> None:
        """Give back all bytes, when the request has been answered."""
        self._budget.used -= self._bytes
        self._bytes = 0

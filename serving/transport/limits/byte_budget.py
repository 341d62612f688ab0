"""A budget for the bytes of requests that the server holds, all callers together.

A size limit for each message does not bound the memory: callers may send any number of messages at
once, and a message of a few bytes may decode to a tensor of gigabytes. Until a request is answered,
the budget counts its body if that arrives in several pieces, its inflated body and its decoded
tensors. The web server's windows bound a body that arrives in one piece. `unread_answers` counts
the answers until the clients have read them.
"""

from collections.abc import Hashable

from serving.errors import InvalidInput, Unavailable

# How many times the bytes that are left a flow may hold.
_SHARE = 7


class ByteBudget:
    """Counts the bytes that all `Hold` objects hold. Use it in the event loop's thread only.

    A flow, that is a client, may hold seven times what is left (a dynamic threshold, Choudhury and
    Hahne, IEEE/ACM Transactions on Networking 1998). One client alone can thus hold seven eighths
    of the limit, and the next one seven eighths of the rest. Small requests may use up the rest,
    and a request that is alone may have everything.

    Attributes:
        limit: Most bytes held at a time.
        used: Bytes held now.
        used_by_flow: Bytes held now, by flow.
        small: Most bytes that a small request holds.
        uncounted: Number of requests that hold a few bytes which are not counted.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.used_by_flow: dict[Hashable, int] = {}
        self.small = limit // 1024
        self.uncounted = 0

    def hold(self, flow: Hashable, count: int) -> None:
        """Count `count` more bytes of a flow, or less if it is negative."""
        self.used += count
        held = self.used_by_flow.get(flow, 0) + count
        if held:
            self.used_by_flow[flow] = held
        else:
            self.used_by_flow.pop(flow, None)

    def left_for(self, flow: Hashable) -> int:
        """Return the bytes that a flow may hold in addition, in requests that are not small."""
        held = self.used_by_flow.get(flow, 0)
        return (_SHARE * (self.limit - self.used) - held) // (_SHARE + 1)


class Hold:
    """The bytes of a budget that one request holds.

    Attributes:
        budget: The budget.
        caller: The connection that the request came over; None if it is unknown.
        flow: The client for which the bytes count, see `serving.access.flow`; by default the
            caller. Set it before the first `take`.
    """

    __slots__ = ("_bytes", "budget", "caller", "flow")

    def __init__(self, budget: ByteBudget, caller: Hashable = None) -> None:
        self.budget = budget
        self.caller = caller
        self.flow = caller
        self._bytes = 0

    @property
    def room(self) -> int:
        """Bytes that `take` would grant now; 1 if none are left: `take` then raises its error."""
        budget = self.budget
        left = budget.limit - budget.used
        is_alone = budget.used == self._bytes
        as_any = left if is_alone else budget.left_for(self.flow)
        as_small = min(left, budget.small - self._bytes)
        return max(1, as_any, as_small)

    def take(self, count: int) -> None:
        """Hold `count` more bytes.

        Raises:
            InvalidInput: this request alone would hold more than the budget's limit.
            Unavailable: all requests together would hold more than the budget allows.
        """
        budget = self.budget
        if self._bytes + count > budget.limit:
            msg = (
                f"request takes {self._bytes + count} bytes with its decoded tensors, expected at "
                f"most {budget.limit}; send smaller batches or raise the server's "
                "--max_buffered_bytes"
            )
            raise InvalidInput(msg)
        is_small = self._bytes + count <= budget.small
        is_alone = budget.used == self._bytes
        left = budget.limit - budget.used
        if count > (left if is_small or is_alone else budget.left_for(self.flow)):
            held = budget.used_by_flow.get(self.flow, 0)
            msg = (
                f"requests in flight hold {budget.used} bytes of at most {budget.limit}, those of "
                f"this client {held}; retry with backoff, or raise the server's "
                "--max_buffered_bytes"
            )
            raise Unavailable(msg)
        budget.hold(self.flow, count)
        self._bytes += count

    def give_back(self, count: int) -> None:
        """Hold `count` bytes less."""
        self.budget.hold(self.flow, -count)
        self._bytes -= count

    def release(self) -> None:
        """Give back all bytes, when the request has been answered."""
        if self._bytes:
            self.budget.hold(self.flow, -self._bytes)
            self._bytes = 0

"""The limit on the rows that wait or run, which the clients share.

One client may use all of it. If it is used up, a client that has less than an equal share takes the
place of the newest waiting request of the client that has the most. A greedy client therefore
delays and displaces only its own requests.
"""

from collections.abc import Hashable

from serving.engine.batching.request_queue import Request, RequestQueue
from serving.errors import Unavailable


class EnqueuedRows:
    """Counts the rows that wait or run, by flow. Use it only from the event loop.

    Attributes:
        total: Number of rows of all flows.
    """

    def __init__(self, queue: RequestQueue, name: str) -> None:
        """Start with no rows.

        Args:
            queue: The queue in which the counted requests wait.
            name: Name of the servable, for messages.
        """
        self.total = 0
        self._queue = queue
        self._name = name
        self._by_flow: dict[Hashable, int] = {}

    def add(self, request: Request) -> None:
        """Count a request; call `remove` when it has ended."""
        rows, flow = request.rows or 1, request.flow
        request.is_counted = True
        self.total += rows
        self._by_flow[flow] = self._by_flow.get(flow, 0) + rows

    def remove(self, request: Request) -> None:
        """Stop counting a request; nothing happens if it is not counted any more."""
        if not request.is_counted:
            return
        rows, flow = request.rows or 1, request.flow
        request.is_counted = False
        self.total -= rows
        left = self._by_flow[flow] - rows
        if left:
            self._by_flow[flow] = left
        else:
            del self._by_flow[flow]

    def make_room(self, flow: Hashable, rows: int, most: int) -> None:
        """Make room for a request, at the cost of flows that have more than an equal share.

        A displaced request fails with `Unavailable`.

        Args:
            flow: The flow of the new request.
            rows: Number of its rows, at most `most`.
            most: Limit of the rows that wait or run.

        Raises:
            Unavailable: the flow would have more than an equal share of the limit, or the rows of
                the others run already.
        """
        if self.total + rows <= most:
            return
        own = self._by_flow.get(flow, 0) + rows
        flows = len(self._by_flow) + (flow not in self._by_flow)
        if own * flows <= most:
            for other in sorted(self._by_flow, key=self._by_flow.__getitem__, reverse=True):
                while self._by_flow.get(other, 0) > own:
                    request = self._queue.drop_newest(other)
                    if request is None:
                        break
                    self._displace(request, most)
                    if self.total + rows <= most:
                        return
        raise self._full(most)

    def _displace(self, request: Request, most: int) -> None:
        error = self._full(most)
        request.give_up()
        self.remove(request)
        if not request.future.done():
            request.future.set_exception(error)

    def _full(self, most: int) -> Unavailable:
        msg = (
            "The batch scheduling queue to which this task was submitted is full: "
            f"{self.total} rows wait for {self._name}, at most {most} may; retry with backoff, or "
            "add servers"
        )
        return Unavailable(msg)

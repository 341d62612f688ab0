"""The queue of one servable: requests in the order of their arrival, each taken once.

The event loop puts requests in, worker threads take them out. A request that its caller has
cancelled gives its arrays back at once and is passed over later. Nothing here takes a lock: a
request belongs to whoever gets its ticket, and Python pops a list in one step.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np

from serving.stage_times import StageTimes

Arrays = Mapping[str, np.ndarray]


def _ticket() -> list[None]:
    return [None]


@dataclass(slots=True, eq=False)
class Request:
    """Rows that wait for a run.

    Requests of one group (signature, outputs, row shapes) may share a batch. `rows` is None for a
    signature whose rows are not shown to be independent: its requests run alone, each as it is.
    """

    signature_name: str
    inputs: Arrays
    outputs: Sequence[str]
    rows: int | None
    deadline: float | None
    group: Any
    future: asyncio.Future[dict[str, np.ndarray]]
    queued: float
    times: StageTimes | None
    outcome: dict[str, np.ndarray] | BaseException | None = field(default=None)
    _ticket: list[None] = field(default_factory=_ticket)

    def take(self) -> bool:
        """Whether the request is the caller's from now on: true for one caller alone."""
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    def give_up(self) -> None:
        """Free the arrays of a request that nobody has taken yet; its caller is gone."""
        if self.take():
            self.inputs = {}


class RequestQueue:
    """Requests that wait for a worker."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        # One entry for each request put in, and one None for each worker that is to end. Workers
        # wait here alone; they look among the requests afterwards and may find none left.
        self._signals: SimpleQueue[bool | None] = SimpleQueue()

    def __len__(self) -> int:
        """Requests that no worker has taken; cancelled ones count until they are passed over."""
        return len(self._waiting)

    def put(self, request: Request) -> None:
        """Add a request, and wake a worker that waits."""
        self._waiting.append(request)
        self._signals.put(True)

    def wait(self) -> bool:
        """Wait until there may be a request.

        Returns:
            False if the worker is to end once no request is left.
        """
        return self._signals.get() is not None

    def end(self, workers: int) -> None:
        """Let so many workers end when no request is left."""
        for _ in range(workers):
            self._signals.put(None)

    def take(self, fits: Callable[[Request], bool] | None = None) -> Request | None:
        """The next request whose caller still waits; None if there is none, or it does not fit.

        One that does not fit stays where it is, for whichever worker is idle.

        Args:
            fits: Whether a request may be taken; None for any.
        """
        while self._waiting:
            try:
                request = self._waiting.popleft()
            except IndexError:  # another worker was quicker
                return None
            if fits is not None and not fits(request):
                self._waiting.appendleft(request)
                self._signals.put(True)
                return None
            if request.take():
                return request
        return None

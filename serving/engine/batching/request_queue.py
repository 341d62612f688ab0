"""The queue of one servable: requests in the order of their arrival, each taken by one worker.

The event loop puts requests in, worker threads take them out. Nothing here takes a lock: deques and
lists add and remove an element in one step of Python. A request that its caller has cancelled frees
its arrays at once and is passed over later.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np

from serving.stage_times import StageTimes

Arrays = Mapping[str, np.ndarray]


@dataclass(slots=True, eq=False)
class Request:
    """Rows that wait for a run.

    Requests of one group (signature, outputs, row shapes) may share a batch. `rows` is None for one
    that runs alone, as it is: its signature's rows are not shown to be independent, or it is not
    made of such rows.
    `waiting_inputs` is None once the caller is gone; `inputs` is what the worker that took the
    request keeps, whatever becomes of the caller, and is not set before.
    """

    signature_name: str
    waiting_inputs: Arrays | None
    outputs: Sequence[str]
    rows: int | None
    deadline: float | None
    group: Any
    future: asyncio.Future[dict[str, np.ndarray]]
    queued: float
    times: StageTimes | None
    inputs: Arrays = field(init=False, repr=False)
    outcome: dict[str, np.ndarray] | BaseException | None = None

    def give_up(self) -> None:
        """Free the arrays; the caller is gone."""
        self.waiting_inputs = None


class RequestQueue:
    """Requests that wait for a worker."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        # One entry for each worker that waits for a signal, or is about to.
        self._idle: list[None] = []
        # True: look again; None: end.
        self._signals: SimpleQueue[bool | None] = SimpleQueue()

    def __len__(self) -> int:
        """Requests that no worker has taken; cancelled ones count until they are passed over."""
        return len(self._waiting)

    def put(self, request: Request) -> None:
        """Add a request, and wake a worker that waits."""
        self._waiting.append(request)
        if self._idle:
            self._wake()

    def _wake(self) -> None:
        try:
            self._idle.pop()
        except IndexError:  # somebody else has just woken it
            return
        self._signals.put(True)

    def wait(self) -> bool:
        """Wait until there may be a request; a worker may find that another one was quicker.

        Returns:
            False if the worker is to end: no request is left.
        """
        self._idle.append(None)
        if not self._waiting:
            return self._signals.get() is not None
        # It came before anybody could know that this worker waits; or just then, and the signal
        # that is on its way makes a worker look once more than it need.
        with contextlib.suppress(IndexError):
            self._idle.pop()
        return True

    def end(self, workers: int) -> None:
        """Let so many workers end when no request is left."""
        for _ in range(workers):
            self._signals.put(None)

    def take(self) -> Request | None:
        """The next request whose caller still waits; None if there is none."""
        while self._waiting:
            try:
                request = self._waiting.popleft()
            except IndexError:  # another worker was quicker
                return None
            inputs = request.waiting_inputs
            if inputs is not None:
                request.inputs = inputs
                return request
        return None

    def take_more(self, batch: list[Request], rows: int, most: int) -> int:
        """Add the next requests to a batch, as long as they fit.

        The first that does not fit stays where it is, for whichever worker is idle.

        Args:
            batch: At least one request, of the group that the others must be of.
            rows: Rows of the batch.
            most: Rows that it may have.

        Returns:
            Rows of the batch now.
        """
        group, waiting = batch[0].group, self._waiting
        while waiting and rows < most:
            request = self.take()
            if request is None:
                break
            if request.rows is None or request.group != group or rows + request.rows > most:
                waiting.appendleft(request)
                if self._idle:
                    self._wake()
                break
            batch.append(request)
            rows += request.rows
        return rows

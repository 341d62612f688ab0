"""The request queue of one servable, first in, first out.

The event loop adds requests, worker threads take them. No lock is needed, because adding an element
to a deque or list and removing one are atomic in Python. A request that its caller cancels frees
its arrays at once; it stays in the queue until a worker thread skips it.
"""

import asyncio
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
    """A request that waits for a run.

    Attributes:
        signature_name: Name of the signature to run.
        waiting_inputs: Arrays by alias; None once the caller has cancelled the request.
        outputs: Output aliases to compute.
        rows: Number of rows; None for a request that cannot share a run, because the rows of its
            signature are not proved independent, or its inputs have no common number of rows.
        deadline: `time.monotonic()` after which the request is dropped; None: no deadline.
        group: Signature, outputs and row shapes; requests of one group may share a run.
        future: The caller waits for this future.
        queued: `time.monotonic()` when the request was added to the queue.
        times: Stage times of the request; None if they are not recorded.
        inputs: Arrays by alias, set by the worker thread that takes the request. They stay set if
            the caller cancels the request afterwards.
        outcome: The outputs by alias or the error; None until the run has ended.
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
        """Free the arrays of a request that its caller has cancelled."""
        self.waiting_inputs = None


class RequestQueue:
    """Requests that wait for a worker thread."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        # One entry for each worker thread that waits for a signal, or is about to wait.
        self._idle: list[None] = []
        # True: a request was added; None: the worker thread ends.
        self._signals: SimpleQueue[bool | None] = SimpleQueue()

    def __len__(self) -> int:
        """Number of requests in the queue, including cancelled ones that were not skipped yet."""
        return len(self._waiting)

    def put(self, request: Request) -> None:
        """Add a request, and wake an idle worker thread."""
        self._waiting.append(request)
        if self._idle:
            self._wake()

    def _wake(self) -> None:
        if self._remove_entry():  # if not, another thread has just woken the worker thread
            self._signals.put(True)

    def wait(self) -> bool:
        """Wait until a request may be queued; another worker thread may take it first.

        Every call removes one entry of `_idle`, or one signal that was sent for an entry. The
        entries and these signals therefore always number as many as the threads in this method: no
        entry is left behind that `put` would wake in vain.

        Returns:
            False if the worker thread must end: `end` was called and no request is left for it.
        """
        self._idle.append(None)
        # The request was added before or just after this worker thread entered `_idle`.
        if self._waiting and self._remove_entry():
            return True
        while self._signals.get() is None:
            if self._remove_entry():
                return False
            # `_wake` has removed the entry, so its signal comes behind this one.
            self._signals.put(None)
        return True

    def _remove_entry(self) -> bool:
        """Remove one entry of `_idle`; False if there is none."""
        try:
            self._idle.pop()
        except IndexError:
            return False
        return True

    def end(self, workers: int) -> None:
        """Make this many worker threads end when no request is left."""
        for _ in range(workers):
            self._signals.put(None)

    def take(self) -> Request | None:
        """Take the next request that is not cancelled, and return it; None if there is none."""
        while self._waiting:
            try:
                request = self._waiting.popleft()
            except IndexError:  # another worker thread took it
                return None
            inputs = request.waiting_inputs
            if inputs is not None:
                request.inputs = inputs
                return request
        return None

    def take_more(self, batch: list[Request], rows: int, most: int) -> int:
        """Move requests from the queue to a batch as long as they fit.

        The first request that does not fit stays at the head of the queue, and an idle worker
        thread is woken for it.

        Args:
            batch: At least one request; only requests of its group are added.
            rows: Number of rows of the batch.
            most: Most rows that the batch may have.

        Returns:
            The new number of rows of the batch.
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

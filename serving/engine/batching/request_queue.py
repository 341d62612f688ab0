"""The request queue of one servable: first in, first out for a client, fair between clients.

The event loop adds requests, worker threads take them. A lock protects the order; it is held for
microseconds, and never by `put`. A request that its caller cancels frees its arrays at once; it
stays in the queue until a worker thread skips it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from itertools import count
from queue import SimpleQueue
from threading import Lock
from typing import NamedTuple

import numpy as np

from serving.stage_times import StageTimes

Arrays = Mapping[str, np.ndarray]

# Part of the expected time of a run for which a worker thread waits for other clients before it,
# and the longest such time in seconds.
_MOMENT = 0.5
_LONGEST_MOMENT = 0.1
# It looks so often whether they have come, but pauses at least so many seconds.
_LOOKS = 20
_SHORTEST_PAUSE = 0.0002
# So many flows are kept without looking which of them may be forgotten.
_FEW_FLOWS = 1024


class Group(NamedTuple):
    """What requests have in common that may share a run.

    Attributes:
        signature_name: Name of the signature to run.
        outputs: Output aliases to compute.
        row_shapes: Shape of a row of each input, in the order of the inputs.
    """

    signature_name: str
    outputs: tuple[str, ...]
    row_shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, signature_name: str, outputs: Sequence[str], inputs: Arrays) -> "Group":
        """Return the group of a request."""
        shapes = tuple([array.shape[1:] for array in inputs.values()])  # faster than a generator
        return cls(signature_name, tuple(outputs), shapes)


@dataclass(slots=True, eq=False)
class Request:
    """A request that waits for a run.

    Attributes:
        group: Signature, outputs and row shapes.
        waiting_inputs: Arrays by alias; None once the caller has cancelled the request.
        rows: Number of rows; None for a request that cannot share a run, because the rows of its
            signature are not proved independent, or its inputs have no common number of rows.
        deadline: `time.monotonic()` after which the request is dropped; None: no deadline.
        future: The caller waits for this future.
        queued: `time.monotonic()` when the request was added to the queue.
        times: Stage times of the request; None if they are not recorded.
        flow: The client whose turns the request takes, see `serving.access.flow`.
        start: The virtual time at which its turn comes, set by the queue.
        is_counted: Whether the request counts as a waiting or running one.
        inputs: Arrays by alias, set by the worker thread that takes the request. They stay set if
            the caller cancels the request afterwards.
        outcome: The outputs by alias or the error; None until the run has ended.
    """

    group: Group
    waiting_inputs: Arrays | None
    rows: int | None
    deadline: float | None
    future: asyncio.Future[Arrays]
    queued: float
    times: StageTimes | None
    flow: Hashable = None
    start: int = 0
    is_counted: bool = False
    inputs: Arrays = field(init=False, repr=False)
    outcome: Arrays | BaseException | None = None

    def give_up(self) -> None:
        """Free the arrays of a request that its caller has cancelled."""
        self.waiting_inputs = None


class _Flow:
    """The waiting requests of one client.

    Attributes:
        waiting: Its requests, the oldest first.
        finish: The virtual time at which the last of them would end.
        run_seconds: Duration of the last run that began with a request of the flow.
        run_ended: `time.monotonic()` at which its last run ended beside waiting requests; 0: none.
        comes_back: Whether its next request came within a moment of that, see `await_clients`.
        has_turn: Whether the flow is in the queue's heap of turns.
    """

    __slots__ = ("comes_back", "finish", "has_turn", "run_ended", "run_seconds", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        self.finish = 0
        self.run_seconds = 0.0
        self.run_ended = 0.0
        self.comes_back = False
        self.has_turn = False


class RequestQueue:
    """Requests that wait for a worker thread.

    The queue is fair to its clients by start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM
    1996), with rows as the measure: virtual time advances with the rows that are taken. A request
    starts at the virtual time of its arrival, or where the request before it in its flow ends, and
    the earliest start is taken first. Clients that all wait therefore get the same number of rows,
    and a client that asks for little is served before one that has had more. The requests of one
    client stay in their order.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._flows: dict[Hashable, _Flow] = {}
        self._prune_at = _FEW_FLOWS
        # Start of the next request, a serial number, and the flow, for each flow that has a turn.
        self._turns: list[tuple[int, int, _Flow]] = []
        self._serials = count()
        self._virtual_time = 0
        self._served_until = 0  # the latest virtual time at which a request that was taken ends
        self._moment = 0.0  # see `await_clients`, in seconds
        self._length = 0
        # The requests that `put` has added since a worker thread last took requests. A deque needs
        # no lock, and a worker thread sorts them into their flows faster than `put` could.
        self._added: deque[Request] = deque()
        # One entry for each worker thread that waits for a signal, or is about to wait.
        self._idle: list[None] = []
        # True: a request was added; None: the worker thread ends.
        self._signals: SimpleQueue[bool | None] = SimpleQueue()

    def __len__(self) -> int:
        """Number of requests in the queue, including cancelled ones that were not skipped yet."""
        return self._length + len(self._added)

    def put(self, request: Request) -> None:
        """Add a request, and wake an idle worker thread."""
        self._added.append(request)
        if self._idle:
            self._wake()

    def _sort_in(self) -> None:
        """Move the added requests into their flows."""
        added, flows = self._added, self._flows
        while added:
            # First, so that a worker thread that is about to wait never sees too small a length.
            self._length += 1
            request = added.popleft()
            flow = flows.get(request.flow)
            if flow is None:
                if len(flows) >= self._prune_at:
                    flows = self._prune()
                flow = flows[request.flow] = _Flow()
            if flow.run_ended:
                if request.queued - flow.run_ended < self._moment:
                    flow.comes_back = True
                flow.run_ended = 0.0
            start = request.start = max(self._virtual_time, flow.finish)
            flow.finish = start + (request.rows or 1)
            flow.waiting.append(request)
            if not flow.has_turn:
                flow.has_turn = True
                heappush(self._turns, (start, next(self._serials), flow))

    def _prune(self) -> dict[Hashable, _Flow]:
        """Forget the flows whose next request would start at the virtual time anyway."""
        self._flows = {
            key: flow
            for key, flow in self._flows.items()
            if flow.has_turn or flow.finish > self._virtual_time
        }
        self._prune_at = max(_FEW_FLOWS, 2 * len(self._flows))
        return self._flows

    def drop_newest(self, flow_key: Hashable) -> Request | None:
        """Remove the newest request of a flow that is not cancelled, and return it.

        Returns:
            The request, which no worker thread will take; None if none of the flow's waits.
        """
        with self._lock:
            self._sort_in()
            flow = self._flows.get(flow_key)
            while flow is not None and flow.waiting:
                request = flow.waiting.pop()
                self._length -= 1
                flow.finish = request.start
                if request.waiting_inputs is not None:
                    return request
        return None

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
        if len(self) and self._remove_entry():
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
        with self._lock:
            request = self._next()
            if request is not None:
                self._advance(request)
        return request

    def take_more(self, batch: list[Request], rows: int, most: int) -> int:
        """Move requests from the queue to a batch until the next one does not fit.

        Args:
            batch: At least one request; only requests of its group are added.
            rows: Number of rows of the batch.
            most: Most rows that the batch may have.

        Returns:
            The new number of rows of the batch.
        """
        group = batch[0].group
        with self._lock:
            while rows < most and (request := self._next()) is not None:
                if request.rows is None or request.group != group or rows + request.rows > most:
                    break
                self._advance(request)
                batch.append(request)
                rows += request.rows
        return rows

    def await_clients(self, batch: Sequence[Request], seconds: float) -> None:
        """Wait a moment for the clients of a run that has just ended, if they would come next.

        A client that waits for an answer before it asks again is never in the queue when a worker
        thread becomes free, so that a client with a backlog would get the thread again and again
        ("deceptive idleness"; Iyer and Druschel, Anticipatory scheduling, SOSP 2001). The moment is
        half of the time that the run of the other client is expected to take, at most 0.1 s. Only
        clients that came back within such a moment the last time are waited for.

        Args:
            batch: The requests of the run.
            seconds: Duration of the run.
        """
        ended = time.monotonic()
        with self._lock:
            first = self._flows.get(batch[0].flow)
            if first is not None:
                first.run_seconds = seconds
            following = self._next()
            if following is None:
                return
            flows = {flow for request in batch if (flow := self._flows.get(request.flow))}
            for flow in flows:
                flow.run_ended = ended
            start = following.start
            self._moment = min(_LONGEST_MOMENT, _MOMENT * self._turns[0][2].run_seconds)
            awaited = [
                flow
                for flow in flows
                if flow.comes_back and max(self._virtual_time, flow.finish) < start
            ]
            if not awaited:
                return
            until = ended + self._moment
        pause = max(_SHORTEST_PAUSE, self._moment / _LOOKS)
        while time.monotonic() < until:
            time.sleep(pause)
            with self._lock:
                following = self._next()
            if following is None or following.start < start:
                return
        for flow in awaited:
            flow.comes_back = False

    def _next(self) -> Request | None:
        """Return the request whose turn it is, and set its `inputs`; remove cancelled ones."""
        if self._added:
            self._sort_in()
        turns = self._turns
        while turns:
            flow = turns[0][2]
            waiting = flow.waiting
            while waiting:
                request = waiting[0]
                inputs = request.waiting_inputs
                if inputs is not None:
                    request.inputs = inputs
                    return request
                waiting.popleft()
                self._length -= 1
            heappop(turns)
            flow.has_turn = False
        return None

    def _advance(self, request: Request) -> None:
        """Remove the request that `_next` returned."""
        flow = self._turns[0][2]
        waiting = flow.waiting
        waiting.popleft()
        self._length -= 1
        start = request.start
        end = start + (request.rows or 1)
        self._virtual_time = max(self._virtual_time, start)
        self._served_until = max(self._served_until, end)
        if waiting:
            heapreplace(self._turns, (waiting[0].start, next(self._serials), flow))
        else:
            heappop(self._turns)
            flow.has_turn = False
            if not self._turns:  # by the paper's rule for the end of a busy period
                self._virtual_time = self._served_until

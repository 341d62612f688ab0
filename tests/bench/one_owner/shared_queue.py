"""The shared queue: the requests of all protocol processes to one servable, in the owner.

It reads the requests from the connections when a worker thread looks for requests. During a run
they wait in the sockets, so that nothing wakes the owner. The worker thread itself sends the
answers, one message a batch to each process.
"""

import contextlib
import itertools
import os
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import orjson
from bench.one_owner import slots
from bench.one_owner.outbox import MESSAGE_BYTES
from bench.one_owner.slots import Slots

from serving.engine.batching.batch_report import Run
from serving.engine.batching.request_queue import Request, RequestQueue
from serving.engine.batching.request_rows import RequestRows
from serving.errors import ServingError


class Kind(NamedTuple):
    """What the requests of a kind have in common.

    Attributes:
        signature_name: Name of the signature.
        outputs: Output aliases to compute.
        tensors: Alias, dtype and shape of the inputs; without the rows for requests that have some.
    """

    signature_name: str
    outputs: tuple[str, ...]
    tensors: Sequence[slots.Tensor]


@lru_cache(4096)
def _kind(text: str) -> Kind:
    signature_name, outputs, tensors = orjson.loads(text)
    return Kind(signature_name, tuple(outputs), tensors)


class Ticket:
    """Stands for a request's future in the owner: the worker thread finds the way back with it."""

    __slots__ = ("_queue", "is_given_up", "link", "slot")

    def __init__(self, queue: "SharedQueue", link: "Link", slot: int) -> None:
        self._queue, self.link, self.slot = queue, link, slot
        self.is_given_up = False

    def done(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.is_given_up or self.link.is_lost

    def set_exception(self, _error: BaseException) -> None:
        """Note that the deadline has passed; the protocol process sees that by itself."""
        self.is_given_up = True

    def get_loop(self) -> "SharedQueue":
        """Return what delivers the answers of a batch."""
        return self._queue


class Link:
    """The connection of one protocol process to one servable.

    Attributes:
        number: Number of the connection.
        is_lost: Whether the protocol process has ended or left.
        tickets: The requests that are not answered yet, by slot.
    """

    def __init__(self, number: int, connection: socket.socket, memory: Slots) -> None:
        self.number = number
        self.is_lost = False
        self.tickets: dict[int, Ticket] = {}
        self._connection = connection
        self.memory = memory

    def receive(self) -> bytes | None:
        """Return the next message; None if there is none now, nothing if the process has ended."""
        try:
            return self._connection.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def answer(self, requests: Sequence[Request], report: object, runs: Sequence[Run]) -> None:
        """Send the outcomes of this process's requests in a batch.

        Args:
            requests: The requests; those that have rows of the same outputs follow each other.
            report: The report of the batch if this process is to count it, else None.
            runs: The runs of the batch.
        """
        if self.is_lost:
            return
        times = (runs[0].started, runs[-1].ended) if runs else (None, None)
        for _, together in itertools.groupby(requests, _outputs_of):
            group = list(together)
            first, last = group[0], group[-1]
            outcome, error, tensors = first.outcome, None, []
            numbers = [request.future.slot for request in group]
            for number in numbers:
                del self.tickets[number]
            if isinstance(outcome, RequestRows):
                outcome.end = last.outcome.end
            if outcome is None:
                error = ("Unavailable", "nobody waits for the answer")
            elif isinstance(outcome, BaseException):
                error = (type(outcome).__name__, str(outcome))
            else:
                arrays = dict(outcome)
                try:
                    self.memory.write(numbers[0], arrays.values())
                    tensors = slots.tensors_of(arrays)
                except ServingError as too_large:
                    error = ("InternalError", str(too_large))
            counts = [request.rows for request in group]
            message = (report, *times, numbers, counts, tensors, error)
            try:
                self._connection.send(orjson.dumps(message), socket.MSG_DONTWAIT)
            except OSError:  # it has ended, or has read no answer for thousands of batches
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
            report = None

    def close(self) -> None:
        """Close the connection; answers that are still computed go nowhere."""
        self.is_lost = True
        self._connection.close()

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        return self._connection.fileno()


class SharedQueue(RequestQueue):
    """The requests of all protocol processes to one servable."""

    def __init__(self, on_empty: Callable[[], None]) -> None:
        """Start without connections.

        Args:
            on_empty: Called when the last connection has ended.
        """
        super().__init__()
        self._lock = threading.RLock()  # `_next` may add requests, see there
        self._on_empty = on_empty
        self._links: dict[int, Link] = {}
        self._epoll = select.epoll()
        self._waiting = 0  # worker threads in `wait`
        self._wake, self._end = (os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2))
        for descriptor in (self._wake, self._end):
            self._epoll.register(descriptor, select.EPOLLIN)
        self._looks_for_clients = False

    def add(self, link: Link) -> None:
        """Take requests from a connection from now on."""
        self._links[link.fileno()] = link
        self._epoll.register(link, select.EPOLLIN)

    @property
    def is_unused(self) -> bool:
        """Whether no protocol process is connected."""
        return not self._links

    # What the worker threads call

    def wait(self) -> bool:
        """See `RequestQueue.wait`; a message wakes all idle worker threads."""
        self._waiting += 1
        try:
            while not self._length:
                if any(descriptor == self._end for descriptor, _ in self._receive(None)):
                    return False
        finally:
            self._waiting -= 1
        return True

    def end(self, workers: int) -> None:
        """See `RequestQueue.end`."""
        del workers
        os.eventfd_write(self._end, 1)

    def take(self) -> Request | None:
        """See `RequestQueue.take`."""
        if not self._length:
            self._receive(0)
        return super().take()

    def take_more(self, batch: list[Request], rows: int, most: int) -> int:
        """See `RequestQueue.take_more`; requests of one process follow each other in the batch."""
        self._receive(0)
        rows = super().take_more(batch, rows, most)
        if self._length and self._waiting:
            os.eventfd_write(self._wake, 1)  # this thread has read more than it runs
        if len(self._links) > 1:
            batch.sort(key=_link_number)
        return rows

    def await_clients(self, batch: Sequence[Request], seconds: float) -> None:
        """See `RequestQueue.await_clients`."""
        self._looks_for_clients = True
        super().await_clients(batch, seconds)
        self._looks_for_clients = False

    def _next(self) -> Request | None:
        if self._looks_for_clients:
            self._receive(0)
        return super()._next()

    def call_soon_threadsafe(
        self,
        _deliver: object,
        batch: Sequence[Request],
        wanted: Sequence[Request],
        runs: Sequence[Run],
        taken: float,
    ) -> None:
        """Send the answers of a batch: what an event loop does for a worker thread elsewhere.

        The process with the most requests in the batch counts it for the metrics of all.
        """
        report = None
        if runs:
            waits = [runs[0].started - request.queued for request in wanted]
            counts = [request.rows for request in wanted]
            report = (wanted[0].signature_name, waits, counts, [tuple(run) for run in runs], taken)
        counting = Counter(request.future.link for request in batch).most_common(1)[0][0]
        for link, requests in itertools.groupby(batch, lambda request: request.future.link):
            link.answer(list(requests), report if link is counting else None, runs)

    # What comes from the protocol processes

    def _receive(self, seconds: float | None) -> list[tuple[int, int]]:
        """Add the requests that have come; wait for some for so many seconds, None: for ever."""
        events = self._epoll.poll(seconds)
        for descriptor, _ in events:
            if descriptor == self._wake and seconds is None:
                with contextlib.suppress(BlockingIOError):  # another thread was faster
                    os.eventfd_read(self._wake)
            link = self._links.get(descriptor)
            while link is not None and (message := link.receive()) is not None:
                if not message:
                    self._lose(descriptor)
                    break
                for record in orjson.loads(message):
                    self._add(link, *record)
        return events

    def _add(  # noqa: PLR0917 - the fields of a record
        self,
        link: Link,
        slot: int,
        text: str | None,
        rows: int | None,
        deadline: float | None,
        queued: float,
        flow: str | None,
    ) -> None:
        if text is None:
            if ticket := link.tickets.get(slot):
                ticket.is_given_up = True
            return
        kind = _kind(text)
        tensors = kind.tensors
        if rows is not None:
            tensors = [(alias, dtype, (rows, *shape)) for alias, dtype, shape in tensors]
        inputs = link.memory.read(slot, tensors)
        ticket = link.tickets[slot] = Ticket(self, link, slot)
        self.put(
            Request(
                kind.signature_name,
                inputs,
                kind.outputs,
                rows,
                deadline,
                kind,
                ticket,
                queued,
                None,
                flow,
            )
        )

    def _lose(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)
        self._links.pop(descriptor).close()
        if not self._links:
            self._on_empty()

    def look(self) -> None:
        """Read what has come, also during a run that takes long: callers may have gone."""
        with contextlib.suppress(ValueError):  # closed in this moment
            self._receive(0)
            if self._length:
                os.eventfd_write(self._wake, 1)  # a worker thread may wait for what was read here

    def close(self) -> None:
        """Close the descriptors; no worker thread may use the queue any more."""
        self._epoll.close()
        os.close(self._wake)
        os.close(self._end)


def _link_number(request: Request) -> int:
    return request.future.link.number


def _outputs_of(request: Request) -> int:
    """Return a number that requests with rows of the same outputs have in common, and no others."""
    outcome = request.outcome
    return id(outcome._batch if isinstance(outcome, RequestRows) else outcome)

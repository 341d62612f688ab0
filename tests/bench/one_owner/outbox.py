"""The outbox: the end of a servable's queue that is in a protocol process."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from bench.one_owner.slots import Slots

from serving import errors
from serving.engine.batching.batch_report import BatchReport, OnBatch, Run
from serving.engine.batching.request_queue import Request
from serving.engine.batching.request_rows import RequestRows
from serving.errors import DeadlineExceeded, ServingError, Unavailable

# The largest messages: the first one of the owner, and any other. Blocks of memory over 128 KiB are
# taken from the kernel each time.
WELCOME_BYTES, MESSAGE_BYTES = 1 << 18, 1 << 16
# Requests in one message, and kinds that are kept.
_MOST_RECORDS, _MOST_KINDS = 200, 1000
# How often cancelled requests are reported and deadlines checked, as in `active_runs.watch`.
SWEEP_SECONDS = 0.25


class Outbox:
    """The requests of this process that wait or run in the owner, in place of a `RequestQueue`.

    Attributes:
        on_batch: Called with the reports that the owner sends here; None: no reports.
    """

    def __init__(self, link: socket.socket, slots: Slots, count: int, name: str) -> None:
        """Take over a connection to the owner.

        Args:
            link: The connection.
            slots: The slots of the connection.
            count: Number of slots.
            name: Name of the servable, for messages.
        """
        self.on_batch: OnBatch | None = None
        self._link = link
        self._slots = slots
        # The slot that became free last is used next: its memory is most likely in a cache.
        self._free = list(range(count - 1, -1, -1))
        self._name = name
        self._requests: dict[int, Request] = {}  # by slot
        self._told: set[int] = set()  # slots of requests whose end was reported or came early
        self._unsent: list[tuple[Any, ...]] = []
        self._kinds: dict[Hashable, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        """Number of requests that have no answer yet."""
        return len(self._requests)

    def put(self, request: Request) -> None:
        """Write a request into a slot, and send it with the others of this turn of the loop."""
        if self._loop is None:
            self._begin(asyncio.get_running_loop())
        inputs = request.waiting_inputs or {}
        try:
            if not self._free:
                msg = f"no slot is free for a request to {self._name}; retry"
                raise Unavailable(msg)
            self._slots.write(self._free[-1], inputs.values())
        except ServingError as error:
            request.future.set_exception(error)
            return
        slot = self._free.pop()
        self._requests[slot] = request
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(
            (
                slot,
                self._kind(request, inputs),
                request.rows,
                request.deadline,
                request.queued,
                _flow_text(request.flow),
            )
        )

    def drop_newest(self, _flow: Hashable) -> None:
        """Drop nothing: the requests wait in the owner, and one process displaces none there."""

    def _kind(self, request: Request, inputs: Mapping[str, np.ndarray]) -> str:
        """Return what the requests of a kind have in common, as JSON that the owner caches."""
        key: Hashable = request.group
        if request.rows is None:
            key = (key, *(array.shape for array in inputs.values()))
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= _MOST_KINDS:
                self._kinds.clear()
            first = 0 if request.rows is None else 1
            tensors = [
                (alias, array.dtype.str, array.shape[first:]) for alias, array in inputs.items()
            ]
            content = (request.signature_name, tuple(request.outputs), tensors)
            kind = self._kinds[key] = orjson.dumps(content).decode()
        return kind

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._link, self._receive)
        loop.call_later(SWEEP_SECONDS, self._sweep)

    def _send(self) -> None:
        """Send the requests that are not sent yet; if the owner is behind, wait for it."""
        try:
            while self._unsent:
                self._link.send(orjson.dumps(self._unsent[:_MOST_RECORDS]))
                del self._unsent[:_MOST_RECORDS]
        except BlockingIOError:
            self._loop.add_writer(self._link, self._send_rest)
        except OSError:
            self._lose_owner()

    def _send_rest(self) -> None:
        self._loop.remove_writer(self._link)
        self._send()

    def _receive(self) -> None:
        """Settle the requests of one batch."""
        try:
            message = self._link.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._lose_owner()
            return
        report, started, ended, slots, counts, tensors, error = orjson.loads(message)
        if report is not None and self.on_batch is not None:
            *figures, runs, taken = report
            runs = [Run(*run) for run in runs]
            self.on_batch(BatchReport(*figures, runs, taken, time.monotonic()))
        arrays, failure = {}, None
        if error is not None:
            failure = _error(*error)
        else:
            views = self._slots.read(slots[0], tensors)
            arrays = {alias: view.copy() for alias, view in views.items()}
        made: dict[Hashable, Any] = {}
        start = 0
        for slot, rows in zip(slots, counts, strict=True):
            request = self._requests.pop(slot)
            self._free.append(slot)
            self._told.discard(slot)
            end = start + (rows or 0)
            if request.times is not None and started is not None:
                request.times.ran(started, ended)
            if not request.future.done():
                if failure is not None:
                    request.future.set_exception(failure)
                else:
                    request.future.set_result(
                        arrays if rows is None else RequestRows(arrays, made, start, end)
                    )
            start = end

    def _sweep(self) -> None:
        """Report requests without a caller to the owner, and fail those whose deadline passed."""
        now = time.monotonic()
        for slot, request in self._requests.items():
            late = request.deadline is not None and request.deadline < now
            if late and not request.future.done():
                msg = f"deadline passed while {self._name} ran"
                request.future.set_exception(DeadlineExceeded(msg))
            if slot not in self._told and (late or request.waiting_inputs is None):
                self._told.add(slot)
                self._unsent.append((slot, None, None, None, None, None))
        self._send()
        if self._loop is not None and self._link.fileno() != -1:
            self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _lose_owner(self) -> None:
        """Fail all requests, and let this process end: the supervisor starts it again."""
        self._leave()
        for request in self._requests.values():
            if not request.future.done():
                msg = "the process that runs the models has ended; retry"
                request.future.set_exception(Unavailable(msg))
        self._requests.clear()
        os.kill(os.getpid(), signal.SIGTERM)

    def close(self) -> None:
        """Leave the owner; call this from another thread than the event loop's."""
        if self._loop is None:
            self._link.close()
        else:
            self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        if self._link.fileno() != -1:
            self._loop.remove_reader(self._link)
            self._loop.remove_writer(self._link)
            self._link.close()


@lru_cache(4096)
def _flow_text(flow: Hashable) -> str | None:
    return None if flow is None else str(flow)


def _error(name: str, message: str) -> Exception:
    """Return the error of a run in the owner; one of another kind is a bug, as in one process."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, ServingError):
        return kind(message)
    return RuntimeError(message)

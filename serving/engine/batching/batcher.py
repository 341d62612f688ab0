"""The batcher runs requests that wait at the same time in one batch.

An idle worker thread takes queued requests, up to `max_batch_size` rows, and runs them as one
batch; more requests queue during the run. A request therefore never waits for later ones, and
batches grow under load. With `batch_timeout_micros`, a worker thread waits that long for more rows.

Threads: the event loop submits requests. Each worker thread takes requests from the queue, runs the
model (which releases the GIL), and returns a whole batch with one wake-up of the event loop.

Only checked rows share a run, so no request can make a batch fail by its shape. If a batch fails
because of a value, its requests run again one by one, so that only the faulty request fails.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from serving import stage_times
from serving.engine.batching.active_runs import ACTIVE, ActiveRun, RunControl, StopFlag
from serving.engine.batching.batch_report import BatchReport, OnBatch, Run
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.batching.request_queue import Arrays, Request, RequestQueue
from serving.errors import DeadlineExceeded, InternalError, InvalidInput, Unavailable

# Interval at which a worker thread that waits for more rows checks the queue.
_LOOK_AGAIN_SECONDS = 0.0002
# Arguments: signature name, inputs by alias, output aliases, the control from `make_control`.
# Returns outputs by alias.
RunBatch = Callable[[str, Arrays, Sequence[str], Any], dict[str, np.ndarray]]


class Batcher:
    """Gathers the requests of one servable into batches and runs them in worker threads.

    Attributes:
        on_batch: Called in the event loop with the report of every batch; None: no reports.
    """

    def __init__(
        self,
        run: RunBatch,
        config: BatchingConfig,
        *,
        workers: int,
        name: str,
        make_control: Callable[[], RunControl] = StopFlag,
    ) -> None:
        """Start the worker threads.

        Args:
            run: Runs a signature on a batch, see `RunBatch`; called from several threads.
            config: See `BatchingConfig`.
            workers: Number of worker threads, and so of batches that run at the same time.
            name: Name of the servable, for thread names and messages.
            make_control: Returns a control for a new run; `run` gets it as the last argument.
        """
        self._make_control = make_control
        self._run = run
        self.on_batch: OnBatch | None = None
        self._config = config
        self._name = name
        self._queue = RequestQueue()
        self._closed = False
        self._rows = 0  # rows that wait or run; changed only in the event loop
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def closed(self) -> bool:
        """Whether the batcher refuses new requests."""
        return self._closed

    @property
    def rows(self) -> int:
        """Number of rows that wait or run."""
        return self._rows

    @property
    def queued_requests(self) -> int:
        """Number of requests, or parts of split requests, that no worker thread has taken yet."""
        return len(self._queue)

    async def run(
        self,
        signature_name: str,
        inputs: Arrays,
        outputs: Sequence[str],
        *,
        batched: bool,
        deadline: float | None,
    ) -> dict[str, np.ndarray]:
        """Run checked inputs, in one batch with other waiting requests if `batched`.

        Args:
            signature_name: Name of the signature to run.
            inputs: Arrays by alias; if `batched`, all with the same first dimension.
            outputs: Output aliases to compute.
            batched: Whether the rows of the inputs are independent of each other, so that they may
                share a run and be split. If false, the request runs alone and unchanged.
            deadline: `time.monotonic()` after which the request is dropped; None: no deadline.

        Returns:
            Arrays by output alias.

        Raises:
            InvalidInput: the request has more rows than `max_enqueued_rows`.
            Unavailable: the queue is full, the batcher is closed, or the run was terminated.
            DeadlineExceeded: the deadline passed while the request waited or ran.
            ServingError: the error that `run` raised.
        """
        if self._closed:
            msg = f"{self._name} is being unloaded; retry to reach its successor"
            raise Unavailable(msg)
        rows = len(next(iter(inputs.values()))) if batched else None
        weight = rows or 1
        if weight > self._config.max_enqueued_rows:
            msg = (
                f"request has {weight} rows, expected at most {self._config.max_enqueued_rows} for "
                f"{self._name}; send smaller batches or raise the server's --max_enqueued_rows "
                "(max_enqueued_batches in a file of batching parameters)"
            )
            raise InvalidInput(msg)
        if self._rows + weight > self._config.max_enqueued_rows:
            msg = (
                "The batch scheduling queue to which this task was submitted is full: "
                f"{self._rows} rows wait for {self._name}, at most "
                f"{self._config.max_enqueued_rows} may; retry with backoff, or add servers"
            )
            raise Unavailable(msg)
        self._rows += weight
        try:
            if rows is not None and rows > self._config.max_batch_size:
                return await self._run_in_parts(signature_name, inputs, outputs, rows, deadline)
            request = self._submit(signature_name, inputs, outputs, rows, deadline)
            try:
                return await request.future
            except asyncio.CancelledError:
                request.give_up()
                raise
        finally:
            self._rows -= weight

    async def _run_in_parts(
        self,
        signature_name: str,
        inputs: Arrays,
        outputs: Sequence[str],
        rows: int,
        deadline: float | None,
    ) -> dict[str, np.ndarray]:
        size = self._config.max_batch_size
        requests = [
            self._submit(
                signature_name,
                {alias: array[start : start + size] for alias, array in inputs.items()},
                outputs,
                min(size, rows - start),
                deadline,
            )
            for start in range(0, rows, size)
        ]
        try:
            parts = await asyncio.gather(*(request.future for request in requests))
        except asyncio.CancelledError:
            for request in requests:
                request.give_up()
            raise
        for request, part in zip(requests, parts, strict=True):
            _check_rows(part, request.rows or 0)
        return {alias: np.concatenate([part[alias] for part in parts]) for alias in outputs}

    def _submit(
        self,
        signature_name: str,
        inputs: Arrays,
        outputs: Sequence[str],
        rows: int | None,
        deadline: float | None,
    ) -> Request:
        group = (
            signature_name,
            tuple(outputs),
            tuple([array.shape[1:] for array in inputs.values()]),  # faster than a generator
        )
        times = stage_times.CURRENT.get()
        queued = time.monotonic()
        if times and times.queued is None:
            times.queued = queued
            times.servable, times.signature_name = self._name, signature_name
        future = asyncio.get_running_loop().create_future()
        request = Request(
            signature_name, inputs, outputs, rows, deadline, group, future, queued, times
        )
        self._queue.put(request)
        return request

    def close(self) -> None:
        """Refuse new requests, finish the queued ones and end the worker threads; blocks."""
        self._closed = True
        self._queue.end(len(self._threads))
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while self._queue.wait():
            while (request := self._queue.take()) is not None:
                self._run_batch(self._gather(request))

    def _gather(self, first: Request) -> list[Request]:
        """Return a batch: the first request and the queued requests that can share its run."""
        batch = [first]
        if first.rows is None:
            return batch
        most, micros = self._config.max_batch_size, self._config.batch_timeout_micros
        rows = self._queue.take_more(batch, first.rows, most)
        if micros:
            until = time.monotonic() + micros / 1e6
            # Wait until the batch is full, the next request does not fit, or the time is over.
            while rows < most and not len(self._queue) and time.monotonic() < until:
                time.sleep(_LOOK_AGAIN_SECONDS)
                rows = self._queue.take_more(batch, rows, most)
        return batch

    def _run_batch(self, batch: list[Request]) -> None:
        """Run the requests that still have a caller, and wake the event loop once for the batch."""
        now = time.monotonic()
        wanted = []
        for request in batch:
            if request.deadline is not None and request.deadline < now:
                msg = f"deadline passed while the request waited for {self._name}"
                request.outcome = DeadlineExceeded(msg)
            elif not request.future.cancelled():
                wanted.append(request)
        runs: list[Run] = []
        if wanted:
            active = ActiveRun(self._name, wanted, self._make_control(), now)
            active.limit()
            ACTIVE.add(active)
            try:
                self._compute(wanted, runs, active.control)
            finally:
                ACTIVE.discard(active)
        with contextlib.suppress(RuntimeError):  # the event loop has ended meanwhile
            batch[0].future.get_loop().call_soon_threadsafe(self._deliver, batch, wanted, runs)

    def _compute(self, batch: list[Request], runs: list[Run], control: RunControl) -> None:
        first = batch[0]
        try:
            if first.rows is None:
                first.outcome = self._run_timed(first, first.inputs, None, 0, runs, control)
                return
            rows = sum(request.rows or 0 for request in batch)
            padding = self._config.padded_size(rows) - rows
            if len(batch) == 1 and not padding:
                first.outcome = self._run_timed(first, first.inputs, rows, 0, runs, control)
                return
            inputs = {
                alias: _concatenate([request.inputs[alias] for request in batch], padding)
                for alias in first.inputs
            }
            answer = self._run_timed(first, inputs, rows + padding, padding, runs, control)
            _check_rows(answer, rows + padding)
        except Exception as error:  # noqa: BLE001 - any error goes to the callers
            self._compute_alone(batch, error, runs, control)
            return
        start = 0
        for request in batch:
            end = start + (request.rows or 0)
            request.outcome = {alias: array[start:end] for alias, array in answer.items()}
            start = end

    def _run_timed(  # noqa: PLR0917 - the parameters of one run
        self,
        request: Request,
        inputs: Arrays,
        rows: int | None,
        padding: int,
        runs: list[Run],
        control: RunControl,
    ) -> dict[str, np.ndarray]:
        """Run a request's signature on the inputs of its batch, and append the run to `runs`.

        Raises:
            Unavailable: the run was terminated, even if it returned a result.
        """
        started = time.monotonic()
        try:
            return self._run(request.signature_name, inputs, request.outputs, control)
        finally:
            runs.append(Run(rows, padding, started, time.monotonic()))
            if control.terminated:
                msg = f"the run of {self._name} was ended; retry"
                raise Unavailable(msg)

    def _compute_alone(
        self, batch: list[Request], error: Exception, runs: list[Run], control: RunControl
    ) -> None:
        """Run the requests of a failed batch one by one, so that only faulty requests fail."""
        for request in batch:
            if len(batch) == 1 or control.terminated:
                request.outcome = error
            else:
                self._compute([request], runs, control)

    def _deliver(self, batch: list[Request], wanted: list[Request], runs: list[Run]) -> None:
        """Report a batch and settle its futures; runs in the event loop."""
        if runs:
            started, ended = runs[0].started, runs[-1].ended
            for request in wanted:
                if request.times:
                    request.times.ran(started, ended)
            if self.on_batch:
                report = BatchReport(
                    wanted[0].signature_name,
                    [started - request.queued for request in wanted],
                    [request.rows for request in wanted],
                    runs,
                )
                self.on_batch(report)
        _settle(batch)


def _check_rows(answer: Arrays, rows: int) -> None:
    """Check that each output has a row for each row of the batch.

    Raises:
        InternalError: an output has another number of rows.
    """
    for alias, array in answer.items():
        if array.ndim == 0 or len(array) != rows:
            msg = (
                f'output "{alias}" has shape {array.shape} for a batch of {rows} rows: the model '
                "does not work row by row; do not name it in --force_batching"
            )
            raise InternalError(msg)


def _concatenate(arrays: list[np.ndarray], padding: int) -> np.ndarray:
    if padding:
        # The padding repeats the last row, because the model may refuse rows of zeros.
        last = arrays[-1]
        arrays = [*arrays, np.broadcast_to(last[-1:], (padding, *last.shape[1:]))]
    return np.concatenate(arrays)


def _settle(batch: list[Request]) -> None:
    """Set the outcomes of a batch on the futures of its requests."""
    for request in batch:
        future, outcome = request.future, request.outcome
        if future.done():  # the caller cancelled the request, or its deadline passed
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        elif outcome is not None:
            future.set_result(outcome)

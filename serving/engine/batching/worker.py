"""A worker thread of the batcher: takes requests from the queue and runs them in batches."""

import contextlib
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from serving.engine.batching import prepared_runs
from serving.engine.batching.active_runs import ACTIVE, ActiveRun, RunControl
from serving.engine.batching.batch_report import BatchReport, OnBatch, Run
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.batching.prepared_runs import Prepare, PreparedRun, PreparedRuns, RunBatch
from serving.engine.batching.request_queue import Arrays, Request, RequestQueue
from serving.engine.batching.request_rows import RequestRows
from serving.errors import DeadlineExceeded, InternalError, Unavailable

# Interval at which a worker thread that waits for more rows checks the queue.
_LOOK_AGAIN_SECONDS = 0.0002


@dataclass(slots=True)
class Work:
    """What the worker threads of a batcher share.

    Attributes:
        run: Runs a signature on a batch that no prepared run fits; called from several threads.
        config: See `BatchingConfig`.
        name: Name of the servable, for thread names and messages.
        make_control: Returns a control for a new run.
        queue: The requests.
        on_batch: Called in the event loop with the report of every batch; None: no reports.
    """

    run: RunBatch
    config: BatchingConfig
    name: str
    make_control: Callable[[], RunControl]
    queue: RequestQueue
    on_batch: OnBatch | None = None


class Worker:
    """One worker thread."""

    def __init__(
        self,
        work: Work,
        number: int,
        prepare: Prepare | None,
        prepared: SimpleQueue[BaseException | None],
    ) -> None:
        """Start the thread.

        Args:
            work: What the worker threads share.
            number: Number of the thread, for its name.
            prepare: Returns the thread's prepared runs; None: it has none.
            prepared: Gets the error that `prepare` raised, or None.
        """
        self._work = work
        self._runs: PreparedRuns = {}
        self._prepare, self._prepared = prepare, prepared
        self._thread = threading.Thread(
            target=self._live, name=f"{work.name}-{number}", daemon=True
        )
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended; blocks."""
        self._thread.join()

    def _live(self) -> None:
        if self._prepare is not None:
            self._prepared.put(self._try_to_prepare(self._prepare))
        queue = self._work.queue
        while queue.wait():
            while (request := queue.take()) is not None:
                batch = self._gather(request)
                began = time.monotonic()
                self._run_batch(batch)
                queue.await_clients(batch, time.monotonic() - began)
        self._runs = {}

    def _try_to_prepare(self, prepare: Prepare) -> BaseException | None:
        try:
            self._runs = prepare()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for it
            return error
        return None

    def _gather(self, first: Request) -> list[Request]:
        """Return a batch: the first request and the queued requests that can share its run."""
        batch = [first]
        if first.rows is None:
            return batch
        config, queue = self._work.config, self._work.queue
        most, micros = config.max_batch_size, config.batch_timeout_micros
        rows = queue.take_more(batch, first.rows, most)
        if micros:
            until = time.monotonic() + micros / 1e6
            # Wait until the batch is full, the next request does not fit, or the time is over.
            while rows < most and not len(queue) and time.monotonic() < until:
                time.sleep(_LOOK_AGAIN_SECONDS)
                rows = queue.take_more(batch, rows, most)
        return batch

    def _run_batch(self, batch: list[Request]) -> None:
        """Run the requests that still have a caller, and wake the event loop once for the batch."""
        name = self._work.name
        now = time.monotonic()
        wanted = []
        for request in batch:
            if request.deadline is not None and request.deadline < now:
                msg = f"deadline passed while the request waited for {name}"
                request.outcome = DeadlineExceeded(msg)
            elif not request.future.done():  # else cancelled, or displaced
                wanted.append(request)
        runs: list[Run] = []
        if wanted:
            active = ActiveRun(name, wanted, self._work.make_control(), now)
            active.limit()
            ACTIVE.add(active)
            try:
                self._compute(wanted, runs, active.control)
            finally:
                ACTIVE.discard(active)
        with contextlib.suppress(RuntimeError):  # the event loop has ended meanwhile
            loop = batch[0].future.get_loop()
            loop.call_soon_threadsafe(self._deliver, batch, wanted, runs, now)

    def _compute(self, batch: list[Request], runs: list[Run], control: RunControl) -> None:
        first, run, known = batch[0], self._work.run, len(runs)
        try:
            if first.rows is None:
                first.outcome = self._run_timed(run, first, first.inputs, None, 0, runs, control)
                return
            rows = sum([request.rows or 0 for request in batch])  # faster than a generator
            padding = self._work.config.padded_size(rows) - rows
            prepared = self._prepared_for(first, rows + padding) if self._runs else None
            if prepared is None and len(batch) == 1 and not padding:
                first.outcome = self._run_timed(run, first, first.inputs, rows, 0, runs, control)
                return
            inputs: Arrays
            if prepared is None:
                inputs = {
                    alias: _concatenate([request.inputs[alias] for request in batch], padding)
                    for alias in first.inputs
                }
            else:
                prepared_runs.fill(prepared, [request.inputs for request in batch], rows)
                inputs, run = prepared.inputs, prepared.run
            answer = self._run_timed(run, first, inputs, rows + padding, padding, runs, control)
            check_rows(answer, rows + padding)
        except Exception as error:  # noqa: BLE001 - any error goes to the callers
            if len(runs) > known:
                runs[-1] = runs[-1]._replace(failed=True)
            self._compute_alone(batch, error, runs, control)
            return
        start = 0
        made: dict[Hashable, Any] = {}
        for request in batch:
            end = start + (request.rows or 0)
            request.outcome = RequestRows(answer, made, start, end)
            start = end

    def _prepared_for(self, request: Request, rows: int) -> PreparedRun | None:
        """Return the prepared run for a batch of a request's kind; None if there is none."""
        run = self._runs.get((request.group.signature_name, rows))
        return run if run is not None and prepared_runs.fits(run, request.inputs) else None

    def _run_timed(  # noqa: PLR0917 - the parameters of one run
        self,
        run: RunBatch,
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
            return run(request.group.signature_name, inputs, request.group.outputs, control)
        finally:
            runs.append(Run(rows, padding, started, time.monotonic()))
            if control.terminated:
                msg = f"the run of {self._work.name} was ended; retry"
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

    def _deliver(
        self, batch: list[Request], wanted: list[Request], runs: list[Run], taken: float
    ) -> None:
        """Report a batch and settle its futures; runs in the event loop."""
        if runs:
            started, ended = runs[0].started, runs[-1].ended
            for request in wanted:
                if request.times:
                    request.times.ran(started, ended)
            if self._work.on_batch:
                report = BatchReport(
                    wanted[0].group.signature_name,
                    [started - request.queued for request in wanted],
                    [request.rows for request in wanted],
                    runs,
                    taken,
                    time.monotonic(),
                )
                self._work.on_batch(report)
        _settle(batch)


def check_rows(answer: Arrays, rows: int) -> None:
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

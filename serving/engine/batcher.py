"""The batcher: requests that wait together run together.

It is greedy. An idle worker takes what is queued, up to `max_batch_size` rows, and runs it as one
batch; while it runs, the next batch gathers. So a lone request never waits for company, and batches
grow by themselves under load. With `batch_timeout_micros` a worker waits that long for more rows.

Threads: requests are submitted in the event loop; each worker thread takes from one queue, runs the
model (which releases the GIL) and hands a whole batch back with one wake-up of the loop.

Only checked rows get here, so one request cannot make a batch fail by its shape. If a batch fails
by a value, its requests run again one by one: a bad request fails alone.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from serving import stage_times
from serving.engine.batch_report import BatchReport, OnBatch, Run
from serving.errors import DeadlineExceeded, InternalError, InvalidInput, Unavailable
from serving.stage_times import StageTimes

Arrays = Mapping[str, np.ndarray]
# Between two looks of a worker that waits for its batch to fill.
_LOOK_AGAIN_SECONDS = 0.0002
RunBatch = Callable[[str, Arrays, Sequence[str]], dict[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """How requests are gathered; names are TensorFlow Serving's.

    Attributes:
        enabled: Whether requests may share a run at all.
        forced_by: The setting that has rows taken for independent without a proof; empty for none.
        max_batch_size: Most rows of one run; larger requests are split.
        allowed_batch_sizes: Sizes that batches are padded to, ascending, the last one equal to
            `max_batch_size`. Empty: no padding. A GPU wants few sizes, because it tunes its kernels
            for each; a CPU runs any size, and padding would only add work.
        batch_timeout_micros: Microseconds that a worker waits for more rows; 0: not at all.
        max_enqueued_rows: Rows that may wait or run; more are refused at once.
    """

    enabled: bool = True
    forced_by: str = ""
    max_batch_size: int = 64
    allowed_batch_sizes: tuple[int, ...] = ()
    batch_timeout_micros: int = 0
    max_enqueued_rows: int = 10_000

    def for_gpu(self) -> "BatchingConfig":
        """The same with powers of two as allowed sizes, unless sizes were chosen already."""
        if self.allowed_batch_sizes:
            return self
        sizes = [1 << power for power in range(self.max_batch_size.bit_length())]
        sizes = [size for size in sizes if size < self.max_batch_size]
        return replace(self, allowed_batch_sizes=(*sizes, self.max_batch_size))

    def padded_size(self, rows: int) -> int:
        """The size that a batch of so many rows is run with."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


@dataclass(slots=True, eq=False)
class _Request:
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
    future: "asyncio.Future[dict[str, np.ndarray]]"
    queued: float
    times: StageTimes | None
    outcome: dict[str, np.ndarray] | BaseException | None = field(default=None)


class Batcher:
    """Gathers the requests of one servable into batches and runs them in worker threads.

    Attributes:
        on_batch: Told of every batch that ran, in the event loop; None for nobody.
    """

    def __init__(self, run: RunBatch, config: BatchingConfig, *, workers: int, name: str) -> None:
        """Start the workers.

        Args:
            run: Runs a signature on a batch: (signature name, inputs by alias, output aliases)
                to outputs by alias; called from several threads.
            config: See `BatchingConfig`.
            workers: Batches that may run at the same time.
            name: Of the servable, for thread names and messages.
        """
        self._run = run
        self.on_batch: OnBatch | None = None
        self._config = config
        self._name = name
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._closed = False
        self._rows = 0  # waiting or running; counted in the event loop alone
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def closed(self) -> bool:
        """Whether new requests are refused."""
        return self._closed

    @property
    def rows(self) -> int:
        """Rows that wait or run."""
        return self._rows

    @property
    def queued_requests(self) -> int:
        """Requests, or parts of large ones, that no worker has taken yet."""
        return self._queue.qsize()

    async def run(
        self,
        signature_name: str,
        inputs: Arrays,
        outputs: Sequence[str],
        *,
        batched: bool,
        deadline: float | None,
    ) -> dict[str, np.ndarray]:
        """Run checked inputs, together with whatever else waits.

        Args:
            signature_name: Which function of the model.
            inputs: Arrays by alias; if `batched`, all with the same first dimension.
            outputs: Output aliases to compute.
            batched: Whether rows are independent of each other, so that they may share a run and
                be split.
            deadline: `time.monotonic()` after which the request is dropped; None for never.

        Returns:
            Arrays by output alias.

        Raises:
            InvalidInput: it has more rows than the queue may ever hold.
            Unavailable: the queue is full.
            DeadlineExceeded: the deadline passed while the request waited.
            ServingError: what the model said.
        """
        if self._closed:
            msg = f"{self._name} is being unloaded; retry to reach its successor"
            raise Unavailable(msg)
        rows = len(next(iter(inputs.values()))) if batched else None
        weight = rows or 1
        if weight > self._config.max_enqueued_rows:
            msg = (
                f"request has {weight} rows, expected at most {self._config.max_enqueued_rows} for "
                f"{self._name}; send smaller batches or raise the server's --max_enqueued_rows"
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
            return await self._submit(signature_name, inputs, outputs, rows, deadline)
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
        sizes = [min(size, rows - start) for start in range(0, rows, size)]
        parts = await asyncio.gather(
            *(
                self._submit(
                    signature_name,
                    {
                        alias: array[size * number : size * number + count]
                        for alias, array in inputs.items()
                    },
                    outputs,
                    count,
                    deadline,
                )
                for number, count in enumerate(sizes)
            )
        )
        for part, count in zip(parts, sizes, strict=True):
            _check_rows(part, count)
        return {alias: np.concatenate([part[alias] for part in parts]) for alias in outputs}

    def _submit(
        self,
        signature_name: str,
        inputs: Arrays,
        outputs: Sequence[str],
        rows: int | None,
        deadline: float | None,
    ) -> "asyncio.Future[dict[str, np.ndarray]]":
        future = asyncio.get_running_loop().create_future()
        group = (
            signature_name,
            tuple(outputs),
            tuple(array.shape[1:] for array in inputs.values()),
        )
        times = stage_times.CURRENT.get()
        queued = time.monotonic()
        if times and times.queued is None:
            times.queued = queued
            times.servable, times.signature_name = self._name, signature_name
        self._queue.put(
            _Request(signature_name, inputs, outputs, rows, deadline, group, future, queued, times)
        )
        return future

    def close(self) -> None:
        """Refuse new requests, finish the queued ones and end the workers; blocks."""
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        left_over: _Request | None = None
        ending = False
        while not ending:
            request = left_over or self._queue.get()
            if request is None:
                return
            batch, left_over, ending = self._gather(request)
            self._run_batch(batch)

    def _gather(self, first: _Request) -> tuple[list[_Request], _Request | None, bool]:
        """What can run with the first request; the request that could not; whether to end then."""
        batch = [first]
        if first.rows is None:
            return batch, None, False
        rows = first.rows
        until = time.monotonic() + self._config.batch_timeout_micros / 1e6
        while rows < self._config.max_batch_size:
            try:
                request = self._queue.get_nowait()
            except Empty:
                remaining = until - time.monotonic()
                if remaining <= 0:
                    break
                # Not `get(timeout=...)`: if another worker takes the request that woke this one,
                # CPython's SimpleQueue may wait for ever.
                time.sleep(min(remaining, _LOOK_AGAIN_SECONDS))
                continue
            if request is None:
                return batch, None, True
            if (
                request.rows is None
                or request.group != first.group
                or rows + request.rows > self._config.max_batch_size
            ):
                return batch, request, False
            batch.append(request)
            rows += request.rows
        return batch, None, False

    def _run_batch(self, batch: list[_Request]) -> None:
        """Run what still is wanted and wake the event loop once for all of it."""
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
            self._compute(wanted, runs)
        batch[0].future.get_loop().call_soon_threadsafe(self._deliver, batch, wanted, runs)

    def _compute(self, batch: list[_Request], runs: list[Run]) -> None:
        first = batch[0]
        try:
            if first.rows is None:
                first.outcome = self._run_timed(first, first.inputs, None, 0, runs)
                return
            rows = sum(request.rows or 0 for request in batch)
            padding = self._config.padded_size(rows) - rows
            if len(batch) == 1 and not padding:
                first.outcome = self._run_timed(first, first.inputs, rows, 0, runs)
                return
            inputs = {
                alias: _concatenate([request.inputs[alias] for request in batch], padding)
                for alias in first.inputs
            }
            answer = self._run_timed(first, inputs, rows + padding, padding, runs)
            _check_rows(answer, rows + padding)
        except Exception as error:  # noqa: BLE001 - any error goes to the callers
            self._compute_alone(batch, error, runs)
            return
        start = 0
        for request in batch:
            end = start + (request.rows or 0)
            request.outcome = {alias: array[start:end] for alias, array in answer.items()}
            start = end

    def _run_timed(
        self, request: _Request, inputs: Arrays, rows: int | None, padding: int, runs: list[Run]
    ) -> dict[str, np.ndarray]:
        """Run what a request asks for on the inputs of its batch."""
        started = time.monotonic()
        try:
            return self._run(request.signature_name, inputs, request.outputs)
        finally:
            runs.append(Run(rows, padding, started, time.monotonic()))

    def _compute_alone(self, batch: list[_Request], error: Exception, runs: list[Run]) -> None:
        """A batch failed: find whose fault it was by running its requests one by one."""
        if len(batch) == 1:
            batch[0].outcome = error
            return
        for request in batch:
            self._compute([request], runs)

    def _deliver(self, batch: list[_Request], wanted: list[_Request], runs: list[Run]) -> None:
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
    """Refuse to share out an answer that does not have a row for each row of the batch.

    Raises:
        InternalError: the model does not work row by row.
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
        # The padding repeats a real row: zeros could be values that the model refuses.
        last = arrays[-1]
        arrays = [*arrays, np.broadcast_to(last[-1:], (padding, *last.shape[1:]))]
    return np.concatenate(arrays)


def _settle(batch: list[_Request]) -> None:
    """Hand the outcomes of a batch to those who wait for them."""
    for request in batch:
        future, outcome = request.future, request.outcome
        if future.done():  # cancelled: nobody waits
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        elif outcome is not None:
            future.set_result(outcome)

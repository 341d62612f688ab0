"""The batcher runs requests that wait at the same time in one batch.

An idle worker thread (`worker`) takes queued requests, up to `max_batch_size` rows, and runs them
as one batch; more requests queue during the run. A request therefore never waits for later ones,
and batches grow under load. With `batch_timeout_micros`, a worker thread waits that long for more
rows.

Threads: the event loop submits requests. Each worker thread takes requests from the queue, runs the
model (which releases the GIL), and returns a whole batch with one wake-up of the event loop.

Only checked rows share a run, so no request can make a batch fail by its shape. If a batch fails
because of a value, its requests run again one by one, so that only the faulty request fails.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from queue import SimpleQueue

import numpy as np

from serving import stage_times
from serving.access import flow
from serving.engine.batching.active_runs import RunControl, StopFlag
from serving.engine.batching.batch_report import OnBatch
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.batching.enqueued_rows import EnqueuedRows
from serving.engine.batching.prepared_runs import Prepare, RunBatch
from serving.engine.batching.request_queue import Arrays, Group, Request, RequestQueue
from serving.engine.batching.worker import Work, Worker, check_rows
from serving.errors import InvalidInput, Unavailable


class Batcher:
    """Gathers the requests of one servable into batches and runs them in worker threads."""

    def __init__(
        self,
        run: RunBatch,
        config: BatchingConfig,
        *,
        workers: int,
        name: str,
        make_control: Callable[[], RunControl] = StopFlag,
        prepare: Prepare | None = None,
    ) -> None:
        """Start the worker threads.

        Args:
            run: Runs a signature on a batch, see `RunBatch`; called from several threads.
            config: See `BatchingConfig`.
            workers: Number of worker threads, and so of batches that run at the same time.
            name: Name of the servable, for thread names and messages.
            make_control: Returns a control for a new run; `run` gets it as the last argument.
            prepare: Called first in each worker thread; returns the runs that the thread has
                prepared. `await_preparation` waits for it.
        """
        self._config = config
        self._name = name
        self._queue = RequestQueue()
        self._closed = False
        # Kept, because `get_running_loop` calls `getpid`, up to Python 3.11.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rows = EnqueuedRows(self._queue, name)
        self._work = Work(run, config, name, make_control, self._queue)
        self._prepared: SimpleQueue[BaseException | None] = SimpleQueue()
        self._workers = [
            Worker(self._work, number, prepare, self._prepared) for number in range(workers)
        ]

    def report_batches(self, on_batch: OnBatch) -> None:
        """Call `on_batch` in the event loop with the report of every batch."""
        self._work.on_batch = on_batch

    def await_preparation(self) -> None:
        """Wait until `prepare` has returned in every worker thread; blocks.

        Raises:
            BaseException: the first error that `prepare` raised.
        """
        errors = [self._prepared.get() for _ in self._workers]
        for error in filter(None, errors):
            raise error

    def change_batches(self, config: BatchingConfig) -> None:
        """Replace the settings, before the first request."""
        self._config = self._work.config = config

    @property
    def config(self) -> BatchingConfig:
        """The settings."""
        return self._config

    @property
    def closed(self) -> bool:
        """Whether the batcher refuses new requests."""
        return self._closed

    @property
    def rows(self) -> int:
        """Number of rows that wait or run."""
        return self._rows.total

    @property
    def queued_requests(self) -> int:
        """Number of requests, or parts of split requests, that no worker thread has taken yet."""
        return len(self._queue)

    def run(
        self,
        signature_name: str,
        inputs: Arrays,
        outputs: Sequence[str],
        *,
        batched: bool,
        deadline: float | None,
    ) -> Awaitable[Arrays]:
        """Run checked inputs, in one batch with other waiting requests if `batched`.

        Args:
            signature_name: Name of the signature to run.
            inputs: Arrays by alias; if `batched`, all with the same first dimension.
            outputs: Output aliases to compute.
            batched: Whether the rows of the inputs are independent of each other, so that they may
                share a run and be split. If false, the request runs alone and unchanged.
            deadline: See `run_group`.

        Returns:
            An awaitable of the arrays by output alias.

        Raises:
            ServingError: see `run_group`.
        """
        rows = len(next(iter(inputs.values()))) if batched else None
        return self.run_group(Group.of(signature_name, outputs, inputs), inputs, rows, deadline)

    async def run_group(
        self, group: Group, inputs: Arrays, rows: int | None, deadline: float | None
    ) -> Arrays:
        """Run checked inputs, in one batch with other waiting requests of their group.

        Args:
            group: The inputs' group.
            inputs: Arrays by alias, all with `rows` as their first dimension.
            rows: Number of independent rows, by which the request may share a run and be split;
                None: the request runs alone and unchanged.
            deadline: `time.monotonic()` after which the request is dropped; None: no deadline.

        Returns:
            Arrays by output alias.

        Raises:
            InvalidInput: the request has more rows than `max_enqueued_rows`.
            Unavailable: the queue is full, or became full and the request's place went to another
                client; the batcher is closed; or the run was terminated.
            DeadlineExceeded: the deadline passed while the request waited or ran.
            ServingError: the error that the run raised.
        """
        if self._closed:
            msg = f"{self._name} is being unloaded; retry to reach its successor"
            raise Unavailable(msg)
        config = self._config
        weight = rows or 1
        if weight > config.max_enqueued_rows:
            msg = (
                f"request has {weight} rows, expected at most {config.max_enqueued_rows} for "
                f"{self._name}; send smaller batches or raise the server's --max_enqueued_rows "
                "(max_enqueued_batches in a file of batching parameters)"
            )
            raise InvalidInput(msg)
        client = flow.CURRENT.get()
        if self._rows.total + weight > config.max_enqueued_rows:
            self._rows.make_room(client, weight, config.max_enqueued_rows)
        if rows is not None and rows > config.max_batch_size:
            return await self._run_in_parts(group, inputs, rows, deadline, client)
        request = self._submit(group, inputs, rows, deadline, client)
        try:
            return await request.future
        except asyncio.CancelledError:
            request.give_up()
            raise
        finally:
            self._rows.remove(request)

    async def _run_in_parts(
        self, group: Group, inputs: Arrays, rows: int, deadline: float | None, client: Hashable
    ) -> dict[str, np.ndarray]:
        size = self._config.max_batch_size
        requests = [
            self._submit(
                group,
                {alias: array[start : start + size] for alias, array in inputs.items()},
                min(size, rows - start),
                deadline,
                client,
            )
            for start in range(0, rows, size)
        ]
        try:
            parts = await asyncio.gather(*(request.future for request in requests))
        except BaseException:  # cancelled, or one part has failed: nobody needs the others
            for request in requests:
                request.give_up()
            raise
        finally:
            for request in requests:
                self._rows.remove(request)
        for request, part in zip(requests, parts, strict=True):
            check_rows(part, request.rows or 0)
        return {alias: np.concatenate([part[alias] for part in parts]) for alias in group.outputs}

    def _submit(
        self,
        group: Group,
        inputs: Arrays,
        rows: int | None,
        deadline: float | None,
        client: Hashable,
    ) -> Request:
        times = stage_times.CURRENT.get()
        queued = time.monotonic()
        if times and times.queued is None:
            times.queued = queued
            times.servable, times.signature_name = self._name, group.signature_name
        loop = self._loop
        if loop is None or not loop.is_running():
            loop = self._loop = asyncio.get_running_loop()
        future = loop.create_future()
        request = Request(group, inputs, rows, deadline, future, queued, times, client)
        self._rows.add(request)
        self._queue.put(request)
        return request

    def close(self) -> None:
        """Refuse new requests, finish the queued ones and end the worker threads; blocks."""
        self._closed = True
        self._queue.end(len(self._workers))
        for worker in self._workers:
            worker.join()

import asyncio
import threading

import numpy as np
import pytest

from serving.engine.batching.active_runs import StopFlag
from serving.engine.batching.batcher import Batcher
from serving.engine.batching.batching_config import BatchingConfig


class Fixed:
    """A prepared run that doubles its buffer and notes what was in it."""

    def __init__(self, rows: int) -> None:
        self.inputs = {"x": np.zeros((rows, 1), np.int64)}
        self.seen: list[list[list[int]]] = []
        self.threads: set[int] = set()

    def run(self, signature, inputs, outputs, control):
        """Double the buffer."""
        assert (signature, list(outputs), inputs) == ("s", ["y"], self.inputs)
        assert isinstance(control, StopFlag)
        self.threads.add(threading.get_ident())
        self.seen.append(self.inputs["x"].tolist())
        return {"y": self.inputs["x"] * 2}


def plainly(_signature, inputs, _outputs, _control):
    """A run without prepared buffers: ten times the input."""
    return {"y": inputs["x"] * 10}


def answers(batcher, *requests):
    """Return the answers to requests that are sent at the same time."""

    async def scenario():
        return await asyncio.gather(
            *(
                batcher.run("s", {"x": request}, ["y"], batched=batched, deadline=None)
                for request, batched in requests
            )
        )

    return [answer["y"].tolist() for answer in asyncio.run(scenario())]


def rows(*values: int) -> np.ndarray:
    return np.array(values, np.int64).reshape(-1, 1)


@pytest.fixture
def prepared():
    """A batcher whose only worker thread has prepared runs of 4 rows; and that run."""
    fixed = Fixed(4)
    config = BatchingConfig(
        max_batch_size=8, allowed_batch_sizes=(4, 8), batch_timeout_micros=50_000
    )
    batcher = Batcher(plainly, config, workers=1, name="m/1", prepare=lambda: {("s", 4): fixed})
    batcher.await_preparation()
    yield batcher, fixed
    batcher.close()


def test_a_batch_is_written_into_the_buffers_of_its_run(prepared):
    """The rows of a batch are in the buffers in order, and the last one is repeated."""
    batcher, fixed = prepared

    assert answers(batcher, (rows(1, 2), True), (rows(3), True)) == [[[2], [4]], [[6]]]
    assert fixed.seen == [[[1], [2], [3], [3]]]


def test_a_lone_request_that_fills_the_buffers_uses_them(prepared):
    """A single request of the run's size needs no padding, and runs on the buffers, too."""
    batcher, fixed = prepared

    assert answers(batcher, (rows(1, 2, 3, 4), True)) == [[[2], [4], [6], [8]]]
    assert fixed.seen == [[[1], [2], [3], [4]]]


@pytest.mark.parametrize(
    ("request_rows", "batched"),
    [
        (rows(1, 2, 3), False),
        (rows(1, 2, 3, 4, 5), True),
        (np.array([[1, 1], [2, 2]], np.int64), True),
        (np.array([[1], [2]], np.int32), True),
    ],
)
def test_other_requests_run_without_the_buffers(prepared, request_rows, batched):
    """Requests that run alone, of another size, shape or dtype run on their own arrays."""
    batcher, fixed = prepared

    assert answers(batcher, (request_rows, batched)) == [(request_rows * 10).tolist()]
    assert fixed.seen == []


def test_every_worker_thread_prepares_its_own_runs():
    """`prepare` is called once in each worker thread, and its runs are called there only."""
    made: dict[int, Fixed] = {}

    def prepare():
        made[threading.get_ident()] = fixed = Fixed(1)
        return {("s", 1): fixed}

    batcher = Batcher(plainly, BatchingConfig(), workers=3, name="m/1", prepare=prepare)
    batcher.await_preparation()
    found = answers(batcher, *((rows(value), True) for value in range(50)))
    batcher.close()

    assert len(made) == 3
    assert threading.get_ident() not in made
    assert all(fixed.threads <= {thread} for thread, fixed in made.items())
    assert [answer[0][0] % 2 for answer in found] == [0] * 50


def test_the_error_of_a_preparation_reaches_the_thread_that_waits():
    """An error in a worker thread is raised by `await_preparation`; the batcher can be closed."""

    def prepare():
        msg = "no memory"
        raise MemoryError(msg)

    batcher = Batcher(plainly, BatchingConfig(), workers=2, name="m/1", prepare=prepare)

    with pytest.raises(MemoryError, match="no memory"):
        batcher.await_preparation()
    batcher.close()


def test_batches_can_be_limited_after_the_preparation(prepared):
    """After `change_batches`, larger requests are split at the new size."""
    batcher, fixed = prepared
    batcher.change_batches(BatchingConfig(max_batch_size=4, allowed_batch_sizes=(4,)))

    assert answers(batcher, (rows(1, 2, 3, 4, 5), True)) == [[[2], [4], [6], [8], [10]]]
    assert fixed.seen == [[[1], [2], [3], [4]], [[5], [5], [5], [5]]]

import asyncio
import gc
import threading
import time
import weakref

import numpy as np
from simulating.queued_requests import make_request

from serving.engine.batching.batcher import Batcher
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.batching.request_queue import Request, RequestQueue


def test_requests_come_in_their_order(loop):
    """`take` returns requests first in, first out, then None."""
    queue = RequestQueue()
    requests = [make_request(loop) for _ in range(3)]
    for each in requests:
        queue.put(each)

    assert [queue.take() for _ in range(4)] == [*requests, None]


def test_one_that_does_not_fit_stays_first(loop):
    """A request that did not fit into a batch is the next that `take` returns."""
    queue = RequestQueue()
    first, small, large = (make_request(loop, rows) for rows in (1, 2, 9))
    for each in (first, small, large):
        queue.put(each)
    batch = [queue.take()]

    rows = queue.take_more(batch, 1, 8)

    assert (batch, rows) == ([first, small], 3)
    assert queue.take() is large


def test_one_that_does_not_fit_stays_before_those_behind_it(loop):
    """A large request that does not fit is not overtaken by smaller ones behind it."""
    queue = RequestQueue()
    first, large, small = (make_request(loop, rows) for rows in (1, 9, 1))
    for each in (first, large, small):
        queue.put(each)
    batch = [queue.take()]

    queue.take_more(batch, 1, 8)

    assert batch == [first]
    assert [queue.take(), queue.take()] == [large, small]


def test_other_groups_stay(loop):
    """A batch takes requests of one group only: one signature and one row shape."""
    queue = RequestQueue()
    first, other = make_request(loop), make_request(loop)
    other.group = other.group._replace(signature_name="another")
    queue.put(first)
    queue.put(other)
    batch = [queue.take()]

    queue.take_more(batch, 1, 8)

    assert batch == [first]
    assert queue.take() is other


def test_many_workers_take_every_request_once(loop):
    """Four workers take each of 20,000 requests exactly once."""
    queue = RequestQueue()
    taken: list[Request] = []

    def work() -> None:
        while queue.wait():
            while (each := queue.take()) is not None:
                batch = [each]
                queue.take_more(batch, 1, 3)
                taken.extend(batch)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    requests = [make_request(loop) for _ in range(20_000)]
    for each in requests:
        queue.put(each)
    queue.end(len(threads))
    for thread in threads:
        thread.join(60)

    assert not any(thread.is_alive() for thread in threads)
    assert len(taken) == len(requests)
    assert set(map(id, taken)) == set(map(id, requests))


def test_a_request_given_up_frees_its_arrays_and_is_passed_over(loop):
    """A request that is given up frees its arrays at once, and `take` skips it."""
    queue = RequestQueue()
    array = np.zeros(1000)
    gone = weakref.ref(array)
    cancelled, other = make_request(loop), make_request(loop)
    cancelled.waiting_inputs = {"x": array}
    del array
    queue.put(cancelled)
    queue.put(other)

    cancelled.give_up()
    gc.collect()

    assert gone() is None
    assert queue.take() is other


def test_a_worker_does_not_wait_beside_a_request(loop):
    """`wait` returns at once if a request is there, and leaves no entry of an idle thread."""
    queue = RequestQueue()
    queue.put(make_request(loop))

    assert queue.wait() is True
    assert queue._idle == []
    assert queue._signals.empty()


def test_a_request_that_is_taken_keeps_its_arrays(loop):
    """A request that a worker has taken keeps its arrays when its caller gives up."""
    queue = RequestQueue()
    queue.put(make_request(loop))
    each = queue.take()

    each.give_up()

    assert each.inputs.keys() == {"x"}


class Blocking:
    """Runs that wait until `release` is set; counts concurrent runs."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.release = threading.Event()

    def __call__(self, _signature, inputs, _outputs, _control):
        """Wait for `release` and return the input."""
        self.running += 1
        self.most = max(self.most, self.running)
        self.release.wait(10)
        self.running -= 1
        return {"y": inputs["x"]}


def test_a_request_that_does_not_fit_is_run_by_another_worker():
    """A request that does not fit into a running batch is run by an idle worker meanwhile."""
    blocking = Blocking()
    batcher = Batcher(blocking, BatchingConfig(max_batch_size=4), workers=2, name="m/1")

    async def ask() -> None:
        inputs = [np.zeros((3, 1)), np.zeros((3, 1))]  # 6 rows, more than one batch
        asking = [
            asyncio.ensure_future(
                batcher.run("s", {"x": array}, ["y"], batched=True, deadline=None)
            )
            for array in inputs
        ]
        deadline = time.monotonic() + 10
        while blocking.most < 2 and time.monotonic() < deadline:  # noqa: ASYNC110 - a thread changes `most`
            await asyncio.sleep(0.01)
        blocking.release.set()
        await asyncio.gather(*asking)

    asyncio.run(ask())
    batcher.close()

    assert blocking.most == 2


def test_cancelled_requests_free_their_arrays_while_they_wait():
    """A request cancelled in the queue frees its arrays while the run before it goes on."""
    blocking = Blocking()
    batcher = Batcher(blocking, BatchingConfig(), workers=1, name="m/1")

    async def ask() -> bool:
        first = asyncio.ensure_future(
            batcher.run("s", {"x": np.zeros((1, 1))}, ["y"], batched=False, deadline=None)
        )
        while not blocking.running:  # noqa: ASYNC110 - a thread changes `running`
            await asyncio.sleep(0.01)
        array = np.zeros((64, 1000))
        gone = weakref.ref(array)
        waiting = asyncio.ensure_future(
            batcher.run("s", {"x": array}, ["y"], batched=False, deadline=None)
        )
        del array
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        del waiting
        gc.collect()
        freed = gone() is None
        blocking.release.set()
        await first
        return freed

    freed = asyncio.run(ask())
    batcher.close()

    assert freed


def test_a_worker_that_ended_is_not_woken(loop):
    """After a worker thread has ended, a request wakes the one that still waits."""
    queue = RequestQueue()
    queue.end(1)
    ended = queue.wait()
    waiting = threading.Thread(target=queue.wait, daemon=True)
    waiting.start()
    while not queue._idle:
        time.sleep(0.001)

    assert not ended
    assert len(queue._idle) == 1
    queue.put(make_request(loop))
    waiting.join(10)
    assert not waiting.is_alive()
    assert not queue._idle

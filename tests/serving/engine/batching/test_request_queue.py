import asyncio
import gc
import threading
import time
import weakref

import numpy as np
import pytest

from serving.engine.batching.batcher import Batcher
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.batching.request_queue import Request, RequestQueue


@pytest.fixture
def loop():
    """An event loop for futures that are never awaited."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


def make_request(loop, rows: int | None = 1, flow: str | None = None) -> Request:
    return Request(
        signature_name="s",
        waiting_inputs={"x": np.zeros(rows or 1)},
        outputs=["y"],
        rows=rows,
        deadline=None,
        group=None,
        future=loop.create_future(),
        queued=0.0,
        times=None,
        flow=flow,
    )


def put(queue: RequestQueue, loop, *flows: str, rows: int | None = 1) -> None:
    """Add a request of each flow, in this order."""
    for flow in flows:
        queue.put(make_request(loop, rows, flow))


def flows_taken(queue: RequestQueue) -> str:
    """Take all requests; return their flows, one letter each, in the order of their turns."""
    return "".join(str(request.flow) for request in iter(queue.take, None))


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
    other.group = "another"
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


def test_clients_take_turns(loop):
    """Requests of clients that all wait are taken in turns, whoever came first."""
    queue = RequestQueue()
    put(queue, loop, *"aaaabbcc")

    assert flows_taken(queue) == "abcabcaa"


def test_turns_are_measured_in_rows(loop):
    """A client with requests of 4 rows gets one turn for four of a client with single rows."""
    queue = RequestQueue()
    put(queue, loop, *"aaa", rows=4)
    put(queue, loop, *"bbbbbbbb")

    assert flows_taken(queue) == "abbbbabbbba"


def test_requests_without_rows_count_as_one(loop):
    """Requests that cannot share a run are taken in turns one by one."""
    queue = RequestQueue()
    put(queue, loop, *"aab", rows=None)

    assert flows_taken(queue) == "aba"


def test_a_client_that_asks_for_little_comes_before_one_that_has_had_more(loop):
    """A new client's request comes before the backlog of a client that was served meanwhile."""
    queue = RequestQueue()
    put(queue, loop, *"aaa", rows=64)
    taken = [queue.take(), queue.take()]
    put(queue, loop, *"bb")

    assert [request.flow for request in taken] == ["a", "a"]
    assert flows_taken(queue) == "bba"


def test_time_without_requests_earns_no_turns(loop):
    """A client that was silent does not get the turns that it could have had."""
    queue = RequestQueue()
    put(queue, loop, *"b")
    queue.take()
    put(queue, loop, *"aaaaaaaa")
    for _ in range(4):
        queue.take()
    put(queue, loop, *"bbbb")

    assert flows_taken(queue) == "babababa"


def test_a_batch_gathers_the_requests_of_all_clients(loop):
    """A batch takes the requests of small clients before the next large one of a greedy client."""
    queue = RequestQueue()
    put(queue, loop, *"gg", rows=64)
    batch = [queue.take()]
    put(queue, loop, *"abababab")

    assert queue.take_more(batch, 64, 64) == 64
    batch = [queue.take()]
    assert queue.take_more(batch, 1, 64) == 8
    assert flows_taken(queue) == "g"


def test_the_newest_request_is_dropped(loop):
    """The newest request of a flow that nobody has cancelled is dropped; workers do not get it."""
    queue = RequestQueue()
    requests = [make_request(loop, 1, "a") for _ in range(3)]
    for each in requests:
        queue.put(each)
    put(queue, loop, "b")
    requests[2].give_up()

    assert queue.drop_newest("a") is requests[1]
    assert len(queue) == 2
    assert flows_taken(queue) == "ab"
    assert queue.drop_newest("a") is None
    assert queue.drop_newest("never seen") is None


def test_a_dropped_request_has_used_no_turn(loop):
    """A client's rows that were dropped are not counted against its next requests."""
    queue = RequestQueue()
    put(queue, loop, "a", rows=100)
    queue.drop_newest("a")
    put(queue, loop, *"bba")

    assert flows_taken(queue) == "abb"


def test_clients_that_are_gone_are_forgotten(loop):
    """The queue remembers a bounded number of clients that have had all their answers."""
    queue = RequestQueue()
    for number in range(10_000):
        put(queue, loop, str(number))
        queue.take()

    assert len(queue._flows) <= 1024


class Clock:
    """A clock for the queue that advances only when the queue sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0
        self.at_first_sleep = None

    def monotonic(self) -> float:
        """See `time.monotonic`."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """See `time.sleep`; something may happen meanwhile."""
        self.slept += 1
        self.now += seconds
        if self.slept == 1 and self.at_first_sleep is not None:
            self.at_first_sleep()


@pytest.fixture
def clock(monkeypatch):
    """The queue's clock."""
    made = Clock()
    monkeypatch.setattr("serving.engine.batching.request_queue.time", made)
    return made


def run(queue: RequestQueue, clock: Clock, flow: str, seconds: float) -> None:
    """Take the next request, which must be of a flow, and let its run last so many seconds."""
    taken = queue.take()
    assert taken.flow == flow
    clock.now += seconds
    queue.await_clients([taken], seconds)


def ask(queue: RequestQueue, loop, clock: Clock, flow: str) -> None:
    """Add a request of one row, now."""
    request = make_request(loop, 1, flow)
    request.queued = clock.now
    queue.put(request)


def beside_a_backlog(loop, clock: Clock, pause: float) -> RequestQueue:
    """Return a queue whose client `p` has come back after a pause, with a backlog of `g`."""
    queue = RequestQueue()
    put(queue, loop, *"ggg", rows=64)
    run(queue, clock, "g", 0.1)
    ask(queue, loop, clock, "p")
    run(queue, clock, "p", 0.01)
    clock.now += pause
    ask(queue, loop, clock, "p")
    return queue


def test_a_client_that_comes_back_soon_is_waited_for(loop, clock):
    """After the run of a client that comes back soon, its next request precedes a backlog."""
    queue = beside_a_backlog(loop, clock, pause=0.01)
    clock.at_first_sleep = lambda: ask(queue, loop, clock, "p")
    run(queue, clock, "p", 0.01)

    assert clock.slept == 1
    assert flows_taken(queue) == "pgg"


def test_waiting_ends(loop, clock):
    """A client is waited for half of the next run's time, and then no more until it comes soon."""
    queue = beside_a_backlog(loop, clock, pause=0.01)
    began = clock.now
    run(queue, clock, "p", 0.01)
    waited = clock.now - began - 0.01
    ask(queue, loop, clock, "p")
    slept = clock.slept
    run(queue, clock, "p", 0.01)

    assert waited == pytest.approx(0.05, abs=0.003)
    assert clock.slept == slept
    assert flows_taken(queue) == "gg"


def test_clients_are_not_waited_for_longer_than_a_tenth_of_a_second(loop, clock):
    """Before a run that takes ten seconds, a thread waits 0.1 s and looks 20 times."""
    queue = beside_a_backlog(loop, clock, pause=0.01)
    queue._flows["g"].run_seconds = 10.0
    began = clock.now
    run(queue, clock, "p", 0.01)

    assert clock.now - began - 0.01 == pytest.approx(0.1, abs=0.006)
    assert clock.slept <= 21


def test_a_client_that_takes_its_time_is_not_waited_for(loop, clock):
    """A client whose last request came late delays nobody."""
    queue = beside_a_backlog(loop, clock, pause=0.06)
    run(queue, clock, "p", 0.01)

    assert clock.slept == 0


def test_a_client_alone_never_waits(loop, clock):
    """The runs of a client with a backlog follow each other without a pause."""
    queue = RequestQueue()
    for _ in range(3):
        ask(queue, loop, clock, "g")
    for _ in range(3):
        run(queue, clock, "g", 1.0)

    assert clock.slept == 0


def test_clients_whose_turn_is_later_are_not_waited_for(loop, clock):
    """A client that has had more than the one that follows is not waited for."""
    queue = RequestQueue()
    put(queue, loop, *"gg", rows=64)
    run(queue, clock, "g", 0.1)
    ask(queue, loop, clock, "p")
    run(queue, clock, "p", 0.01)
    ask(queue, loop, clock, "p")  # it comes back at once, for many rows
    queue._flows["p"].finish = 1000
    run(queue, clock, "p", 0.01)

    assert clock.slept == 0

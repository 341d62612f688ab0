"""Tests of the turns of clients that share a queue, and of waiting for a client's next request."""

import pytest
from simulating.queued_requests import flows_taken, make_request, put

from serving.engine.batching.request_queue import RequestQueue


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
    queue._sort_in()
    queue._flows["p"].finish = 1000
    run(queue, clock, "p", 0.01)

    assert clock.slept == 0

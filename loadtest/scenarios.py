"""What is sent, in which order, and when it ends.

ClosedLoop: each of N users sends its next request when its last one is answered, so a slow server
is asked less often. It measures what N callers that wait for answers see, never an offered rate.
"""

import itertools
import math
import time
from collections.abc import Iterator, Sequence

from gevent.event import Event

from loadtest.client import Outcome
from loadtest.images import Query
from loadtest.recorder import Recorder

# So many failures to reach the server in a row, over all users, end the run.
GIVE_UP_AFTER_FAILURES = 100


class ClosedLoop:
    """The requests of one run, handed out to whichever user is free.

    Each user calls `warm_up`, then `wait_for_start`, then `next_query` until it gets None, and
    `leave` at its end. All of it happens in the greenlets of one process: no locks.

    Attributes:
        recorder: What happened to the timed requests.
        stop_reason: Why the run ended before its time; None while nothing is wrong.
        finished: Set once nothing is left to send or the run was stopped.
        warmup_sent: Untimed requests sent.
        warmup_failed: Those that failed.
        started: Timed requests handed out.
        cpu_seconds: Processor time of this process over the timed requests, all threads.
    """

    def __init__(
        self,
        queries: Sequence[Query],
        recorder: Recorder,
        *,
        users: int | None,
        requests: int | None = None,
        duration_seconds: float | None = None,
        warmup_requests: int = 0,
    ) -> None:
        """Prepare a run.

        Args:
            queries: Every test image once; handed out in this order, again and again if needed.
            recorder: Gets the timed requests.
            users: How many users to wait for before any of them sends a timed request; None if
                users come and go, as they do in the web UI, and nobody waits.
            requests: Timed requests to hand out; None for no such limit.
            duration_seconds: How long to hand out; None for no such limit.
            warmup_requests: Untimed requests, over all users.
        """
        self.recorder = recorder
        self.stop_reason: str | None = None
        self.finished = Event()
        self.warmup_sent = 0
        self.warmup_failed = 0
        self.started = 0
        self._queries = queries
        self._limit = math.inf if requests is None else requests
        self._duration_seconds = math.inf if duration_seconds is None else duration_seconds
        self._users_missing = users or 0
        self._gives_up = users is not None  # in the web UI a person decides
        self._counting_since_ns = 0
        self._warmups_a_user = max(1, math.ceil(warmup_requests / (users or 1)))
        self._order = itertools.cycle(queries)
        self._next_warmup = itertools.cycle(queries)
        self._go = Event()
        self._deadline = math.inf
        self._cpu_at_start = 0.0
        self._cpu_at_end = 0.0
        self._last_answer = time.monotonic()
        if users is None:
            self._start_clock()

    def warm_up(self) -> Iterator[Query]:
        """A user's untimed requests; the first opens its connection."""
        return itertools.islice(self._next_warmup, self._warmups_a_user)

    def warmed_up(self, outcome: Outcome) -> None:
        """Count an untimed request."""
        self._last_answer = time.monotonic()
        self.warmup_sent += 1
        self.warmup_failed += outcome.error is not None

    def wait_for_start(self) -> None:
        """Return once every user is ready: timing starts with all of them."""
        self._users_missing -= 1
        if self._users_missing <= 0 and not self._go.is_set():
            self._start_clock()
        self._go.wait()

    def next_query(self) -> Query | None:
        """The next request to send; None if the user's work is done."""
        if self.finished.is_set():
            return None
        if self.started >= self._limit or time.monotonic() >= self._deadline:
            self._finish()
            return None
        self.started += 1
        return next(self._order)

    def done(self, query: Query, outcome: Outcome) -> None:
        """Keep what became of a timed request; give up if the server is gone."""
        if outcome.sent_ns < self._counting_since_ns:
            return
        self.recorder.record(query, outcome)
        self._cpu_at_end = time.process_time()
        if outcome.error is None:
            self._last_answer = time.monotonic()
        elif (
            self._gives_up and self.recorder.connection_failures_in_a_row >= GIVE_UP_AFTER_FAILURES
        ):
            self.stop(
                f"{GIVE_UP_AFTER_FAILURES} requests in a row did not reach the server, "
                f"the last one with {outcome.error}: {outcome.message}"
            )

    def reset(self, recorder: Recorder) -> None:
        """Count afresh: answers to requests already sent are not counted any more."""
        self.recorder = recorder
        self._counting_since_ns = time.perf_counter_ns()

    def stop(self, reason: str) -> None:
        """Hand out nothing more; the first reason given is kept."""
        if not self.finished.is_set():
            self.stop_reason = reason
        self._finish()

    @property
    def cpu_seconds(self) -> float:
        """Processor time of this process from the first timed request to the last one's end."""
        return max(0.0, self._cpu_at_end - self._cpu_at_start)

    @property
    def silent_seconds(self) -> float:
        """How long ago the last good answer came, or the run was made."""
        return time.monotonic() - self._last_answer

    def _start_clock(self) -> None:
        self._deadline = time.monotonic() + self._duration_seconds
        self._cpu_at_start = self._cpu_at_end = time.process_time()
        self._go.set()

    def _finish(self) -> None:
        self.finished.set()
        self._go.set()

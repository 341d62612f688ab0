"""The plan that a generator carries out, and the progress that it reports meanwhile."""

from dataclasses import dataclass

from loadtest.load.arrivals import Arrivals, poisson
from loadtest.load.course import Course
from loadtest.load.increment import Increment
from loadtest.settings.config import DEFAULT_ABORT_AFTER_ERRORS


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The load of one run. With several generator processes, each carries out its share.

    Attributes:
        in_flight: Requests under way: the maximum in an open loop, the fixed number in a closed
            one.
        rate_per_second: Mean rate of the arrivals; None for a closed loop.
        course: A shape or a replay, which decides the arrivals alone; None for Poisson arrivals at
            the rate, or a closed loop.
        requests: Timed requests to send; None for no limit.
        duration_seconds: Time to keep sending; None for no limit.
        warmup_requests: Untimed requests before the run; every connection sends at least one.
        schedule_seed: Seed of the arrival times.
        timeout_seconds: Deadline of a request.
        slo_ms: Latency bound above which progress counts an answer as over; None to count only
            failed and missed requests.
        abort_after_errors: Requests in a row that do not reach the server, after which a generator
            process gives up; 0 for never.
        watched: Whether progress holds increments, for a view of the run.
    """

    in_flight: int
    rate_per_second: float | None
    requests: int | None
    duration_seconds: float | None
    warmup_requests: int
    schedule_seed: int
    timeout_seconds: float
    slo_ms: float | None
    course: Course | None = None
    abort_after_errors: int = DEFAULT_ABORT_AFTER_ERRORS
    watched: bool = False

    def arrivals(self, share: "Share") -> Arrivals:
        """Return the arrivals of one process.

        Raises:
            ValueError: The plan is a closed loop.
        """
        return self.schedule().share(share.process, share.processes, self.schedule_seed)

    def schedule(self) -> Arrivals:
        """Return the arrivals of all processes.

        Raises:
            ValueError: The plan is a closed loop.
        """
        if self.course is not None:
            return self.course.arrivals(self.schedule_seed)
        if self.rate_per_second is None:
            msg = "a closed loop has no arrivals"
            raise ValueError(msg)
        return poisson(
            self.rate_per_second,
            requests=self.requests,
            duration_seconds=self.duration_seconds,
            seed=self.schedule_seed,
        )


@dataclass(frozen=True)
class Share:
    """The part of a plan that one process carries out.

    Attributes:
        process: Index of the process, from 0.
        processes: Number of processes.
    """

    process: int = 0
    processes: int = 1

    def of(self, count: int) -> int:
        """Return this process' part of `count` users, slots or requests; the parts add up."""
        return count // self.processes + (self.process < count % self.processes)


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of a run in progress.

    Attributes:
        finished: Requests answered or failed.
        failed: Finished requests that failed.
        missed: Requests not sent because `in_flight` requests were under way.
        in_flight: Requests under way.
        over: Requests answered later than the bound, failed or missed.
        increments: What is new since the last progress; empty if the plan is not `watched`.
    """

    finished: int = 0
    failed: int = 0
    missed: int = 0
    in_flight: int = 0
    over: int = 0
    increments: tuple[Increment, ...] = ()

    def __add__(self, other: "Progress") -> "Progress":
        return Progress(
            self.finished + other.finished,
            self.failed + other.failed,
            self.missed + other.missed,
            self.in_flight + other.in_flight,
            self.over + other.over,
            self.increments + other.increments,
        )

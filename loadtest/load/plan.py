"""What a generator is told to do, and what it says while it does it."""

from dataclasses import dataclass

from loadtest.load.arrivals import Arrivals, poisson


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The load of one run; with several processes each one takes its share of it.

    Attributes:
        in_flight: Open loop: the most requests under way. Closed loop: always so many.
        rate_per_second: Mean rate of the Poisson arrivals; None for a closed loop.
        requests: Timed requests to send; None for no such limit.
        duration_seconds: How long to keep sending; None for no such limit.
        warmup_requests: Untimed requests before; every connection sends at least one.
        schedule_seed: Decides the arrival times.
        timeout_seconds: Deadline of a request.
        slo_ms: Bound by which progress counts late answers; None: it counts failures alone.
    """

    in_flight: int
    rate_per_second: float | None
    requests: int | None
    duration_seconds: float | None
    warmup_requests: int
    schedule_seed: int
    timeout_seconds: float
    slo_ms: float | None

    def arrivals(self, share: "Share") -> Arrivals:
        """When a process' requests are due; the plan must be an open loop's."""
        if self.rate_per_second is None:
            msg = "a closed loop has no arrivals"
            raise ValueError(msg)
        everything = poisson(
            self.rate_per_second,
            requests=self.requests,
            duration_seconds=self.duration_seconds,
            seed=self.schedule_seed,
        )
        return everything.share(share.process, share.processes, self.schedule_seed)


@dataclass(frozen=True)
class Share:
    """Which part of a plan a process carries out.

    Attributes:
        process: Which one it is, from 0.
        processes: How many there are.
    """

    process: int = 0
    processes: int = 1

    def of(self, count: int) -> int:
        """This process' part of so many users, slots or requests; the parts add up."""
        return count // self.processes + (self.process < count % self.processes)


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of a run that is going on.

    Attributes:
        finished: Requests answered or failed.
        failed: Those of them that failed.
        missed: Requests held back.
        in_flight: Requests under way.
        over: Requests answered later than the bound, failed or missed.
    """

    finished: int = 0
    failed: int = 0
    missed: int = 0
    in_flight: int = 0
    over: int = 0

    def __add__(self, other: "Progress") -> "Progress":
        return Progress(
            self.finished + other.finished,
            self.failed + other.failed,
            self.missed + other.missed,
            self.in_flight + other.in_flight,
            self.over + other.over,
        )

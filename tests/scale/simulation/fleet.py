"""Replicas of the server behind balancers, simulated event by event with SimPy.

Each request is an event of its own: it arrives at a balancer, travels to a replica, waits there
until an executor takes it into a batch, and travels back. The rules are those of the server
(`serving/engine/batching`) and of Envoy.

- An idle executor takes the waiting requests, at most `max_batch_size`, and runs them as one batch;
  requests that arrive meanwhile wait for the next batch. No executor waits for more requests.
- `least-request` draws two replicas, which may be the same one, and takes the one with fewer
  requests in flight; the first of the two if they are equal. A balancer counts only the requests
  that it has sent itself.
- `round-robin` takes the replicas in turns; each balancer begins at a replica of its own.
- `random` draws a replica.
"""

from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

import numpy as np
import simpy

Policy = Literal["least-request", "round-robin", "random"]
POLICIES: tuple[Policy, ...] = ("least-request", "round-robin", "random")


class Service(Protocol):
    """Draws the durations of runs."""

    def draw(self, rows: int, random: Random) -> float:
        """Return the seconds of one run of `rows` rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Equal replicas, their balancers and their load.

    Attributes:
        replicas: Number of replicas.
        requests_per_second: Rate of the Poisson arrivals at all balancers together; a request has
            one row.
        service: Durations of runs.
        policy: How a balancer chooses the replica.
        instances: Executors of a replica.
        max_batch_size: Most rows of a run.
        balancers: Number of balancers. Each request comes to a random one.
        delays: Seconds of a request outside the replica (network, balancer, encoding); each request
            draws one of them, and spends half of it on the way there.
    """

    replicas: int
    requests_per_second: float
    service: Service
    policy: Policy = "least-request"
    instances: int = 1
    max_batch_size: int = 64
    balancers: int = 1
    delays: Sequence[float] = (0.0,)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: a number is too small, or the policy is unknown.
        """
        for name in ("replicas", "instances", "max_batch_size", "balancers", "requests_per_second"):
            if getattr(self, name) <= 0:
                msg = f"{name} is {getattr(self, name)}, expected a number above 0"
                raise ValueError(msg)
        if self.policy not in POLICIES:
            msg = f'policy is "{self.policy}", expected one of {", ".join(POLICIES)}'
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the requests.

    Attributes:
        latencies: float64, shape (requests,): seconds of each request that arrived after the
            warm-up, in the order of the answers.
        arrived: Requests that arrived until the end of the arrivals, warm-up included.
        answered: Requests that were answered until then.
        waiting: Requests that travelled, waited or ran then.
        busy_share: Share of the executors' time in runs, until then.
        mean_batch_size: Mean rows of a run.
    """

    latencies: np.ndarray
    arrived: int
    answered: int
    waiting: int
    busy_share: float
    mean_batch_size: float

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies in seconds.

        Raises:
            ValueError: no request arrived after the warm-up.
        """
        if not len(self.latencies):
            msg = "no request arrived after the warm-up; simulate more seconds"
            raise ValueError(msg)
        return float(np.percentile(self.latencies, percent))


@dataclass(slots=True, eq=False)
class _Request:
    arrived: float
    balancer: int
    replica: int
    way_back: float


def simulate(fleet: Fleet, *, seconds: float, warm_up_seconds: float, seed: int) -> Outcome:
    """Simulate a fleet.

    Args:
        fleet: The fleet, which is empty at the beginning.
        seconds: Simulated seconds of arrivals after the warm-up.
        warm_up_seconds: Simulated seconds before, whose requests are not in the latencies.
        seed: The same seed gives the same outcome.
    """
    return _Simulation(fleet, seed).run(warm_up_seconds, warm_up_seconds + seconds)


class _Simulation:
    """One simulation; the methods are callbacks of its events."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self._fleet = fleet
        self._random = Random(seed)
        self._env = simpy.Environment()
        self._waiting: list[deque[_Request]] = [deque() for _ in range(fleet.replicas)]
        self._idle = [fleet.instances] * fleet.replicas
        self._in_flight = [array("l", bytes(8 * fleet.replicas)) for _ in range(fleet.balancers)]
        self._turns = [self._random.randrange(fleet.replicas) for _ in range(fleet.balancers)]
        self._measured_from = 0.0
        self._latencies = array("d")
        self._arrived = self._answered = self._runs = self._rows = 0
        self._busy_seconds = 0.0

    def run(self, warm_up_seconds: float, end_seconds: float) -> Outcome:
        """Simulate until the arrivals end, and then until all requests are answered."""
        self._measured_from = warm_up_seconds
        arrivals = self._env.process(self._arrive(end_seconds))
        self._env.run(until=arrivals)
        answered = self._answered
        waiting = sum(map(sum, self._in_flight))
        busy = self._busy_seconds / (self._fleet.replicas * self._fleet.instances * end_seconds)
        self._env.run()
        return Outcome(
            latencies=np.array(self._latencies),
            arrived=self._arrived,
            answered=answered,
            waiting=waiting,
            busy_share=busy,
            mean_batch_size=self._rows / max(1, self._runs),
        )

    def _arrive(self, end_seconds: float) -> Iterator[simpy.Event]:
        env, fleet, random = self._env, self._fleet, self._random
        rate, delays = fleet.requests_per_second, fleet.delays
        while True:
            gap = random.expovariate(rate)
            if env.now + gap > end_seconds:
                yield env.timeout(end_seconds - env.now)
                return
            yield env.timeout(gap)
            balancer = random.randrange(fleet.balancers) if fleet.balancers > 1 else 0
            half = random.choice(delays) / 2
            request = _Request(env.now, balancer, self._choose(balancer), half)
            self._arrived += 1
            self._in_flight[balancer][request.replica] += 1
            self._later(half, request, self._reach_replica)

    def _choose(self, balancer: int) -> int:
        """Return the replica for the next request of a balancer."""
        count, random = self._fleet.replicas, self._random.random
        if self._fleet.policy == "round-robin":
            turn = self._turns[balancer]
            self._turns[balancer] = (turn + 1) % count
            return turn
        first = int(random() * count)
        if self._fleet.policy == "random":
            return first
        second = int(random() * count)
        in_flight = self._in_flight[balancer]
        return second if in_flight[second] < in_flight[first] else first

    def _reach_replica(self, event: simpy.Event) -> None:
        request: _Request = event.value
        self._waiting[request.replica].append(request)
        if self._idle[request.replica]:
            self._idle[request.replica] -= 1
            self._start_run(request.replica)

    def _start_run(self, replica: int) -> None:
        waiting, most = self._waiting[replica], self._fleet.max_batch_size
        batch = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        seconds = self._fleet.service.draw(len(batch), self._random)
        self._runs += 1
        self._rows += len(batch)
        self._busy_seconds += seconds
        self._later(seconds, (replica, batch), self._end_run)

    def _end_run(self, event: simpy.Event) -> None:
        replica, batch = event.value
        for request in batch:
            self._later(request.way_back, request, self._answer)
        if self._waiting[replica]:
            self._start_run(replica)
        else:
            self._idle[replica] += 1

    def _answer(self, event: simpy.Event) -> None:
        request: _Request = event.value
        self._in_flight[request.balancer][request.replica] -= 1
        self._answered += 1
        if request.arrived >= self._measured_from:
            self._latencies.append(self._env.now - request.arrived)

    def _later(self, seconds: float, value: object, callback: object) -> None:
        """Call back after some seconds with an event that has this value."""
        self._env.timeout(seconds, value).callbacks.append(callback)

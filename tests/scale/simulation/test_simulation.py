"""Tests of the simulation of replicas: closed forms of queueing theory, and its own rules."""

from dataclasses import dataclass, replace
from math import log
from random import Random

import numpy as np
import pytest
from scale.simulation.fleet import Fleet, simulate
from scale.simulation.service_times import ServiceTimes, measured

# Seconds of a run of 1 to 64 rows: a fixed part, and a part for each row.
BATCHED = ServiceTimes(seconds=tuple(0.002 + 0.001 * rows for rows in range(1, 65)))
CONSTANT = ServiceTimes(seconds=(0.01,))


@dataclass(frozen=True)
class Exponential:
    """Runs with exponentially distributed durations."""

    mean_seconds: float

    def draw(self, rows: int, random: Random) -> float:
        """Return the seconds of a run."""
        return random.expovariate(1 / self.mean_seconds)


def run(seed: int = 1, seconds: float = 1000, warm_up: float = 2, **settings: object):
    """Simulate, by default one replica without batching at 50 requests/s, 0.01 s each."""
    defaults = {"replicas": 1, "requests_per_second": 50, "service": CONSTANT, "max_batch_size": 1}
    return simulate(
        Fleet(**defaults | settings), seconds=seconds, warm_up_seconds=warm_up, seed=seed
    )


@pytest.mark.parametrize("utilisation", [0.3, 0.5, 0.7])
def test_exponential_runs_agree_with_m_m_1(utilisation):
    """Mean and 99th percentile are those of an M/M/1 queue."""
    found = run(service=Exponential(0.01), requests_per_second=100 * utilisation, seconds=2000)
    mean = 0.01 / (1 - utilisation)

    assert found.latencies.mean() == pytest.approx(mean, rel=0.05)
    assert found.percentile(99) == pytest.approx(mean * log(100), rel=0.08)
    assert found.busy_share == pytest.approx(utilisation, rel=0.03)


@pytest.mark.parametrize("utilisation", [0.3, 0.5, 0.7])
def test_constant_runs_agree_with_pollaczek_and_khinchine(utilisation):
    """The mean is that of an M/D/1 queue by the formula of Pollaczek and Khinchine."""
    found = run(requests_per_second=100 * utilisation, seconds=2000)
    mean = 0.01 + 0.01 * utilisation / (2 * (1 - utilisation))

    assert found.latencies.mean() == pytest.approx(mean, rel=0.03)


def test_two_executors_agree_with_erlang_c():
    """Two executors with one queue wait as long as an M/M/2 queue."""
    found = run(service=Exponential(0.01), instances=2, requests_per_second=140, seconds=1000)

    assert found.latencies.mean() == pytest.approx(0.01 / (1 - 0.7**2), rel=0.05)


@pytest.mark.parametrize("policy", ["least-request", "round-robin", "random"])
@pytest.mark.parametrize("load", [0.5, 1.5])
def test_no_request_is_lost(policy, load):
    """All requests that arrived are answered or in flight, also under overload."""
    rate = load * 3 * BATCHED.images_per_second()
    found = run(replicas=3, policy=policy, service=BATCHED, max_batch_size=64,
                requests_per_second=rate, delays=(0.001, 0.002), seconds=10)  # fmt: skip

    assert found.arrived == pytest.approx(12 * rate, rel=0.05)
    assert found.arrived == found.answered + found.waiting
    if load > 1:
        assert found.waiting > 1000


def test_the_same_seed_gives_the_same_outcome():
    """A seed decides all latencies; another seed gives others."""
    settings = {"replicas": 4, "service": BATCHED, "max_batch_size": 64, "seconds": 20}
    first, again, other = (run(seed=seed, **settings) for seed in (7, 7, 8))

    assert np.array_equal(first.latencies, again.latencies)
    assert not np.array_equal(first.latencies, other.latencies)


def test_least_request_is_better_than_the_other_policies():
    """Among 20 replicas whose runs differ, the p99 rises from least-request to random."""
    settings = {"replicas": 20, "requests_per_second": 1600, "service": Exponential(0.01)}
    p99 = {
        policy: run(policy=policy, seconds=40, **settings).percentile(99)
        for policy in ("least-request", "round-robin", "random")
    }

    assert p99["least-request"] < 0.9 * p99["round-robin"]
    assert p99["round-robin"] < 0.9 * p99["random"]


def test_round_robin_is_better_if_one_balancer_spreads_equal_runs():
    """If all runs take the same time, the turns of a single balancer leave the shortest queues."""
    settings = {"replicas": 20, "requests_per_second": 1600, "seconds": 40}
    least, turns = (
        run(policy=policy, **settings).percentile(99) for policy in ("least-request", "round-robin")
    )

    assert turns < 0.7 * least


def test_many_balancers_choose_almost_at_random():
    """Least-request loses its effect if each balancer has sent few of the requests in flight."""
    settings = {"replicas": 20, "requests_per_second": 1600, "seconds": 40}
    one, many = (run(balancers=count, **settings).percentile(99) for count in (1, 200))
    by_chance = run(policy="random", **settings).percentile(99)

    assert one < 0.6 * by_chance
    assert many == pytest.approx(by_chance, rel=0.15)


def test_one_hundred_replicas_are_as_fast_as_three_hundred():
    """At the same utilisation the size of a large fleet does not change the percentiles."""
    few, many = (
        run(
            replicas=count,
            requests_per_second=70 * count,
            seconds=1_000 / count,
            warm_up=0.5,
            delays=(0.001,),
        )
        for count in (100, 300)
    )

    assert many.percentile(50) == pytest.approx(few.percentile(50), rel=0.03)
    assert many.percentile(99) == pytest.approx(few.percentile(99), rel=0.05)


def test_batches_grow_with_the_load_up_to_the_largest():
    """An executor runs single requests when there is little to do, and full batches in overload."""
    capacity = BATCHED.images_per_second()
    settings = {"service": BATCHED, "max_batch_size": 64, "seconds": 20}
    sizes = [
        run(requests_per_second=share * capacity, **settings).mean_batch_size
        for share in (0.01, 0.7, 3)
    ]

    assert sizes[0] == pytest.approx(1, abs=0.1)
    assert 2 < sizes[1] < 30
    assert 50 < sizes[2] <= 64


def test_a_request_that_meets_nobody_takes_its_run_and_its_way():
    """The latency of a lone request is the run of one row and the whole delay."""
    found = run(service=BATCHED, max_batch_size=64, requests_per_second=0.01, seconds=3000,
                delays=(0.004,))  # fmt: skip

    assert found.latencies == pytest.approx(0.003 + 0.004)


def test_measured_runs_are_interpolated_and_keep_their_spread():
    """Sizes between measured ones lie between them, and draws have the measured ratios."""
    times = measured({1: [1.0, 3.0], 3: [4.0, 4.0]})
    drawn = {times.draw(1, Random(seed)) for seed in range(50)}

    assert times.seconds == pytest.approx((2.0, 3.0, 4.0))
    assert drawn == {1.0, 2.0, 3.0}
    with pytest.raises(ValueError, match="a run of 1 row is needed"):
        measured({2: [1.0]})


def test_the_line_through_the_service_times():
    """A fixed part and a part for each row are found again, and work for each row is added."""
    slower = BATCHED.slower(2, seconds_per_row=0.0005)

    assert BATCHED.line() == pytest.approx((0.002, 0.001))
    assert slower.line() == pytest.approx((0.004, 0.003))
    assert BATCHED.images_per_second(instances=2) == pytest.approx(2 * 64 / 0.066)


def test_wrong_settings_are_refused():
    """An unknown policy and a fleet without replicas are errors that say what was expected."""
    fleet = Fleet(replicas=1, requests_per_second=1, service=CONSTANT)

    with pytest.raises(ValueError, match="expected one of least-request"):
        replace(fleet, policy="maglev")
    with pytest.raises(ValueError, match="replicas is 0, expected a number above 0"):
        replace(fleet, replicas=0)

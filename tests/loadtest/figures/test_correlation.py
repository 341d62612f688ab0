"""Bounds on a percentile of correlated latencies, on simulated queues whose percentile is known."""

import math

import numpy as np
import pytest

from loadtest.figures.correlation import inflation
from loadtest.figures.percentiles import over_allowed

BOUND_SECONDS = 0.05
NS_PER_SECOND = 1_000_000_000


def queue(random, p99, served_per_second, seconds):
    """Return arrivals and times in the system, in seconds, of an M/M/1 queue with a known p99.

    The time in the system is exponential with rate (service rate - arrival rate). The first ten
    seconds, in which the queue builds up, are left out.
    """
    rate = served_per_second - math.log(100) / p99
    count = int(1.1 * rate * (seconds + 10)) + 1000
    arrivals = np.cumsum(random.exponential(1 / rate, count))
    service = random.exponential(1 / served_per_second, count)
    walk = np.concatenate([[0.0], np.cumsum(service[:-1] - np.diff(arrivals))])
    latencies = walk - np.minimum.accumulate(walk) + service
    measured = (arrivals > 10) & (arrivals < 10 + seconds)
    return arrivals[measured], latencies[measured]


def holds(arrivals, latencies, bound=BOUND_SECONDS, *, independent=False):
    """Whether the bound on p99 holds with 99 % confidence."""
    over = latencies > bound
    factor = 1.0
    if not independent:
        times = (NS_PER_SECOND * latencies).astype(np.int64), (NS_PER_SECOND * arrivals).astype(int)
        factor = inflation(over, *times, 99)
    allowed = over_allowed(len(over), 99, factor)
    return allowed is not None and over.sum() <= allowed


def passing(p99, served_per_second, seconds, runs, **how):
    """The share of runs in which the bound holds."""
    random = np.random.default_rng(1)
    results = [holds(*queue(random, p99, served_per_second, seconds), **how) for _ in range(runs)]
    return np.mean(results)


def test_a_short_run_of_a_queue_passes_a_bound_that_it_misses():
    """The reason for minimum durations: 8 s of a queue with a p99 of 77 ms, bound 50 ms."""
    assert passing(0.077, 1000, 8, 300, independent=True) > 0.3
    assert passing(0.077, 1000, 60, 100) < 0.02


@pytest.mark.parametrize("served_per_second", [150, 500])
def test_full_runs_at_the_bound_pass_rarely_and_below_it_mostly(served_per_second):
    """With a p99 at the bound at most 5 % of the runs of 600 s pass; 20 % below it, 80 % do."""
    assert passing(0.05, served_per_second, 600, 120) <= 0.05
    assert passing(0.04, served_per_second, 600, 60) >= 0.8


@pytest.mark.slow  # two minutes
def test_full_runs_near_saturation():
    """The same with 91 % load and 600,000 requests, of which 200 to 400 count as one."""
    assert passing(0.05, 1000, 600, 600) <= 0.05
    assert passing(0.04, 1000, 600, 600) >= 0.8


def test_independent_requests_are_not_inflated_by_much():
    """Independent latencies have a design effect of 1 on average."""
    random = np.random.default_rng(2)
    effects = []
    for _ in range(100):
        latency_ns = random.exponential(1e6, 10_000).astype(np.int64)
        due_ns = np.sort(random.integers(0, 60 * NS_PER_SECOND, 10_000))
        effects.append(inflation(latency_ns > 4_700_000, latency_ns, due_ns, 99))

    assert min(effects) == 1
    assert np.median(effects) < 1.5


def test_requests_that_share_their_fate_count_once():
    """Of 3,000 pairs with equal latencies, each pair is one request."""
    random = np.random.default_rng(3)
    effects = []
    for _ in range(100):
        latency_ns = np.repeat(random.exponential(1e6, 3000), 2).astype(np.int64)
        due_ns = np.repeat(np.sort(random.integers(0, 60 * NS_PER_SECOND, 3000)), 2)
        effects.append(inflation(np.zeros(6000, np.bool_), latency_ns, due_ns, 99))

    assert 1.8 < np.median(effects) < 2.6


def test_a_pause_is_one_event():
    """A pause that delays 100 of 6,000 requests in a row counts them as a few."""
    latency_ns = np.ones(6000, np.int64)
    latency_ns[3000:3100] = 9
    due_ns = np.arange(6000) * 10_000_000

    effect = inflation(latency_ns > 5, latency_ns, due_ns, 99)

    assert 50 < effect < 150


@pytest.mark.parametrize("n", [0, 1, 29])
def test_fewer_requests_than_batches_are_not_judged(n):
    """Without a request in each batch nothing is known; the numbers needed decide."""
    assert inflation(np.zeros(n, np.bool_), np.ones(n, np.int64), np.arange(n), 99) == 1


def test_requests_due_at_once_are_one_batch():
    """Requests that are all due at the same time end without an error."""
    assert inflation(np.arange(100) < 2, np.arange(100), np.zeros(100, np.int64), 99) >= 1


@pytest.mark.parametrize("inflation", [1.0, 1.0001, 2.0, 7.5, 300.0])
def test_inflated_counts_allow_about_what_independent_ones_do(inflation):
    """N requests of which k count as one allow about k times as many as n/k, and never more."""
    n = 100_000
    plain = over_allowed(int(n / inflation), 99)
    allowed = over_allowed(n, 99, inflation)

    if plain is None:
        assert allowed is None
    else:
        assert plain * inflation - 1 <= allowed <= (plain + 1) * inflation
    assert allowed is None or allowed <= over_allowed(n, 99)


def test_the_origin_of_the_clock_does_not_matter():
    """A request due 1 ns before a part ends belongs to it, also 400 days after the clock's start.

    Of the sixty parts of one second, every other one has two late requests: one in its middle, and
    one at its end. A late request in each part would not be correlated.
    """
    places = np.arange(6001)
    due_ns = places * 10_000_000 - (places > 0)
    over = (places % 200 == 50) | (places % 200 == 100)
    latency_ns = np.where(over, 2, 1)

    effects = [
        inflation(over, latency_ns, due_ns + origin_ns, 99)
        for origin_ns in (0, 400 * 24 * 3600 * NS_PER_SECOND)
    ]

    assert effects[0] == effects[1] > 1

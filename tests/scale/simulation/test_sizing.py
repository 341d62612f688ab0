"""Tests of the sizes, connections and prices that follow from a simulation."""

import pytest
from scale.simulation.fleet import Fleet
from scale.simulation.service_times import ServiceTimes
from scale.simulation.sizing import (
    Costs,
    Point,
    curve,
    highest_utilisation,
    plan,
    replicas_needed,
)

TIMES = ServiceTimes(seconds=tuple(0.002 + 0.001 * rows for rows in range(1, 65)))
COSTS = Costs(
    cores_per_replica=2, balancer_cpu_seconds=100e-6, start_seconds=2.0, stop_seconds=10.0
)


def point(utilisation: float, p99_ms: float) -> Point:
    return Point(utilisation=utilisation, busy_share=0, p50_ms=0, p99_ms=p99_ms, mean_batch_size=1)


def test_the_latency_rises_with_the_load():
    """Percentiles, batches and busy executors of the simulated loads all rise."""
    fleet = Fleet(replicas=10, requests_per_second=1, service=TIMES)
    points = curve(fleet, TIMES.images_per_second(), utilisations=(0.2, 0.5, 0.8), requests=20_000)

    for field in ("p50_ms", "p99_ms", "mean_batch_size", "busy_share"):
        values = [getattr(one, field) for one in points]
        assert values == sorted(values)
    assert all(one.busy_share > one.utilisation for one in points)


def test_the_highest_utilisation_is_interpolated():
    """The utilisation of a bound lies between the two loads around it."""
    points = [point(0.3, 10), point(0.5, 20), point(0.7, 60)]

    assert highest_utilisation(points, 15) == pytest.approx(0.4)
    assert highest_utilisation(points, 40) == pytest.approx(0.6)
    assert highest_utilisation(points, 100) == 0.7
    with pytest.raises(ValueError, match="the p99 at 30% of capacity is 10 ms"):
        highest_utilisation(points, 9)


def test_one_replica_more_than_the_load_needs():
    """The replicas are those for the utilisation, and one in reserve."""
    assert replicas_needed(1000, 100, 0.5) == 21
    assert replicas_needed(1, 100, 0.5) == 2


def test_what_a_fleet_needs_around_it():
    """Balancers, connections, the time of an update and the price follow from the numbers."""
    found = plan(100_000, 201, COSTS)

    assert (found.cores, found.balancers, found.balancer_cores) == (402, 5, 20)
    assert (found.connections_per_replica, found.connections_per_balancer) == (20, 804)
    assert found.health_checks_per_replica == 10
    assert found.update_seconds == pytest.approx(4 * 12 + 10)
    assert found.cost_per_million == pytest.approx(422 * 0.04 / 360)


def test_an_update_of_few_replicas_replaces_one_at_a_time():
    """Two replicas take two starts, whatever the share is."""
    assert plan(10, 2, COSTS).update_seconds == pytest.approx(2 * 12 + 10)

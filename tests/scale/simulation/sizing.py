"""How many replicas, balancer cores and connections a load needs, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

from scale.simulation.fleet import Fleet, Outcome, simulate

UTILISATIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# Above this size the percentiles at one utilisation do not change any more.
LARGE = 100


@dataclass(frozen=True, kw_only=True)
class Point:
    """Latency at one load.

    Attributes:
        utilisation: Rate as a share of the fleet's capacity, which is reached with full batches.
        busy_share: Share of the executors' time in runs. It is larger than the utilisation, because
            small batches take more time for each row.
        p50_ms, p99_ms: Percentiles of the latency.
        mean_batch_size: Mean rows of a run.
    """

    utilisation: float
    busy_share: float
    p50_ms: float
    p99_ms: float
    mean_batch_size: float


def curve(
    fleet: Fleet,
    capacity: float,
    *,
    utilisations: Sequence[float] = UTILISATIONS,
    requests: int = 100_000,
    seed: int = 1,
) -> list[Point]:
    """Simulate a fleet at several loads.

    Args:
        fleet: The fleet; its rate is replaced.
        capacity: Requests a second of one replica with full batches.
        utilisations: The loads as shares of the capacity of all replicas.
        requests: Requests of each load; a quarter as many more are the warm-up.
        seed: Seed of each simulation.
    """
    points = []
    for utilisation in utilisations:
        rate = utilisation * capacity * fleet.replicas
        loaded = replace(fleet, requests_per_second=rate)
        seconds = requests / rate
        outcome = simulate(loaded, seconds=seconds, warm_up_seconds=seconds / 4, seed=seed)
        points.append(_point(utilisation, outcome))
    return points


def _point(utilisation: float, outcome: Outcome) -> Point:
    return Point(
        utilisation=utilisation,
        busy_share=outcome.busy_share,
        p50_ms=outcome.percentile(50) * 1e3,
        p99_ms=outcome.percentile(99) * 1e3,
        mean_batch_size=outcome.mean_batch_size,
    )


def highest_utilisation(points: Sequence[Point], p99_ms: float) -> float:
    """Return the utilisation up to which the p99 stays within a bound, interpolated.

    Raises:
        ValueError: even the lowest load exceeds the bound.
    """
    if points[0].p99_ms > p99_ms:
        msg = (
            f"the p99 at {points[0].utilisation:.0%} of capacity is {points[0].p99_ms:.3g} ms, the "
            f"bound is {p99_ms:.3g} ms; more replicas do not help: use a faster model or machine"
        )
        raise ValueError(msg)
    for below, above in pairwise(points):
        if above.p99_ms > p99_ms:
            part = (p99_ms - below.p99_ms) / (above.p99_ms - below.p99_ms)
            return below.utilisation + part * (above.utilisation - below.utilisation)
    return points[-1].utilisation


def replicas_needed(requests_per_second: float, capacity: float, utilisation: float) -> int:
    """Return the replicas that keep a utilisation, and one more for one that fails (N+1)."""
    return ceil(requests_per_second / (capacity * utilisation)) + 1


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Measured times and chosen limits.

    Attributes:
        cores_per_replica: Cores of a replica.
        balancer_cpu_seconds: CPU seconds of the balancer for a request.
        balancer_busy_share: Share of the balancer's cores that may be busy.
        cores_per_balancer: Cores, and so threads with connections of their own, of a balancer.
        health_interval_seconds: Interval at which each balancer asks each replica for its health.
        start_seconds: From the start of a replica until it is ready.
        ready_seconds: How long a replica must be ready before the next one is replaced.
        stop_seconds: From the end of a replica's use until its process has ended.
        surge_share: Share of the replicas that start at the same time in an update.
        price_per_core_hour: Price of a core for an hour.
    """

    cores_per_replica: int
    balancer_cpu_seconds: float
    balancer_busy_share: float = 0.5
    cores_per_balancer: int = 4
    health_interval_seconds: float = 0.5
    start_seconds: float
    ready_seconds: float = 10.0
    stop_seconds: float
    surge_share: float = 0.25
    price_per_core_hour: float = 0.04


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a load needs.

    Attributes:
        replicas: Replicas, one in reserve included.
        cores: Cores of the replicas.
        balancers: Balancers.
        balancer_cores: Cores of the balancers.
        connections_per_replica: Connections of each replica: one from each thread of each balancer.
        connections_per_balancer: Connections of each balancer to replicas.
        health_checks_per_replica: Health checks of a replica in a second.
        update_seconds: Duration of a rolling update.
        cost_per_million: Price of a million requests.
    """

    replicas: int
    cores: int
    balancers: int
    balancer_cores: int
    connections_per_replica: int
    connections_per_balancer: int
    health_checks_per_replica: float
    update_seconds: float
    cost_per_million: float


def plan(requests_per_second: float, replicas: int, costs: Costs) -> Plan:
    """Return what a number of replicas with a load needs around it."""
    busy_cores = requests_per_second * costs.balancer_cpu_seconds
    balancers = max(2, ceil(busy_cores / costs.balancer_busy_share / costs.cores_per_balancer))
    balancer_cores = balancers * costs.cores_per_balancer
    cores = replicas * costs.cores_per_replica
    surge = max(1, ceil(replicas * costs.surge_share))
    waves = ceil(replicas / surge)
    price = (cores + balancer_cores) * costs.price_per_core_hour
    return Plan(
        replicas=replicas,
        cores=cores,
        balancers=balancers,
        balancer_cores=balancer_cores,
        connections_per_replica=balancer_cores,
        connections_per_balancer=costs.cores_per_balancer * replicas,
        health_checks_per_replica=balancers / costs.health_interval_seconds,
        update_seconds=waves * (costs.start_seconds + costs.ready_seconds) + costs.stop_seconds,
        cost_per_million=price / (requests_per_second * 3600) * 1e6,
    )

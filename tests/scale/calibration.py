"""Measurements from which a simulation of replicas behind Envoy gets its numbers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil
from scale import poisson_calls
from scale.replicas import Replica
from scale.simulation.service_times import ServiceTimes, measured

# Requests of the measured runs. The simulation interpolates the numbers between them.
SIZES = (1, 2, 3, 4, 6, 8)


@dataclass
class Calibration:
    """Durations and CPU times of calls one after the other.

    Attributes:
        runs: Seconds of runs by their number of requests, as the server reports them.
        outside: Seconds of a call of one request through the balancer, without its run.
        server_cpu: CPU seconds of the replicas for these calls, without their runs.
        balancer_cpu: CPU seconds of the balancer for these calls.
        client_cpu: CPU seconds of the caller for these calls.
        calls: Number of these calls.
    """

    runs: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    outside: list[float] = field(default_factory=list)
    server_cpu: float = 0.0
    balancer_cpu: float = 0.0
    client_cpu: float = 0.0
    calls: int = 0

    def add(self, other: "Calibration") -> "Calibration":
        """Return both together."""
        both = Calibration(
            outside=self.outside + other.outside,
            server_cpu=self.server_cpu + other.server_cpu,
            balancer_cpu=self.balancer_cpu + other.balancer_cpu,
            client_cpu=self.client_cpu + other.client_cpu,
            calls=self.calls + other.calls,
        )
        for part in (self, other):
            for size, seconds in part.runs.items():
                both.runs[size] += seconds
        return both

    @property
    def server_seconds(self) -> float:
        """CPU seconds of a replica for a call, apart from its run."""
        return max(0.0, self.server_cpu / self.calls)

    @property
    def shared_seconds(self) -> float:
        """CPU seconds of balancer and caller for a call."""
        return (self.balancer_cpu + self.client_cpu) / self.calls

    def service_times(self) -> ServiceTimes:
        """Return the times that an executor is held: runs, and the replica's work for the calls.

        A replica has one core, so that its work for other calls delays the run.
        """
        return measured(self.runs).slower(1.0, seconds_per_row=self.server_seconds)

    def delays(self) -> tuple[float, ...]:
        """Return the seconds of calls outside the replica."""
        return tuple(np.maximum(0.0, np.array(self.outside) - self.server_seconds).tolist())


def calibrate(
    replicas: Sequence[Replica], balancer: str, model: str, *, images: int, seconds: float
) -> Calibration:
    """Measure runs of all sizes on all replicas at once, and single calls through a balancer.

    A run of several requests is measured as one call with the images of all of them.

    Args:
        replicas: The replicas, each on cores of its own.
        balancer: Address of the balancer in front of them.
        model: Name of the model.
        images: Images of a request.
        seconds: Length of each of the two measurements.
    """
    found = Calibration()
    bodies = [poisson_calls.body(model, size * images) for size in SIZES]
    calls = poisson_calls.one_by_one([one.address for one in replicas], bodies, seconds=seconds)
    for kind, run in zip(calls.kinds, calls.compute, strict=True):
        found.runs[SIZES[kind]].append(run)
    before = cpu_seconds(replicas), balancer_cpu_seconds()
    calls = poisson_calls.one_by_one([balancer], bodies[:1], seconds=seconds)
    found.server_cpu = cpu_seconds(replicas) - before[0] - sum(calls.compute)
    found.balancer_cpu = balancer_cpu_seconds() - before[1]
    found.client_cpu, found.calls = calls.cpu_seconds, calls.count
    found.outside = (np.array(calls.latencies) - np.array(calls.compute)).tolist()
    return found


def cpu_seconds(replicas: Sequence[Replica]) -> float:
    """Return the CPU seconds that the replicas have used so far."""
    return sum(sum(psutil.Process(one.pid).cpu_times()[:2]) for one in replicas)


def balancer_cpu_seconds() -> float:
    """Return the CPU seconds that the Envoys of this process have used so far."""
    return sum(sum(one.cpu_times()[:2]) for one in balancers())


def balancers() -> list[psutil.Process]:
    """Return the processes of the Envoys that this process has started."""
    children = psutil.Process().children(recursive=True)
    return [one for one in children if one.name().startswith("envoy")]

"""Two real replicas behind Envoy beside their simulation, at several loads."""

import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scale import poisson_calls
from scale.balancers import envoy
from scale.calibration import Calibration, calibrate
from scale.replicas import Replica, replicas
from scale.simulation.fleet import Fleet, simulate

# ResNet50 with weights of 8 bits computes in float32. A run of 16 images is long beside the work of
# the balancer and the caller, which interrupt the runs because they share the two cores.
MODEL = "resnet50"
IMAGES = 16
MOST_REQUESTS = 8  # of a run
FLAGS = (
    "--precision=w8",
    "--instances=1",
    "--intra_op_threads=1",
    f"--max_batch_size={IMAGES * MOST_REQUESTS}",
)
LOADS = (0.3, 0.5, 0.7)
CALIBRATION_SECONDS = 5.0
SIMULATED_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One run of two replicas, and the simulation of the same load.

    Attributes:
        load: Rate as a share of the two replicas' capacity, by the calibration before the run.
        requests_per_second: The rate.
        calls: Calls of the run.
        lost: Calls that failed.
        late_p99_ms: 99th percentile of how late the caller sent.
        real_p50_ms, real_p99_ms: Percentiles of the run.
        simulated_p50_ms, simulated_p99_ms: Percentiles of the simulation, whose numbers are from
            the calibrations before and after the run.
        capacity_before, capacity_after: Requests a second of both replicas by the two calibrations.
        load_average: Load average of the machine (1 minute) after the run.
    """

    load: float
    requests_per_second: float
    calls: int
    lost: int
    late_p99_ms: float
    real_p50_ms: float
    real_p99_ms: float
    simulated_p50_ms: float
    simulated_p99_ms: float
    capacity_before: float
    capacity_after: float
    load_average: float


def compare(models_dir: Path, folder: Path, *, rounds: int, seconds: float) -> Iterator[Comparison]:
    """Run and simulate all loads in turns, in each round; each replica has a core for itself.

    Args:
        models_dir: Folder with `MODEL`.
        folder: For Envoy's files.
        rounds: Runs of each load.
        seconds: Length of a run.
    """
    with (
        replicas(models_dir, [(0,), (1,)], *FLAGS) as pair,
        envoy([one.ports for one in pair], folder, retries=True) as address,
    ):
        before = _calibrate(pair, address)
        for number in range(rounds):
            for load in LOADS:
                capacity = _capacity(before)
                calls = poisson_calls.open_loop(
                    [address],
                    poisson_calls.body(MODEL, IMAGES),
                    rate=load * capacity,
                    seconds=seconds,
                    seed=number,
                )
                after = _calibrate(pair, address)
                yield _comparison(load, load * capacity, calls, before, after)
                before = after


def _calibrate(pair: Sequence[Replica], address: str) -> Calibration:
    return calibrate(pair, address, MODEL, images=IMAGES, seconds=CALIBRATION_SECONDS)


def _capacity(calibration: Calibration) -> float:
    """Return the requests a second of two replicas whose cores the caller and Envoy share."""
    alone = 2 * calibration.service_times().images_per_second()
    return alone / (1 + alone * calibration.shared_seconds / 2)


def simulated_fleet(calibration: Calibration, rate: float) -> Fleet:
    """Return the fleet of the two replicas for the simulation.

    Caller and Envoy take their time of the two cores from the runs, which are slower by that.
    """
    factor = 1 / (1 - rate * calibration.shared_seconds / 2)
    return Fleet(
        replicas=2,
        requests_per_second=rate,
        service=calibration.service_times().slower(factor),
        max_batch_size=MOST_REQUESTS,
        delays=calibration.delays(),
    )


def _comparison(
    load: float,
    rate: float,
    calls: poisson_calls.Calls,
    before: Calibration,
    after: Calibration,
) -> Comparison:
    fleet = simulated_fleet(before.add(after), rate)
    outcome = simulate(fleet, seconds=SIMULATED_SECONDS, warm_up_seconds=5, seed=1)
    real = np.percentile(calls.latencies, [50, 99]) * 1e3
    return Comparison(
        load=load,
        requests_per_second=rate,
        calls=calls.count,
        lost=calls.lost,
        late_p99_ms=float(np.percentile(calls.late, 99)) * 1e3,
        real_p50_ms=float(real[0]),
        real_p99_ms=float(real[1]),
        simulated_p50_ms=outcome.percentile(50) * 1e3,
        simulated_p99_ms=outcome.percentile(99) * 1e3,
        capacity_before=_capacity(before),
        capacity_after=_capacity(after),
        load_average=os.getloadavg()[0],
    )


def medians(comparisons: list[Comparison]) -> list[dict[str, Any]]:
    """Return for each load the medians of its runs, and the simulation's errors in percent."""
    rows = []
    for load in sorted({one.load for one in comparisons}):
        group = [asdict(one) for one in comparisons if one.load == load]
        row = {name: statistics.median(one[name] for one in group) for name in group[0]}
        for percentile in ("p50", "p99"):
            real, simulated = row[f"real_{percentile}_ms"], row[f"simulated_{percentile}_ms"]
            row[f"{percentile}_error_percent"] = 100 * (simulated / real - 1)
        rows.append({**row, "runs": len(group)})
    return rows


def show(one: Comparison) -> None:
    """Print one comparison to standard error."""
    text = ", ".join(f"{name} {value:.4g}" for name, value in asdict(one).items())
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress of minutes

"""The figures of docs/scaling.md: measures them, and simulates fleets with the measured numbers."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scale import growth
from scale.simulation.fleet import POLICIES, Fleet, simulate
from scale.simulation.service_times import ServiceTimes
from scale.simulation.sizing import UTILISATIONS, Costs, Point, curve

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "results" / "scaling.json"
MODELS = ROOT / "models"
ROUNDS = 3
REQUESTS = 30_000
SERVICE_SECONDS = 0.8


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    envoy = (ROOT / "tests" / "scale" / "envoy.txt").read_text().rpartition("==")[2].strip()
    return {
        "cpu": cpu[0].partition(": ")[2],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "grpcio": version("grpcio"),
        "simpy": version("simpy"),
        "envoy": envoy,
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
    }


def measure(folder: Path) -> dict[str, Any]:
    """Measure everything; each kind is measured in turns, `ROUNDS` times, and has its medians."""
    kinds: dict[str, Callable[[], dict[str, Any]]] = {}
    for model, *flags in (("simcnn",), ("resnet50",), ("resnet50", "--precision=w8")):
        kinds[f"service {model} {' '.join(flags)}".strip()] = _later(
            growth.service_times, MODELS, model, *flags, seconds=SERVICE_SECONDS
        )
    kinds["delays"] = _later(growth.delays, MODELS, folder, seconds=2)
    for count in (1, 2, 4):
        kinds[f"calls direct {count}"] = _later(
            growth.calls_of_replicas, MODELS, folder, count, balanced=False
        )
        kinds[f"calls envoy {count}"] = _later(
            growth.calls_of_replicas, MODELS, folder, count, balanced=True
        )
        kinds[f"idle replicas {count}"] = _later(growth.idle_with_replicas, MODELS, folder, count)
    kinds["start and stop"] = _later(growth.start_and_stop, MODELS)
    kinds["health checks"] = _later(growth.health_checks, MODELS, 1000)
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    loads = []
    for _ in range(ROUNDS):
        for name, kind in kinds.items():
            rounds[name].append(kind())
            loads.append(os.getloadavg()[0])
            print(name, _brief(rounds[name][-1]), file=sys.stderr, flush=True)  # noqa: T201
    found: dict[str, Any] = {name: medians(rows) for name, rows in rounds.items()}
    for name, kind in {
        **{f"idle models {n}": _later(growth.idle_with_models, folder, n) for n in (1, 20, 100)},
        **{
            f"idle versions {n}": _later(growth.idle_with_versions, MODELS, folder, n)
            for n in (1, 4)
        },
        **{
            f"idle connections {n}": _later(growth.idle_with_connections, MODELS, n)
            for n in (0, 100, 400)
        },
    }.items():
        found[name] = kind()
        print(name, _brief(found[name]), file=sys.stderr, flush=True)  # noqa: T201
    found["load average"] = {"lowest": min(loads), "highest": max(loads)}
    return found


def _later(function: Callable[..., dict[str, Any]], *args: Any, **named: Any) -> Any:
    return lambda: function(*args, **named)


def _brief(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not isinstance(value, list)}


def medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each number of rows of the same form, also in lists and tables."""
    first = rows[0]
    return {"rounds": len(rows)} | {name: _median([row[name] for row in rows]) for name in first}


def _median(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {name: _median([value[name] for value in values]) for name in first}
    if isinstance(first, list) and first and isinstance(first[0], float):
        return [_median(list(group)) for group in zip(*values, strict=True)]
    if isinstance(first, float):
        return round(statistics.median(values), 4)
    return sorted(values)[len(values) // 2] if type(first) is int else first


def service(row: dict[str, Any]) -> ServiceTimes:
    """Return the times that an executor on a core of its own is held, from a measured row.

    The server's work for calls is the same core's. A run of one row has all of it; each further row
    adds what a call costs when many are answered together. All runs of a size take the same time.
    """
    sizes = sorted(map(int, row["run_ms"]))
    busy = min(row["busy_server_ms"], row["server_ms"])
    rows = np.arange(1, sizes[-1] + 1)
    runs = np.interp(rows, sizes, [row["run_ms"][str(size)] for size in sizes])
    seconds = (runs + row["server_ms"] - busy + rows * busy) / 1e3
    return ServiceTimes(seconds=tuple(seconds.tolist()))


def fleet_of(found: dict[str, Any], kind: str, replicas: int) -> tuple[Fleet, float]:
    """Return a fleet of one-core replicas with measured numbers, and the capacity of one."""
    times = service(found[f"service {kind}"])
    delays = (found["delays"]["median_ms"] / 1e3,)
    fleet = Fleet(replicas=replicas, requests_per_second=1.0, service=times, delays=delays)
    return fleet, times.images_per_second()


KINDS = ("simcnn", "resnet50", "resnet50 --precision=w8")


def simulated(found: dict[str, Any]) -> dict[str, Any]:
    """Simulate the fleets of the page with measured numbers, on all cores."""
    fleets: dict[str, tuple[Fleet, float, Sequence[float]]] = {}
    results: dict[str, Any] = {"capacity": {}}
    for kind in KINDS:
        fleet, capacity = fleet_of(found, kind, 100)
        results["capacity"][kind] = round(capacity, 1)
        for policy in POLICIES[:2]:
            several = replace(fleet, policy=policy)
            fleets[f"{kind}, {policy}"] = several, capacity, UTILISATIONS
    fleet, capacity = fleet_of(found, "resnet50", 100)
    for count in (1, 2, 4, 10, 30, 100, 300):
        fleets[f"{count} replicas at 70 %"] = replace(fleet, replicas=count), capacity, (0.7,)
    for policy in POLICIES[:2]:
        for count in (1, 4, 16, 64, 256):
            several = replace(fleet, balancers=count, policy=policy)
            fleets[f"{count} balancers, {policy} at 70 %"] = several, capacity, (0.7,)
    with ProcessPoolExecutor() as pool:
        largest = pool.submit(ten_million, found)
        curves = {name: pool.submit(_points, *job) for name, job in fleets.items()}
        for name, points in curves.items():
            results[name] = points.result()
        results["10 million"] = largest.result()
    return results


def _points(fleet: Fleet, capacity: float, utilisations: Sequence[float]) -> Any:
    """Return the points of a curve, or the point of the only load."""
    points = curve(fleet, capacity, utilisations=utilisations, requests=REQUESTS)
    return list(map(_rounded, points)) if len(points) > 1 else _rounded(points[0])


def ten_million(found: dict[str, Any], rate: float = 10e6) -> dict[str, Any]:
    """Simulate 0.05 s of 10 million requests/s to 10,000 replicas of SimCNN, after 0.05 s."""
    fleet, capacity = fleet_of(found, "simcnn", 10_000)
    began = time.monotonic()
    outcome = simulate(
        replace(fleet, requests_per_second=rate), seconds=0.05, warm_up_seconds=0.05, seed=1
    )
    seconds = time.monotonic() - began
    utilisation = rate / capacity / 10_000
    small = replace(fleet, replicas=100)
    (beside,) = curve(small, capacity, utilisations=(utilisation,), requests=REQUESTS)
    return {
        "replicas": fleet.replicas,
        "requests_per_second": rate,
        "utilisation": round(utilisation, 4),
        "requests": outcome.arrived,
        "p50_ms": round(outcome.percentile(50) * 1e3, 4),
        "p99_ms": round(outcome.percentile(99) * 1e3, 4),
        "with 100 replicas": _rounded(beside),
        "seconds_to_simulate": round(seconds, 1),
    }


def costs(found: dict[str, Any], price_per_core_hour: float) -> Costs:
    """Return the costs of one-core replicas, with the pauses of deploy/kubernetes.

    A pod that stops sleeps 5 s, and is a lame duck for 5 s more.
    """
    return Costs(
        cores_per_replica=1,
        balancer_cpu_seconds=found["calls envoy 2"]["balancer_us"] / 1e6,
        start_seconds=found["start and stop"]["start_s"],
        stop_seconds=10 + found["start and stop"]["stop_s"],
        price_per_core_hour=price_per_core_hour,
    )


def _rounded(point: Point) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(point).items()}


def read() -> dict[str, Any]:
    """Return the stored figures; empty if there are none."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def write(**parts: Any) -> None:
    """Replace parts of the stored figures."""
    FILE.write_text(json.dumps(read() | parts, indent=1) + "\n")

"""Load test results with simulated latencies, as `loadtest.report_schema` defines them."""

import functools
import operator
from typing import Any, TypeVar

import msgspec
import numpy as np
from hdrh.histogram import HdrHistogram
from msgspec.structs import replace

from loadtest.figures.percentiles import DEFINITION, percentile, samples_needed
from loadtest.report_schema import Capacity, Collection, Report
from loadtest.report_sections_schema import ErrorKind
from training.data.cifar10 import CLASS_NAMES
from training.evaluation.accuracy import wilson_interval

Section = TypeVar("Section", bound=msgspec.Struct)
PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p97": 97, "p99": 99, "p99_9": 99.9}
HISTOGRAM_RANGE_US = (1, 3_600_000_000)
HOSTILE = 'no such model <img src="http://x/y.png" onerror=alert(1)> | "quoted"\nsecond\x00line'


def report(
    *,
    model: str = "simcnn",
    precision: str | None = "fp32",
    kind: str = "single-stream",
    batch: int = 1,
    rate: float | None = None,
    users: int | None = None,
    latency_ms: float = 1.0,
    capacity: float = 1000.0,
    top1: float = 0.82,
    n: int = 1000,
    slo_ms: float | None = 15.0,
    seed: int = 0,
    name: str = "run",
    transport: str = "tfs-grpc",
    target: str = "localhost:8500",
    reasons: tuple[str, ...] = (),
    floor: bool = False,
    commit: str = "0123456789abcdef0123456789abcdef01234567",
) -> Report:
    """Return the consistent result of a simulated server.

    Its median latency without load is `latency_ms` milliseconds, and it saturates at `capacity`
    requests per second.
    """
    random = np.random.default_rng(seed)
    loop = "open" if kind == "server" else "closed"
    load = min((rate or 0) / capacity, 1.5)
    queueing = latency_ms * load**4 * 6
    latencies = latency_ms * random.lognormal(0, 0.15, n) + random.exponential(queueing + 0.02, n)
    latencies[:: max(1, n // 4)] += 8 * latency_ms  # pauses
    ns = (latencies * 1e6).astype(np.int64)
    in_flight = users or (64 if kind in {"server", "offline"} else 1)
    seconds = n / rate if rate else n * latency_ms / 1000 / min(in_flight, 2)
    answered_rate = min(n / seconds, capacity / batch if loop == "closed" else capacity)
    within = int((latencies <= slo_ms).sum()) if slo_ms else 0
    right = random.random(n * batch) < top1
    labels = random.integers(0, 10, n * batch)
    wrong = (labels + random.integers(1, 10, n * batch)) % 10
    confusion = np.zeros((10, 11), np.int64)
    np.add.at(confusion, (labels, np.where(right, labels, wrong)), 1)
    correct, images = int(right.sum()), n * batch
    histogram = HdrHistogram(*HISTOGRAM_RANGE_US, 3)
    for value in ns // 1000:
        histogram.record_value(max(1, int(value)))
    due = np.sort(random.random(n)) * seconds
    quantiles = {key: _ms(percentile(ns, percent)) for key, percent in PERCENTILES.items()}
    document: dict[str, Any] = {
        "schema_version": 2,
        "name": name,
        "status": "complete",
        "stop_reason": None,
        "target": target,
        "transport": transport,
        "model": {
            "name": model,
            "version_asked_for": None,
            "answers_by_version": {"1": n},
            "precision": precision,
            "provider": "CPUExecutionProvider",
            "input": {"name": "images", "dtype": "uint8", "shape": [-1, 32, 32, 3]},
            "output": "classes",
        },
        "scenario": {
            "kind": kind,
            "loop": loop,
            "description": f"{loop} loop, {kind}",
            "plan": f"{n:,} requests",
            "offered_rate_per_second": rate,
            "users": users,
            "in_flight_cap": in_flight,
            "connections": min(in_flight, 4),
            "batch": batch,
            "duration_seconds": None,
            "requests": n,
            "warmup_requests": 100,
            "slo_ms": slo_ms,
            "slo_percentile": 99.0,
            "timeout_seconds": 10.0,
            "seeds": {"order": seed, "schedule": seed},
            "request_bytes": [3150, 3150 * batch],
        },
        "requests": {
            "scheduled": n,
            "sent": n,
            "missed": 0,
            "answered": n,
            "failed": 0,
            "unfinished": 0,
            "wrong": 0,
            "warmup": 100,
            "warmup_failed": 0,
        },
        "errors": {},
        "latency_ms": {
            "n": n,
            "min": float(latencies.min()),
            "mean": float(latencies.mean()),
            "max": float(latencies.max()),
            **quantiles,
            "requests_needed": {
                key: samples_needed(percent) for key, percent in PERCENTILES.items()
            },
            "definition": DEFINITION,
            "histogram": histogram.encode().decode(),
        },
        "throughput": {
            "window_seconds": n / answered_rate,
            "offered_requests_per_second": rate,
            "requests_per_second": answered_rate,
            "images_per_second": answered_rate * batch,
        },
        "slo": slo_ms
        and {
            "limit_ms": slo_ms,
            "percentile": 99.0,
            "n": n,
            "over": n - within,
            "over_allowed": 3,
            "met": n - within <= 3,
        },
        "goodput": slo_ms
        and {
            "slo_ms": slo_ms,
            "per_second": answered_rate * within / n,
            "share": within / n,
            "correct_per_second": answered_rate * within / n * top1,
            "correct_share": within / n * top1,
        },
        "accuracy": {
            "n": images,
            "correct": correct,
            "top1": correct / images,
            "wilson_95": list(wilson_interval(correct, images)),
            "distinct_images": min(images, 10_000),
            "per_class": {
                label: float(right[labels == number].mean())
                for number, label in enumerate(CLASS_NAMES)
            },
            "confusion": confusion.tolist(),
            "recorded": None,
            "recorded_missing": None,
        },
        "mismatches": {"compared": images, "differing": 0, "requests": 0, "examples": []},
        "server": None,
        "client": {
            "processes": 1,
            "lag_ms": {"p50": 0.02, "p99": 0.05, "max": 1.2} if loop == "open" else None,
            "cpu_seconds": 0.0002 * n,
            "cpu_share": min(0.9, 0.0002 * answered_rate),
            "cpu_us_per_request": 200.0,
            "in_flight_max": in_flight,
        },
        "windows": _windows(due, latencies, seconds),
        "floor": {
            "n": n,
            "failed": 0,
            "p50_ms": 0.42,
            "p99_ms": 1.1,
            "max_ms": 4.0,
            "requests_per_second": answered_rate,
            "client_cpu_us_per_request": 180.0,
            "client_cpu_share": 0.2,
        }
        if floor
        else None,
        "validity": {
            "valid": not reasons,
            "reasons": list(reasons),
            "checks": [
                {"name": f"check-{number}", "passed": False, "detail": reason}
                for number, reason in enumerate(reasons)
            ],
        },
        "gates": [],
        "capacity": None,
        "manifest": {
            "started_utc": f"2026-11-23T16:{seed % 60:02d}:00+00:00",
            "finished_utc": f"2026-11-23T16:{seed % 60:02d}:30+00:00",
            "git_commit": commit,
            "versions": {"python": "3.11.7", "grpcio": "1.85.1", "numpy": "2.4.6"},
            "cpu": "Imaginary CPU @ 2.0 GHz",
            "cores": 2,
            "cgroup_cpu_quota_cores": None,
            "machine": "x86_64",
            "load_average_1_min_at_start": 0.4,
            "data": {
                "images": 10_000,
                "sha256": "e54a434ec35094516eacbaac0f2f9550358d985e9d1f71b47d41d333c15ba304",
                "source": "cifar-10-batches-bin",
                "variant": "cifar-10-binary",
            },
            "artefact": {"file": "model.onnx", "sha256": "7f23" * 16, "bytes": 493_941},
            "settings": {"target": target, "model": model, "batch": batch, "rate": rate},
        },
        "warnings": [],
    }
    return msgspec.convert(document, Report)


def _windows(due: np.ndarray, latencies: np.ndarray, seconds: float) -> list[dict[str, Any]]:
    windows = []
    for second in range(int(np.ceil(seconds))):
        inside = latencies[(due >= second) & (due < second + 1)]
        ns = (inside * 1e6).astype(np.int64)
        windows.append(
            {
                "t_seconds": float(second),
                "scheduled": len(inside),
                "answered": len(inside),
                "errors": 0,
                "p50_ms": _ms(percentile(ns, 50)),
                "p99_ms": _ms(percentile(ns, 99)),
                "max_ms": float(inside.max()) if len(inside) else None,
            }
        )
    return windows


def _ms(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6


def capacity(
    steps: list[tuple[float, bool, float]], *, cut_short: tuple[int, ...] = (), **settings: Any
) -> Report:
    """Return a find-capacity result of (rate, passed, p99 in ms) steps.

    The rate of the last step that passed is the confirmed one. `cut_short` has the numbers of the
    steps that were cut short, from 0.
    """
    passed = [rate for rate, good, _ in steps if good]
    document = report(kind="server", rate=passed[-1], **settings)
    found = {
        "rate_per_second": passed[-1],
        "confirmed": True,
        "limited_by": "slo",
        "failed_rate_per_second": min(rate for rate, good, _ in steps if not good),
        "slo_ms": 15.0,
        "percentile": 99.0,
        "min_accuracy": None,
        "steps": [
            {
                "phase": "bisect",
                "offered_rate_per_second": rate,
                "passed": good,
                "reason": "" if good else "over the bound",
                "client_limited": False,
                "n": 700,
                "answered": 700,
                "failed": 0,
                "missed": 0,
                "over": 0 if good else 50,
                "p50_ms": tail_ms / 3,
                "percentile_ms": tail_ms,
                "goodput_per_second": rate * (1 if good else 0.9),
                "top1": 0.82,
                "wrong": 0,
                "client_cpu_share": 0.1,
                "lag_p99_ms": 0.1,
                "seconds": 3.0,
                "cut_short": number in cut_short,
            }
            for number, (rate, good, tail_ms) in enumerate(steps)
        ],
        "seconds": 30.0,
    }
    return replace(document, capacity=msgspec.convert(found, Capacity))


def changed(section: Section, changes: dict[str, object]) -> Section:
    """A copy with other values at dotted paths, such as "latency_ms.p50"."""
    document = msgspec.to_builtins(section)
    for path, value in changes.items():
        *parents, name = path.split(".")
        functools.reduce(operator.getitem, parents, document)[name] = value
    return msgspec.convert(document, type(section))


def limited_by_client(section: Report) -> Report:
    """A copy that is INVALID because the load generator was too busy."""
    detail = "the busiest load generator used 93 % of a core, at most 80 %; add --processes"
    check = {"name": "client-cpu", "passed": False, "detail": detail}
    verdict = {"validity.valid": False, "validity.reasons": [detail], "validity.checks": [check]}
    return changed(section, verdict)


def empty() -> Report:
    """Return the result of a run in which every request failed."""
    document = msgspec.to_builtins(report(reasons=("no answers",), slo_ms=None, n=700))
    document["requests"].update(answered=0, failed=700)
    document["errors"] = {"UNAVAILABLE": {"count": 700, "first_message": "nobody listens"}}
    latency, accuracy, throughput = (
        document[section] for section in ("latency_ms", "accuracy", "throughput")
    )
    kept = {"n": 0, "requests_needed": latency["requests_needed"], "definition": DEFINITION}
    latency.update(dict.fromkeys(latency) | kept)
    throughput.update(requests_per_second=0.0, images_per_second=0.0)
    accuracy.update(n=0, correct=0, top1=None, wilson_95=None, distinct_images=0)
    accuracy.update(per_class=dict.fromkeys(CLASS_NAMES), confusion=[[0] * 11] * 10)
    document["mismatches"] = None
    document["windows"] = []
    document["model"]["answers_by_version"] = {}
    return msgspec.convert(document, Report)


def hostile() -> Report:
    """Return a result whose name and messages from the server contain markup."""
    return replace(
        report(name=HOSTILE, reasons=(HOSTILE,)),
        errors={"NOT_FOUND": ErrorKind(count=3, first_message=HOSTILE)},
        warnings=[HOSTILE],
    )


def collection(
    reports: list[Report], name: str = "matrix", target: str | None = "cpu", **more: Any
) -> Collection:
    """Return the collection that a matrix run writes for reports.

    If target is None, each result keeps the address of its report.
    """
    document = {
        "schema_version": 2,
        "name": name,
        "stop_reason": None,
        "results": [
            {
                "target": target or report.target,
                "folder": None,
                "report": msgspec.to_builtins(report),
                "server_versions": {"onnxruntime": "1.32.0"},
                "server_process": {
                    "flags": ["--device=cpu"],
                    "cpu_seconds": 1.5,
                    "cpu_us_per_request": 340.0,
                    "memory_bytes": 200 * 2**20,
                    "gpu": None,
                },
            }
            for report in reports
        ],
        "not_measured": [],
        **more,
    }
    return msgspec.convert(document, Collection)

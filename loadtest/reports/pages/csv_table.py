"""report.csv: one row for every run, with every figure that a spreadsheet can hold."""

import csv
import io
from collections.abc import Callable

from loadtest.report_schema import Collection, Result
from loadtest.reports.configurations import load_of, subject_of
from loadtest.reports.measures import missing, value_at

Value = str | int | float | bool | None

_LATENCY = ("p50", "p90", "p95", "p97", "p99", "p99_9", "mean", "max")
# A column is the path of a field in a result, or a function of the result.
_COLUMNS: dict[str, str | Callable[[Result], Value]] = {
    "status": "report.status",
    "stop_reason": "report.stop_reason",
    "valid": "report.validity.valid",
    "reasons": lambda result: "; ".join(result.report.validity.reasons),
    "gates": lambda result: "; ".join(
        f"{gate.name} {'ok' if gate.passed else 'FAILED'}" for gate in result.report.gates
    ),
    "warnings": lambda result: "; ".join(result.report.warnings),
    "scheduled": "report.requests.scheduled",
    "answered": "report.requests.answered",
    "failed": "report.requests.failed",
    "missed": "report.requests.missed",
    "wrong": "report.requests.wrong",
    "errors": lambda result: "; ".join(
        f"{kind} {error.count}" for kind, error in result.report.errors.items()
    ),
    **{f"{name}_ms": f"report.latency_ms.{name}" for name in _LATENCY},
    "lag_p99_ms": "report.client.lag_ms.p99",
    "requests_per_second": "report.throughput.requests_per_second",
    "images_per_second": "report.throughput.images_per_second",
    "slo_ms": "report.slo.limit_ms",
    "slo_percentile": "report.slo.percentile",
    "slo_over": "report.slo.over",
    "slo_met": "report.slo.met",
    "goodput_per_second": "report.goodput.per_second",
    "goodput_share": "report.goodput.share",
    "correct_goodput_per_second": "report.goodput.correct_per_second",
    "availability": "report.availability.share",
    "good_answers": "report.availability.good",
    "outages": lambda result: (
        None if (known := result.report.availability) is None else len(known.outages)
    ),
    "outage_seconds": "report.availability.outage_seconds",
    "longest_outage_seconds": "report.availability.longest_outage.seconds",
    "time_to_recover_seconds": "report.availability.time_to_recover_seconds",
    "onnxruntime": lambda result: result.server_versions.get("onnxruntime"),
    "server_version": lambda result: result.server_versions.get("onnx-serving"),
    **{
        f"server_{part}_{quantile}_ms": f"report.server.{part}_ms.{quantile}"
        for part in ("queue", "compute", "serialise", "total")
        for quantile in ("p50", "p99")
    },
    "server_cpu_us_per_request": "server_process.cpu_us_per_request",
    "server_memory_bytes": "server_process.memory_bytes",
    "gpu": "server_process.gpu.name",
    "gpu_memory_used_bytes": "server_process.gpu.memory_used_bytes",
    "client_cpu_share": "report.client.cpu_share",
    "client_cpu_us_per_request": "report.client.cpu_us_per_request",
    "top1": "report.accuracy.top1",
    "correct": "report.accuracy.correct",
    "images": "report.accuracy.n",
    "distinct_images": "report.accuracy.distinct_images",
    "top1_wilson_95_low": lambda result: (result.report.accuracy.wilson_95 or (None, None))[0],
    "top1_wilson_95_high": lambda result: (result.report.accuracy.wilson_95 or (None, None))[1],
    "compared_answers": "report.mismatches.compared",
    "differing_answers": "report.mismatches.differing",
    "floor_p50_ms": "report.floor.p50_ms",
    "floor_p99_ms": "report.floor.p99_ms",
    "started_utc": "report.manifest.started_utc",
    "git_commit": "report.manifest.git_commit",
    "cpu": "report.manifest.cpu",
    "cores": "report.manifest.cores",
    "missing": lambda result: "; ".join(missing(result)),
    "data_sha256": "report.manifest.data.sha256",
    "artefact_sha256": "report.manifest.artefact.sha256",
}


def render(collection: Collection) -> str:
    """Return the file's text; an unknown value is an empty field, and `missing` says why."""
    counts: dict[object, int] = {}
    rows = []
    for result in collection.results:
        key = subject_of(result), load_of(result.report)
        counts[key] = counts.get(key, 0) + 1
        rows.append(row(result, counts[key]))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def row(result: Result, repeat: int) -> dict[str, Value]:
    """Return the row of one run; `repeat` is its number from 1 within its configuration."""
    load = load_of(result.report)
    return {
        "name": result.report.name,
        **vars(subject_of(result)),
        "scenario": load.kind,
        "loop": load.loop,
        "batch": load.batch,
        "offered_rate_per_second": load.rate,
        "shape": load.shape,
        "replay": load.replay,
        "stream": load.stream,
        "users": load.users,
        "in_flight_cap": load.in_flight_cap,
        "connections": load.connections,
        "repeat": repeat,
        **{
            name: value_at(result, column) if isinstance(column, str) else column(result)
            for name, column in _COLUMNS.items()
        },
        **{f"seed_{name}": seed for name, seed in result.report.scenario.seeds.items()},
    }

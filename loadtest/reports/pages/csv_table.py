"""report.csv: one row for every run, with everything that a spreadsheet can hold."""

import csv
import io
from collections.abc import Mapping

from loadtest.reports.collection import Collection, Result
from loadtest.reports.configurations import load_of, subject_of
from loadtest.reports.measures import MEASURES

Value = str | int | float | bool | None


def render(collection: Collection) -> str:
    """The whole file; what is unknown is an empty field."""
    counts: dict[object, int] = {}
    rows = []
    for result in collection["results"]:
        key = subject_of(result), load_of(result["report"])
        counts[key] = counts.get(key, 0) + 1
        rows.append(row(result, counts[key]))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def row(result: Result, repeat: int) -> dict[str, Value]:
    """One run; `repeat` counts from 1 those of the same configuration."""
    report, subject, load = result["report"], subject_of(result), load_of(result["report"])
    requests, latency, validity = report["requests"], report["latency_ms"], report["validity"]
    manifest, accuracy, mismatches = report["manifest"], report["accuracy"], report["mismatches"]
    wilson = accuracy["wilson_95"] or (None, None)
    return {
        "name": report["name"],
        **vars(subject),
        "scenario": load.kind,
        "loop": load.loop,
        "batch": load.batch,
        "offered_rate_per_second": load.rate,
        "users": load.users,
        "in_flight_cap": load.in_flight_cap,
        "connections": load.connections,
        "repeat": repeat,
        "status": report["status"],
        "valid": validity["valid"],
        "reasons": "; ".join(validity["reasons"]),
        "scheduled": requests["scheduled"],
        "answered": requests["answered"],
        "failed": requests["failed"],
        "missed": requests["missed"],
        "wrong": requests["wrong"],
        "errors": "; ".join(f"{kind} {error['count']}" for kind, error in report["errors"].items()),
        "p50_ms": latency["p50"],
        "p90_ms": latency["p90"],
        "p95_ms": latency["p95"],
        "p97_ms": latency["p97"],
        "p99_ms": latency["p99"],
        "p99_9_ms": latency["p99_9"],
        "mean_ms": latency["mean"],
        "max_ms": latency["max"],
        "lag_p99_ms": MEASURES["lag_p99_ms"].value(result),
        "requests_per_second": report["throughput"]["requests_per_second"],
        "images_per_second": report["throughput"]["images_per_second"],
        **_slo(result),
        **_server(result),
        "client_cpu_share": report["client"]["cpu_share"],
        "client_cpu_us_per_request": report["client"]["cpu_us_per_request"],
        "top1": accuracy["top1"],
        "correct": accuracy["correct"],
        "images": accuracy["n"],
        "distinct_images": accuracy["distinct_images"],
        "top1_wilson_95_low": wilson[0],
        "top1_wilson_95_high": wilson[1],
        "compared_answers": mismatches and mismatches["compared"],
        "differing_answers": mismatches and mismatches["differing"],
        "floor_p50_ms": report["floor"] and report["floor"]["p50_ms"],
        "floor_p99_ms": report["floor"] and report["floor"]["p99_ms"],
        "started_utc": manifest["started_utc"],
        "git_commit": manifest["git_commit"],
        "cpu": manifest["cpu"],
        "cores": manifest["cores"],
        "data_sha256": manifest["data"]["sha256"],
        "artefact_sha256": manifest["artefact"] and manifest["artefact"]["sha256"],
        **{f"seed_{name}": seed for name, seed in report["scenario"]["seeds"].items()},
    }


def _slo(result: Result) -> Mapping[str, Value]:
    slo, goodput = result["report"]["slo"], result["report"]["goodput"]
    return {
        "slo_ms": slo and slo["limit_ms"],
        "slo_percentile": slo and slo["percentile"],
        "slo_over": slo and slo["over"],
        "slo_met": slo and slo["met"],
        "goodput_per_second": goodput and goodput["per_second"],
        "goodput_share": goodput and goodput["share"],
        "correct_goodput_per_second": goodput and goodput["correct_per_second"],
    }


def _server(result: Result) -> Mapping[str, Value]:
    times, process = result["report"]["server"], result["server_process"]
    gpu = process and process["gpu"]
    versions = result["server_versions"]
    return {
        "onnxruntime": versions.get("onnxruntime"),
        "server_version": versions.get("onnx-serving"),
        **{
            f"server_{part}_{quantile}_ms": times and times[f"{part}_ms"][quantile]  # type: ignore[literal-required]
            for part in ("queue", "compute", "serialise", "total")
            for quantile in ("p50", "p99")
        },
        "server_cpu_us_per_request": process and process["cpu_us_per_request"],
        "server_memory_bytes": process and process["memory_bytes"],
        "gpu": gpu and gpu["name"],
        "gpu_memory_used_bytes": gpu and gpu["memory_used_bytes"],
    }

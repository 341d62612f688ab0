"""The result of a run: one dictionary, and the files written from it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest import recorded, rendering
from loadtest.config import LoadTestConfig, UsageError
from loadtest.images import Query, data_section, query_sizes
from loadtest.percentiles import DEFINITION, samples_needed
from loadtest.recorder import Summary
from loadtest.scenarios import ClosedLoop
from training.cifar10 import Split

REPORT_FILE = "report.json"
PERCENTILES = (50, 90, 99)
# Above this share of one core a Python load generator measures its own queue as well.
_BUSY_CLIENT_SHARE = 0.8


def build(
    config: LoadTestConfig,
    scenario: ClosedLoop,
    *,
    split: Split,
    queries: list[Query],
    environment: dict[str, Any],
    started: datetime,
) -> dict[str, Any]:
    """Put a finished run's figures together, ready for JSON.

    Args:
        config: Its settings.
        scenario: What was sent; holds the results.
        split: The test images.
        queries: The requests made of them.
        environment: From `manifest.describe`, taken before the run.
        started: When the run began.

    Returns:
        Sections status, scenario, requests, latency_ms, throughput, accuracy, errors, manifest.
    """
    summary = scenario.recorder.summary()
    finished = scenario.recorder.finished
    unfinished = scenario.started - finished
    cpu_share = scenario.cpu_seconds / summary.window_seconds if summary.window_seconds else 0.0
    recorded_section, data_variant = _recorded(config, scenario, summary, split)
    complete = scenario.stop_reason is None and not summary.failed and not unfinished
    status = "complete" if complete else "with errors"
    if scenario.stop_reason is not None:
        status = "stopped early"
    return {
        "name": config.name,
        "status": status,
        "stop_reason": scenario.stop_reason,
        "scenario": {
            "kind": kind(config),
            "users": config.users,
            "batch": config.batch,
            "plan": plan(config, len(split)),
            "seed": config.seed,
            "timeout_seconds": config.timeout_seconds,
            "request_bytes": query_sizes(queries),
        },
        "requests": {
            "answered": summary.answered,
            "failed": summary.failed,
            "unfinished": unfinished,
            "warmup": scenario.warmup_sent,
            "warmup_failed": scenario.warmup_failed,
        },
        "latency_ms": {
            **{f"p{percent}": getattr(summary, f"p{percent}_ms") for percent in PERCENTILES},
            "mean": summary.mean_ms,
            "min": summary.min_ms,
            "max": summary.max_ms,
            "n": summary.answered,
            "requests_needed": {f"p{percent}": samples_needed(percent) for percent in PERCENTILES},
            "definition": DEFINITION,
        },
        "throughput": {
            "window_seconds": summary.window_seconds,
            "requests_per_second": summary.requests_per_second,
            "images_per_second": summary.images_per_second,
        },
        "accuracy": {
            "top1": summary.top1,
            "correct": summary.correct,
            "n": summary.images,
            "distinct_images": summary.distinct_images,
            "top1_wilson_95": summary.top1_wilson_95,
            "per_class_accuracy": summary.per_class_accuracy,
            "recorded": recorded_section,
        },
        "errors": {
            kind: {"count": count, "first_message": summary.error_messages[kind]}
            for kind, count in summary.errors.items()
        },
        "manifest": {
            "target": config.target,
            "model": config.model,
            "version_asked_for": config.version,
            "answers_by_version": {
                "unknown" if version is None else str(version): count
                for version, count in summary.versions.items()
            },
            "started_utc": started.astimezone(UTC).isoformat(timespec="seconds"),
            "data": {**data_section(split, config.data_dir), "variant": data_variant},
            "client": {
                **environment,
                "cpu_seconds": scenario.cpu_seconds,
                "cpu_us_per_request": 1e6 * scenario.cpu_seconds / finished if finished else None,
                "cpu_share_of_a_core": cpu_share,
            },
        },
        "warnings": _warnings(summary, cpu_share, len(split)),
    }


def kind(config: LoadTestConfig) -> str:
    """How requests follow each other, in words."""
    return f"closed loop, {config.users} user{'s' if config.users > 1 else ''}"


def plan(config: LoadTestConfig, images: int) -> str:
    """What ends the run, in words."""
    if config.requests is not None:
        return f"{config.requests:,} requests"
    if config.duration_seconds is not None:
        return f"{config.duration_seconds:g} seconds"
    return f"each of {images:,} test images once"


def prepare(folder: Path) -> None:
    """Make the report's folder before a run rather than fail after it.

    Raises:
        UsageError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT_FILE).touch()
    except OSError as error:
        msg = f"cannot write a report to {folder}: {error.strerror}; name another --output-dir"
        raise UsageError(msg) from error


def write(report: dict[str, Any], scenario: ClosedLoop, folder: Path) -> None:
    """Write report.json, report.md and raw.npz to a folder that is there."""
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
    (folder / "report.md").write_text(rendering.markdown(report), encoding="utf-8")
    scenario.recorder.save(folder / "raw.npz")


def _recorded(
    config: LoadTestConfig, scenario: ClosedLoop, summary: Summary, split: Split
) -> tuple[dict[str, Any] | None, str | None]:
    """The comparison with the recorded accuracy, and the form of the images if it tells."""
    if config.models_dir is None:
        return None, None
    versions = [version for version in summary.versions if version is not None]
    if len(versions) != 1 or None in summary.versions:
        seen = ", ".join(map(str, summary.versions)) or "none"
        return {"missing": f"versions {seen} answered, expected exactly one to compare"}, None
    comparison = recorded.compare(
        config.models_dir,
        config.model,
        versions[0],
        split=split,
        image_ids=scenario.recorder.image_ids,
        answers=scenario.recorder.answers,
    )
    if isinstance(comparison, str):
        return {"missing": comparison}, None
    return comparison.as_dict(), comparison.data_variant


def _warnings(summary: Summary, cpu_share: float, images: int) -> list[str]:
    warnings = []
    if cpu_share > _BUSY_CLIENT_SHARE:
        warnings.append(
            f"the load generator used {100 * cpu_share:.0f} % of a core (more than "
            f"{100 * _BUSY_CLIENT_SHARE:.0f} %): latencies include waiting inside it, and the "
            "server may be able to do more"
        )
    if summary.images > summary.distinct_images:
        warnings.append(
            f"{summary.images:,} answers to {summary.distinct_images:,} different images: "
            "the interval counts each image once"
        )
    if summary.images and summary.distinct_images < images:
        warnings.append(
            f"{summary.distinct_images:,} of {images:,} test images answered: top-1 is a sample"
        )
    if len(summary.versions) > 1:
        warnings.append(f"{len(summary.versions)} model versions answered: figures mix them")
    return warnings

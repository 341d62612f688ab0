"""Comparison of a result with an earlier result of the same load, within tolerances."""

from pathlib import Path

from loadtest.load.replay import Replay
from loadtest.load.scenarios import SettledLoad
from loadtest.load.shapes import Shape
from loadtest.report_file import ReportError, read_run
from loadtest.report_schema import Report
from loadtest.report_sections_schema import Gate
from loadtest.settings.config import GateConfig, UsageError

_NO_ANSWERS = "nothing was answered"


def load_baseline(path: Path, *, model: str, load: SettledLoad, capacity: bool) -> Report:
    """Read a baseline and check that it measured the same model and load.

    Args:
        path: report.json, or the folder that holds it.
        model: Name of the model that will be measured.
        load: The load that will be sent.
        capacity: Whether the run is a find-capacity search; its offered rate is a result, so rates
            are not compared.

    Raises:
        UsageError: The baseline cannot be read, or measured another model or load.
    """
    try:
        report = read_run(path)
    except ReportError as error:
        msg = f"--baseline: {error}"
        raise UsageError(msg) from error
    scenario, course = report.scenario, load.plan.course
    theirs = {
        "model": report.model.name,
        "scenario": scenario.kind,
        "batch": scenario.batch,
        "users": scenario.users,
        "shape": scenario.shape,
        "replay": scenario.replay and (scenario.replay.sha256, scenario.replay.speed),
        "find-capacity": report.capacity is not None,
    }
    ours = {
        "model": model,
        "scenario": load.kind,
        "batch": load.batch,
        "users": load.users,
        "shape": course.words if isinstance(course, Shape) else None,
        "replay": (course.sha256, course.speed) if isinstance(course, Replay) else None,
        "find-capacity": capacity,
    }
    if not capacity:
        theirs["rate"] = scenario.offered_rate_per_second
        ours["rate"] = load.plan.rate_per_second
    different = [
        f"{name} {theirs[name]} in the baseline, {ours[name]} in this run"
        for name in ours
        if ours[name] != theirs[name]
    ]
    if different:
        msg = f"--baseline {path} measured something else: {'; '.join(different)}"
        raise UsageError(msg)
    return report


def compare(report: Report, baseline: Report, config: GateConfig) -> list[Gate]:
    """Return one gate for each figure; a figure that one of the results lacks misses its gate.

    Args:
        report: The new result.
        baseline: The earlier result.
        config: Tolerances.
    """
    percentile = report.scenario.slo_percentile
    now, then = report.latency_ms, baseline.latency_ms
    tolerance = config.tolerance_percent
    checks = []
    if report.capacity is not None and baseline.capacity is not None:
        rates = (
            report.capacity.rate_per_second or 0.0,
            baseline.capacity.rate_per_second,
        )
        checks += _at_least("capacity", rates, tolerance, "requests/s")
    else:
        for percent in dict.fromkeys((50.0, percentile)):
            values = now.percentile(percent), then.percentile(percent)
            checks += _at_most(f"p{percent:g}".replace(".", "_"), values, tolerance)
        if report.scenario.loop == "closed":
            rates = (
                report.throughput.images_per_second or 0.0,
                baseline.throughput.images_per_second,
            )
            checks += _at_least("throughput", rates, tolerance, "images/s")
    return checks + _accuracy(report, baseline, config.accuracy_tolerance_points)


def _at_most(name: str, values: tuple[float | None, float | None], tolerance: float) -> list[Gate]:
    now, then = values
    if now is None or then is None:
        return [_absent(name, now, "too few answers for this percentile")]
    limit = f"baseline {then:.3f} ms, at most {tolerance:g} % more"
    return [_gate(name, now <= then * (1 + tolerance / 100), f"{now:.3f} ms", limit)]


def _at_least(
    name: str, values: tuple[float, float | None], tolerance: float, unit: str
) -> list[Gate]:
    now, then = values
    if then is None:
        return [_absent(name, now, _NO_ANSWERS)]
    limit = f"baseline {then:,.1f}, at most {tolerance:g} % less"
    return [_gate(name, now >= then * (1 - tolerance / 100), f"{now:,.1f} {unit}", limit)]


def _accuracy(report: Report, baseline: Report, points: float) -> list[Gate]:
    now, then = report.accuracy.top1, baseline.accuracy.top1
    if _without_labels(report) and _without_labels(baseline):
        return []
    if now is None or then is None:
        why = "no labels" if _without_labels(report if now is None else baseline) else _NO_ANSWERS
        return [_absent("accuracy", now, why)]
    limit = f"baseline {100 * then:.2f} %, at most {points:g} points less"
    return [_gate("accuracy", 100 * (then - now) <= points, f"top-1 {100 * now:.2f} %", limit)]


def _without_labels(report: Report) -> bool:
    return report.checked is not None and not report.checked.labels


def _absent(name: str, now: float | None, why: str) -> Gate:
    """Return the missed gate of a figure that cannot be compared."""
    lacking = "this run" if now is None else "the baseline"
    return _gate(name, False, f"{lacking} has no such figure ({why})", "a figure in both expected")


def _gate(name: str, passed: bool, measured: str, limit: str) -> Gate:
    return Gate(
        name=f"baseline-{name}",
        passed=passed,
        measured=measured,
        limit=limit,
        detail=f"{measured}, {limit}",
    )

"""Gates: limits that a result must keep; if one is missed, the program's exit code is 1."""

from loadtest.report_schema import Capacity, Report
from loadtest.report_sections_schema import Check
from loadtest.settings.config import GateConfig
from loadtest.verdict.baseline import compare
from loadtest.verdict.validity import slo_check


def apply(report: Report, config: GateConfig, baseline: Report | None) -> list[Check]:
    """Return the gates of a result, passed or not.

    Args:
        report: The result, complete except for its gates.
        config: The limits.
        baseline: The earlier result to compare with; None for no comparison.
    """
    gates = [
        _gate("complete", report.stop_reason is None, report.stop_reason or "ran to its end"),
        _errors(report, config.max_error_rate),
    ]
    if report.mismatches is not None:
        gates.append(_wrong(report, config.max_wrong_answers))
    if config.min_accuracy is not None:
        gates.append(_accuracy(report, config.min_accuracy))
    if config.strict:
        reasons = "; ".join(report.validity.reasons)
        gates.append(_gate("valid", report.validity.valid, reasons or "VALID"))
        if report.slo is not None:
            gates.append(slo_check(report.slo))
    if report.capacity is not None:
        gates.append(_capacity(report.capacity))
    if baseline is not None:
        gates += compare(report, baseline, config)
    return gates


def missed(gates: list[Check]) -> str | None:
    """Return the missed gates in one line; None if all passed."""
    details = [f"{gate.name}: {gate.detail}" for gate in gates if not gate.passed]
    return "; ".join(details) or None


def _errors(report: Report, allowed: float) -> Check:
    requests = report.requests
    bad = requests.failed + requests.missed
    rate = bad / max(1, requests.scheduled)
    detail = (
        f"{requests.failed:,} requests failed and {requests.missed:,} were missed of "
        f"{requests.scheduled:,}, at most {100 * allowed:g} %"
    )
    first = next(iter(report.errors.items()), None)
    if first is not None and rate > allowed:
        detail += f"; the most frequent: {first[0]}: {first[1].first_message}"
    return _gate("errors", rate <= allowed, detail)


def _wrong(report: Report, allowed: int) -> Check:
    found = report.mismatches
    differing = found.differing if found is not None else 0
    detail = f"{differing:,} answers differ from the record, at most {allowed:,}"
    if differing > allowed:
        detail += f"; the first: {report.errors['WRONG_ANSWER'].first_message}"
    return _gate("wrong-answers", differing <= allowed, detail)


def _accuracy(report: Report, floor: float) -> Check:
    top1 = report.accuracy.top1
    measured = "nothing answered" if top1 is None else f"top-1 {100 * top1:.2f} %"
    return _gate(
        "accuracy", top1 is not None and top1 >= floor, f"{measured}, at least {100 * floor:g} %"
    )


def _capacity(capacity: Capacity) -> Check:
    rate = capacity.rate_per_second
    found = "no rate passed" if rate is None else f"{rate:,.1f} requests/s"
    confirmed = "confirmed" if capacity.confirmed else "not confirmed by a longer run"
    return _gate("capacity", capacity.confirmed, f"{found}, {confirmed}")


def _gate(name: str, passed: bool, detail: str) -> Check:
    return Check(name=name, passed=passed, detail=detail)

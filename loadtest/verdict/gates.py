"""Gates: limits that a result must keep; if one is missed, the program's exit code is 1.

A gate that has nothing to compare is missed: a limit that was not checked is not kept.
"""

from loadtest.report_schema import Capacity, Report
from loadtest.report_sections_schema import Accuracy, Gate, Slo, Validity
from loadtest.settings.config import GateConfig
from loadtest.verdict.baseline import compare
from loadtest.verdict.validity import WRONG_ANSWERS, slo_check


def apply(report: Report, config: GateConfig, baseline: Report | None) -> list[Gate]:
    """Return the gates of a result, passed or not.

    Args:
        report: The result, complete except for its gates.
        config: The limits.
        baseline: The earlier result to compare with; None for no comparison.
    """
    gates = [
        _complete(report.stop_reason),
        _errors(report, config.max_error_rate),
    ]
    if report.mismatches is not None:
        gates.append(_wrong(report, config.max_wrong_answers))
    elif (why := _nothing_to_compare(report.accuracy)) is not None:
        gates.append(_gate(WRONG_ANSWERS, False, why, "recorded predictions expected"))
    if config.min_accuracy is not None:
        gates.append(_accuracy(report, config.min_accuracy))
    if config.strict:
        gates.append(_valid(report.validity))
        if report.slo is not None:
            gates.append(_slo(report.slo))
    if report.capacity is not None:
        gates.append(_capacity(report.capacity))
    if baseline is not None:
        gates += compare(report, baseline, config)
    return gates


def missed(gates: list[Gate]) -> str | None:
    """Return the missed gates in one line; None if all passed."""
    details = [f"{gate.name}: {gate.detail}" for gate in gates if not gate.passed]
    return "; ".join(details) or None


def _complete(stop_reason: str | None) -> Gate:
    ended = stop_reason or "ran to its end"
    return Gate(
        name="complete",
        passed=stop_reason is None,
        measured=ended,
        limit="the run's end",
        detail=ended,
    )


def _valid(validity: Validity) -> Gate:
    verdict = "; ".join(validity.reasons) or "VALID"
    return Gate(
        name="valid", passed=validity.valid, measured=verdict, limit="VALID", detail=verdict
    )


def _slo(slo: Slo) -> Gate:
    check = slo_check(slo)
    bound, _, measured = check.detail.partition(": ")
    return Gate(
        name=check.name, passed=check.passed, measured=measured, limit=bound, detail=check.detail
    )


def _errors(report: Report, allowed: float) -> Gate:
    requests = report.requests
    bad = requests.failed + requests.missed
    rate = bad / max(1, requests.scheduled)
    measured = (
        f"{requests.failed:,} requests failed and {requests.missed:,} were missed of "
        f"{requests.scheduled:,}"
    )
    first = next(iter(report.errors.items()), None)
    more = ""
    if first is not None and rate > allowed:
        more = f"; the most frequent: {first[0]}: {first[1].first_message}"
    return _gate("errors", rate <= allowed, measured, f"at most {100 * allowed:g} %", more)


def _wrong(report: Report, allowed: int) -> Gate:
    found = report.mismatches
    differing = found.differing if found is not None else 0
    measured = f"{differing:,} answers differ from the record"
    more = ""
    if differing > allowed:
        more = f"; the first: {report.errors['WRONG_ANSWER'].first_message}"
    return _gate(WRONG_ANSWERS, differing <= allowed, measured, f"at most {allowed:,}", more)


def _nothing_to_compare(accuracy: Accuracy) -> str | None:
    """Return why there are no recorded predictions; None without --models-dir."""
    if accuracy.recorded is not None:
        return "the record has no predictions for these images"
    return accuracy.recorded_missing


def _accuracy(report: Report, floor: float) -> Gate:
    top1 = report.accuracy.top1
    measured = "nothing answered" if top1 is None else f"top-1 {100 * top1:.2f} %"
    passed = top1 is not None and top1 >= floor
    return _gate("accuracy", passed, measured, f"at least {100 * floor:g} %")


def _capacity(capacity: Capacity) -> Gate:
    rate = capacity.rate_per_second
    found = "no rate passed" if rate is None else f"{rate:,.1f} requests/s"
    detail = f"{found}, {'confirmed' if capacity.confirmed else 'not confirmed by a longer run'}"
    return Gate(
        name="capacity",
        passed=capacity.confirmed,
        measured=detail,
        limit="a rate that a longer run confirms",
        detail=detail,
    )


def _gate(name: str, passed: bool, measured: str, limit: str, more: str = "") -> Gate:
    return Gate(
        name=name,
        passed=passed,
        measured=f"{measured}{more}",
        limit=limit,
        detail=f"{measured}, {limit}{more}",
    )

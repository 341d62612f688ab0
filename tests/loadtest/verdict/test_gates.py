import pytest
from sample_results.load_reports import capacity, changed, report

from loadtest.report_schema import Report
from loadtest.report_sections_schema import Recorded
from loadtest.settings.config import GateConfig
from loadtest.verdict import gates

RECORDED = Recorded(
    version=1,
    precision="fp32",
    artefact_sha256=None,
    top1=0.8,
    n=10_000,
    same_images=True,
    difference_points=0.0,
)


def failing(document: Report, baseline: Report | None = None, **settings: object) -> list[str]:
    checks = gates.apply(document, GateConfig(**settings), baseline)
    return [check.name for check in checks if not check.passed]


def test_a_good_run_passes():
    """By default a complete run without failures and wrong answers passes."""
    document = report()

    assert failing(document) == []
    assert gates.missed(gates.apply(document, GateConfig(), None)) is None


def test_details_of_what_passed_are_words_as_well():
    """A reader of the report sees what was looked at."""
    checks = gates.apply(report(), GateConfig(strict=True), None)

    details = {check.name: check.detail for check in checks}
    assert (details["complete"], details["valid"]) == ("ran to its end", "VALID")


def test_an_incomplete_run_fails():
    """An incomplete run misses the gate "complete" with its stop reason."""
    document = report()
    document = changed(document, {"stop_reason": "interrupted by SIGINT"})

    checks = gates.apply(document, GateConfig(), None)

    assert gates.missed(checks) == "complete: interrupted by SIGINT"


@pytest.mark.parametrize(
    ("failed", "missed", "allowed", "names"),
    [(1, 0, 0.0, ["errors"]), (0, 1, 0.0, ["errors"]), (5, 5, 0.01, []), (6, 5, 0.01, ["errors"])],
)
def test_failed_and_missed_requests_count_against_the_error_rate(failed, missed, allowed, names):
    """The error rate counts failed and missed requests; the most frequent kind is quoted."""
    document = changed(
        report(),
        {
            "requests.failed": failed,
            "requests.missed": missed,
            "errors": {"UNAVAILABLE": {"count": failed, "first_message": "gone"}},
        },
    )

    assert failing(document, max_error_rate=allowed) == names
    if names:
        assert "UNAVAILABLE: gone" in gates.missed(gates.apply(document, GateConfig(), None))


def test_wrong_answers_fail_unless_allowed():
    """Two differing answers miss a limit of one and pass a limit of two."""
    document = changed(
        report(),
        {
            "mismatches.differing": 2,
            "mismatches.requests": 2,
            "errors": {"WRONG_ANSWER": {"count": 2, "first_message": "request 7 ..."}},
        },
    )

    assert failing(document, max_wrong_answers=1) == ["wrong-answers"]
    assert failing(document, max_wrong_answers=2) == []
    assert "request 7" in gates.missed(gates.apply(document, GateConfig(), None))


def test_accuracy_below_its_floor_fails():
    """82 % passes a floor of 70 % and fails one of 90 %; a run without answers fails any floor."""
    document = report(top1=0.82)

    assert failing(document, min_accuracy=0.7) == []
    assert failing(document, min_accuracy=0.9) == ["accuracy"]
    document = changed(document, {"accuracy.top1": None})
    assert failing(document, min_accuracy=0.0) == ["accuracy"]


def test_a_strict_run_must_be_valid_and_within_its_bound():
    """With --gate a run must be VALID and within its bound; otherwise both are only reported."""
    document = report(reasons=("too short",))
    document = changed(document, {"slo.met": False})

    assert failing(document) == []
    assert failing(document, strict=True) == ["valid", "slo"]


def test_a_search_without_a_confirmed_rate_fails():
    """A search whose rate no longer run confirmed misses the gate "capacity"."""
    document = capacity([(100, True, 5.0), (200, False, 30.0)])
    assert failing(document) == []

    document = changed(document, {"capacity.confirmed": False})

    assert failing(document) == ["capacity"]


def test_what_got_worse_than_the_baseline_fails():
    """By default 20 % worse passes and 30 % fails; a closed loop's throughput is compared too."""
    baseline, slower = report(latency_ms=1.0), report(latency_ms=1.3)

    assert failing(report(latency_ms=1.1), baseline) == []
    assert failing(slower, baseline) == ["baseline-p50", "baseline-p99", "baseline-throughput"]
    assert failing(slower, baseline, tolerance_percent=50) == []


def test_accuracy_below_the_baseline_fails():
    """Top-1 two points below the baseline fails; half a point below passes."""
    baseline, worse = report(top1=0.82), report(top1=0.82)
    worse = changed(worse, {"accuracy.top1": baseline.accuracy.top1 - 0.02})

    assert failing(worse, baseline) == ["baseline-accuracy"]
    assert failing(worse, baseline, accuracy_tolerance_points=2.5) == []


def test_a_lower_capacity_than_the_baselines_fails():
    """Half of the baseline's capacity fails; latencies at different rates are not compared."""
    baseline = capacity([(200, True, 5.0), (400, False, 30.0)])
    worse = capacity([(100, True, 5.0), (200, False, 30.0)], latency_ms=9.0)

    assert failing(worse, baseline) == ["baseline-capacity"]


def test_a_figure_that_the_baseline_lacks_misses_its_gate():
    """A baseline with too few requests for a p99 says nothing about this run's p99."""
    baseline = report(n=100)

    assert failing(report(), baseline) == ["baseline-p99"]
    assert "the baseline has no such figure" in gates.missed(
        gates.apply(report(), GateConfig(), baseline)
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"accuracy.recorded": None, "accuracy.recorded_missing": "no file"}, "no file"),
        ({"accuracy.recorded": RECORDED}, "the record has no predictions for these images"),
    ],
)
def test_a_comparison_with_nothing_to_compare_fails(changes, why):
    """With --models-dir a run fails if there is no record, or none of these images."""
    document = changed(report(), {"mismatches": None} | changes)

    assert failing(document, max_wrong_answers=5) == ["wrong-answers"]
    assert why in gates.missed(gates.apply(document, GateConfig(), None))


def test_without_a_comparison_answers_have_no_gate():
    """A run without --models-dir is not compared, and passes."""
    changes = {"mismatches": None, "accuracy.recorded": None, "accuracy.recorded_missing": None}

    checks = gates.apply(changed(report(), changes), GateConfig(), None)

    assert "wrong-answers" not in {check.name for check in checks}
    assert gates.missed(checks) is None


def test_gates_name_their_limit_and_what_was_measured():
    """Both are parts of the detail, so that a table can show them in columns."""
    baseline = capacity([(200, True, 5.0), (400, False, 30.0)])
    search = capacity([(100, True, 5.0), (200, False, 30.0)])
    config = GateConfig(strict=True, min_accuracy=0.7)

    checks = [*gates.apply(report(), config, report()), *gates.apply(search, config, baseline)]

    assert all(check.limit and check.measured for check in checks)
    assert all(check.measured in check.detail for check in checks)
    named = {check.name: (check.measured, check.limit) for check in checks}
    assert named["errors"] == ("0 requests failed and 0 were missed of 1,000", "at most 0 %")
    assert named["slo"][1] == "p99 within 15 ms"
    assert named["baseline-capacity"] == (
        "100.0 requests/s",
        "baseline 200.0, at most 20 % less",
    )

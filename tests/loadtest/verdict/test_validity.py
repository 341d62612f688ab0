from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sample_results.load_reports import changed, report

from loadtest.load.scenarios import settle
from loadtest.report_schema import Report
from loadtest.report_sections_schema import Slo, Validity
from loadtest.settings.config import LoadTestConfig
from loadtest.verdict import validity

MS = 1_000_000


def judge(document: Report, **changes: object) -> Validity:
    """Return the verdict on a valid run of 1,000 requests with the given changes."""
    scenario = document.scenario
    config = LoadTestConfig(
        target="localhost:8500",
        model="simcnn",
        output_dir=Path(),
        name="run",
        scenario=scenario.kind,
        rate_per_second=scenario.offered_rate_per_second,
        duration_seconds=changes.pop("duration_seconds", None),
    )
    settings = {
        "stop_reason": None,
        "images": 10_000,
        "requests": document.requests,
        "latency": document.latency_ms,
        "throughput": document.throughput,
        "accuracy": document.accuracy,
        "slo": None,
        "client": document.client,
        "thirds": [np.full(333, MS)] * 3,
        "wrong_images": 0,
    }
    load = replace(settle(config, 10_000), confirms=changes.pop("confirms", False))
    return validity.judge(load, **(settings | changes))


@pytest.fixture
def document() -> Report:
    """The report of a valid open-loop run."""
    made = report(kind="server", rate=100, n=1000)
    return changed(made, {"client.cpu_share": 0.2, "client.lag_ms.p99": 0.05})


def failing(verdict: Validity) -> list[str]:
    assert verdict.valid == (not verdict.reasons)
    return [check.name for check in verdict.checks if not check.passed]


def test_a_good_run_is_valid(document):
    """A run with enough requests, no failures and an unloaded load generator is VALID."""
    verdict = judge(document)

    assert failing(verdict) == []
    assert verdict.valid


@pytest.mark.parametrize(("kind", "needed"), [("single-stream", 64), ("multi-stream", 662)])
def test_every_scenario_needs_enough_requests_for_its_percentile(kind, needed):
    """Each scenario needs MLPerf's count: p90 for single-stream, p99 for multi-stream."""
    for n, names in ((needed, []), (needed - 1, ["requests"])):
        assert failing(judge(report(kind=kind, n=n))) == names


def test_offline_needs_the_whole_data_set():
    """One pass over 10,000 images, fewer than 24,576, is VALID; 9,999 images are not."""
    made = report(kind="offline", batch=64, n=157)
    short = changed(made, {"accuracy.n": 9_999})
    made = changed(made, {"accuracy.n": 10_000})

    assert failing(judge(made)) == []
    assert failing(judge(short)) == ["images"]


def test_a_run_that_was_cut_short_is_invalid(document):
    """A run that was stopped early is INVALID, and its stop reason is among the reasons."""
    verdict = judge(document, stop_reason="interrupted by SIGINT")

    assert failing(verdict) == ["complete"]
    assert verdict.reasons == ["interrupted by SIGINT"]


def test_a_run_shorter_than_asked_for_is_invalid(document):
    """A run that is shorter than the requested ten seconds is INVALID."""
    document = changed(document, {"throughput.window_seconds": 9.8})

    assert failing(judge(document, duration_seconds=10.0)) == ["duration"]
    document = changed(document, {"throughput.window_seconds": 9.95})
    assert failing(judge(document, duration_seconds=10.0)) == []


@pytest.mark.parametrize(("count", "names"), [(1, []), (2, ["missed"])])
def test_a_small_share_of_missed_requests_is_tolerated(document, count, names):
    """One missed request in a thousand is allowed; with more, the offered load was another one."""
    document = changed(document, {"requests.missed": count})

    assert failing(judge(document)) == names


@pytest.mark.parametrize(("count", "names"), [(1, []), (2, ["failed"])])
def test_failures_are_tolerated_up_to_a_share(document, count, names):
    """One failure in a thousand is allowed; no flag allows more."""
    document = changed(document, {"requests.failed": count})

    assert failing(judge(document)) == names


def test_a_wrong_answer_is_not_tolerated(document):
    """A wrong answer makes a run INVALID; --max-wrong-answers changes the exit code only."""
    assert failing(judge(document, wrong_images=1)) == ["wrong-answers"]


def test_a_missed_bound_makes_a_run_invalid(document):
    """A missed bound makes a run INVALID; the reason says how many were over and are allowed."""
    slo = Slo(limit_ms=15, percentile=99, n=1000, over=9, over_allowed=2, met=False)

    verdict = judge(document, slo=slo)

    assert failing(verdict) == ["slo"]
    assert verdict.reasons == ["p99 within 15 ms: 9 of 1,000 requests over it, at most 2"]


def test_too_few_requests_for_a_bound_say_how_many_are_needed(document):
    """With too few requests the reason says that 459 are needed."""
    slo = Slo(limit_ms=15, percentile=99, n=9, over=0, over_allowed=None, met=False)

    assert "459 needed" in judge(document, slo=slo).reasons[0]


def test_a_busy_load_generator_makes_a_run_invalid(document):
    """A load generator above 80 % of a core makes a run INVALID; the reason names --processes."""
    document = changed(document, {"client.cpu_share": 0.81})

    verdict = judge(document)

    assert failing(verdict) == ["client-cpu"]
    assert "--processes" in verdict.reasons[0]


@pytest.mark.parametrize("median_ms", [2.0, 20.0])
@pytest.mark.parametrize("bound_ms", [None, 15.0])
def test_a_late_load_generator_makes_a_run_invalid(document, median_ms, bound_ms):
    """The lag is at most a tenth of the median; bound and other percentiles have no effect."""
    latency = {"p50": median_ms, "p90": 500.0, "p99": 900.0, "mean": 700.0}
    document = changed(document, {f"latency_ms.{name}": ms for name, ms in latency.items()})
    slo = bound_ms and Slo(
        limit_ms=bound_ms, percentile=99, n=1000, over=0, over_allowed=2, met=True
    )
    limit_ms = median_ms / 10
    document = changed(document, {"client.lag_ms": {"p50": 0.0, "p99": limit_ms, "max": 100.0}})
    in_time = judge(document, slo=slo)
    document = changed(document, {"client.lag_ms.p99": limit_ms + 0.001})
    late = judge(document, slo=slo)

    assert failing(in_time) == []
    assert failing(late) == ["client-lag"]
    assert f"at most {limit_ms:.3f} ms (10 % of the median latency)" in late.reasons[0]


def test_without_a_reference_the_lag_is_not_judged(document):
    """Without answers there is no median, and the lag is not checked."""
    document = changed(document, {"latency_ms.p50": None})

    assert "client-lag" not in {check.name for check in judge(document).checks}


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_any_third_may_drift(document, slow):
    """A slower first, middle or last third makes a run INVALID."""
    thirds = [np.full(60, int((1.3 if number == slow else 1) * MS)) for number in range(3)]

    assert failing(judge(document, thirds=thirds)) == ["stable"]


@pytest.mark.parametrize(
    ("last_ms", "n", "names"), [(1.2, 50, []), (1.3, 50, ["stable"]), (9, 49, [])]
)
def test_a_drifting_latency_makes_a_run_invalid(document, last_ms, n, names):
    """Thirds that differ by more than 25 % make a run INVALID, if they have enough requests."""
    thirds = [np.full(60, MS), np.full(60, MS), np.full(n, int(last_ms * MS))]

    assert failing(judge(document, thirds=thirds)) == names


@pytest.mark.parametrize(
    ("last_ms", "n", "names"), [(49, 662, []), (51, 662, ["stable"]), (49, 661, ["stable"])]
)
def test_a_confirmation_keeps_its_bound_in_each_third(document, last_ms, n, names):
    """A confirmation claims its bound and no median: each third has to show it, and no more."""
    bound = Slo(limit_ms=50, percentile=99, n=1000, over=0, over_allowed=2, met=True)
    thirds = [np.full(662, MS), np.full(662, 2 * MS), np.full(n, last_ms * MS)]

    assert failing(judge(document, slo=bound, thirds=thirds, confirms=True)) == names
    assert failing(judge(document, slo=bound, thirds=thirds)) == ["stable"]


def closed(stall_ms: int, *, calls: int = 3000) -> list[np.ndarray]:
    """Return the latencies of a caller that got answers in 1 ms, except for one stall."""
    latency = np.full(calls, MS)
    latency[calls // 2] = max(1, stall_ms) * MS
    return np.array_split(latency, 3)


@pytest.mark.parametrize(("stall_ms", "names"), [(0, []), (30, []), (40, ["stall"])])
def test_a_stall_makes_a_closed_loop_invalid(stall_ms, names):
    """A stall that hit over 1 % of a steady pace is one slow request of 3,000 in a closed loop."""
    made = report(kind="users", users=1, n=3000)

    verdict = judge(made, thirds=closed(stall_ms))

    assert failing(verdict) == names
    if names:
        assert "steady pace" in verdict.reasons[0]


def test_an_open_loop_needs_no_correction(document):
    """Its requests are sent during a stall, too, so that its percentiles hold the stall."""
    assert failing(judge(document, thirds=closed(3000))) == []


def test_latencies_that_vary_are_no_stall():
    """Latencies of a lognormal distribution with a long tail (sigma 1) are taken as they are."""
    latency = (MS * np.random.default_rng(0).lognormal(sigma=1, size=30_000)).astype(np.int64)

    verdict = judge(report(kind="users", users=1), thirds=np.array_split(latency, 3))

    assert "stall" not in failing(verdict)

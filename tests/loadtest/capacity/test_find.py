import asyncio
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec import structs
from sample_results.load_reports import report
from simulating.simulated_session import config_of_a_run, measurement

from loadtest.capacity import find
from loadtest.settings.config import CapacityConfig, GateConfig, LoadTestConfig


@pytest.fixture(scope="module")
def capacity_run(run, image_target):
    """A search whose bound every rate meets, so that it ends after its number of steps."""
    return run(
        *("--target", image_target, "--model", "cat", "--slo-ms", 9000, "--percentile", 90),
        *("--start-rate", 200, "--step-seconds", 0.1, "--confirm-seconds", 0.3),
        *("--max-steps", 2, "--timeout", 30, "--min-accuracy", 0.01),
        command="find-capacity",
    )


def test_a_search_reports_every_step_and_confirms_only_by_a_long_run(capacity_run):
    """The report has the step at twice the rate, and confirmations, which are too short here."""
    capacity = capacity_run.report.capacity

    steps = capacity.steps
    assert [(step.phase, step.offered_rate_per_second) for step in steps[:3]] == [
        ("probe", 200),
        ("probe", 400),
        ("confirm", 400),
    ]
    assert [step.n for step in steps[:3]] == [64, 64, 120]
    assert not any(step.cut_short for step in steps)
    assert [step.phase for step in steps[3:]] == ["confirm"] * 5
    assert all(step.reason for step in steps[2:])
    assert "at least 60 s (quick) or 600 s (full)" in capacity_run.stdout
    assert capacity.searches == [400]
    # The highest rate that passed a step below all that failed.
    assert (capacity.rate_per_second, capacity.confirmed) == (200, False)
    assert capacity_run.exit_code == 1
    assert "probe: 64 requests at 400.0/s" in capacity_run.stderr


@pytest.mark.slow  # a confirmation takes a minute
def test_a_confirmation_of_a_minute_is_quick(start, finish, image_target):
    """The rate is confirmed, and the report says that the confirmation was no full one."""
    run = start(
        *("--target", image_target, "--model", "cat", "--slo-ms", 9000, "--percentile", 90),
        *("--searches", 3, "--start-rate", 20, "--step-seconds", 0.1, "--max-steps", 1),
        *("--min-accuracy", 0.01),
        command="find-capacity",
    )
    # Three searches of a few seconds, and a minute; up to six confirmations on a busy machine.
    result = finish(*run, seconds=420)

    assert result.exit_code == 0, result.stderr
    assert result.report.capacity.searches == [20, 20, 20]
    assert (result.report.capacity.rate_per_second, result.report.capacity.confirmed) == (20, True)
    assert result.report.slo.duration == "quick"


@pytest.mark.parametrize(
    ("phase", "reasons", "passed"),
    [
        ("probe", (), True),
        ("bisect", ("the thirds differ",), True),
        ("confirm", (), True),
        ("confirm", ("the thirds differ", "a busy client"), False),
    ],
)
def test_a_confirmation_has_to_be_valid(phase, reasons, passed):
    """Short steps need not be VALID, but the confirmation, whose rate is reported, must be."""
    measured = measurement(
        report(kind="server", rate=100, n=1000, slo_ms=1000, reasons=reasons), np.ones(1, np.int64)
    )
    config = LoadTestConfig(
        target="localhost:8500", model="simcnn", output_dir=Path(), name="run", slo_ms=1000
    )

    step = find._step(phase, 100, measured, config, 1.0)

    assert step.passed is passed
    assert step.reason == ("" if passed else "the thirds differ; a busy client")


def test_all_of_a_step():
    """What a run measured, and why it failed: the bound, wrong answers, a busy client."""
    document = report(kind="server", rate=100, n=1000, slo_ms=1000)
    document = structs.replace(
        document,
        slo=structs.replace(document.slo, over=5, met=False, inflation=3.0),
        requests=structs.replace(document.requests, answered=990, failed=7, missed=3, wrong=2),
        mismatches=structs.replace(document.mismatches, differing=1),
        client=structs.replace(document.client, cpu_share=0.99),
        accuracy=structs.replace(document.accuracy, top1=0.75),
        latency_ms=structs.replace(document.latency_ms, p50=8.5),
    )
    measured = measurement(document, np.arange(1, 1001) * 1_000_000)

    step = structs.asdict(find._step("probe", 100.5, measured, config_of_a_run(), 1.5))

    late, wrong, busy = step.pop("reason").split("; ", 2)
    assert "5 of 1,000 requests" in late
    assert "1 answers" in wrong
    assert "99 % of a core" in busy
    assert step == {
        "phase": "probe",
        "offered_rate_per_second": 100.5,
        "passed": False,
        "client_limited": True,
        "n": 1000,
        "answered": 990,
        "failed": 7,
        "missed": 3,
        "over": 5,
        "p50_ms": 8.5,
        "percentile_ms": 990,
        "goodput_per_second": document.goodput.per_second,
        "top1": 0.75,
        "wrong": 2,
        "client_cpu_share": 0.99,
        "lag_p99_ms": document.client.lag_ms.p99,
        "seconds": 1.5,
        "cut_short": False,
    }


def test_a_step_that_was_cut_short_says_why():
    """In place of what its part shows; a step that a signal ended has no such reason."""
    document = report(kind="server", rate=100, n=1000, slo_ms=1000)
    runs = [
        structs.replace(document, status=status, stop_reason="cut short: too many")
        for status in ("aborted", "interrupted", "complete")
    ]
    latencies_ns = np.full(1000, 1_000_000)

    steps = [
        find._step("probe", 100, measurement(run, latencies_ns), config_of_a_run(), 1)
        for run in runs
    ]

    assert [(step.passed, step.reason) for step in steps] == [
        (False, "cut short: too many"),
        (True, ""),
        (True, ""),
    ]


@pytest.mark.parametrize(("floor", "passed"), [(None, True), (0.5, True), (0.99, False)])
def test_a_step_fails_if_the_accuracy_is_out_of_reach(floor, passed):
    """The upper end of the interval has to reach the floor, if there is one."""
    document = report(kind="server", rate=100, n=1000, slo_ms=1000)

    checks = find._checks("probe", document, config_of_a_run(gates=GateConfig(min_accuracy=floor)))

    assert all(check.passed for check in checks) is passed
    assert [check.name for check in checks][1:] == ["wrong-answers", "accuracy"][
        : 1 + (floor is not None)
    ]


def test_all_of_the_capacity_section():
    """What the search found and what was asked of it."""
    config = config_of_a_run(slo_ms=12, gates=GateConfig(min_accuracy=0.8))
    found = SimpleNamespace(
        rate=80, confirmed_rate=80, limited_by="slo", failed=90, steps=[{}], found=[82]
    )

    section = structs.asdict(find._section(config, SimpleNamespace(percentile=97), found, 4.5))

    assert section == {
        "rate_per_second": 80,
        "confirmed": True,
        "limited_by": "slo",
        "failed_rate_per_second": 90,
        "slo_ms": 12,
        "percentile": 97,
        "min_accuracy": 0.8,
        "steps": [{}],
        "seconds": 4.5,
        "searches": [82],
    }


def test_a_search_starts_at_half_of_a_single_callers_pace():
    """A caller who waits 4 ms for each answer makes 250 requests a second; nobody answers: 1."""
    asked = []

    class OneCaller:
        async def measure(self, config, load, on_progress):
            asked.append(load)
            on_progress(None)
            latency = SimpleNamespace(p50=medians_ms.pop())
            return SimpleNamespace(report=SimpleNamespace(latency_ms=latency))

    config = CapacityConfig(run=config_of_a_run(slo_ms=12))
    load = find.load_without_rate(config, 24)
    trial = find._Trial(config=config, session=OneCaller(), images=24, watcher=None, clock=None)

    medians_ms = [None, 4]

    rates = [asyncio.run(trial.start_rate(load)) for _ in range(2)]

    assert rates == [125, 1]
    assert (asked[0].loop, asked[0].in_flight, asked[0].batch) == ("closed", 1, load.batch)
    assert (asked[0].plan.in_flight, asked[0].plan.requests) == (1, 64)
    assert asked[0].plan.rate_per_second is None


def test_a_search_without_a_passing_rate_fails(run, image_target):
    """With a bound of 1 us every step is cut short and no rate passes; the exit code is 1."""
    result = run(
        *("--target", image_target, "--model", "cat", "--slo-ms", 0.001, "--percentile", 99),
        *("--start-rate", 100, "--step-seconds", 0.1, "--max-steps", 4),
        command="find-capacity",
    )

    capacity = result.report.capacity
    assert result.exit_code == 1
    assert capacity.rate_per_second is None
    assert not capacity.confirmed
    # A failed step is repeated.
    assert [step.offered_rate_per_second for step in capacity.steps] == [100, 100, 50, 50]
    assert "requests over 0.001 ms" in capacity.steps[0].reason
    assert all(step.cut_short for step in capacity.steps)
    assert "capacity: no rate passed" in result.stderr


def test_ctrl_c_ends_a_search(start, finish, wait_for_progress, image_target):
    """After Ctrl-C the search is reported as interrupted, and the exit code is 1."""
    process, folder = start(
        *("--target", image_target, "--model", "cat", "--slo-ms", 9000, "--start-rate", 20),
        *("--step-seconds", 600, "--max-seconds", 6000),
        command="find-capacity",
    )
    wait_for_progress(process)

    process.send_signal(signal.SIGINT)
    result = finish(process, folder)

    assert result.exit_code == 1
    assert result.report.status == "interrupted"
    assert result.report.capacity.rate_per_second is None
    assert result.report.capacity.steps == []

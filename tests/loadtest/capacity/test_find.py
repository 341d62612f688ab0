import signal
from pathlib import Path

import numpy as np
import pytest
from load_reports import report

from loadtest.capacity import find
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Recorder
from loadtest.load.images import Queries
from loadtest.session.session import Measurement
from loadtest.settings.config import LoadTestConfig


@pytest.fixture(scope="module")
def capacity_run(run, image_target):
    """A search whose bound every rate meets, so that it ends after its number of steps."""
    return run(
        *("--target", image_target, "--model", "cat", "--slo-ms", 9000, "--percentile", 90),
        *("--start-rate", 200, "--step-seconds", 0.1, "--confirm-seconds", 0.3),
        *("--max-steps", 2, "--timeout", 30, "--min-accuracy", 0.01),
        command="find-capacity",
    )


def test_a_search_reports_every_step_and_confirms_its_result(capacity_run):
    """The report holds the step at twice the rate and a confirmation of the highest passed rate."""
    capacity = capacity_run.report.capacity

    steps = capacity.steps
    assert [(step.phase, step.offered_rate_per_second) for step in steps[:3]] == [
        ("probe", 200),
        ("probe", 400),
        ("confirm", 400),
    ]
    assert [step.n for step in steps[:3]] == [64, 64, 120]
    # On a busy machine a confirmation may be INVALID; the search then repeats it at a lower rate.
    assert all(step.phase == "confirm" for step in steps[3:])
    assert capacity.confirmed == steps[-1].passed
    assert capacity.confirmed == capacity_run.report.validity.valid
    assert all(step.reason for step in steps if not step.passed)
    if capacity.confirmed:
        assert capacity_run.exit_code == 0, capacity_run.stderr
        assert capacity.rate_per_second == steps[-1].offered_rate_per_second
    assert "probe: 64 requests at 400.0/s" in capacity_run.stderr


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
    measured = Measurement(
        report=report(kind="server", rate=100, n=1000, slo_ms=1000, reasons=reasons),
        recording=Recorder().recording(),
        scores=Scorer(None, Queries(np.arange(1), 1), np.zeros(1)).score(Recorder().recording()),
    )
    config = LoadTestConfig(
        target="localhost:8500", model="simcnn", output_dir=Path(), name="run", slo_ms=1000
    )

    step = find._step(phase, 100, measured, config, 1.0)

    assert step.passed is passed
    assert step.reason == ("" if passed else "the thirds differ; a busy client")


def test_a_search_without_a_passing_rate_fails(run, image_target):
    """With a bound of 1 us every step is cut short and no rate passes; the exit code is 1."""
    result = run(
        *("--target", image_target, "--model", "cat", "--slo-ms", 0.001, "--percentile", 90),
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

import subprocess
import sys
import time

import pytest
from sample_results import load_reports

from loadtest.matrix.execution import Execution, MatrixRun
from loadtest.matrix.file import Matrix, MatrixScenario
from loadtest.plans.child_runs import ChildRun, CommonSettings
from loadtest.plans.endpoints import Endpoint
from loadtest.plans.targets import AUTO, Target
from loadtest.reports.pages import files
from loadtest.servers import description


@pytest.fixture
def execution(tmp_path):
    """An execution of 100 seconds whose runs "take" 30 seconds each and measure nothing."""
    target = Target("here", "localhost:1", (), (AUTO,))
    scenario = MatrixScenario("run", ("--requests=12",), None)
    plan = Matrix("timed", 5, 100, None, (target,), (scenario,))
    endpoint = Endpoint(target, "localhost:1", description.Served({}, {}), None)
    clock = [0.0]

    class Timed(Execution):
        def _execute(self, command, folder, endpoint):
            files.write_run(load_reports.report(), folder)
            clock[0] += 30

    runs = [MatrixRun(endpoint, "cat", scenario, repeat) for repeat in range(5)]
    settings = CommonSettings(folder=tmp_path, models_dir=tmp_path, data_dir=None)
    return Timed(plan, settings), runs, clock


def test_no_run_starts_that_would_not_end_in_time(execution, monkeypatch):
    """After three runs of 30 s no fourth fits into 100 s, so the remaining two are left out."""
    executed, runs, clock = execution
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    executed._started = 0.0

    executed.run_all(runs)

    assert len(executed.outcome.results) == 3
    assert executed.outcome.not_measured == [
        "cat on here: run --requests=12: 2 of 5 repeats left out, 100 seconds are over"
    ]
    assert executed.outcome.failures == executed.outcome.not_measured


def test_a_run_that_goes_on_for_too_long_is_ended(execution, tmp_path):
    """When the time is up the run gets SIGINT, on which it writes its report."""
    executed, _, _ = execution
    executed._started -= 99.5
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)"], stderr=subprocess.DEVNULL
    ) as child:
        executed._wait(ChildRun(tmp_path, child))

    assert child.returncode != 0
    assert executed.outcome.stop_reason == "100 seconds are over"

"""How a plan ends: its report, its last line and its exit code."""

import json

import pytest
from sample_results import load_reports

from loadtest.plans.endpoints import Endpoint
from loadtest.plans.plan_outcome import Outcome, finish
from loadtest.plans.targets import AUTO, Target
from loadtest.reports.collection import read
from loadtest.servers.description import Served
from loadtest.settings.config import UsageError


@pytest.fixture
def outcome(tmp_path):
    """One run that was measured, and nothing that failed."""
    target = Target("here", "localhost:1", (), (AUTO,))
    endpoint = Endpoint(target, "localhost:1", Served({}, {"onnx-serving": "1"}), None)
    return Outcome(results=[endpoint.result(load_reports.report(), "runs/1", None)])


def ended(outcome: Outcome, folder, *, print_json: bool = False) -> int:
    return finish(outcome, "plan", folder, runs="runs", print_json=print_json)


def test_a_plan_whose_runs_were_all_measured_ends_with_0(outcome, tmp_path, capsys):
    """The report has the results, and standard output says where it is."""
    exit_code = ended(outcome, tmp_path)

    document = read(tmp_path)
    stdout, stderr = capsys.readouterr()
    assert (exit_code, stderr) == (0, "")
    assert stdout == f"1 runs; report: {tmp_path / 'report.html'}\n"
    assert document.name == "plan"
    assert [result.target for result in document.results] == ["here"]
    assert document.results[0].server_versions == {"onnx-serving": "1"}


def test_json_is_the_last_line(outcome, tmp_path, capsys):
    """With `print_json` the report is also printed, as one line."""
    ended(outcome, tmp_path, print_json=True)

    assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == "plan"


def test_what_is_missing_is_on_the_last_line(outcome, tmp_path, capsys):
    """Missed gates and runs without a report give exit code 1; a stop is named if nothing else."""
    outcome.stop_reason = "interrupted by SIGINT"
    assert ended(outcome, tmp_path) == 1
    assert capsys.readouterr().err == "failed: interrupted by SIGINT\n"

    outcome.missed_gates.append("a: too slow")
    outcome.not_measured.append("b: no answer")

    assert ended(outcome, tmp_path) == 1
    assert capsys.readouterr().err == "failed: a: too slow; b: no answer\n"
    assert read(tmp_path).not_measured == ["b: no answer"]


def test_a_plan_without_results_leaves_no_report(tmp_path):
    """The error has the reasons of the runs, or says that nothing was measured."""
    with pytest.raises(UsageError, match=r"^a: refused; b: refused$"):
        ended(Outcome(not_measured=["a: refused", "b: refused"]), tmp_path)
    with pytest.raises(UsageError, match=r"^nothing was measured$"):
        ended(Outcome(), tmp_path)

    assert not list(tmp_path.iterdir())

import json

import pytest
from gpu import steps, training_runs
from gpu.work import Work


def run(names: list[str], tmp_path, *arguments: str, minutes: float = steps.MINUTES):
    """Run steps on the CPU in the test's folders; return their outcomes."""
    places = ("--work", str(tmp_path / "work"), "--output", str(tmp_path / "results"))
    small = ("--device", "cpu", "--small", "--models", "simcnn")
    return steps.run(
        names,
        (*places, *small, *arguments),
        Work(tmp_path / "work"),
        tmp_path / "results",
        minutes=minutes,
    )


@pytest.mark.parametrize("minutes", [15, 60])
def test_the_steps_leave_time_for_start_and_uploads(minutes):
    """All limits together are less than 13 of 15 minutes, in proportion to the machine's time."""
    names = [*steps.STEPS, *[steps.UNPACK.name] * 3]

    total = sum(steps.limit(name, minutes) for name in names)

    assert total == pytest.approx(steps.TOTAL_SECONDS * minutes / steps.MINUTES)
    assert total < 60 * minutes * 13 / 15


def test_a_failed_step_does_not_stop_the_next(tmp_path):
    """A step that fails is named with its reason in the log, and the next step runs."""
    missing = ("--upload", str(tmp_path / "missing"))

    outcomes = run(["unpack", "deliver"], tmp_path, *missing)

    assert outcomes == {"unpack": "failed", "deliver": "ok"}
    assert "index.json" in (tmp_path / "results/log-1.txt").read_text()


def test_a_step_that_takes_too_long_is_cut_off_with_its_results(tmp_path):
    """At its limit a step is ended, and the rows so far are in its file."""
    whole = run(["raw"], tmp_path)
    rows = json.loads((tmp_path / "results/raw.json").read_text())["rows"]
    # More calls than fit into the limit: without --small.
    places = ("--work", str(tmp_path / "work"), "--output", str(tmp_path / "results"))
    given = (*places, "--device", "cpu", "--models", "simcnn")
    work = Work(tmp_path / "work")
    outcomes = steps.run(["raw"], given, work, tmp_path / "results", minutes=0.55)

    cut_off = json.loads((tmp_path / "results/raw.json").read_text())
    assert whole == {"raw": "ok"}
    assert {row["mode"] for row in rows} == {
        *("eager", "host buffers", "device buffers", "alternating")
    }
    assert all(row.get("agreement", 1) == 1 for row in rows)
    assert outcomes == {"raw": "cut off"}
    assert not cut_off["complete"]


def test_the_summary_is_one_line_of_json(tmp_path):
    """A step that is not ok makes the whole not ok."""
    good = json.loads(steps.summary({"check": "ok"}, tmp_path))
    bad = json.loads(steps.summary({"check": "ok", "raw": "cut off"}, tmp_path))

    assert (good["ok"], bad["ok"]) == (True, False)


@pytest.mark.parametrize(("seconds", "budget"), [(200, 170), (1, 1)])
def test_a_training_gets_most_of_the_time_as_its_budget(seconds, budget):
    """85 % of the time limit are the training's `--time-budget`: whole seconds, at least one."""
    assert training_runs.training_budget(seconds) == budget

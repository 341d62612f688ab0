"""Real searches on small pictures: each trial is a process that trains with TensorFlow."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from training.__main__ import main
from training.run import folder_lock
from training.search import study
from training.search.plan import data_identity
from training.settings import search_record

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[3]


def wait_for(found, seconds=120):
    """Wait until a function returns something true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError(found)


def holder(folder):
    """Return the process that trains in a run folder; None if none does."""
    try:
        text = (folder / ".lock").read_text()
    except FileNotFoundError:
        return None
    found = re.match(r"process (\d+)", text)
    return int(found[1]) if found else None


def is_alive(process):
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def start(command, *arguments):
    return subprocess.Popen(
        command("search", *arguments),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def finished(command, make_plan, small_flags, tmp_path_factory):
    """A search that was killed in its first trial, and then went on; and what it printed.

    Its trials: the recipe (killed with the search, and continued), a rate that learns nothing, a
    rate that diverges, and one whose process is killed.
    """
    folder = tmp_path_factory.mktemp("searches") / "search"
    flags = (*small_flags, f"--output-dir={folder}", "--param=learning_rate=1e-9..1e30")
    killed = start(command, *flags)
    first = folder / "trials" / "0000"
    wait_for((first / "checkpoints" / "epoch-0001.json").exists)
    process = holder(first)
    killed.kill()
    killed.communicate()
    if process is not None:
        wait_for(lambda: not is_alive(process), seconds=30)

    plan = make_plan(*flags)
    opened = study.open_study(plan, data_identity(plan.data_dir))
    for rate in (1e-9, 1e30, 1e-3):
        opened.enqueue_trial({"learning_rate": rate})
    running = start(command, *flags)
    last = wait_for(lambda: holder(folder / "trials" / "0004"))
    os.kill(last, signal.SIGKILL)
    printed, _ = running.communicate(timeout=200)
    assert running.returncode == 0, printed
    return folder, flags, printed


def test_a_search_ends_poor_trials_and_survives_failed_ones(finished):
    """Trials are complete, pruned, diverged or failed, each with its reason in trials.csv."""
    folder, _, printed = finished

    with (folder / "trials.csv").open(newline="") as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    outcomes = {number: (row["outcome"], row["epochs"]) for number, row in rows.items()}
    assert outcomes["1"] == ("complete", "3")
    assert outcomes["2"] in {("pruned", "1"), ("pruned", "2")}
    assert outcomes["3"] == ("diverged", "0")
    assert outcomes["4"][0] == "failed"
    assert len(rows) == 4
    assert "loss is" in rows["3"]["reason"]
    assert rows["4"]["reason"] == (
        "the process was ended by SIGKILL, perhaps because the memory was full"
    )
    assert "search ended: 4 of 4 trials are done" in printed


def test_a_killed_trial_goes_on_where_it_was(finished):
    """The first trial's epochs are in one folder, each once; finished trials keep no weights."""
    folder, _, _ = finished

    history = (folder / "trials" / "0000" / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in history] == ["epoch", "1", "2", "3"]
    log = (folder / "trials" / "0000" / "log.txt").read_text()
    assert re.search(r"epochs [23] to 3 on ", log)
    assert not list(folder.glob("trials/*/checkpoints"))
    assert not list(folder.glob("trials/*/metrics.json"))


def test_the_accuracy_of_a_trial_is_that_of_the_validation_pictures(finished):
    """The table and the record have the last validation accuracy of the trial's history."""
    folder, _, printed = finished
    rows = (folder / "trials" / "0000" / "history.csv").read_text().splitlines()
    accuracy = float(rows[-1].split(",")[rows[0].split(",").index("val_accuracy")])

    record = json.loads((folder / "refit-0001" / "metrics.json").read_text())["search"]
    assert record["validation_accuracy"] == accuracy
    assert re.search(rf"\n1\* +complete +3 +{accuracy:.2%} ", printed)
    assert record["trials"] == {
        "complete": 1,
        "pruned": 1,
        "diverged": 1,
        "stopped": 0,
        "failed": 1,
    }
    told = search_record.describe(record)
    assert "learning_rate 0.003" in told
    assert "in 4 trials of at most 3 epochs (1 complete, 1 pruned, 1 diverged, 1 failed)" in told
    assert told.endswith("in trial 1. The test images chose nothing.")


def test_the_report_of_the_final_training_names_the_search(finished, tmp_path):
    """The training report has the same sentence as the model card."""
    folder, flags, _ = finished
    run_dir = folder / "refit-0001"
    data_dir = next(flag for flag in flags if flag.startswith("--data-dir="))

    code = main(["report", str(run_dir), data_dir, f"--output={tmp_path}"])

    record = json.loads((run_dir / "metrics.json").read_text())["search"]
    (page,) = tmp_path.glob("*.md")
    assert code == 0
    assert search_record.describe(record) in page.read_text().replace("\\_", "_")


def test_the_printed_command_trains_the_same_model(finished, tmp_path, capsys):
    """The best settings are trained with all epochs, and the command repeats that bit for bit."""
    folder, _, printed = finished
    (line,) = [line for line in printed.splitlines() if line.startswith("python -m training ")]
    arguments = shlex.split(line)[3:]
    assert arguments[-1] == f"--run-dir={folder}/refit-0001"

    code = main([*arguments[:-1], f"--run-dir={tmp_path}"])

    assert code == 0
    expected, found = (
        json.loads((run / "metrics.json").read_text()) for run in (folder / "refit-0001", tmp_path)
    )
    assert found["config"] == expected["config"]
    assert found["epochs"] == 4
    assert "search" not in found
    models = [
        keras.models.load_model(run / "model.keras", compile=False)
        for run in (folder / "refit-0001", tmp_path)
    ]
    for first, second in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_finished_search_is_not_run_again(finished, capsys):
    """The same command prints the results; it trains nothing."""
    folder, flags, _ = finished
    before = sorted(path.name for path in (folder / "trials").iterdir())

    code = main(["search", *flags])

    out = capsys.readouterr().out
    assert code == 0
    assert "refit-0001 was finished before: " in out
    assert "to publish it:\npython -m export " in out
    assert sorted(path.name for path in (folder / "trials").iterdir()) == before


def test_another_python_publishes(finished, tmp_path, monkeypatch):
    """EXPORT_PYTHON gets the arguments of `python -m export`; its exit code is the search's."""
    folder, flags, _ = finished
    python, models = tmp_path / "python", tmp_path / "models"
    python.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexit 3\n')
    python.chmod(0o755)
    monkeypatch.setenv("EXPORT_PYTHON", str(python))

    code = main(["search", *flags, f"--models-dir={models}"])

    assert code == 3
    called = (tmp_path / "arguments").read_text()
    assert called.startswith(f"-m export {folder / 'refit-0001'} --models-dir={models}")


def test_a_python_that_cannot_be_started_is_named(finished, tmp_path, monkeypatch, capsys):
    """A wrong EXPORT_PYTHON is one line with the command that publishes the result."""
    _, flags, _ = finished
    monkeypatch.setenv("EXPORT_PYTHON", "/no/python")

    code = main(["search", *flags, f"--models-dir={tmp_path / 'models'}"])

    assert code == 2
    error = capsys.readouterr().err
    assert "EXPORT_PYTHON is '/no/python', which cannot be started (No such file" in error
    assert "python -m export " in error


def test_a_second_search_in_a_folder_is_refused(finished, capsys):
    """If another process searches in the folder, the command names it and exits with 2."""
    folder, flags, _ = finished

    with folder_lock.lock(folder):
        code = main(["search", *flags])

    assert code == 2
    assert re.search(
        rf"is in use by process {os.getpid()} .* pass another --output-dir", capsys.readouterr().err
    )


def test_trials_of_one_epoch_tell_the_start_from_the_epoch(command, small_flags, tmp_path):
    """The time that is kept for the final training counts the start of the process once."""
    flags = (
        *small_flags,
        "--trial-epochs=1",
        "--trials=1",
        "--no-refit",
        f"--output-dir={tmp_path}",
    )
    running = start(command, *flags)
    printed, _ = running.communicate(timeout=200)

    assert running.returncode == 0, printed
    journal = (tmp_path / study.FILE).read_text().splitlines()
    (pace,) = [
        line["user_attr"]["pace"]
        for line in map(json.loads, journal)
        if "pace" in line.get("user_attr", {})
    ]
    start_seconds, epoch_seconds = pace
    speed = json.loads((tmp_path / "trials" / "0000" / "speed.json").read_text())
    assert speed == {"epochs": 1, "start_seconds": start_seconds, "epoch_seconds": epoch_seconds}
    assert start_seconds > 0


@pytest.mark.parametrize(
    ("flags", "blocked", "message"),
    [
        (["--seed=5"], "", "holds a search with other settings (seed was 0, is 5)"),
        ([], "optuna", "the search needs optuna, which is not installed; install the extra search"),
        (["--models-dir=m"], "tf2onnx", "--models-dir needs tf2onnx, which is not installed"),
    ],
)
def test_errors_come_before_tensorflow(finished, flags, blocked, message, tmp_path):
    """A missing library, and a study of other settings, are one line; Keras is not imported."""
    _, common, _ = finished
    program = (
        "import importlib.util, sys\n"
        "from training.__main__ import main\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name: None if name == {blocked!r} else find(name)\n"
        "code = main(sys.argv[1:])\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
        "sys.exit(code)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, "search", *common, *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"error: .*\n", done.stderr)
    assert message in done.stderr


@pytest.mark.slow
def test_ctrl_c_and_a_larger_budget_go_on(command, picture_dir, tmp_path):
    """Ctrl+C ends a trial after its step; too few minutes are told; then the search goes on."""
    flags = (
        *("simcnn", f"--data-dir={picture_dir}", "--image-size=32", "--epochs=20000"),
        *("--trial-epochs=40", "--batch-size=16", "--trials=1", f"--output-dir={tmp_path}"),
    )
    folder = tmp_path / "trials" / "0000"
    running = start(command, *flags, "--no-refit")
    wait_for((folder / "checkpoints" / "epoch-0003.json").exists)
    running.send_signal(signal.SIGINT)
    printed, _ = running.communicate(timeout=100)
    assert running.returncode == 130
    assert "error: interrupted; the same command goes on with the search" in printed
    assert holder(folder) is None
    assert list((folder / "checkpoints").iterdir())

    short = start(command, *flags, "--minutes=5")
    printed, _ = short.communicate(timeout=200)
    assert short.returncode == 2
    assert re.search(r"error: 5 minutes are not enough for one trial: .* --minutes \d", printed)

    whole = start(command, *flags, "--no-refit")
    printed, _ = whole.communicate(timeout=600)
    assert whole.returncode == 0, printed
    history = (folder / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in history] == ["epoch", *map(str, range(1, 41))]
    assert re.search(r"epochs 4 to 40 on ", (folder / "log.txt").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_best_model_is_published(command, picture_dir, tmp_path):
    """--models-dir publishes the final training; its card says that a search chose the settings."""
    flags = (
        *("keras:MobileNetV3Small", f"--data-dir={picture_dir}", "--image-size=64", "--epochs=2"),
        *("--trials=2", "--pruner=hyperband", "--freeze-epochs=0", "--validation-fraction=0.4"),
        *(f"--output-dir={tmp_path / 'search'}", f"--models-dir={tmp_path / 'models'}"),
        "--name=shapes",
    )
    running = start(command, *flags)
    printed, _ = running.communicate(timeout=1100)
    assert running.returncode == 0, printed
    card = (tmp_path / "models" / "shapes" / "1" / "MODEL_CARD.md").read_text()
    assert re.search(
        r"\| Search \| Optuna \S+ chose learning_rate .* in 2 trials of at most 2", card
    )
    assert "The test images chose nothing." in card
    assert str(tmp_path) not in card

"""Trainings on disks without room: one line, exit code 2, whole files, and a resume."""

import csv
import hashlib
import json
import os
import re
import subprocess

import disks
import pytest

from training.__main__ import main

# Trainings of several epochs, twice: seconds on a machine at rest, minutes on a busy one.
pytestmark = pytest.mark.timeout(400)
EPOCHS = 2
WAY_ON = "and repeat the command, which resumes the run, or start in another --run-dir"


@pytest.fixture
def arguments(image_dir):
    """The command line, without the run folder."""
    return ("simcnn", f"--epochs={EPOCHS}", "--batch-size=32", "--data-dir", str(image_dir))


def train_here(arguments, run_dir, capsys):
    """Run the command line in this process; return the exit code and the lines with errors."""
    code = main([*arguments, "--run-dir", str(run_dir)])
    lines = capsys.readouterr().err.splitlines()
    return code, [line for line in lines if "Traceback" in line or line.startswith("error")]


def read_history(run_dir):
    with (run_dir / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def whole_checkpoints(run_dir):
    """Return the epochs of the checkpoints; every file of the folder belongs to a whole one."""
    folder = run_dir / "checkpoints"
    documents = sorted(folder.glob("*.json"))
    for path in documents:
        digest = json.loads(path.read_text())["sha256"]
        assert hashlib.sha256(path.with_suffix(".weights.h5").read_bytes()).hexdigest() == digest
    assert len(list(folder.iterdir())) == 2 * len(documents)
    return [int(path.stem.removeprefix("epoch-")) for path in documents]


@pytest.mark.parametrize(
    ("room", "before"),
    [
        pytest.param(1_000_000, [], id="first-checkpoint"),
        pytest.param(3_000_000, [1], id="later-checkpoint"),
    ],
)
def test_a_full_disk_ends_the_training_which_resumes_when_there_is_room(
    room, before, disk, arguments, run_command
):
    """A checkpoint without room, at half of which the disk is full, is told in one line.

    The checkpoint before it stays whole, and the epochs before it are not trained again.
    """
    run_dir = disk.path / "run"
    disk.fill(leave=room)

    full = run_command(*arguments, "--run-dir", run_dir)

    error = full.stderr.splitlines()[-1]
    file = f"{run_dir}/checkpoints/epoch-{len(before) + 1:04}.weights.h5"
    assert full.returncode == 2
    assert re.fullmatch(
        rf"error: cannot write {file} \(2\.0 MB\): No space left on device, [\d.]+ kB of 16\.8 MB "
        rf"are free; free some space {WAY_ON}",
        error.replace("1.0 MB of", "1000.0 kB of"),
    )
    assert "Traceback" not in full.stderr
    assert whole_checkpoints(run_dir) == before
    assert not [name for name in disk.files() if ".tmp" in name or ".lock" in name]
    history = read_history(run_dir)
    disk.make_room()
    resumed = run_command(*arguments, "--run-dir", run_dir)
    assert resumed.returncode == 0, resumed.stderr
    assert f"epochs {len(before) + 1} to {EPOCHS}" in resumed.stderr
    assert read_history(run_dir)[: len(before)] == history[: len(before)]
    assert [row["epoch"] for row in read_history(run_dir)] == ["1", "2"]
    assert (run_dir / "metrics.json").exists()


def test_a_limit_on_file_sizes_ends_the_training_like_a_full_disk(arguments, command, tmp_path):
    """A checkpoint over the limit of ulimit is told in one line; no disk is mounted for this."""
    run_dir = tmp_path / "run"

    result = subprocess.run(
        disks.limited_to(1_000_000) + command(*arguments, "--run-dir", run_dir),
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        f"error: cannot write {run_dir}/checkpoints/epoch-0001.weights.h5 (2.0 MB): File too "
        f"large, a file may have 1.0 MB; raise the limit with ulimit -f {WAY_ON}"
    )
    assert whole_checkpoints(run_dir) == []


@pytest.mark.parametrize(
    "stage",  # the file, the number of checkpoints before it, and flags
    [
        pytest.param(("config.json", 0, ()), marks=pytest.mark.slow),
        ("history.csv", 0, ()),
        pytest.param(("checkpoints/epoch-0002.weights.h5", 1, ()), marks=pytest.mark.slow),
        # With early stopping, checkpoint 1 is the best epoch's or the last one's.
        ("checkpoints/epoch-0002.json", 1, ("--early-stopping=5",)),
        ("model.keras", 2, ()),
        pytest.param(("curves.png", 2, ()), marks=pytest.mark.slow),
        pytest.param(("confusion_matrix.png", 2, ()), marks=pytest.mark.slow),
        ("metrics.json", 2, ()),
    ],
)
def test_every_file_of_a_run_may_find_the_disk_full(stage, arguments, tmp_path, capsys):
    """Each file is told in one line, is not there in part, and is written by the resumed run."""
    name, before, flags = stage
    disks.make_full(tmp_path / name)

    code, errors = train_here((*arguments, *flags), tmp_path, capsys)

    assert code == 2
    assert len(errors) == 1
    assert errors[0].startswith(f"error: cannot write {tmp_path / name} (")
    assert "No space left on device" in errors[0]
    assert not (tmp_path / name).exists() or name == "history.csv"
    assert not list(tmp_path.rglob(".tmp-*"))
    assert not (tmp_path / "metrics.json").exists()
    checkpoints = tmp_path / "checkpoints"
    assert (whole_checkpoints(tmp_path) if checkpoints.exists() else []) == list(
        range(1, before + 1)
    )
    trained = read_history(tmp_path)[:before] if before else []
    assert train_here((*arguments, *flags), tmp_path, capsys) == (0, [])
    assert read_history(tmp_path)[:before] == trained
    assert len(read_history(tmp_path)) == EPOCHS
    assert (tmp_path / name).exists() or name.startswith("checkpoints/")


def test_logs_for_tensorboard_without_room_are_told_too(disk, arguments, tmp_path, capsys):
    """TensorFlow's own error about the events file becomes the same line."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    logs = disk.path / "logs"
    logs.mkdir()
    (run_dir / "tensorboard").symlink_to(logs)
    disk.fill(leave=0)

    code, errors = train_here(arguments, run_dir, capsys)

    assert code == 2
    told = "No space left on device, 0 bytes of 16.8 MB are free; free some space"
    assert errors == [f"error: cannot write {run_dir}/tensorboard: {told} {WAY_ON}"]
    disk.make_room()
    assert train_here(arguments, run_dir, capsys) == (0, [])


def test_a_read_only_run_folder_is_told_before_the_training(disk, arguments, capsys):
    """On a read-only file system no epoch is trained."""
    disk.make_read_only()

    code, errors = train_here(arguments, disk.path / "run", capsys)

    assert code == 2
    assert errors == [
        f"error: cannot write {disk.path}/run: Read-only file system; make it writable {WAY_ON}"
    ]

"""Tests of the training image's entry point, without a container."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import write_images

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy/train_and_publish.py"
# Takes root's right to write everywhere; the containers have no capability either.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


@pytest.fixture
def folders(tmp_path) -> dict[str, Path]:
    """Folders for runs, models and data, as the container mounts them; data has 250 images."""
    for name in ("runs", "models"):
        (tmp_path / name).mkdir()
    write_images(tmp_path / "data", {"train": 20, "test": 5})
    return {name: tmp_path / name for name in ("runs", "models", "data")}


@pytest.fixture
def entry_point(folders) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs the entry point with this environment's Python for both parts."""

    def run(*arguments: str, prefix: tuple[str, ...] = (), **env: str):
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONSAFEPATH": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "KERAS_BACKEND": "jax",
            "KERAS_HOME": str(folders["runs"] / ".cache/keras"),
            "CIFAR10_DIR": str(folders["data"]),
            "MODELS_DIR": str(folders["models"]),
            "EXPORT_PYTHON": sys.executable,
            "EXPORT_ARGS": "--precision fp32",
        }
        return subprocess.run(
            [*prefix, sys.executable, SCRIPT, *arguments],
            cwd=folders["runs"],
            env=environment | env,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.slow
def test_a_model_is_trained_and_published(entry_point, folders):
    """One command trains on JAX, exports with TensorFlow and publishes a new version.

    The same command publishes the finished run again. If the accuracy gate fails, nothing is
    published and the exit code is the export's.
    """
    command = ("simcnn", "--epochs", "1")
    first = entry_point(*command)
    again = entry_point(*command)
    figures = folders["runs"] / "simcnn-best/metrics.json"
    metrics = json.loads(figures.read_text())
    assert metrics["versions"]["backend"] == "jax"
    perfect = [[5 * (row == column) for column in range(10)] for row in range(10)]
    figures.write_text(json.dumps(metrics | {"confusion_matrix": perfect}))
    refused = entry_point(*command)

    assert (first.returncode, again.returncode, refused.returncode) == (0, 0, 1), refused.stderr
    assert "published" in first.stdout
    assert "was finished before, nothing to train" in again.stdout
    assert "nothing was published" in refused.stderr
    assert sorted(path.name for path in (folders["models"] / "simcnn").iterdir()) == ["1", "2"]
    assert (folders["models"] / "simcnn/2/model.onnx").is_file()


@pytest.mark.skipif(
    any(shutil.which(command) is None for command in UNPRIVILEGED[:1]),
    reason="root needs setpriv to be a user who cannot write everywhere",
)
@pytest.mark.parametrize("name", ["runs", "models"])
def test_a_folder_that_cannot_be_written_is_named_before_the_training(entry_point, folders, name):
    """One line names the folder, its owner and the setting of Compose; no training starts."""
    folders[name].chmod(0o555)

    done = entry_point("simcnn", "--epochs", "1", prefix=UNPRIVILEGED)

    user = os.geteuid()
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert (
        f"user {user} cannot write to {folders[name]}, which belongs to user {user}" in done.stderr
    )
    assert 'TRAINING_USER="$(id -u)"' in done.stderr
    assert list(folders["models"].iterdir()) == []


def test_flags_of_the_export_that_cannot_be_split_are_named(entry_point, folders):
    """An open quote in EXPORT_ARGS is reported before the training."""
    done = entry_point("simcnn", EXPORT_ARGS="--name 'mine")

    assert done.returncode == 2
    assert done.stderr.startswith('error: EXPORT_ARGS is "--name \'mine", expected flags: ')
    assert list(folders["runs"].iterdir()) == []


def test_a_training_that_fails_publishes_nothing(entry_point, folders):
    """Without the data set, the training's message and exit code remain, and no export starts."""
    done = entry_point("simcnn", CIFAR10_DIR=str(folders["models"]), EXPORT_PYTHON="/no/python")

    assert done.returncode == 2
    assert f"{folders['models']} holds no CIFAR-10" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("report", "no-such"), ("inspect", "no-such"), ("predict", "no-such", "no-such")]
)
def test_other_commands_publish_nothing(entry_point, arguments):
    """They are the training's own: its message and exit code, and no export."""
    done = entry_point(*arguments, EXPORT_PYTHON="/no/python")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no-such" in done.stderr


def test_a_search_shows_its_space(entry_point):
    """`search` needs neither an export nor a GPU for the settings that it would search."""
    done = entry_point("search", "simcnn", "--show-space", EXPORT_PYTHON="/no/python")

    assert done.returncode == 0, done.stderr
    assert "learning_rate" in done.stdout


def test_the_help_is_that_of_the_training(entry_point):
    """`--help` lists the flags of `python -m training`."""
    done = entry_point("--help")

    assert done.returncode == 0
    assert "--mixed-precision" in done.stdout

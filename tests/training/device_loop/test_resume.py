"""A run of `python -m training` on the device, killed and resumed."""

import csv
import json
import os
import signal
import subprocess
import time

import keras
import numpy as np
import pytest
from image_files import png

from training.data.cifar10 import CLASS_NAMES

# Three processes import JAX and compile the programs.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EPOCHS, EVERY = 5, 2
JAX = {"KERAS_BACKEND": "jax"}


@pytest.fixture
def few_images(tmp_path):
    """Forty training and ten test images of noise as PNG files: XLA is slow on a CPU."""
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 1)):
        for name in CLASS_NAMES:
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                (tmp_path / "images" / split / name / f"{number}.png").write_bytes(png(pixels))
    return tmp_path / "images"


def read_history(run_dir):
    with (run_dir / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def kill_after(epochs, command, run_dir):
    """Start the training, and kill it when `epochs` epochs are in history.csv."""
    with subprocess.Popen(
        command, env=os.environ | JAX, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        deadline = time.monotonic() + 200
        while not (run_dir / "history.csv").exists() or len(read_history(run_dir)) < epochs:
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        return process.wait()


def test_killed_run_has_the_weights_of_an_undisturbed_one(
    tmp_path, few_images, command, run_command
):
    """With a checkpoint every second epoch, a kill and a resume change neither weights nor history.

    The epochs after the last checkpoint are trained again, and history.csv has each of them once.
    """
    flags = ("--device-epochs", "on", "--validation", "test", "--data-dir", few_images)
    flags += ("--epochs", EPOCHS, "--batch-size", 16, "--ema-span", 0.5, "--mixup", 0.2)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    arguments = ("simcnn", *flags, "--checkpoint-every", EVERY, "--run-dir", killed)
    code = kill_after(EVERY + 1, command(*arguments), killed)
    assert code == -signal.SIGKILL
    saved = max(int(path.stem[6:10]) for path in killed.glob("checkpoints/epoch-*.json"))
    assert saved % EVERY == 0 or saved == EPOCHS

    resumed = run_command(*arguments, env=JAX)
    undisturbed = run_command("simcnn", *flags, "--run-dir", whole, env=JAX)

    assert resumed.returncode == undisturbed.returncode == 0, resumed.stderr + undisturbed.stderr
    assert f"epochs {saved + 1} to {EPOCHS} on 40 images" in resumed.stderr
    assert "whole epochs on the device" in resumed.stderr
    assert json.loads((killed / "metrics.json").read_text())["device_epochs"] is True
    timeless = [
        [{k: v for k, v in row.items() if "seconds" not in k} for row in read_history(run_dir)]
        for run_dir in (killed, whole)
    ]
    assert timeless[0] == timeless[1]
    assert [int(row["epoch"]) for row in timeless[0]] == list(range(1, EPOCHS + 1))
    one, other = (
        keras.models.load_model(run_dir / "model.keras").get_weights()
        for run_dir in (killed, whole)
    )
    for mine, theirs in zip(one, other, strict=True):
        assert np.array_equal(mine, theirs)

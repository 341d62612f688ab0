"""Training on several devices, in a child process that divides the CPU into two devices."""

import csv
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from training import devices
from training.data.cifar10 import load_split
from training.model.predictions import predict_logits
from training.settings.recipes import ConfigError, from_recipe

# The first lines divide the CPU; then each run of argv[3] is trained, in order.
# Trainings of several processes: seconds on a machine at rest, minutes on a busy one.
pytestmark = pytest.mark.timeout(400)
SCRIPT = """
import json, pathlib, sys
if sys.argv[1] == "tensorflow":
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from training.run import checkpoint, train
from training.settings.recipes import from_recipe
folder, data_dir = map(pathlib.Path, sys.argv[2:4])
for name, device_count, killed, overrides in json.loads(sys.argv[4]):
    settings = from_recipe("simcnn", "best", **overrides)
    save = checkpoint.save
    if killed:
        def save_and_die(*arguments, **keywords):
            save(*arguments, **keywords)
            raise KeyboardInterrupt
        checkpoint.save = save_and_die
    try:
        train.train(
            settings, run_dir=folder / name, data_dir=data_dir, device_count=device_count
        )
    except KeyboardInterrupt:
        assert killed
    finally:
        checkpoint.save = save
    assert keras.distribution.distribution() is None
"""
# 160 training images in five batches of 32, and 40 validation images.
SETTINGS = {
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "ema_span": 0.5,
    "clip_norm": 0.5,  # below the norm of every step
    "validation": "tail",
    "validation_fraction": 0.2,
}
RUNS = {
    "tensorflow": [
        ("one", 1, False, SETTINGS),
        ("fast", "all", False, {**SETTINGS, "fast_layers": "on"}),
        ("moved", 2, True, SETTINGS),
        ("moved", 1, False, SETTINGS),
    ],
    "jax": [
        ("one", 1, False, SETTINGS),
        ("parts", "all", False, {**SETTINGS, "batch_size": 16, "accumulate_steps": 2}),
        ("moved", 1, True, SETTINGS),
        ("moved", 2, False, SETTINGS),
    ],
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) for name in ("tensorflow", "jax")],
)
def runs(request, tmp_path_factory, image_dir):
    """A folder with all runs of a backend."""
    backend = request.param
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    folder = tmp_path_factory.mktemp(backend)
    environment = {
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, backend, folder, image_dir, json.dumps(RUNS[backend])],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "sharding policy" not in result.stderr
    return folder


def read_history(run_dir):
    with (run_dir / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_devices_together_learn_what_one_learns(runs, image_dir):
    """Losses, accuracies and the saved model equal those of one device, except for rounding.

    Gradients are clipped. This is tested with faster layers on TensorFlow, with accumulated
    gradients on JAX (batches are then half as large), and with another number of devices after the
    first epoch.
    """
    images = load_split(image_dir, "test").images
    expected = read_history(runs / "one")
    logits = predict_logits(keras.models.load_model(runs / "one" / "model.keras"), images)
    others = sorted(run_dir for run_dir in runs.iterdir() if run_dir.name != "one")
    assert len(others) == 2
    for run_dir in others:
        rows = read_history(run_dir)
        for key in ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            got, wanted = ([float(row[key]) for row in table] for table in (rows, expected))
            assert got == pytest.approx(wanted, rel=1e-4, abs=1e-9), (run_dir.name, key)
        model = keras.models.load_model(run_dir / "model.keras")
        np.testing.assert_allclose(predict_logits(model, images), logits, rtol=1e-3, atol=1e-4)


def test_metrics_tell_the_number_of_devices(runs):
    """metrics.json has the number of devices of the last session."""
    devices_of = {
        run_dir.name: json.loads((run_dir / "metrics.json").read_text())["devices"]
        for run_dir in runs.iterdir()
    }

    assert devices_of in (
        {"one": 1, "fast": 2, "moved": 1},  # TensorFlow
        {"one": 1, "parts": 2, "moved": 2},  # JAX
    )


def test_more_devices_than_there_are_are_refused():
    """More devices than there are raise ConfigError with the number and names of those."""
    config = from_recipe("simcnn", "best", batch_size=600)

    with pytest.raises(ConfigError, match=r"devices 200 received, but \w+ offers \d+: "):
        devices.choose(200, config)


def test_batch_that_cannot_be_divided_is_refused(monkeypatch):
    """A batch size that is no multiple of the devices raises ConfigError with the way out."""
    monkeypatch.setattr(devices, "_names", lambda _: ["a", "b", "c"])

    assert devices.choose("all", from_recipe("simcnn", "best", batch_size=9)) == ["a", "b", "c"]
    with pytest.raises(ConfigError, match=r"batch_size 100 cannot .* expected a multiple of 3"):
        devices.choose("all", from_recipe("simcnn", "best", batch_size=100))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras on JAX can do it")
@pytest.mark.parametrize(
    ("setting", "name"),
    [({"accumulate_steps": 4}, "accumulate_steps 4"), ({"xla": "on"}, "jit on")],
)
def test_what_keras_cannot_do_on_several_devices_needs_jax(setting, name, monkeypatch):
    """Settings that TensorFlow cannot combine with several devices are refused before the build."""
    monkeypatch.setattr(devices, "_names", lambda _: ["a", "b"])
    config = from_recipe("simcnn", "best", **setting)

    with pytest.raises(ConfigError, match=rf"{name} received .* 2 devices.*KERAS_BACKEND=jax"):
        devices.choose(2, config)
    assert len(devices.choose(1, config)) == 1


def test_other_backends_are_refused(monkeypatch):
    """A backend without data parallelism raises ConfigError with the backends that have it."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")

    with pytest.raises(ConfigError, match=r"tensorflow or jax.*'torch'"):
        devices.choose(2, from_recipe("simcnn", "best"))

import csv
import importlib.util
import json
import os
import signal
import subprocess
import time

import keras
import numpy as np
import pytest
from PIL import Image

from training import schemas
from training.batches.feeding import one_hot
from training.batches.validation_split import split_validation
from training.data.cifar10 import CLASS_NAMES, load, load_split
from training.model.predictions import evaluate, predict_logits
from training.run import checkpoint
from training.run.callbacks import HISTORY_COLUMNS, DivergedError
from training.run.train import train
from training.settings.recipes import ConfigError, from_recipe

# Trainings of several epochs: seconds on a machine at rest, minutes on a busy one.
pytestmark = pytest.mark.timeout(400)
# Augmentation, cosine schedule, weight decay and averaging over half of the steps, on 180 images.
SETTINGS = {"batch_size": 32, "ema_span": 0.5, "learning_rate": 1e-3}
FLAGS = ("--batch-size", 32, "--ema-span", 0.5, "--learning-rate", 1e-3)


def read_history(run_dir):
    with (run_dir / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read_metrics(run_dir):
    return json.loads((run_dir / "metrics.json").read_text())


def check_saved_model_is_the_averaged_one(run_dir, data_dir):
    """Check that model.keras has the validation loss of the last epoch."""
    metrics = read_metrics(run_dir)
    config = from_recipe(**metrics["config"])
    data = load(data_dir)
    _, validation = split_validation(data.train, data.test, config)
    model = keras.models.load_model(run_dir / "model.keras")
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=config.label_smoothing
    )
    logits = predict_logits(model, validation.images)
    expected = float(loss(one_hot(validation.labels), logits))
    assert metrics["last_epoch"]["val_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, image_dir):
    """A run of three epochs, trained in this process."""
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    config = from_recipe("simcnn", "best", epochs=3, **SETTINGS)
    return config, train(config, run_dir=run_dir, data_dir=image_dir)


def test_run_folder_is_complete(finished):
    """A finished run holds exactly the documented files; checkpoints are gone."""
    _, result = finished

    assert {path.name for path in result.run_dir.iterdir()} == {
        "config.json",
        "confusion_matrix.png",
        "curves.png",
        "history.csv",
        "metrics.json",
        "model.keras",
        "tensorboard",
    }
    assert list(result.run_dir.glob("tensorboard/validation/*tfevents*"))


def test_metrics_say_what_was_measured_how_and_on_what(finished, image_dir):
    """metrics.json holds result, uncertainty, settings, data, speed, hardware and versions."""
    config, result = finished
    metrics = read_metrics(result.run_dir)

    assert metrics == schemas.RUN.stamped(result.metrics)
    assert metrics["config"] == config.as_dict()
    assert (metrics["model"], metrics["parameters"]) == ("simcnn", 122_570)
    assert (metrics["recipe"], metrics["seed"], metrics["epochs"]) == ("best", 0, 3)
    assert metrics["n"] == 50
    low, high = metrics["top1_wilson_95"]
    assert low < metrics["top1"] < high
    assert tuple(metrics["per_class_accuracy"]) == CLASS_NAMES
    assert np.sum(metrics["confusion_matrix"], axis=1).tolist() == [5] * 10
    assert metrics["imagenet_weights"] is False
    data = load(image_dir)
    assert metrics["data"] == {
        "variant": "image-folder",
        "train_sha256": data.train.sha256(),
        "test_sha256": data.sha256,
        "train_images": 180,
        "validation_images": 20,
    }
    assert metrics["train_images_per_second"] > 0
    assert metrics["wall_seconds"] > 0
    assert metrics["hardware"]["cores"] >= 1
    assert metrics["hardware"]["gpus"] == [] or metrics["hardware"]["gpus"]
    assert metrics["versions"]["keras"] == keras.__version__
    assert metrics["versions"]["backend"] == keras.backend.backend()
    assert set(metrics["versions"]) == {"python", "keras", "backend", "backend_version", "numpy"}
    assert metrics["finished_utc"].endswith("+00:00")
    assert "git_commit" in metrics


def test_history_has_a_line_for_each_epoch(finished):
    """history.csv has epochs from 1; the rate warms up, then falls to 0 with the last step."""
    _, result = finished
    rows = read_history(result.run_dir)

    assert tuple(rows[0]) == HISTORY_COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == pytest.approx([5e-4, 1e-3, 0.0], abs=1e-9)


def test_saved_model_gives_the_reported_accuracy(finished, image_dir):
    """model.keras loads, and classifies the test images as metrics.json says."""
    _, result = finished
    model = keras.models.load_model(result.run_dir / "model.keras")

    again = evaluate(model, load_split(image_dir, "test"))

    assert again.confusion_matrix == result.metrics["confusion_matrix"]
    check_saved_model_is_the_averaged_one(result.run_dir, image_dir)


@pytest.mark.parametrize("name", ["curves.png", "confusion_matrix.png"])
def test_pictures_are_drawn(finished, name):
    """Both PNG files are readable, large enough to read, and not blank."""
    with Image.open(finished[1].run_dir / name) as image:
        assert min(image.size) >= 400
        assert len(image.convert("RGB").getcolors(maxcolors=2**24)) > 50


def test_finished_run_is_not_trained_again(finished, image_dir):
    """The same call returns the metrics and touches no file."""
    config, first = finished
    times = {path: path.stat().st_mtime_ns for path in first.run_dir.rglob("*")}

    second = train(config, run_dir=first.run_dir, data_dir=image_dir)

    assert second.was_finished
    assert not first.was_finished
    assert second.metrics == first.metrics
    assert {path: path.stat().st_mtime_ns for path in first.run_dir.rglob("*")} == times


def test_other_settings_are_refused(finished, image_dir):
    """A run folder of other settings raises ConfigError that names each difference."""
    run_dir = finished[1].run_dir
    config = from_recipe("simcnn", "best", **SETTINGS, epochs=4, seed=1)

    with pytest.raises(ConfigError, match=r"epochs was 3, is 4, seed was 0, is 1") as caught:
        train(config, run_dir=run_dir, data_dir=image_dir)

    assert "--run-dir" in str(caught.value)


def test_other_data_are_refused(tmp_path, image_dir, monkeypatch):
    """An unfinished run is not continued on other images."""
    config = from_recipe("simcnn", "best", epochs=1, **SETTINGS)
    run_dir = tmp_path / "run"
    monkeypatch.setattr("training.run.train._finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config, run_dir=run_dir, data_dir=image_dir)
    other = tmp_path / "data"
    (other / "train").mkdir(parents=True)
    (other / "train" / "cat").symlink_to(image_dir / "train" / "cat")
    (other / "test").symlink_to(image_dir / "test")

    with pytest.raises(ConfigError, match=r"started with other data.*train_sha256"):
        train(config, run_dir=run_dir, data_dir=other)


def test_no_epochs_between_checkpoints_are_refused(tmp_path):
    """A checkpoint after every 0 epochs raises ConfigError, and no folder is made."""
    with pytest.raises(ConfigError, match=r"checkpoint_every is 0, expected 1 or more"):
        train(from_recipe("simcnn", "best"), run_dir=tmp_path / "run", checkpoint_every=0)

    assert not (tmp_path / "run").exists()


def test_unreadable_config_is_refused(tmp_path, image_dir):
    """A config.json that isn't a run's raises ConfigError that names it."""
    (tmp_path / "config.json").write_text("[]")

    with pytest.raises(ConfigError, match=r"config.json is no config of a run"):
        train(from_recipe("simcnn", "best"), run_dir=tmp_path, data_dir=image_dir)


def interrupt(*_):
    raise KeyboardInterrupt


def test_run_killed_before_its_evaluation_only_evaluates(tmp_path, image_dir, monkeypatch):
    """With all epochs done and no metrics.json, nothing is trained; averaged weights are used."""
    config = from_recipe("simcnn", "best", epochs=2, **SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr("training.run.train._finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, run_dir=tmp_path, data_dir=image_dir)
    before = read_history(tmp_path)

    result = train(config, run_dir=tmp_path, data_dir=image_dir)

    assert read_history(tmp_path) == before
    assert result.metrics["epochs"] == 2
    check_saved_model_is_the_averaged_one(tmp_path, image_dir)


def test_diverging_run_stops_and_says_where(tmp_path, image_dir):
    """A learning rate that is too high raises DivergedError with step, epoch and way out."""
    config = from_recipe("simcnn", "report", learning_rate=1e30, epochs=2)

    with pytest.raises(
        DivergedError, match=r"loss is (nan|inf) at step \d of epoch 1.*--learning-rate"
    ):
        train(config, run_dir=tmp_path, data_dir=image_dir)

    assert not (tmp_path / "metrics.json").exists()
    assert not list(tmp_path.glob("checkpoints/*"))


@pytest.mark.parametrize(
    ("precision", "fast"),
    [
        ("bfloat16", "off"),
        pytest.param("bfloat16", "on", marks=pytest.mark.slow),
        pytest.param("float16", "on", marks=pytest.mark.slow),
    ],
)
def test_mixed_precision_trains_and_saves_float32(tmp_path, image_dir, finished, precision, fast):
    """A mixed training, also with float16's loss scaling, learns the same and saves float32.

    It is interrupted after its first epoch and resumed; the global policy is restored.
    """
    if fast == "on" and keras.backend.backend() != "tensorflow":
        pytest.skip("the faster layers are for TensorFlow")
    config = from_recipe(
        "simcnn", "best", epochs=3, mixed_precision=precision, fast_layers=fast, **SETTINGS
    )
    with pytest.MonkeyPatch.context() as patch:
        save = checkpoint.save
        patch.setattr(checkpoint, "save", lambda *a, **k: (save(*a, **k), interrupt()))
        with pytest.raises(KeyboardInterrupt):
            train(config, run_dir=tmp_path, data_dir=image_dir)
    assert len(list((tmp_path / "checkpoints").glob("*.json"))) == 1

    train(config, run_dir=tmp_path, data_dir=image_dir)

    assert keras.config.dtype_policy().name == "float32"
    model = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert {layer.__module__.partition(".")[0] for layer in model.layers} == {"keras"}
    for name in ("loss", "val_loss"):
        mixed, full = (
            [float(row[name]) for row in read_history(run_dir)]
            for run_dir in (tmp_path, finished[1].run_dir)
        )
        assert mixed == pytest.approx(full, rel=2e-2), name


@pytest.mark.slow
def test_compiled_step_learns_the_same(tmp_path, image_dir, finished):
    """With --jit on the losses equal those without XLA."""
    config = from_recipe("simcnn", "best", epochs=3, xla="on", **SETTINGS)

    train(config, run_dir=tmp_path, data_dir=image_dir)

    compiled, plain = (
        [float(row["val_loss"]) for row in read_history(run_dir)]
        for run_dir in (tmp_path, finished[1].run_dir)
    )
    assert compiled == pytest.approx(plain, rel=1e-3)


@pytest.mark.slow
def test_resnet50_trains_with_sgd(tmp_path, image_dir):
    """One step of ResNet50's best recipe runs, and the number of parameters is recorded."""
    config = from_recipe("resnet50", "best", epochs=1, batch_size=180)

    result = train(config, run_dir=tmp_path, data_dir=image_dir)

    assert result.metrics["parameters"] == 25_696_138
    assert np.isfinite(result.metrics["last_epoch"]["loss"])


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_training_runs_on_each_backend(tmp_path, image_dir, run_command, backend):
    """Every installed Keras backend trains, and its model file loads here with the same result."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    run_dir = tmp_path / "run"
    arguments = ("simcnn", "--epochs", 2, *FLAGS, "--data-dir", image_dir, "--run-dir", run_dir)

    result = run_command(*arguments, env={"KERAS_BACKEND": backend})

    assert result.returncode == 0, result.stderr
    metrics = read_metrics(run_dir)
    assert metrics["versions"]["backend"] == backend
    assert np.isfinite(metrics["last_epoch"]["loss"])
    model = keras.models.load_model(run_dir / "model.keras")
    here = evaluate(model, load_split(image_dir, "test"))
    assert here.loss == pytest.approx(metrics["loss"], rel=1e-4)
    check_saved_model_is_the_averaged_one(run_dir, image_dir)


def kill_after(epochs, command, run_dir, number):
    """Start the training, wait until `epochs` epochs are in history.csv, and send a signal."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not (run_dir / "history.csv").exists() or len(read_history(run_dir)) < epochs:
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        return process.communicate()[0], process.returncode


def test_killed_run_goes_on_without_losing_or_repeating_an_epoch(
    tmp_path, image_dir, command, run_command
):
    """After a kill, a damaged checkpoint and Ctrl+C a run has the history of an undisturbed one."""
    run_dir, epochs = tmp_path / "killed", 30
    arguments = ("simcnn", "--epochs", epochs, *FLAGS, "--data-dir", image_dir)
    line = command(*arguments, "--run-dir", run_dir)

    # SIGKILL, and a checkpoint like one that a kill during a non-atomic write would leave.
    _, code = kill_after(3, line, run_dir, signal.SIGKILL)
    assert code == -signal.SIGKILL
    newest = max((run_dir / "checkpoints").glob("epoch-*.json")).with_suffix(".weights.h5")
    done = int(newest.name[6:10])
    os.truncate(newest, newest.stat().st_size // 2)
    # Ctrl+C after the resume.
    output, code = kill_after(done + 2, line, run_dir, signal.SIGINT)
    assert f"{newest} is damaged, trying another one" in output
    assert f"epochs {done} to {epochs}" in output
    assert "error: interrupted; the same command resumes the run" in output
    assert code == 130
    result = run_command(*arguments, "--run-dir", run_dir)

    assert result.returncode == 0, result.stderr
    rows = read_history(run_dir)
    assert [int(row["epoch"]) for row in rows] == list(range(1, epochs + 1))
    config = from_recipe("simcnn", "best", epochs=epochs, **SETTINGS)
    train(config, run_dir=tmp_path / "whole", data_dir=image_dir)
    whole = read_history(tmp_path / "whole")
    for name in ("loss", "val_loss", "learning_rate"):
        killed_values, whole_values = (
            [float(row[name]) for row in table] for table in (rows, whole)
        )
        # Losses are equal on most machines, but threads may add gradients in another order.
        assert killed_values == pytest.approx(whole_values, rel=1e-3, abs=1e-9), name
    check_saved_model_is_the_averaged_one(run_dir, image_dir)

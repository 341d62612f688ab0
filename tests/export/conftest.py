"""Fixtures: a small data set, a SimCNN trained on it, and the published version."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Set before any test module imports Keras.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sample_models import own_models

from export.__main__ import main
from export.gates.precision import LIMITS, Limits
from export.measure import speed
from export.measure.speed import SpeedComparison
from export.publishing import from_run
from export.publishing.new_version import PublishedVersion
from export.tables import tables
from training.data.cifar10 import CLASS_NAMES, load_split
from training.run.train import train
from training.settings.recipes import TrainConfig, from_recipe


@pytest.fixture(scope="session")
def image_dir(tmp_path_factory) -> Path:
    """400 training and 80 test images as PNG files; each class has another brightness."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split, per_class in (("train", 40), ("test", 8)):
        for label, name in enumerate(CLASS_NAMES):
            (folder / split / name).mkdir(parents=True)
            for number in range(per_class):
                pixels = random.integers(0, 128, (32, 32, 3)) + 12 * label
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / split / name / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def test_images(image_dir):
    """The 80 test images with their labels."""
    return load_split(image_dir, "test")


@pytest.fixture(scope="session")
def run_config() -> TrainConfig:
    """The settings of the run: 100 of 400 images are held out, which suffice for int8."""
    return from_recipe(
        "simcnn",
        "report",
        epochs=2,
        batch_size=20,
        validation="stratified",
        validation_fraction=0.25,
    )


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory, image_dir, run_config) -> Path:
    """The run folder of a SimCNN trained for two epochs on 300 images; 100 are held out."""
    path = tmp_path_factory.mktemp("runs") / "simcnn"
    train(run_config, run_dir=path, data_dir=image_dir)
    return path


@pytest.fixture(scope="session")
def published(tmp_path_factory, run_dir, image_dir) -> PublishedVersion:
    """Version 1 of the SimCNN of `run_dir`, published."""
    models_dir = tmp_path_factory.mktemp("models")
    return from_run.publish_run(run_dir, models_dir, data_dir=image_dir)


@pytest.fixture(scope="session")
def tiny_model() -> keras.Model:
    """A model with the interface of trained models and 250 random weights."""
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3), dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(4, 3, strides=8, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(10, name="logits")(x), name="tiny")


class TwoSignatures(tf.Module):
    """A model of integers and floats with a branch and an output that is also an input."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        self.weights = tf.Variable(random.standard_normal((4, 3)), dtype=tf.float32)
        self.table = tf.Variable(random.standard_normal((10, 3)), dtype=tf.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 4], tf.float32, name="x"),
            tf.TensorSpec([None, None], tf.int64, name="ids"),
        ]
    )
    def score(self, x, ids):
        """Return `score`, `x` (an input's name, other values) and `same` (an input)."""
        embedded = tf.reduce_mean(tf.gather(self.table, ids), axis=1)
        return {"score": tf.nn.relu(x @ self.weights) + embedded, "x": x * 2, "same": x}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def summary(self, x):
        """Return row sums, and signs from a branch, which becomes an ONNX subgraph."""
        total = tf.reduce_sum(x)
        return {
            "total": tf.reduce_sum(x, axis=1),
            "signs": tf.cond(total > 0, lambda: x > 0, lambda: x <= 0),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def count(self, words):
        """Return the lengths of strings, which ONNX has no operator for."""
        return {"y": tf.strings.length(words)}


@pytest.fixture(scope="session")
def two_signatures(tmp_path_factory) -> Path:
    """A SavedModel with the signatures serving_default and `sum/up`."""
    path = tmp_path_factory.mktemp("saved") / "two"
    module = TwoSignatures()
    tf.saved_model.save(
        module, str(path), {"serving_default": module.score, "sum/up": module.summary}
    )
    return path


@pytest.fixture(scope="session")
def with_strings(tmp_path_factory) -> Path:
    """A SavedModel whose serving_default takes words; its signature `summary` takes floats."""
    path = tmp_path_factory.mktemp("saved") / "strings"
    module = TwoSignatures()
    tf.saved_model.save(
        module, str(path), {"serving_default": module.count, "summary": module.summary}
    )
    return path


@pytest.fixture(scope="session")
def own_keras(tmp_path_factory) -> Path:
    """The `.keras` file of a trained classifier of five colours: floats in, probabilities out."""
    file = tmp_path_factory.mktemp("own") / "colours.keras"
    own_models.trained().save(file)
    return file


@pytest.fixture(scope="session")
def own_saved(tmp_path_factory) -> Path:
    """A SavedModel of a trained classifier of five colours: uint8 pictures in, logits out."""
    path = tmp_path_factory.mktemp("own") / "saved"
    own_models.trained("uint8", logits=True).export(path, verbose=False)
    return path


@pytest.fixture(scope="session")
def own_names(tmp_path_factory) -> Path:
    """The class names of that model in a file."""
    file = tmp_path_factory.mktemp("own") / "names.txt"
    file.write_text("\n".join(own_models.CLASS_NAMES))
    return file


@pytest.fixture
def wide_limits(monkeypatch):
    """Limits wide enough for variants of a barely trained model; int8 counts as twice as fast."""
    limits = {name: Limits(agreement=0.8, drop_points=20) for name in LIMITS}
    limits["int8"] = Limits(agreement=0.8, drop_points=20, must_be_faster=True)
    monkeypatch.setattr("export.precisions.make.LIMITS", limits)
    monkeypatch.setattr("export.precisions.held_out_gate.LIMITS", limits)
    twice = SpeedComparison(fp32_ms={1: 2.0}, ms={1: 1.0}, speedup={1: 2.0})
    monkeypatch.setattr(speed, "measure", lambda *_: twice)
    return limits


@pytest.fixture
def version(published, tmp_path) -> Path:
    """A copy of the published SimCNN."""
    return shutil.copytree(published.path, tmp_path / "simcnn" / "1")


@pytest.fixture
def run_export():
    """Runs `python -m export` in a new process, as a user does."""

    def run(*arguments, start=(), **environment):
        return subprocess.run(
            [*start, sys.executable, "-m", "export", *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs the command line in this process, which is faster.

    Returns the exit code, the lines of stdout, and stderr.
    """
    # main sets these variables for the whole process; monkeypatch restores them.
    for name in ("KERAS_BACKEND", "CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL", "CIFAR10_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")

    def invoke(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return invoke


@pytest.fixture
def places(tmp_path) -> tables.Places:
    """A checkout without models whose README has the markers."""
    (tmp_path / "models").mkdir()
    (tmp_path / "README.md").write_text(f"before\n\n{tables.BEGIN}\n{tables.END}\n\nafter\n")
    return tables.Places(
        models_dir=tmp_path / "models",
        readme=tmp_path / "README.md",
        results_dir=tmp_path / "docs" / "results" / "training",
        training=tmp_path / "docs" / "training.md",
    )

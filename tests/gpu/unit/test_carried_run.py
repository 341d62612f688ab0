import json

import keras
import numpy as np
import pytest
from gpu import carried_run

from training.data.cifar10 import Split
from training.model.predictions import evaluate


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A small classifier with kernels, biases and normalisation, and random weights."""
    images = keras.Input((32, 32, 3), dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(8, 3, strides=4)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(images, keras.layers.Dense(10, name="logits")(x), name="simcnn")


@pytest.fixture
def split(sample_images, monkeypatch) -> Split:
    """The sample as the test images of the data set."""
    split = Split(images=sample_images, labels=np.arange(24) % 10)
    monkeypatch.setattr("training.data.cifar10.load_split", lambda *_: split)
    return split


@pytest.fixture
def run_dir(model, split, tmp_path):
    """The run folder of a finished training."""
    folder = tmp_path / "simcnn"
    folder.mkdir()
    model.save(folder / "model.keras")
    metrics = {"model": "simcnn", **evaluate(model, split).as_dict(), "hardware": {"gpus": ["G"]}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.csv").write_text("epoch\n1\n")
    return folder


def test_exact_weights_come_back_exactly(model, run_dir, tmp_path):
    """With float32 weights the restored model is the same, in parts of the largest size."""
    parts = carried_run.pack(run_dir, tmp_path / "parts", weights="float32", part_bytes=9_000)
    metrics = carried_run.restore(tmp_path / "parts", "simcnn", tmp_path / "restored", None)

    restored = keras.models.load_model(tmp_path / "restored/model.keras", compile=False)
    assert len(parts) > 1
    assert max(part.stat().st_size for part in parts) <= 9_000
    for before, after in zip(model.get_weights(), restored.get_weights(), strict=True):
        assert np.array_equal(before, after)
    assert metrics["transport"]["largest_change_of_a_weight"] == 0
    assert "top1_before" not in metrics["transport"]
    assert (tmp_path / "restored/history.csv").read_text() == "epoch\n1\n"


def test_rounded_weights_are_evaluated_again(model, run_dir, split, tmp_path):
    """With float16, vectors stay exact, and metrics.json is about the weights that arrived."""
    recorded = json.loads((run_dir / "metrics.json").read_text())
    (run_dir / "metrics.json").write_text(json.dumps(recorded | {"top1": 0.99}))

    carried_run.pack(run_dir, tmp_path / "parts", weights="float16", part_bytes=1 << 20)
    metrics = carried_run.restore(tmp_path / "parts", "simcnn", tmp_path / "restored", None)

    restored = keras.models.load_model(tmp_path / "restored/model.keras", compile=False)
    for before, after in zip(model.get_weights(), restored.get_weights(), strict=True):
        exact = before.astype(np.float16).astype(np.float32) if before.ndim > 1 else before
        assert np.array_equal(exact, after)
    transport = metrics["transport"]
    assert (transport["float16_arrays"], transport["float32_arrays"]) == (2, 6)
    assert 0 < transport["largest_change_of_a_weight"] < 1e-3
    assert transport["top1_before"] == 0.99
    assert metrics["top1"] == evaluate(restored, split).as_dict()["top1"]
    assert json.loads((tmp_path / "restored/metrics.json").read_text()) == metrics


@pytest.mark.parametrize("missing", [0, 1, -1])
def test_a_missing_part_is_noticed(run_dir, tmp_path, missing):
    """Without one of its parts a run is not restored."""
    parts = carried_run.pack(run_dir, tmp_path / "parts", weights="float32", part_bytes=9_000)
    parts[missing].unlink()

    with pytest.raises(ValueError, match="bring back all of them"):
        carried_run.restore(tmp_path / "parts", "simcnn", tmp_path / "restored", None)


def test_a_damaged_part_is_noticed(run_dir, tmp_path):
    """Parts that are no archive are refused by the name of the run."""
    (part,) = carried_run.pack(run_dir, tmp_path / "parts", weights="float32", part_bytes=1 << 20)
    part.write_bytes(part.read_bytes()[:5_000])

    with pytest.raises(ValueError, match="the parts of simcnn are no archive of a run"):
        carried_run.restore(tmp_path / "parts", "simcnn", tmp_path / "restored", None)


def test_a_run_that_did_not_come_back_is_named(tmp_path):
    """Without any part the message says which file is expected."""
    with pytest.raises(FileNotFoundError, match=r"has no file resnet50\.tar"):
        carried_run.restore(tmp_path, "resnet50", tmp_path / "restored", None)

import json
import os
from pathlib import Path

import numpy as np
import pytest

from export.papers import training_runs
from export.precisions import held_out_gate
from export.sources import held_out
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.repository import model_folder
from training.data.cifar10 import DATA_DIR_VARIABLE, load_split
from training.evaluation import predictions

ROOT = Path(__file__).parents[2]
VERSIONS = sorted(ROOT.joinpath("models").glob("*/[0-9]*"))


# Images of which the answer may differ without VNNI; 12 were seen for resnet50, 0 for simcnn.
OTHERS_WITHOUT_VNNI = 50


def has_vnni() -> bool:
    """Return whether the processor adds products of 8-bit numbers in 32 bits."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return bool({"avx512_vnni", "avx_vnni"}.intersection(flags))


def read_split(name):
    """Read the training or test images of CIFAR-10, or skip the test without its folder."""
    if not os.environ.get(DATA_DIR_VARIABLE):
        pytest.skip(f"needs CIFAR-10: set {DATA_DIR_VARIABLE} to its folder")
    return load_split(Path(os.environ[DATA_DIR_VARIABLE]), name)


@pytest.fixture(scope="module")
def test_images():
    """The 10,000 CIFAR-10 test images."""
    return read_split("test")


@pytest.fixture(scope="module")
def training_images():
    """The 50,000 CIFAR-10 training images."""
    return read_split("train")


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_bundled_version_is_whole(path):
    """Every file matches the manifest, and no JSON, text or SavedModel has an absolute path."""
    folder = model_folder.read(path)

    assert "serving_default" in folder.signatures
    for file in (*path.glob("*.json"), *path.glob("*.md"), *path.glob("saved_model.pb")):
        assert not [word for word in (b"/tmp/", b"/home/", b"/root/") if word in file.read_bytes()]


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_bundled_version_scores_what_it_claims(path, test_images):
    """Each variant's file gives the recorded answers to all test images and the recorded top-1.

    In int8 a processor without VNNI may give a few others (docs/precisions.md).
    """
    metrics = json.loads((path / "metrics.json").read_text())

    assert metrics["data"]["sha256"] == test_images.sha256()
    for precision, variant in metrics["variants"].items():
        runtime = Runtime(path / variant["file"], RuntimeConfig(), precision)
        classes = np.concatenate(
            [
                runtime.run(["classes"], {"images": test_images.images[start : start + 500]})[0]
                for start in range(0, len(test_images), 500)
            ]
        )
        recorded = predictions.decode(variant["predictions"])
        assert int((recorded == test_images.labels).sum()) == variant["correct"]
        assert variant["top1"] == variant["correct"] / len(test_images)
        allowed = 0 if precision != "int8" or has_vnni() else OTHERS_WITHOUT_VNNI
        assert int((classes != recorded).sum()) <= allowed


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_training_has_one_accuracy(path):
    """The version and the stored result of its training have the same accuracy in float32."""
    metrics = json.loads((path / "metrics.json").read_text())
    trained = training_runs.read_all(ROOT / "docs" / "results" / "training")

    same = [run for run in trained if run["finished_utc"] == metrics["training"]["finished_utc"]]

    assert [run["top1"] for run in same] == [training_runs.float32_top1(metrics)]


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_bundled_version_was_judged_on_its_held_out_images(path, training_images):
    """The recorded images are the 5,000 that the training held out, and no variant is refused."""
    metrics = json.loads((path / "metrics.json").read_text())
    section = metrics["held_out"]

    found = held_out.select(training_images, metrics["training"])

    assert len(found.split) == metrics["training"]["data"]["validation_images"] == 5_000
    assert section["sha256"] == found.split.sha256()
    assert set(section["variants"]) == set(metrics["variants"])
    reference = section["variants"][section["reference"]]
    answered = predictions.decode(section["predictions"])
    assert reference["correct"] == int((answered == found.split.labels).sum())
    # The training recorded it for the same images, in bfloat16.
    recorded = metrics["training"]["last_epoch"]["val_accuracy"]
    assert reference["top1"] == pytest.approx(recorded, abs=0.002)
    for name, entry in section["variants"].items():
        assert name == section["reference"] or entry["objections"] == []


def test_decisions_about_the_bundled_simcnn_can_be_repeated(training_images):
    """Judging its variants again gives the recorded figures."""
    (path,) = (path for path in VERSIONS if path.parent.name == "simcnn")
    metrics = json.loads((path / "metrics.json").read_text())
    images = held_out.select(training_images, metrics["training"])
    recorded = metrics["held_out"]["variants"]

    found = held_out_gate.judge(model_folder.read(path), metrics, images)["variants"]

    assert found["fp32"] == recorded["fp32"]
    assert found["w8"] == recorded["w8"]
    assert found["int8"]["n"] == recorded["int8"]["n"] == 5_000 - 58
    assert found["int8"]["agreement"] == pytest.approx(recorded["int8"]["agreement"], abs=0.005)
    assert found["int8"]["objections"] == []

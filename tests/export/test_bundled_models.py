import json
import os
from pathlib import Path

import numpy as np
import pytest

from serving.engine.runtime import Runtime, RuntimeConfig
from serving.repository import model_folder
from training.data.cifar10 import DATA_DIR_VARIABLE, load_split
from training.evaluation import predictions

VERSIONS = sorted(Path(__file__).parents[2].joinpath("models").glob("*/[0-9]*"))


# Images of which the answer may differ without VNNI; 12 were seen for resnet50, 0 for simcnn.
OTHERS_WITHOUT_VNNI = 50


def has_vnni() -> bool:
    """Return whether the processor adds products of 8-bit numbers in 32 bits."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return bool({"avx512_vnni", "avx_vnni"}.intersection(flags))


@pytest.fixture(scope="module")
def test_images():
    """The 10,000 CIFAR-10 test images."""
    if not os.environ.get(DATA_DIR_VARIABLE):
        pytest.skip(f"needs CIFAR-10: set {DATA_DIR_VARIABLE} to its folder")
    return load_split(Path(os.environ[DATA_DIR_VARIABLE]), "test")


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

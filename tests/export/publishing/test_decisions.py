"""Training images that a training held out decide about variants; test images decide nothing."""

import json
import shutil

import onnxruntime
import pytest

from export.gates.precision import Limits
from export.publishing.from_run import publish_run
from export.sources import held_out
from serving.repository import model_folder
from training.data.cifar10 import CLASS_NAMES, load_split


@pytest.fixture(scope="module")
def relabelled(tmp_path_factory, image_dir, run_dir):
    """A data set whose test images have other classes, and the run as measured with these."""
    folder = tmp_path_factory.mktemp("relabelled")
    shutil.copytree(image_dir / "train", folder / "train")
    others = [*range(3, 10), *range(3)]
    for label, other in enumerate(others):
        source, target = CLASS_NAMES[label], CLASS_NAMES[other]
        shutil.copytree(image_dir / "test" / source, folder / "test" / target)
    run = shutil.copytree(run_dir, folder / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    matrix = metrics["confusion_matrix"]
    metrics["confusion_matrix"] = [matrix[others.index(label)] for label in range(10)]
    metrics["data"]["test_sha256"] = load_split(folder, "test").sha256()
    (run / "metrics.json").write_text(json.dumps(metrics))
    return folder


def decisions(version):
    """Return what was decided about a version: files, refusals, and figures without time."""
    found = {**version.metrics["held_out"], "finished_utc": ""}
    graphs = {file.name: model_folder.sha256(file) for file in version.path.glob("*.onnx")}
    calibrated = version.metrics["variants"]["int8"]["calibration"]
    return graphs, version.metrics.get("rejected_variants"), found, calibrated


def test_test_labels_decide_nothing(run_dir, image_dir, relabelled, tmp_path, wide_limits):
    """With wrong labels of the test images, graphs and decisions are the same.

    The gate refuses fp16 here, so that one variant is refused and others are kept.
    """
    wide_limits["fp16"] = Limits(agreement=1.01, drop_points=0)
    precisions = ("fp32", "fp16", "w8", "int8")

    right = publish_run(run_dir, tmp_path / "a", data_dir=image_dir, precisions=precisions)
    wrong = publish_run(
        relabelled / "run", tmp_path / "b", data_dir=relabelled, precisions=precisions
    )

    assert decisions(wrong) == decisions(right)
    assert list(right.metrics["variants"]) == ["fp32", "w8", "int8"]
    top1 = [version.metrics["variants"]["w8"]["top1"] for version in (right, wrong)]
    assert top1[0] != top1[1]


def test_variants_are_judged_on_images_of_the_training_that_it_did_not_see(
    run_dir, image_dir, tmp_path, wide_limits
):
    """metrics.json has the 100 held-out images; 50 of them calibrated int8 and did not judge it."""
    version = publish_run(run_dir, tmp_path, data_dir=image_dir, precisions=("fp32", "w8", "int8"))

    section = version.metrics["held_out"]
    held = held_out.select(
        load_split(image_dir, "train"), json.loads((run_dir / "metrics.json").read_text())
    )
    assert section["sha256"] == held.split.sha256()
    assert section["reference"] == "fp32"
    assert {name: entry["n"] for name, entry in section["variants"].items()} == {
        "fp32": 100,
        "w8": 100,
        "int8": 50,
    }
    session = onnxruntime.InferenceSession(version.path / "model.onnx")
    (answered,) = session.run(["classes"], {"images": held.split.images})
    assert section["predictions"] == "".join(map(str, answered))
    assert section["variants"]["fp32"]["correct"] == int((answered == held.split.labels).sum())
    assert "objections" not in section["variants"]["fp32"]
    calibrated = version.metrics["variants"]["int8"]["calibration"]
    assert calibrated["drawn_from"] == "100 held-out training images"
    assert "## Held-out images" in (version.path / "MODEL_CARD.md").read_text()


def test_without_held_out_images_only_fp32_is_published(run_dir, image_dir, tmp_path):
    """A run that validated on test images has no images to judge variants: fp32 is published."""
    run = shutil.copytree(run_dir, tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["config"]["validation"] = "test"
    (run / "metrics.json").write_text(json.dumps(metrics))

    version = publish_run(run, tmp_path, data_dir=image_dir, precisions=("fp32", "w8", "int8"))

    assert list(version.metrics["variants"]) == ["fp32"]
    for precision in ("w8", "int8"):
        (objection,) = version.metrics["rejected_variants"][precision]["objections"]
        assert objection.startswith("cannot be judged: the training held out no images")
        assert f"- {precision}: {objection}" in (version.path / "MODEL_CARD.md").read_text()
    assert "held_out" not in version.metrics
    assert [file.name for file in version.path.glob("*.onnx")] == ["model.onnx"]

"""Precisions are added to a published version."""

import hashlib
import json
import shutil
from unittest.mock import ANY

import numpy as np
import pytest

from export.errors import ExportError, GateFailed
from export.gates.precision import Limits
from export.publishing import more_precisions
from export.publishing.from_run import publish_run
from serving import schemas
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.repository import model_folder, publishing


@pytest.fixture
def only_w8(run_dir, image_dir, tmp_path, wide_limits):
    """A version with only w8, without the float32 graph."""
    return publish_run(run_dir, tmp_path / "w8", data_dir=image_dir, precisions=("w8",))


def add(version, models_dir, image_dir, *precisions):
    return more_precisions.publish(version, models_dir, precisions=precisions, data_dir=image_dir)


def answered(version, precision, images):
    folder = model_folder.read(version, (precision,))
    runtime = Runtime(
        folder.onnx_files["model.onnx"], RuntimeConfig(device="cpu"), folder.precision
    )
    return "".join(map(str, runtime.run(["classes"], {"images": images})[0]))


def test_int8_is_made_from_w8(only_w8, image_dir, test_images, tmp_path):
    """Without a float32 graph, int8 is made from w8 and judged by float32's recorded answers."""
    before = {file: file.read_bytes() for file in only_w8.path.iterdir()}

    added = add(only_w8.path, tmp_path / "more", image_dir, "int8")

    assert added.path == tmp_path / "more" / "simcnn" / "1"
    assert {file: file.read_bytes() for file in only_w8.path.iterdir()} == before
    names = {file.name for file in added.path.iterdir()}
    assert names == {file.name for file in before} | {"model.int8.onnx"}
    for name in ("model.w8.onnx", "curves.png"):
        assert (added.path / name).read_bytes() == (only_w8.path / name).read_bytes()
    # The new graph gets a verdict on its rows; the old graph's verdict is kept.
    given = model_folder.read(added.path).signatures["serving_default"].verdicts
    known = model_folder.read(only_w8.path).signatures["serving_default"].verdicts
    assert given == known | {model_folder.sha256(added.path / "model.int8.onnx"): ANY}
    model_folder.verify_manifest(added.path)
    metrics = json.loads((added.path / "metrics.json").read_text())
    assert metrics == schemas.METRICS.stamped(added.metrics)
    assert list(metrics["variants"]) == ["w8", "int8"]
    section = metrics["variants"]["int8"]
    assert section["made_from"] == "model.w8.onnx"
    content = (added.path / "model.int8.onnx").read_bytes()
    assert section["sha256"] == hashlib.sha256(content).hexdigest()
    assert section["predictions"] == answered(added.path, "int8", test_images.images)
    held_out = metrics["held_out"]
    assert held_out["reference"] == "fp32"
    assert held_out["predictions"] == only_w8.metrics["held_out"]["predictions"]
    assert held_out["variants"]["w8"] == only_w8.metrics["held_out"]["variants"]["w8"]
    assert list(held_out["variants"]) == ["fp32", "w8", "int8"]
    assert held_out["variants"]["int8"]["n"] == 50
    expected = metrics["reference"]["predictions"]
    same = np.mean([a == b for a, b in zip(section["predictions"], expected, strict=True)])
    assert section["agreement"] == pytest.approx(same)
    assert "int8 (`model.int8.onnx`)" in (added.path / "MODEL_CARD.md").read_text()


def test_next_version_of_the_same_model_with_fp32(published, image_dir, tmp_path, wide_limits):
    """w8 and int8 added to a version with fp32 become its next version, with all its files."""
    models_dir = tmp_path / "models"
    shutil.copytree(published.path, models_dir / "simcnn" / "1")

    added = add(models_dir / "simcnn" / "1", models_dir, image_dir, "w8", "int8")

    assert added.path == models_dir / "simcnn" / "2"
    assert list(added.metrics["variants"]) == ["fp32", "w8", "int8"]
    assert added.metrics["variants"]["fp32"] == published.metrics["variants"]["fp32"]
    assert added.metrics["variants"]["w8"]["made_from"] == "model.onnx"
    for name in ("model.onnx", "saved_model.pb"):
        assert (added.path / name).read_bytes() == (published.path / name).read_bytes()


def test_figures_of_the_old_set_are_left_out(published, image_dir, tmp_path, wide_limits):
    """Speed and robustness are not copied, because they were measured without the new files."""
    version = tmp_path / "models" / "simcnn" / "1"
    shutil.copytree(published.path, version)
    metrics = json.loads((version / "metrics.json").read_text()) | {
        "robustness": {},
        "benchmark": {},
    }
    publishing.replace_documents(version, {"metrics.json": json.dumps(metrics)})

    added = add(version, tmp_path / "more", image_dir, "w8")

    assert not {"robustness", "benchmark"} & set(added.metrics)


def test_refused_precision_is_recorded(published, image_dir, tmp_path, wide_limits):
    """A refused precision is recorded beside those kept, and its older file is not copied."""
    first = add(published.path, tmp_path / "first", image_dir, "int8", "w8")
    wide_limits["int8"] = Limits(agreement=1.01, drop_points=0)

    second = add(first.path, tmp_path / "second", image_dir, "int8", "w8")

    assert list(second.metrics["variants"]) == ["fp32", "w8"]
    assert list(second.metrics["rejected_variants"]) == ["int8"]
    assert not (second.path / "model.int8.onnx").exists()


def test_nothing_is_published_if_all_are_refused(published, image_dir, tmp_path, wide_limits):
    """If all precisions are refused, no version is published."""
    wide_limits["w8"] = Limits(agreement=1.01, drop_points=0)

    with pytest.raises(GateFailed, match=r"model\.w8\.onnx agrees .*\n.*as it is; nothing was"):
        add(published.path, tmp_path / "models", image_dir, "w8")

    assert not list((tmp_path / "models").rglob("*"))


def test_w8_is_not_made_from_itself(only_w8, image_dir, tmp_path):
    """w8 is refused without model.onnx, because rounding twice would lose accuracy."""
    with pytest.raises(ExportError, match=r"has no model\.onnx to make w8 from; export the mod"):
        add(only_w8.path, tmp_path / "models", image_dir, "w8")


def test_version_of_unknown_answers_is_refused(published, image_dir, tmp_path):
    """A version without recorded answers is refused: there is nothing to compare with."""
    version = tmp_path / "1"
    shutil.copytree(published.path, version)
    metrics = json.loads((version / "metrics.json").read_text())
    del metrics["variants"]
    publishing.replace_documents(version, {"metrics.json": json.dumps(metrics)})

    with pytest.raises(ExportError, match="does not record the float32 model's answers"):
        add(version, tmp_path / "models", image_dir, "w8")


def test_other_images_are_refused(only_w8, image_dir, tmp_path):
    """Test images other than those of the recorded answers are refused."""
    shutil.copytree(image_dir, tmp_path / "images")
    shutil.copyfile(tmp_path / "images/test/cat/00.png", tmp_path / "images/test/cat/01.png")

    with pytest.raises(ExportError, match=r"80 test images with SHA-256 .* used others"):
        add(only_w8.path, tmp_path / "models", tmp_path / "images", "int8")


def without_held_out(published, folder):
    """Copy a version as programs wrote it that did not judge on held-out images."""
    version = shutil.copytree(published.path, folder)
    metrics = json.loads((version / "metrics.json").read_text())
    del metrics["held_out"]
    publishing.replace_documents(version, {"metrics.json": json.dumps(metrics)})
    return version


def test_w8_stands_in_for_float32_that_is_gone(only_w8, image_dir, tmp_path):
    """If neither float32 nor its answers to held-out images are there, w8 is compared with."""
    version = without_held_out(only_w8, tmp_path / "1")

    added = add(version, tmp_path / "more", image_dir, "int8")

    section = added.metrics["held_out"]
    assert section["reference"] == "w8"
    assert list(section["variants"]) == ["w8", "int8"]
    assert "agreement" not in section["variants"]["w8"]
    card = (added.path / "MODEL_CARD.md").read_text()
    assert "compared with w8, which is not judged itself" in card


def test_float32_is_asked_if_its_answers_are_not_recorded(
    published, run_dir, image_dir, tmp_path, wide_limits
):
    """A version with fp32 alone records no held-out images; add-precision asks its graph."""
    assert "held_out" not in published.metrics

    added = add(published.path, tmp_path, image_dir, "w8")

    full = publish_run(run_dir, tmp_path / "full", data_dir=image_dir, precisions=("fp32", "w8"))
    timeless = [{**version.metrics["held_out"], "finished_utc": ""} for version in (added, full)]
    assert timeless[0] == timeless[1]

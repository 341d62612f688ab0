import json
import shutil

import pytest

from export.errors import ExportError
from export.publishing.from_run import publish_run


def test_other_test_images_are_refused(run_dir, image_dir, tmp_path):
    """Test images other than those of the run are refused before anything is written."""
    shutil.copytree(image_dir, tmp_path / "images")
    shutil.copyfile(tmp_path / "images/test/cat/00.png", tmp_path / "images/test/cat/01.png")

    with pytest.raises(ExportError, match=r"80 test images with SHA-256 .* --data-dir"):
        publish_run(run_dir, tmp_path / "models", data_dir=tmp_path / "images")

    assert not (tmp_path / "models").exists()


def test_calibration_images_are_training_images(run_dir, image_dir, tmp_path, wide_limits):
    """int8 is calibrated with all 200 training images, as they are few, and no test images."""
    version = publish_run(run_dir, tmp_path, data_dir=image_dir, precisions=("fp32", "int8"))

    recorded = version.metrics["variants"]["int8"]["calibration"]
    run = json.loads((run_dir / "metrics.json").read_text())
    assert recorded == {
        "images": 200,
        "drawn_from": "200 training images",
        "seed": 0,
        "sha256": run["data"]["train_sha256"],
    }


def test_int8_needs_the_runs_training_images(run_dir, image_dir, tmp_path):
    """Training images other than the run's are refused only if int8 is made."""
    shutil.copytree(image_dir, tmp_path / "images")
    shutil.copyfile(tmp_path / "images/train/cat/00.png", tmp_path / "images/train/cat/01.png")

    with pytest.raises(ExportError, match=r"200 training images with SHA-256 .* leave it out of"):
        publish_run(
            run_dir, tmp_path / "m", data_dir=tmp_path / "images", precisions=("fp32", "int8")
        )

    assert not (tmp_path / "m").exists()
    version = publish_run(run_dir, tmp_path / "m", data_dir=tmp_path / "images")
    assert list(version.metrics["variants"]) == ["fp32"]

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


@pytest.mark.parametrize("precision", ["fp16", "w8", "int8"])
def test_variants_need_the_runs_training_images(run_dir, image_dir, tmp_path, precision):
    """Training images other than the run's are refused only if something is judged on them."""
    shutil.copytree(image_dir, tmp_path / "images")
    shutil.copyfile(tmp_path / "images/train/cat/00.png", tmp_path / "images/train/cat/01.png")

    with pytest.raises(ExportError, match=r"400 training images with SHA-256 .* judged on the"):
        publish_run(
            run_dir, tmp_path / "m", data_dir=tmp_path / "images", precisions=("fp32", precision)
        )

    assert not (tmp_path / "m").exists()
    version = publish_run(run_dir, tmp_path / "m", data_dir=tmp_path / "images")
    assert list(version.metrics["variants"]) == ["fp32"]

import io
import shutil

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from export.errors import ExportError
from export.measure import robustness
from export.papers import papers
from training.data.cifar10 import Split
from training.evaluation.accuracy import wilson_interval


def test_recompressing_is_what_pillow_does(sample_images):
    """Images equal Pillow's JPEGs of that quality with 4:2:0; quality 75 changes more than 95."""
    coarse, fine = (robustness.recompress(sample_images, quality) for quality in (75, 95))

    buffer = io.BytesIO()
    Image.fromarray(sample_images[3]).save(buffer, "JPEG", quality=75, subsampling=2)
    assert np.array_equal(coarse[3], np.asarray(Image.open(buffer)))
    assert coarse.dtype == np.uint8
    assert coarse.shape == sample_images.shape
    errors = [np.abs(images.astype(int) - sample_images).mean() for images in (fine, coarse)]
    assert 0 < errors[0] < errors[1]


def test_figures_are_those_of_the_recompressed_images(version, test_images):
    """Correct answers, interval, agreement and drop equal those of a new run in ONNX Runtime."""
    folder, metrics = papers.read(version)

    section = robustness.measure(folder, metrics, test_images)

    assert list(section["checks"]) == ["jpeg_75", "jpeg_95"]
    for check in section["checks"].values():
        images = robustness.recompress(test_images.images, check["settings"]["quality"])
        session = onnxruntime.InferenceSession(version / "model.onnx")
        (classes,) = session.run(["classes"], {"images": images})
        correct = int((classes == test_images.labels).sum())
        result = check["variants"]["fp32"]
        before = np.array(list(metrics["variants"]["fp32"]["predictions"])).astype(int)
        assert (result["n"], result["correct"]) == (80, correct)
        assert result["top1"] == correct / 80
        assert result["top1_wilson_95"] == list(wilson_interval(correct, 80))
        assert result["agreement"] == (classes == before).mean()
        lost = metrics["variants"]["fp32"]["correct"] - correct
        assert result["drop_points"] == pytest.approx(100 * lost / 80)
        low, high = result["drop_interval_95"]
        assert low < result["drop_points"] < high
        assert check["settings"]["subsampling"] == "4:2:0"
        assert check["sha256"] == Split(images=images, labels=test_images.labels).sha256()


def test_every_variant_in_the_folder_is_asked(version, test_images):
    """A variant's drop is against its own answers; a variant without a file is left out."""
    folder, metrics = papers.read(version)
    fp32 = metrics["variants"]["fp32"]
    shutil.copyfile(version / "model.onnx", version / "model.w8.onnx")
    wrong = "".join(str((label + 1) % 10) for label in test_images.labels)
    metrics["variants"] |= {
        "w8": {**fp32, "file": "model.w8.onnx", "predictions": wrong},
        "int8": {**fp32, "file": "model.int8.onnx"},
    }

    check = robustness.measure(folder, metrics, test_images)["checks"]["jpeg_75"]["variants"]

    assert list(check) == ["fp32", "w8"]
    assert check["w8"]["correct"] == check["fp32"]["correct"]
    assert check["w8"]["drop_points"] == -100 * check["w8"]["correct"] / 80


def test_other_images_are_refused(version, test_images):
    """Other images than those of the recorded answers are refused."""
    folder, metrics = papers.read(version)
    fewer = Split(images=test_images.images[1:], labels=test_images.labels[1:])

    with pytest.raises(ExportError, match=r"79 test images .* judged by 80 .* --data-dir"):
        robustness.measure(folder, metrics, fewer)


def test_a_model_of_unknown_accuracy_is_refused(version, test_images):
    """A version without recorded answers is refused."""
    folder, metrics = papers.read(version)
    del metrics["variants"]

    with pytest.raises(ExportError, match="no ONNX file whose answers"):
        robustness.measure(folder, metrics, test_images)

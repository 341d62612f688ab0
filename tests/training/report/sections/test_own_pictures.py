"""What a report says of runs on pictures of any classes."""

import numpy as np
import pytest

from training.data.cifar10 import Split
from training.report.sections import comparison, model_section
from training.report.sources.candidates import gather
from training.report.sources.runs import RunRecord


def record(variant, names):
    """A finished run of SimCNN on data with these classes."""
    count = len(names)
    matrix = [[3 if row == column else 1 for column in range(count)] for row in range(count)]
    metrics = {
        "class_names": list(names),
        "confusion_matrix": matrix,
        "top1": 0.75,
        "top1_wilson_95": [0.5, 0.9],
        "n": 12,
        "loss": 0.7,
        "wall_seconds": 10.0,
        "parameters": 1_000,
        "train_images_per_second": 100.0,
        "epochs": 2,
        "data": {"validation_images": 10},
    }
    data = {"variant": variant, "train_sha256": "a", "test_sha256": "b"}
    settings = {"model": "simcnn", "recipe": "best", "epochs": 2, "seed": 0, "image_size": 48}
    history = [{"epoch": 2.0, "val_accuracy": 0.7, "val_loss": 0.8, "accuracy": 0.7, "loss": 0.8}]
    return RunRecord(
        name="run",
        folder=None,
        settings=settings,
        data=data,
        history=history,
        metrics=metrics,
    )


@pytest.mark.parametrize(
    ("variant", "compared"), [("image-folder", True), ("picture-folder", False)]
)
def test_only_reference_data_are_compared_with_published_figures(variant, compared):
    """A run on other pictures has no published figure beside it."""
    run = record(variant, [f"c{number}" for number in range(10)])

    text = str(comparison.compare([run], gather([run], {}), {}))

    assert ("published SimCNN" in text) is compared


def test_data_are_shown_with_their_classes():
    """The first twenty names of many classes are listed, and the size of the images."""
    run = record("picture-table", [f"class {number:02d}" for number in range(30)])

    text = str(model_section.describe_data([run], None))

    assert "30: class 00, class 01" in text
    assert "class 19 and 10 more" in text
    assert "48x48" in text
    assert "Official" not in text


@pytest.mark.parametrize("variant", ["image-folder", "picture-folder"])
def test_training_images_of_every_class_are_shown(variant):
    """A folder is read class by class; the images shown are taken from all of it."""
    names = [f"c{number}" for number in range(10)]
    labels = np.repeat(np.arange(10), 20)
    train = Split(images=np.zeros((200, 32, 32, 3), np.uint8), labels=labels)

    *_, gallery = model_section.describe_data([record(variant, names)], train)

    (picture,) = gallery.pictures
    shown = [shape.text for shape in picture.figure.drawing.shapes if shape.text]
    assert len(shown) == 25
    assert set(shown) == set(names)

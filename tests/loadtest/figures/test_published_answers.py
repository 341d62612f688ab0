"""The record of a version's metrics.json that answers are compared with."""

import json

import numpy as np
import pytest

from loadtest.figures.published_answers import Record, read
from training.data.cifar10 import Split

VARIANT = {
    "predictions": "310",
    "file": "model.onnx",
    "sha256": "ab",
    "bytes": 7,
    "top1": 0.5,
    "n": 3,
}


class Images(list):
    """A split of three images."""

    def sha256(self) -> str:
        """Return the digest of the images."""
        return "same"


SPLIT = Images("abc")


def record_of(tmp_path, variants: object, precision: str | None = None, sha256: str = "same"):
    folder = tmp_path / "cat" / "4"
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {"data": {"sha256": sha256, "variant": "cifar-10-binary"}, "variants": variants}
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return read(tmp_path, "cat", 4, precision, SPLIT)


@pytest.mark.parametrize("precision", [None, "fp32"])
def test_all_of_a_record(tmp_path, precision):
    """A record has all fields; the precision may be left out if there is only one."""
    record = record_of(tmp_path, {"fp32": VARIANT}, precision)

    predictions = record.predictions
    assert predictions.classes.dtype == np.int64
    assert predictions.classes.tolist() == [3, 1, 0]
    assert (predictions.near_ties, predictions.rule) == (None, "the same class")
    assert record == Record(
        version=4,
        precision="fp32",
        file="model.onnx",
        sha256="ab",
        bytes=7,
        top1=0.5,
        n=3,
        same_images=True,
        data_variant="cifar-10-binary",
        predictions=predictions,
    )


def test_near_ties_of_a_record(tmp_path):
    """The classes that nearly won are read by image; a record that has them otherwise is none."""
    variant = VARIANT | {"near_ties": {"margin": 0.2, "others": "0:1 2:5,7"}}
    predictions = record_of(tmp_path, {"fp32": variant}).predictions

    assert predictions.near_ties.tolist() == [[1, -1], [-1, -1], [5, 7]]
    assert "at most 0.2 below the highest" in predictions.rule
    for others in ("0", "5:1", "a:b", {"0": "1"}):
        damaged = VARIANT | {"near_ties": {"margin": 0.2, "others": others}}
        assert "no recorded accuracy in" in record_of(tmp_path, {"fp32": damaged})


def test_other_images_have_other_predictions(tmp_path):
    """Predictions for other images, too few or none are not used; the accuracy is."""
    other = record_of(tmp_path, {"fp32": VARIANT}, sha256="other")
    short = record_of(tmp_path, {"fp32": VARIANT | {"predictions": "31"}})
    none = record_of(tmp_path, {"fp32": {"top1": 0.5, "n": 3}})

    assert (other.same_images, other.data_variant, other.predictions) == (False, None, None)
    assert (short.same_images, short.predictions) == (True, None)
    assert (none.file, none.sha256, none.bytes, none.predictions) == (None, None, None, None)
    assert (other.top1, other.n) == (0.5, 3)


def test_one_of_several_precisions_is_chosen(tmp_path):
    """A precision is chosen by its name; a missing or wrong name is answered with the choices."""
    variants = {"int8": VARIANT | {"top1": 0.25}, "fp32": VARIANT}

    assert record_of(tmp_path, variants, "int8").top1 == 0.25
    assert record_of(tmp_path, variants).endswith(
        "metrics.json records fp32, int8; name the one that the server runs with --precision"
    )
    assert record_of(tmp_path, variants, "w8").endswith("records fp32, int8, not w8")


@pytest.mark.parametrize(
    ("variants", "reason"),
    [
        ({}, "StopIteration"),
        ([], "AttributeError|TypeError|StopIteration"),
        ({"fp32": {}}, "KeyError: 'top1'"),
    ],
)
def test_a_record_that_cannot_be_read_is_a_reason(tmp_path, variants, reason):
    """If metrics.json cannot be read, the result is a reason with the file and the error."""
    said = record_of(tmp_path, variants)

    assert said.startswith(f"no recorded accuracy in {tmp_path}/cat/4/metrics.json: ")
    assert any(each in said for each in reason.split("|"))


def test_no_record_is_a_reason(tmp_path):
    """If there is no metrics.json, the result is a reason with the file and the error."""
    said = read(tmp_path, "cat", 4, None, SPLIT)

    assert said.startswith(f"no recorded accuracy in {tmp_path}/cat/4/metrics.json: FileNotFound")


@pytest.mark.parametrize("predictions", ["0123", [0, 1, 2, 3]], ids=["digits", "list"])
def test_both_forms_of_predictions_are_read(tmp_path, predictions):
    """Predictions are read from a string of digits and from a list of integers."""
    split = Split(images=np.zeros((4, 32, 32, 3), np.uint8), labels=np.arange(4))
    data = {"sha256": split.sha256(), "variant": "npz"}
    variant = {"top1": 1, "n": 4, "predictions": predictions}
    (tmp_path / "own" / "1").mkdir(parents=True)
    (tmp_path / "own" / "1" / "metrics.json").write_text(
        json.dumps({"data": data, "variants": {"fp32": variant}})
    )

    record = read(tmp_path, "own", 1, "fp32", split)

    assert record.predictions.classes.tolist() == [0, 1, 2, 3]

"""Variants are judged on images that the training held out, when they are made and again later."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from sample_models import tiny_classifiers

from export.errors import ExportError
from export.gates import answers
from export.gates.precision import Limits
from export.precisions import calibration, held_out_gate
from export.precisions.held_out_gate import ReferenceAnswers
from export.precisions.judged_rows import ComparedRows, SplitRows
from export.sources.held_out import HeldOut
from training.data.cifar10 import Split
from training.evaluation import predictions

pytestmark = pytest.mark.usefixtures("wide_limits")


@pytest.fixture
def fp32_file(tmp_path):
    """The small classifier's model.onnx, alone in a folder."""
    onnx.save(tiny_classifiers.classifier(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def held_out_images(fp32_file, count):
    """Return every fourth of training images as held out, with float32's answers as labels."""
    images = tiny_classifiers.images(4 * count, seed=5)
    labels = answers.of_onnx(fp32_file, images).classes.astype(np.int64)
    training = Split(images=images, labels=labels)
    positions = np.arange(0, 4 * count, 4)
    return HeldOut(
        split=Split(images=images[positions], labels=labels[positions]),
        positions=positions,
        training=training,
        validation="stratified",
        seed=0,
    )


@pytest.fixture
def held_out(fp32_file):
    """100 of 400 training images."""
    return held_out_images(fp32_file, 100)


@pytest.fixture
def reported(fp32_file):
    """Test images with random labels."""
    images = tiny_classifiers.images(40, seed=6)
    labels = np.random.default_rng(0).integers(0, 10, 40)
    rows = SplitRows(split=Split(images=images, labels=labels))
    return ComparedRows(rows=rows, classes=answers.of_onnx(fp32_file, images).classes)


def made_of(fp32_file, held_out, reported, *wanted):
    """Make and judge variants."""
    return held_out_gate.make_judged(
        fp32_file,
        wanted,
        held_out=held_out,
        reference=held_out_gate.asked(fp32_file, "fp32", held_out) if held_out else None,
        reported=reported,
    )


def version(fp32_file, made):
    """Return a version's folder and metrics with the float32 graph and the kept variants."""
    variants = {"fp32": {"file": "model.onnx"}, **made.kept}
    return SimpleNamespace(path=fp32_file.parent), {"variants": variants}


def test_int8_is_not_judged_by_the_images_that_calibrate_it(fp32_file, held_out, reported):
    """50 of the 100 images calibrate int8, the other 50 judge it, and all judge w8."""
    made = made_of(fp32_file, held_out, reported, "w8", "int8")

    assert {name: entry["n"] for name, entry in made.held_out.items()} == {"w8": 100, "int8": 50}
    drawn = calibration.draw_images(held_out.split)
    assert made.kept["int8"]["calibration"] == drawn.as_dict()
    file = fp32_file.with_name("model.int8.onnx")
    classes = answers.of_onnx(file, held_out.split.images[drawn.rest]).classes
    right = int((classes == held_out.split.labels[drawn.rest]).sum())
    assert made.held_out["int8"]["correct"] == right


def test_too_few_images_cannot_calibrate_int8(fp32_file, reported):
    """With 99 held-out images int8 is refused, and w8 is judged."""
    made = made_of(fp32_file, held_out_images(fp32_file, 99), reported, "w8", "int8")

    assert list(made.kept) == ["w8"]
    assert made.rejected["int8"]["objections"] == [
        "cannot be calibrated: the training held out 99 images, expected at least 100"
    ]


def test_without_held_out_images_all_are_refused(fp32_file, reported):
    """Without held-out images nothing is made, and each precision has the reason."""
    made = made_of(fp32_file, None, reported, "fp16", "int8")

    assert (made.kept, made.held_out) == ({}, {})
    assert list(made.rejected) == ["fp16", "int8"]
    for entry in made.rejected.values():
        assert entry["objections"][0].startswith("cannot be judged: the training held out no")
    assert [file.name for file in fp32_file.parent.iterdir()] == ["model.onnx"]


def test_section_has_the_reference_first(fp32_file, held_out, reported):
    """The section has images, answers and accuracy of float32, then the judged variants."""
    made = made_of(fp32_file, held_out, reported, "int8", "w8")
    reference = held_out_gate.asked(fp32_file, "fp32", held_out)

    section = held_out_gate.section(held_out, reference, made.held_out)

    assert section["images"] == 100
    assert section["drawn_from"] == "400 training images"
    assert section["reference"] == "fp32"
    np.testing.assert_array_equal(predictions.decode(section["predictions"]), reference.classes)
    assert list(section["variants"]) == ["fp32", "w8", "int8"]
    assert section["variants"]["fp32"]["top1"] == 1


def test_recorded_answers_are_of_the_same_images(fp32_file, held_out):
    """Recorded answers are used again for the same images only."""
    reference = ReferenceAnswers(precision="w8", classes=np.arange(100) % 10)
    metrics = {"held_out": held_out_gate.section(held_out, reference, {})}

    found = held_out_gate.recorded(metrics, held_out)

    assert found is not None
    assert found.precision == "w8"
    np.testing.assert_array_equal(found.classes, reference.classes)
    assert held_out_gate.recorded(metrics, held_out_images(fp32_file, 99)) is None
    assert held_out_gate.recorded({}, held_out) is None


def test_decisions_are_repeated(fp32_file, held_out, reported):
    """Judging a version again gives the figures and decisions of the time when it was made."""
    made = made_of(fp32_file, held_out, reported, "fp16", "w8", "int8")
    folder, metrics = version(fp32_file, made)

    section = held_out_gate.judge(folder, metrics, held_out)

    assert section["reference"] == "fp32"
    variants = {name: entry for name, entry in section["variants"].items() if name != "fp32"}
    assert variants == made.held_out
    assert all(entry["objections"] == [] for entry in variants.values())


def test_objections_of_today_are_listed(fp32_file, held_out, reported, wide_limits):
    """A variant that breaks a limit when it is judged again has the objection."""
    folder, metrics = version(fp32_file, made_of(fp32_file, held_out, reported, "w8"))
    wide_limits["w8"] = Limits(agreement=1.01, drop_points=0)

    section = held_out_gate.judge(folder, metrics, held_out)

    (objection,) = section["variants"]["w8"]["objections"]
    assert objection.startswith("agrees with fp32 on ")


def test_images_that_calibrated_an_older_int8_are_left_out(fp32_file, held_out, reported):
    """Older versions drew from all training images; those that were held out judge nothing."""
    folder, metrics = version(fp32_file, made_of(fp32_file, held_out, reported, "int8"))
    drawn = calibration.positions(400, 120, 3)
    pool = held_out.training
    split = Split(images=pool.images[drawn], labels=pool.labels[drawn])
    metrics["variants"]["int8"]["calibration"] = {
        "images": 120,
        "seed": 3,
        "sha256": split.sha256(),
    }

    section = held_out_gate.judge(folder, metrics, held_out)

    left = 100 - len(set(drawn) & set(held_out.positions))
    assert section["variants"]["int8"]["n"] == left
    assert 0 < left < 100


def test_unknown_calibration_images_are_refused(fp32_file, held_out, reported):
    """If the images that calibrated int8 are not found, it is not judged."""
    folder, metrics = version(fp32_file, made_of(fp32_file, held_out, reported, "int8"))
    metrics["variants"]["int8"]["calibration"]["sha256"] = "0" * 64

    with pytest.raises(ExportError, match=r"50 images with SHA-256 0{64} calibrated int8"):
        held_out_gate.judge(folder, metrics, held_out)


def test_most_precise_variant_stands_in_for_float32(fp32_file, held_out, reported):
    """Without float32 the others are compared with w8, which has no decision."""
    folder, metrics = version(fp32_file, made_of(fp32_file, held_out, reported, "w8", "int8"))
    fp32_file.unlink()
    del metrics["variants"]["fp32"]

    section = held_out_gate.judge(folder, metrics, held_out)

    assert section["reference"] == "w8"
    assert list(section["variants"]) == ["w8", "int8"]
    assert "objections" not in section["variants"]["w8"]
    assert section["variants"]["int8"]["agreement"] <= 1

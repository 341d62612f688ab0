import json

import numpy as np
import onnx
import pytest
from sample_models import tiny_classifiers

from export.gates import answers
from export.gates.precision import LIMITS, Limits
from export.measure import speed
from export.measure.speed import SpeedComparison
from export.precisions import calibration, fp16, int8, w8
from export.precisions.judged_rows import ComparedRows, HeldOutRows, SplitRows
from export.precisions.make import make
from training.data.cifar10 import Split


@pytest.fixture
def fp32_file(tmp_path):
    """The small classifier's model.onnx, alone in a folder."""
    onnx.save(tiny_classifiers.classifier(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def labelled(fp32_file, seed, count=100):
    """Return images; nine of ten have the float32 model's answer as label."""
    images = tiny_classifiers.images(count, seed=seed)
    labels = answers.of_onnx(fp32_file, images).classes.copy()
    labels[::10] = (labels[::10] + 1) % 10
    return Split(images=images, labels=labels)


@pytest.fixture
def held_out(fp32_file):
    """100 images that decide."""
    return labelled(fp32_file, seed=2)


@pytest.fixture
def test_images(fp32_file):
    """100 images that report."""
    return labelled(fp32_file, seed=3)


@pytest.fixture
def calibrated():
    """30 images that calibrate int8."""
    images = Split(images=tiny_classifiers.images(30, seed=1), labels=np.zeros(30, np.int64))
    return calibration.DrawnImages(split=images, rest=np.arange(70), seed=0)


@pytest.fixture
def made_of(fp32_file, held_out, test_images, calibrated, monkeypatch):
    """Makes variants with wide limits; int8 counts as `speedup` times as fast as float32."""

    def invoke(*wanted, speedup=2.0, judged=None, reported=test_images, **limits):
        wide = {name: Limits(agreement=0.9, drop_points=10) for name in LIMITS}
        wide["int8"] = Limits(agreement=0.9, drop_points=10, must_be_faster=True)
        monkeypatch.setattr("export.precisions.make.LIMITS", {**wide, **limits})
        measured = SpeedComparison(fp32_ms={1: 1.0}, ms={1: 1 / speedup}, speedup={1: speedup})
        monkeypatch.setattr(speed, "measure", lambda *_: measured)
        return make(
            fp32_file,
            wanted,
            judged=judged or answered(fp32_file, HeldOutRows(split=held_out)),
            reported=None if reported is None else answered(fp32_file, SplitRows(split=reported)),
            calibration=calibrated if "int8" in wanted else None,
        )

    return invoke


def answered(fp32_file, rows):
    """Return rows with the float32 model's answers."""
    classes = answers.of_onnx(fp32_file, rows.split.images).classes
    return ComparedRows(rows=rows, classes=classes)


def names(fp32_file):
    return sorted(file.name for file in fp32_file.parent.iterdir())


def test_each_precision_is_made_by_its_converter(made_of, fp32_file):
    """Each file has the graph of its converter; the producer's name is kept."""
    made = made_of("fp16", "w8", "int8")

    model = onnx.load(fp32_file)
    assert list(made.kept) == ["fp16", "w8", "int8"]
    assert made.rejected == {}
    assert names(fp32_file) == [
        "model.fp16.onnx",
        "model.int8.onnx",
        "model.onnx",
        "model.w8.onnx",
    ]
    pixels = tiny_classifiers.images(30, seed=1)
    for precision, expected in {
        "fp16": fp16.convert(model),
        "w8": w8.quantize(model),
        "int8": int8.quantize(model, {"images": pixels}),
    }.items():
        written = onnx.load(fp32_file.with_name(f"model.{precision}.onnx"))
        assert written.producer_name == "tests"
        assert written.graph == expected.graph


def test_section_says_how_the_file_compares(made_of, fp32_file, test_images):
    """A section has the file's accuracy, answers, agreement with float32 and drop."""
    section = made_of("w8").kept["w8"]

    classes = answers.of_onnx(
        fp32_file.with_name("model.w8.onnx"), test_images.images, "w8"
    ).classes
    fp32 = answers.of_onnx(fp32_file, test_images.images).classes
    assert section["file"] == "model.w8.onnx"
    assert section["predictions"] == "".join(map(str, classes))
    assert section["correct"] == int((classes == test_images.labels).sum())
    assert section["agreement"] == (classes == fp32).mean()
    assert section["drop_points"] == 90 - section["correct"]
    assert section["drop_interval_95"][0] < section["drop_points"] < section["drop_interval_95"][1]
    assert "speed" not in section
    assert "calibration" not in section


def test_held_out_images_decide_and_test_images_report(made_of, fp32_file, held_out):
    """The entry about the held-out images has their figures and the decision."""
    made = made_of("w8")

    file = fp32_file.with_name("model.w8.onnx")
    classes = answers.of_onnx(file, held_out.images, "w8").classes
    fp32 = answers.of_onnx(fp32_file, held_out.images).classes
    entry = made.held_out["w8"]
    assert entry["n"] == 100
    assert entry["correct"] == int((classes == held_out.labels).sum())
    assert entry["agreement"] == (classes == fp32).mean()
    assert entry["drop_points"] == 90 - entry["correct"]
    assert entry["objections"] == []
    assert "judged_on" not in made.kept["w8"]


@pytest.mark.parametrize("seed", [0, 1])
def test_test_labels_decide_nothing(made_of, test_images, seed):
    """With random labels, and so with any accuracy on the test images, all decisions are the same.

    The limits refuse w8 in any case and keep fp16 and int8.
    """
    limits = {"w8": Limits(agreement=1.01, drop_points=10)}
    random = np.random.default_rng(seed).integers(0, 10, len(test_images))
    wrong = Split(images=test_images.images, labels=random)

    right = made_of("fp16", "w8", "int8", **limits)
    again = made_of("fp16", "w8", "int8", reported=wrong, **limits)

    assert again.held_out == right.held_out
    assert again.rejected == right.rejected
    assert list(again.kept) == list(right.kept) == ["fp16", "int8"]
    assert again.kept["fp16"]["top1"] < 0.5 < right.kept["fp16"]["top1"]


def test_refused_variant_is_not_asked_about_test_images(made_of, monkeypatch):
    """A refused variant is not even asked about the test images; a kept one is."""
    asked = []
    ask = SplitRows.ask
    monkeypatch.setattr(
        SplitRows, "ask", lambda rows, file, name: asked.append(name) or ask(rows, file, name)
    )

    made_of("fp16", "w8", w8=Limits(agreement=1.01, drop_points=10))

    assert asked == ["fp16"]


def test_rows_that_judge_and_report_are_told(made_of, fp32_file, held_out):
    """Without other rows the judged rows are reported, and the section says so."""
    rows = SplitRows(split=held_out)

    made = made_of("w8", judged=answered(fp32_file, rows), reported=None)

    assert made.kept["w8"]["judged_on"] == "the same rows"
    assert made.kept["w8"]["n"] == 100
    assert made.held_out == {}


def test_model_that_stands_in_for_float32_is_named(made_of, fp32_file, held_out):
    """An objection names the model that the variant was compared with."""
    classes = answers.of_onnx(fp32_file, held_out.images).classes
    judged = ComparedRows(rows=HeldOutRows(split=held_out), classes=classes, reference="w8")

    made = made_of("fp16", judged=judged, fp16=Limits(agreement=1.01, drop_points=10))

    assert made.rejected["fp16"]["objections"][0].startswith("agrees with w8 on ")


def test_int8_says_how_it_was_calibrated_and_how_fast_it_is(made_of):
    """The int8 section is JSON, with calibration images, both times and the speed-up."""
    section = json.loads(json.dumps(made_of("int8").kept["int8"]))

    assert section["calibration"]["images"] == 30
    assert len(section["calibration"]["sha256"]) == 64
    assert section["speed"] == {
        "threads": 1,
        "batches": {"1": {"fp32_ms": 1.0, "ms": 0.5, "speedup": 2.0}},
    }


def test_refused_variant_is_removed_and_the_others_stay(made_of, fp32_file):
    """A refused variant loses its file; figures and objections are kept; the next one is made.

    No variant can reach the limit, an agreement above 1.
    """
    made = made_of("w8", "int8", w8=Limits(agreement=1.01, drop_points=10))

    assert names(fp32_file) == ["model.int8.onnx", "model.onnx"]
    assert list(made.kept) == ["int8"]
    refused, judged = made.rejected["w8"], made.held_out["w8"]
    assert (
        refused["objections"]
        == judged["objections"]
        == [
            f"agrees with fp32 on {judged['agreement']:.2%} of the images, at least 101.0% expected"
        ]
    )
    assert judged["n"] == 100
    assert set(refused) == {"objections", "bytes", "sha256"}


def test_int8_that_is_no_faster_is_refused(made_of, fp32_file):
    """An int8 variant that is not faster is refused, however well it answers."""
    made = made_of("int8", speedup=0.97)

    assert names(fp32_file) == ["model.onnx"]
    assert made.rejected["int8"]["objections"] == [
        "runs 0.97 times as fast as fp32 at batch 1, more than 1 expected"
    ]
    assert made.rejected["int8"]["speed"]["batches"]["1"]["speedup"] == 0.97


def test_int8_that_answers_badly_is_not_timed(made_of):
    """An int8 variant refused for its answers is not timed, which would take seconds."""
    made = made_of("int8", int8=Limits(agreement=1.01, drop_points=10, must_be_faster=True))

    assert "speed" not in made.rejected["int8"]


def test_sections_hold_what_lies_in_the_folder(made_of, fp32_file):
    """float32 is the first variant if its file is kept, else the reference, without a file."""
    made = made_of("w8")
    fp32 = {"file": "model.onnx", "top1": 0.9}

    with_fp32 = made.sections(fp32, with_fp32=True)
    without = made.sections(fp32, with_fp32=False)

    assert list(with_fp32) == ["variants"]
    assert list(with_fp32["variants"]) == ["fp32", "w8"]
    assert list(without["variants"]) == ["w8"]
    assert without["reference"] == {"precision": "fp32", "top1": 0.9}


def test_same_model_gives_the_same_files(made_of, fp32_file):
    """Made twice, each variant has the same bytes."""
    made_of("fp16", "w8", "int8")
    first = {file.name: file.read_bytes() for file in fp32_file.parent.iterdir()}

    made_of("fp16", "w8", "int8")

    assert {file.name: file.read_bytes() for file in fp32_file.parent.iterdir()} == first

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from export.convert import to_onnx
from export.errors import GateFailed
from export.gates.answers import Answers
from export.gates.precision import Limits
from export.publishing import from_run
from export.publishing.from_run import check_accuracy, publish_run
from export.sources.training_run import TrainingRun
from serving import schemas
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.engine.servable import Servable
from serving.repository import model_folder
from training.data.cifar10 import CLASS_NAMES


def read_json(file):
    return json.loads(file.read_text())


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def perturb_weight(file, delta):
    """Add `delta` to one weight of the last layer, as a faulty conversion would."""
    model = onnx.load(file)
    makers = {name: node for node in model.graph.node for name in node.output}
    last_layer = makers[makers["probabilities"].input[0]]
    bias = next(x for x in model.graph.initializer if x.name in last_layer.input)
    values = onnx.numpy_helper.to_array(bias).copy()
    values.flat[0] += delta
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(model, file)


def test_version_is_complete(published):
    """The folder holds the documented files and no others, and agrees with its manifest."""
    files = {file.relative_to(published.path).as_posix() for file in published.path.rglob("*.*")}

    assert published.path.name == "1"
    assert files == {
        "MODEL_CARD.md",
        "confusion_matrix.png",
        "curves.png",
        "fingerprint.pb",
        "manifest.json",
        "metrics.json",
        "model.onnx",
        "saved_model.pb",
        "signature.json",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }
    model_folder.verify_manifest(published.path)


def test_signature_is_the_documented_one(published):
    """Dtypes, shapes, method, class names and both kinds of tensor names are in signature.json."""
    folder = model_folder.read(published.path)

    signature = folder.signatures["serving_default"].to_json()
    assert list(folder.signatures) == ["serving_default", "classify"]
    assert folder.class_names == CLASS_NAMES
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"] == {
        "images": {
            "dtype": "DT_UINT8",
            "shape": [-1, 32, 32, 3],
            "tensor": "images",
            "graph_name": "serving_default_images:0",
        }
    }
    assert signature["outputs"] == {
        "classes": {
            "dtype": "DT_INT64",
            "shape": [-1],
            "tensor": "classes",
            "graph_name": "StatefulPartitionedCall_1:0",
        },
        "probabilities": {
            "dtype": "DT_FLOAT",
            "shape": [-1, 10],
            "tensor": "probabilities",
            "graph_name": "StatefulPartitionedCall_1:1",
        },
    }


def test_metrics_agree_with_the_run(published, run_dir):
    """Figures computed with the ONNX file equal the run's, and the training facts are copied."""
    run, metrics = read_json(run_dir / "metrics.json"), read_json(published.path / "metrics.json")

    fp32 = metrics["variants"]["fp32"]
    shared = ("n", "top1", "top1_wilson_95", "per_class_accuracy", "confusion_matrix")
    assert {key: fp32[key] for key in shared} == {key: run[key] for key in shared}
    assert fp32["loss"] == pytest.approx(run["loss"], rel=1e-5)
    assert fp32["correct"] == round(run["top1"] * run["n"])
    assert fp32["sha256"] == sha256(published.path / "model.onnx")
    assert metrics["parameters"] == run["parameters"] == 122_570
    assert metrics["data"]["sha256"] == run["data"]["test_sha256"]
    assert metrics["data"]["variant"] == "image-folder"
    for key in ("recipe", "config", "seed", "epochs", "wall_seconds", "hardware", "versions"):
        assert metrics["training"][key] == run[key]
    assert metrics == schemas.METRICS.stamped(published.metrics)


def test_predictions_are_those_of_the_published_file(published, test_images):
    """Each digit of `predictions` is what ONNX Runtime answers to that image."""
    session = onnxruntime.InferenceSession(published.path / "model.onnx")
    (classes,) = session.run(["classes"], {"images": test_images.images})

    digits = published.metrics["variants"]["fp32"]["predictions"]
    assert [int(digit) for digit in digits] == classes.tolist()
    assert len(set(digits)) > 1


def test_parity_is_recorded_for_each_pair(published):
    """Parity is recorded for three pairs and all images; Keras and ONNX differ by 0 to 1e-5."""
    pairs = published.metrics["parity"]["pairs"]

    names = [(pair["reference"], pair["candidate"]) for pair in pairs]
    assert names == [("Keras", "SavedModel"), ("Keras", "ONNX"), ("SavedModel", "ONNX")]
    for pair in pairs:
        assert pair["images"] == pair["same_class"] == 80
        assert pair["outside_tolerance"] == pair["class_differs"] == 0
    assert 0 < pairs[1]["max_abs_delta"] < 1e-5


def test_same_run_gives_the_same_bytes(published, run_dir, image_dir, tmp_path):
    """Exporting a run twice gives the same model.onnx, and the second is the next version."""
    again = [publish_run(run_dir, tmp_path, data_dir=image_dir) for _ in range(2)]

    assert [version.path.name for version in again] == ["1", "2"]
    digests = {sha256(version.path / "model.onnx") for version in (published, *again)}
    assert len(digests) == 1


def test_nothing_published_names_this_machine(published, run_dir, image_dir):
    """No published file contains an absolute path of the run, data, models or repository."""
    places = [run_dir, image_dir, published.path.parents[1], Path.cwd(), Path.home()]
    needles = [os.fsencode(place) for place in places] + [b"/tmp/", b".publishing-"]

    for file in published.path.rglob("*.*"):
        content = file.read_bytes()
        assert not [needle for needle in needles if needle in content], file


def test_paths_in_settings_become_file_names(run_dir, image_dir, tmp_path):
    """A run that continued another one names the file of its weights, not the folder."""
    shutil.copytree(run_dir, tmp_path / "run")
    metrics = read_json(run_dir / "metrics.json")
    metrics["config"]["weights"] = "/home/someone/runs/old/model.keras"
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))

    version = publish_run(tmp_path / "run", tmp_path / "models", data_dir=image_dir)

    assert version.metrics["training"]["config"]["weights"] == "model.keras"
    assert "someone" not in (version.path / "MODEL_CARD.md").read_text()


def test_gate_refuses_a_perturbed_weight(run_dir, image_dir, tmp_path, monkeypatch):
    """With a weight of the ONNX file off by 0.001, the gate reports it and publishes nothing."""
    convert = to_onnx.write

    def convert_wrongly(folder, *arguments, **options):
        convert(folder, *arguments, **options)
        perturb_weight(folder / "model.onnx", 1e-3)

    monkeypatch.setattr(to_onnx, "write", convert_wrongly)

    with pytest.raises(GateFailed) as failure:
        publish_run(run_dir, tmp_path / "models", data_dir=image_dir)

    report = str(failure.value)
    assert "ONNX differs from Keras" in report
    assert "ONNX differs from SavedModel" in report
    assert "SavedModel differs from Keras" not in report
    assert "80 of 80 images" in report
    assert "the conversion to ONNX is at fault" in report
    # Two lines for each of the five worst images, with index, source, class and ten logits.
    number = r"-?\d+(\.\d+)?(e-\d+)?"
    line = rf"^ +\d+  (Keras|ONNX) +\w+ +{number}( {number}){{9}}$"
    assert len(re.findall(line, report, re.MULTILINE)) >= 10
    assert list(tmp_path.rglob("*")) == []


def test_accuracy_gate_refuses_metrics_of_another_training(run_dir, image_dir, tmp_path):
    """A run whose metrics.json counts other correct answers than model.keras gives is refused."""
    shutil.copytree(run_dir, tmp_path / "run")
    metrics = read_json(run_dir / "metrics.json")
    row = next(index for index, row in enumerate(metrics["confusion_matrix"]) if row[index] < 8)
    metrics["confusion_matrix"][row][row] += 1
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))

    with pytest.raises(GateFailed, match=r"of 80 test images correctly.*nothing was published"):
        publish_run(tmp_path / "run", tmp_path / "models", data_dir=image_dir)

    assert not (tmp_path / "models" / "simcnn").exists()


@pytest.mark.parametrize(
    ("gpus", "images", "ties", "slack"),
    [
        ([], 3000, 0, 0),
        ([], 3000, 4, 4),
        (["NVIDIA H100"], 999, 0, 0),
        (["NVIDIA H100"], 3000, 0, 3),
        (["NVIDIA H100"], 3000, 4, 7),
    ],
)
def test_accuracy_may_differ_by_ties_and_what_a_gpu_rounds(tmp_path, gpus, images, ties, slack):
    """Correct answers may differ by the ties, and by 1 in 1,000 images if a GPU judged the run."""
    labels = np.zeros(images, np.int64)
    logits = np.tile(np.array([3, 1, 0], np.float32), (images, 1))
    logits[:ties] = [3, 2.99995, 0]
    answers = Answers(
        source="ONNX", logits=logits, probabilities=logits, classes=logits.argmax(axis=1)
    )

    def check(difference):
        found = np.diag([images - difference, 0, 0]).tolist()
        metrics = {"confusion_matrix": found, "hardware": {"gpus": gpus}}
        check_accuracy(TrainingRun(path=tmp_path, metrics=metrics), answers, labels)

    check(slack)
    check(-slack)
    for difference in (slack + 1, -slack - 1):
        with pytest.raises(GateFailed, match=rf"\(may differ by {slack}\)"):
            check(difference)


def test_large_pictures_are_left_out(run_dir, image_dir, tmp_path, monkeypatch):
    """Pictures over the limit stay in the run folder, and the card does not show them."""
    monkeypatch.setattr(from_run, "_PICTURES_LIMIT_BYTES", 1000)

    version = publish_run(run_dir, tmp_path, name="other", data_dir=image_dir)

    assert version.path == tmp_path / "other" / "1"
    assert not list(version.path.glob("*.png"))
    assert "![" not in (version.path / "MODEL_CARD.md").read_text()


def served(path, precision, images):
    """Return the classes that the server's runtime answers for a version in a precision."""
    config = RuntimeConfig(device="cpu", precision=precision)
    folder = model_folder.read(path, config.precisions("CPUExecutionProvider"))
    runtime = Runtime(folder.onnx_files["model.onnx"], config, folder.precision)
    return runtime.run(["classes"], {"images": images})[0]


def test_all_precisions_are_published_together(
    run_dir, image_dir, test_images, tmp_path, wide_limits
):
    """Each precision has its file and section, and a server answers the recorded predictions."""
    precisions = ("fp32", "fp16", "w8", "int8")

    version = publish_run(run_dir, tmp_path, data_dir=image_dir, precisions=precisions)

    model_folder.verify_manifest(version.path)
    variants = version.metrics["variants"]
    assert list(variants) == list(precisions)
    assert "rejected_variants" not in version.metrics
    assert "reference" not in version.metrics
    for precision in precisions:
        section = variants[precision]
        assert section["file"] == model_folder.variant_file("model.onnx", precision)
        assert section["sha256"] == sha256(version.path / section["file"])
        classes = served(version.path, precision, test_images.images)
        assert section["predictions"] == "".join(map(str, classes))
    sizes = [variants[precision]["bytes"] for precision in precisions]
    assert sizes == sorted(sizes, reverse=True)[:2] + sizes[2:]
    assert max(sizes[2:]) < 0.3 * sizes[0]


def test_version_without_float32_is_small_and_loads(
    run_dir, image_dir, test_images, tmp_path, wide_limits
):
    """A version with only w8 has no model.onnx and no SavedModel, records float32, and loads."""
    version = publish_run(run_dir, tmp_path, data_dir=image_dir, precisions=("w8",))

    files = {file.relative_to(version.path).as_posix() for file in version.path.rglob("*")}
    assert files == {
        "MODEL_CARD.md",
        "confusion_matrix.png",
        "curves.png",
        "manifest.json",
        "metrics.json",
        "model.w8.onnx",
        "signature.json",
    }
    metrics = version.metrics
    assert list(metrics["variants"]) == ["w8"]
    assert metrics["reference"]["precision"] == "fp32"
    assert metrics["reference"]["correct"] == round(metrics["reference"]["top1"] * 80)
    assert "file" not in metrics["reference"]
    assert metrics["parity"]["pairs"][2]["candidate"] == "ONNX"
    assert {x.file for x in model_folder.read(version.path).signatures.values()} == {"model.onnx"}
    servable = Servable.load(
        "simcnn", 1, version.path, RuntimeConfig(device="cpu"), BatchingConfig()
    )
    assert servable.precision == "w8"
    assert set(servable.signatures) == {"serving_default", "classify"}
    classes = served(version.path, "w8", test_images.images)
    assert metrics["variants"]["w8"]["predictions"] == "".join(map(str, classes))
    assert "saved_model.pb" not in (version.path / "MODEL_CARD.md").read_text()


def test_refused_variant_is_recorded_and_left_out(run_dir, image_dir, tmp_path, wide_limits):
    """A refused variant is not published; metrics.json and card have figures and objections."""
    wide_limits["w8"] = Limits(agreement=1.01, drop_points=0)

    version = publish_run(run_dir, tmp_path, data_dir=image_dir, precisions=("fp32", "w8"))

    assert not (version.path / "model.w8.onnx").exists()
    assert list(version.metrics["variants"]) == ["fp32"]
    refused = read_json(version.path / "metrics.json")["rejected_variants"]["w8"]
    assert refused["objections"][0].startswith("agrees with fp32 on ")
    judged = version.metrics["held_out"]["variants"]["w8"]
    assert {"n", "correct", "top1", "agreement", "drop_points", "drop_interval_95"} <= set(judged)
    card = (version.path / "MODEL_CARD.md").read_text()
    told = f"- w8 ({100 * judged['top1']:.2f} % of the held-out images): {refused['objections'][0]}"
    assert told in card


def test_nothing_is_published_if_all_variants_are_refused(
    run_dir, image_dir, tmp_path, wide_limits
):
    """If float32 is not requested and all variants are refused, nothing is published."""
    wide_limits["w8"] = Limits(agreement=1.01, drop_points=0)

    with pytest.raises(GateFailed, match=r"model\.w8\.onnx agrees .*\n.*--precision fp32"):
        publish_run(run_dir, tmp_path / "models", data_dir=image_dir, precisions=("w8",))

    assert list(tmp_path.rglob("*")) == []

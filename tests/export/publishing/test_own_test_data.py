"""A user's own model with test data: its accuracy, its precisions, and pictures at the server."""

import json

import numpy as np
import pytest
import tensorflow as tf
from sample_models import own_models

from export.__main__ import main
from serving.client import PredictClient
from serving.protos.tensorflow_example_pb2 import Example
from serving.repository import model_folder
from training.evaluation import predictions

ROWS = 200


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Write 200 test pictures, in one folder for each colour."""
    return own_models.write_folder(tmp_path_factory.mktemp("pictures"), ROWS, seed=2)


@pytest.fixture(scope="module")
def colours(own_keras, pictures, tmp_path_factory):
    """Publish the .keras file by the command line; return the version's folder."""
    models_dir = tmp_path_factory.mktemp("models")
    arguments = ["saved-model", own_keras, "--name", "colours", "--keep-shapes"]
    arguments += ["--test-data", pictures, "--precision", "fp32,w8,int8,fp16"]
    assert main([*map(str, arguments), "--models-dir", str(models_dir)]) == 0
    return models_dir / "colours" / "1"


@pytest.fixture(scope="module")
def metrics(colours):
    """Return the content of metrics.json."""
    return json.loads((colours / "metrics.json").read_text())


def test_all_precisions_are_made_and_judged(colours, metrics):
    """Every precision is published, or was refused only because it is slower here."""
    made = {*metrics["variants"], *metrics.get("rejected_variants", {})}
    refused = [entry["objections"] for entry in metrics.get("rejected_variants", {}).values()]

    assert made == {"fp32", "w8", "int8", "fp16"}
    assert all("times as fast as fp32" in each for entry in refused for each in entry)
    for entry in metrics["variants"].values():
        assert (colours / entry["file"]).is_file()
        assert entry["top1"] > 0.9
        assert len(entry["predictions"]) == ROWS


def test_rows_that_calibrate_do_not_judge(metrics):
    """metrics.json lists the 50 rows that calibrated int8; its figures are about the other 150."""
    entry = (metrics["variants"] | metrics.get("rejected_variants", {}))["int8"]

    rows = entry["calibration"]["rows"]
    assert len(set(rows)) == len(rows) == 50
    assert entry["n"] == 150
    labels = np.repeat(np.arange(5), ROWS // 5)
    right = predictions.decode(entry["predictions"]) == labels
    assert entry["correct"] == np.delete(right, rows).sum()
    assert entry["agreement"] > 0.985


def test_rows_that_judged_are_named(colours, metrics):
    """Figures of rows that decided about a variant are marked, and those of fp32 are not."""
    marked = [name for name, entry in metrics["variants"].items() if "judged_on" in entry]

    assert marked == [name for name in metrics["variants"] if name != "fp32"]
    assert {metrics["variants"][name]["judged_on"] for name in marked} == {"the same rows"}
    card = (colours / "MODEL_CARD.md").read_text()
    assert f"The rows that the figures of {', '.join(marked)} are about also decided" in card
    assert "held_out" not in metrics


def test_test_data_are_recorded(metrics, pictures):
    """metrics.json has the name and rows of the test data, and the parity of all rows."""
    assert metrics["data"]["name"] == pictures.name
    assert metrics["data"]["images"] == ROWS
    assert metrics["data"]["scores"] == "output_0"
    assert metrics["class_names"] == list(own_models.CLASS_NAMES)
    assert metrics["parity"]["test_data"]["rows"] == ROWS
    assert metrics["parity"]["test_data"]["same_class"] == ROWS
    assert metrics["source"]["file"] == "colours.keras"


def test_server_names_a_picture(colours, running_server):
    """The server answers PNG files with the names of their classes."""
    pixels, labels = own_models.pictures(10, seed=9)
    examples = np.empty(10, object)
    for row, picture in enumerate(pixels):
        example = Example()
        data = tf.io.encode_png(picture).numpy()
        example.features.feature["image/encoded"].bytes_list.value.append(data)
        examples[row] = example.SerializeToString()

    with running_server(colours.parents[1]) as target, PredictClient(target) as client:
        answer = client.predict("colours", {"inputs": examples}, signature_name="classify")

    best = answer["classes"][np.arange(10), answer["scores"].argmax(axis=1)]
    assert [name.decode() for name in best] == [own_models.CLASS_NAMES[label] for label in labels]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--precision", "fp32,int8"),
            "without test data, on which int8 would be judged; pass --t",
        ),
        (
            ("--test-data", "few.npz", "--precision", "int8"),
            "has 60 rows, expected at least 100 for",
        ),
        (("--test-data", "wrong.npz"), "has labels from 0 to 5, expected 0 to 4"),
        (("--test-data", "few.npz", "--scores", "x"), "output 'x' received as --scores"),
    ],
)
def test_what_does_not_fit_is_refused(call, own_saved, tmp_path, flags, message):
    """Unfit data or flags end with exit code 2 and one line; nothing is published."""
    pixels, labels = own_models.pictures(60, seed=4)
    np.savez(tmp_path / "few.npz", x=pixels, labels=labels)
    np.savez(tmp_path / "wrong.npz", x=pixels, labels=np.arange(60) % 6)
    flags = [tmp_path / flag if flag.endswith(".npz") else flag for flag in flags]

    code, _, stderr = call(
        *("saved-model", own_saved, "--name", "own", "--signature", "serving_default"),
        *("--keep-shapes", "--models-dir", tmp_path / "models", *flags),
    )

    assert (code, stderr.count("\n")) == (2, 1)
    assert message in stderr
    assert not model_folder.list_versions(tmp_path / "models" / "own")


def test_a_second_graph_is_refused_with_other_precisions(call, tmp_path):
    """Two graphs and a precision other than fp32 are refused; the message names --signature."""
    module = tf.Module()
    module.kernel = tf.Variable(np.ones((192, 5), np.float32))
    spec = [tf.TensorSpec([None, 8, 8, 3], tf.float32, name="x")]
    module.plain = tf.function(lambda x: {"scores": tf.reshape(x, (-1, 192)) @ module.kernel}, spec)
    module.scaled = tf.function(
        lambda x: {"scores": tf.reshape(x, (-1, 192)) @ module.kernel / 255}, spec
    )
    signatures = {"serving_default": module.plain, "scaled": module.scaled}
    tf.saved_model.save(module, tmp_path / "two", signatures)
    pixels = np.zeros((100, 8, 8, 3), np.float32)
    np.savez(tmp_path / "test.npz", x=pixels, labels=np.zeros(100, int))

    code, _, stderr = call(
        *("saved-model", tmp_path / "two", "--name", "two", "--models-dir", tmp_path / "models"),
        *("--test-data", tmp_path / "test.npz", "--precision", "w8", "--keep-shapes"),
    )

    assert (code, "pass --signature serving_default" in stderr) == (2, True)
    assert not model_folder.list_versions(tmp_path / "models" / "two")


def test_equal_graphs_of_two_signatures_share_a_file(call, own_saved, tmp_path, running_server):
    """The signatures `serve` and `serving_default` of Keras are served from one model.onnx."""
    models = tmp_path / "models"

    code, _, stderr = call(
        *("saved-model", own_saved, "--name", "own", "--models-dir", models, "--keep-shapes")
    )

    assert code == 0, stderr
    version = model_folder.read(models / "own" / "1")
    assert {name: each.file for name, each in version.signatures.items()} == {
        "serving_default": "model.onnx",
        "serve": "model.onnx",
    }
    assert [file.name for file in (models / "own" / "1").glob("*.onnx")] == ["model.onnx"]
    pixels, _ = own_models.pictures(3, seed=5)
    alias = next(iter(version.signatures["serve"].inputs))
    with running_server(models) as target, PredictClient(target) as client:
        answers = [
            client.predict("own", {alias: pixels}, signature_name=name)["output_0"]
            for name in version.signatures
        ]
    assert np.array_equal(*answers)


@pytest.fixture(scope="module")
def twelve_classes(tmp_path_factory):
    """Save a model that returns twelve floats as logits and the index of the largest."""
    module = tf.Module()
    module.weights = tf.Variable(np.eye(12, dtype=np.float32))
    module.ask = tf.function(
        lambda x: {"logits": x @ module.weights, "classes": tf.argmax(x, axis=1)},
        input_signature=[tf.TensorSpec([None, 12], tf.float32, name="x")],
    )
    folder = tmp_path_factory.mktemp("twelve")
    tf.saved_model.save(module, str(folder / "saved"), {"serving_default": module.ask})
    return folder / "saved"


@pytest.mark.parametrize("labelled", [True, False])
def test_more_than_ten_classes_are_a_list(call, twelve_classes, tmp_path, labelled):
    """Predictions of twelve classes are integers; without labels there is no accuracy."""
    x = np.random.default_rng(0).standard_normal((100, 12)).astype(np.float32)
    labels = {"labels": x.argmax(axis=1)} if labelled else {}
    np.savez(tmp_path / "test.npz", x=x, **labels)

    code, stdout, stderr = call(
        *("saved-model", twelve_classes, "--name", "twelve", "--models-dir", tmp_path),
        *("--test-data", tmp_path / "test.npz", "--precision", "fp32,w8"),
    )

    assert (code, stderr) == (0, "")
    found = json.loads((tmp_path / "twelve" / "1" / "metrics.json").read_text())["variants"]
    assert found["w8"]["predictions"] == x.argmax(axis=1).tolist()
    assert found["w8"]["agreement"] == 1
    assert ("top1" in found["fp32"]) == ("drop_points" in found["w8"]) == labelled
    assert ("fp32, 100.00% of 100 rows correct" in stdout[-2]) == labelled
    assert "judged" not in stdout[-2]
    assert stdout[-1].endswith("; the same rows judged it)") == labelled
    assert ("accuracy unknown: no labels" in stdout[-1]) != labelled


def test_precisions_are_added_later(call, twelve_classes, tmp_path):
    """add-precision needs test data; if the version has some, it must be the same data."""
    x = np.random.default_rng(1).standard_normal((120, 12)).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=x, labels=x.argmax(axis=1))
    np.savez(tmp_path / "other.npz", x=x[::-1], labels=x.argmax(axis=1))
    where = ("--models-dir", tmp_path)
    flags = ("--precision", "w8", "--test-data")
    assert call("saved-model", twelve_classes, "--name", "twelve", *where)[0] == 0
    first, second = tmp_path / "twelve" / "1", tmp_path / "twelve" / "2"

    refused = call("add-precision", first, *where, "--precision", "w8")
    added = call("add-precision", first, *where, *flags, tmp_path / "test.npz")
    other = call("add-precision", second, *where, *flags, tmp_path / "other.npz")
    again = call("add-precision", second, *where, *flags, tmp_path / "test.npz")

    assert (refused[0], "pass --test-data DIR or FILE.npz" in refused[2]) == (2, True)
    assert (added[0], added[2], again[0]) == (0, "", 0)
    assert (other[0], "pass the test data test.npz of its publication" in other[2]) == (2, True)
    metrics = json.loads((second / "metrics.json").read_text())
    assert list(metrics["variants"]) == ["fp32", "w8"]
    assert metrics["variants"]["w8"]["agreement"] == 1
    assert metrics["data"]["name"] == "test.npz"


def test_speed_is_measured_and_robustness_refused(run_export, call, colours):
    """The benchmark times all variants and TensorFlow; robustness is for models trained here."""
    done = run_export(
        *("benchmark", colours, "--print-only", "--json", "--rounds", "1"),
        *("--seconds", "0.01", "--batch-sizes", "1", "2"),
    )
    code, _, stderr = call("robustness", colours)

    assert (done.returncode, done.stderr) == (0, "")
    timed = json.loads(done.stdout.splitlines()[-1])["results"]
    assert {"fp32", "w8", "tensorflow"} <= set(timed)
    assert (code, "was not trained here: robustness recompresses the test images" in stderr) == (
        2,
        True,
    )

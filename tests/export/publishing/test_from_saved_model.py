import hashlib

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from export.publishing.from_saved_model import publish_saved_model
from serving.engine.servable import BatchingConfig, RuntimeConfig, Servable
from serving.repository import model_folder


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_saved_model_from_elsewhere_is_published(two_signatures, tmp_path):
    """Each signature is published with its graph, beside the unchanged SavedModel."""
    version = publish_saved_model(two_signatures, tmp_path, name="two")

    folder = model_folder.read(version.path)
    assert {name: signature.file for name, signature in folder.signatures.items()} == {
        "serving_default": "model.onnx",
        "sum/up": "model.sum_up.onnx",
    }
    assert folder.signatures["serving_default"].inputs["ids"].graph_name == "serving_default_ids:0"
    assert folder.signatures["serving_default"].outputs["x"].tensor == "x_output"
    assert folder.class_names == ()
    for file in ("saved_model.pb", "variables/variables.index"):
        assert sha256(version.path / file) == sha256(two_signatures / file)
    asked = {(x["signature"], x["rows"], x["output"]) for x in version.metrics["parity"]["outputs"]}
    assert asked == {
        *(("serving_default", rows, name) for rows in (1, 5) for name in ("same", "score", "x")),
        *(("sum/up", rows, name) for rows in (1, 5) for name in ("signs", "total")),
    }


def test_published_graphs_of_a_saved_model_compute(two_signatures, tmp_path):
    """The graphs have aliases as input names and compute the module's formulas."""
    version = publish_saved_model(two_signatures, tmp_path, name="two")
    folder = model_folder.read(version.path)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)

    session = onnxruntime.InferenceSession(folder.path / "model.onnx")
    doubled, same = session.run(["x_output", "same"], {"x": x, "ids": np.zeros((2, 7), np.int64)})
    session = onnxruntime.InferenceSession(folder.path / "model.sum_up.onnx")
    total, signs = session.run(["total", "signs"], {"x": x})

    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(total, [6, 22])
    np.testing.assert_array_equal(signs, x > 0)


@pytest.mark.slow
def test_branches_are_exported_to_the_same_bytes(two_signatures, tmp_path):
    """Two exports of a graph with subgraphs have the same bytes."""
    versions = [
        publish_saved_model(two_signatures, tmp_path, name="sums", wanted=["sum/up"])
        for _ in range(2)
    ]

    assert any(
        node.op_type == "If" for node in onnx.load(versions[0].path / "model.onnx").graph.node
    )
    assert sha256(versions[0].path / "model.onnx") == sha256(versions[1].path / "model.onnx")


@pytest.mark.slow
def test_one_signature_can_be_chosen(with_strings, tmp_path):
    """A chosen signature is published although ONNX cannot express another one."""
    version = publish_saved_model(with_strings, tmp_path, name="sums", wanted=["summary"])

    assert list(model_folder.read(version.path).signatures) == ["summary"]
    assert 'signature_name="summary"' in (version.path / "MODEL_CARD.md").read_text()


def test_defaults_of_a_function_are_published(tmp_path):
    """An argument with a default is optional in requests to the published version, too."""

    class Halves(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1], tf.float32)])
        def half(self, x=tf.constant([3.0])):  # noqa: B008 - saved as a default
            return {"y": x / 2}

    module = Halves()
    tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.half})

    version = publish_saved_model(tmp_path / "saved", tmp_path, name="halves")

    signature = model_folder.read(version.path).signatures["serving_default"]
    assert signature.required_inputs == frozenset()
    assert signature.defaults["x"].tolist() == [3.0]
    servable = Servable.load("halves", 1, version.path, RuntimeConfig(), BatchingConfig())
    answer = servable.run("serving_default", {"x": np.array([4, 6], np.float32)}, ["y"])
    servable.close()
    assert answer["y"].tolist() == [2, 3]


def test_tables_of_two_rows_are_published(tmp_path):
    """If TensorFlow refuses the usual random integers as indices, smaller ones are tried."""
    module = tf.Module()
    module.table = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    module.look = tf.function(
        lambda ids: {"rows": tf.gather(module.table, ids)},
        input_signature=[tf.TensorSpec([None, 3], tf.int32, name="ids")],
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.look})

    version = publish_saved_model(tmp_path / "saved", tmp_path, name="rows")

    asked = [finding["rows"] for finding in version.metrics["parity"]["outputs"]]
    assert asked == [1, 5]

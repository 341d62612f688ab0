import json

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from export.convert import to_onnx, to_saved_model
from export.errors import ExportError
from export.sources import saved_model
from training.data.cifar10 import CLASS_NAMES


@pytest.fixture(scope="module")
def tiny_version(tiny_model, tmp_path_factory):
    """A folder with the tiny model as SavedModel and ONNX graph."""
    folder = tmp_path_factory.mktemp("tiny")
    to_saved_model.write(tiny_model, folder)
    signatures = saved_model.read_signatures(folder, ["serving_default"])
    to_onnx.write(folder, signatures, model_name="tiny", class_names=CLASS_NAMES)
    return folder


def interface(infos):
    return {
        info.name: (
            info.type.tensor_type.elem_type,
            [size.dim_param or size.dim_value for size in info.type.tensor_type.shape.dim],
        )
        for info in infos
    }


def save(function, path, *specs):
    """Save a function with one signature, serving_default."""
    module = tf.Module()
    module.function = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(path), {"serving_default": module.function})
    return saved_model.read_signatures(path)


def test_interface_is_that_of_the_signature(tiny_version):
    """The graph has the signature's names, types and shapes; every first dimension is `batch`."""
    graph = onnx.load(tiny_version / "model.onnx").graph

    assert interface(graph.input) == {
        "images": (onnx.TensorProto.UINT8, ["batch", 32, 32, 3]),
    }
    assert interface(graph.output) == {
        "classes": (onnx.TensorProto.INT64, ["batch"]),
        "probabilities": (onnx.TensorProto.FLOAT, ["batch", 10]),
    }
    assert not graph.value_info


@pytest.mark.parametrize("rows", [1, 2, 7, 33])
def test_batch_of_any_size_runs(published, rows):
    """The graph runs batches of any size, and a row's answer does not depend on the others."""
    images = np.random.default_rng(rows).integers(0, 256, (rows, 32, 32, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(published.path / "model.onnx")

    probabilities, classes = session.run(["probabilities", "classes"], {"images": images})

    assert probabilities.shape == (rows, 10)
    np.testing.assert_array_equal(classes, probabilities.argmax(axis=1))
    (alone,) = session.run(["probabilities"], {"images": images[-1:]})
    np.testing.assert_allclose(probabilities[-1:], alone, rtol=1e-5)


def test_model_says_what_it_is(tiny_version):
    """Producer, opset and metadata are set; only the standard operator set is imported."""
    model = onnx.load(tiny_version / "model.onnx")

    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert model.producer_name == "onnx-serving"
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert model.graph.name == "tiny"
    assert facts["model_name"] == "tiny"
    assert facts["signature_name"] == "serving_default"
    assert json.loads(facts["class_names"]) == list(CLASS_NAMES)


def test_simcnn_has_no_superfluous_operations(published):
    """The graph has one Reshape (Flatten), two Transposes (input, Flatten), no shape arithmetic."""
    graph = onnx.load(published.path / "model.onnx").graph

    operations = [node.op_type for node in graph.node]
    assert operations.count("Conv") == 3
    assert operations.count("Reshape") == 1
    assert operations.count("Transpose") == 2
    assert not {"Shape", "Gather", "Slice", "Concat", "Identity"} & set(operations)
    assert len(operations) <= 25


def test_names_are_readable(published):
    """Node names contain layer names, and neither PartitionedCall nor counters."""
    graph = onnx.load(published.path / "model.onnx").graph

    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "PartitionedCall" in name or "__" in name]
    assert any("conv2d" in name for name in names)


def test_free_dimensions_beyond_the_batch_get_names(tmp_path):
    """A second free dimension is named for its tensor and stays free."""
    spec = tf.TensorSpec([None, None, 3], tf.float32, name="x")
    signatures = save(lambda x: {"y": x + 1}, tmp_path, spec)

    to_onnx.write(tmp_path, signatures, model_name="free")

    graph = onnx.load(tmp_path / "model.onnx").graph
    assert interface(graph.input)["x"][1] == ["batch", "x_1", 3]
    assert interface(graph.output)["y"][1] == ["batch", "y_1", 3]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (y,) = session.run(["y"], {"x": np.zeros((2, 5, 3), np.float32)})
    np.testing.assert_array_equal(y, np.ones((2, 5, 3)))


def test_unsupported_operation_is_named(tmp_path):
    """An operation without an ONNX counterpart is an error that names it and the signature."""
    spec = tf.TensorSpec([None, 4], tf.float32, name="x")
    signatures = save(lambda x: {"y": tf.math.betainc(x, x, x)}, tmp_path, spec)

    with pytest.raises(ExportError, match=r"'serving_default'.*counterpart.*Betainc"):
        to_onnx.write(tmp_path, signatures, model_name="odd")

    assert not (tmp_path / "model.onnx").exists()

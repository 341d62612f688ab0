"""The signatures of a SavedModel that are served, with their types, shapes and defaults."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.engine.saved_models import signatures
from serving.errors import Unsupported
from serving.tensors.bfloat16 import BFLOAT16
from serving.tensors.signature import DataType

FOLDER = Path("/models/a/1")
GRAPH = tf.Graph()
with GRAPH.as_default():
    for made in (tf.float32, tf.int64, tf.string, tf.bfloat16, tf.resource):
        tf.compat.v1.placeholder(made, name=made.name)


def info(dtype: tf.DType, shape: list[int] | None = (-1, 3)) -> meta_graph_pb2.TensorInfo:
    """Return the description of a tensor."""
    made = meta_graph_pb2.TensorInfo(name=f"{dtype.name}:0", dtype=dtype.as_datatype_enum)
    made.tensor_shape.CopyFrom(
        tf.TensorShape(shape and [None if n < 0 else n for n in shape]).as_proto()
    )
    return made


def definition(**defaults: np.ndarray) -> meta_graph_pb2.SignatureDef:
    """Return a signature: inputs `x` float32, `w` bfloat16 and `n` int64, output `y` float32."""
    made = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    made.inputs["x"].CopyFrom(info(tf.float32))
    made.inputs["w"].CopyFrom(info(tf.bfloat16, []))
    made.inputs["n"].CopyFrom(info(tf.int64, None))
    made.outputs["y"].CopyFrom(info(tf.float32))
    for alias, array in defaults.items():
        made.defaults[alias].CopyFrom(tf.make_tensor_proto(array))
    return made


def read(**definitions: meta_graph_pb2.SignatureDef):
    return signatures.read(definitions, GRAPH, FOLDER)


def test_tensors_have_the_types_and_shapes_of_the_definition():
    """An unknown rank is shape None, an unknown size is -1; TensorFlow's signature is left out."""
    found = read(
        other=definition(), serving_default=definition(), __saved_model_init_op=definition()
    )

    assert list(found) == ["serving_default", "other"]
    signature = found["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert signature.file == "saved_model.pb"
    assert list(signature.inputs) == ["n", "w", "x"]
    specs = [(spec.dtype, spec.shape, spec.tensor) for spec in signature.inputs.values()]
    assert specs == [
        (DataType.DT_INT64, None, "int64:0"),
        (DataType.DT_BFLOAT16, (), "bfloat16:0"),
        (DataType.DT_FLOAT, (-1, 3), "float32:0"),
    ]
    assert [spec.graph_name for spec in signature.outputs.values()] == ["float32:0"]
    assert signature.outputs["y"].coo_sparse is None


def test_defaults_are_arrays_that_nobody_can_change():
    """Defaults are read-only arrays of the input's type; a default without an input is dropped."""
    half = np.array(0.5, tf.bfloat16.as_numpy_dtype)
    defaults = read(a=definition(n=np.array([7, 8]), w=half, z=np.float32(1)))["a"].defaults

    assert list(defaults) == ["n", "w"]
    assert defaults["n"].tolist() == [7, 8]
    assert defaults["w"].dtype == BFLOAT16
    assert defaults["w"].tobytes() == half.tobytes()
    assert not any(array.flags.writeable for array in defaults.values())


def sparse() -> meta_graph_pb2.SignatureDef:
    made = definition()
    names = made.outputs["y"].coo_sparse
    names.values_tensor_name, names.indices_tensor_name = "float32:0", "int64:0"
    names.dense_shape_tensor_name = "int64:0"
    made.outputs["y"].dtype = tf.float32.as_datatype_enum
    return made


def test_a_sparse_tensor_is_named_by_its_three(caplog):
    """A sparse output is read with the names of its three tensors, and the log warns of it."""
    with caplog.at_level(logging.WARNING):
        spec = read(a=sparse())["a"].outputs["y"]

    assert spec.coo_sparse == ("float32:0", "int64:0", "int64:0")
    assert spec.tensor == "float32:0,int64:0,int64:0"
    assert spec.dtype is DataType.DT_FLOAT
    assert '/models/a/1: signature a: "y" is sparse' in caplog.text


def changed(change) -> meta_graph_pb2.SignatureDef:
    made = definition()
    change(made)
    return made


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (changed(lambda made: made.outputs.clear()), "it has no output"),
        (
            changed(lambda made: made.inputs["r"].CopyFrom(info(tf.resource))),
            'input "r" is resource, which cannot be served',
        ),
        (
            changed(lambda made: made.inputs["x"].composite_tensor.SetInParent()),
            'input "x" is a composite tensor',
        ),
        (
            changed(
                lambda made: made.outputs["y"].MergeFrom(meta_graph_pb2.TensorInfo(name="no:0"))
            ),
            "output \"y\" is tensor 'no:0', which the graph does not have",
        ),
        (definition(x=np.float64(1)), 'the default of "x" is float64, expected float'),
    ],
)
def test_a_signature_that_cannot_be_served_is_left_out_with_its_reason(caplog, bad, reason):
    """A bad signature is logged and left out; if no other is left, the version is refused."""
    with caplog.at_level(logging.WARNING):
        assert list(read(bad=bad, good=definition())) == ["good"]
    assert f"/models/a/1: signature bad cannot be served: {reason}" in caplog.text

    with pytest.raises(Unsupported) as raised:
        read(bad=bad)
    assert f"/models/a/1 needs a signature that can be served; found bad: {reason}" in str(
        raised.value
    )


def test_no_signature_at_all_is_refused():
    """A SavedModel with only TensorFlow's own signature is refused."""
    with pytest.raises(Unsupported, match="found none"):
        read(__saved_model_init_op=definition())


def test_types_come_from_the_graph():
    """If the signature has no types, as in old SavedModels, they are read from the graph."""
    made = definition()
    made.inputs["x"].dtype = 0

    assert read(a=made)["a"].inputs["x"].dtype is DataType.DT_FLOAT

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from export.convert import to_onnx
from export.publishing.from_saved_model import publish_saved_model
from export.sources import saved_model, saved_model_file
from export.sources.session_process import SessionProcess

WEIGHTS = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
KERNEL = np.random.default_rng(1).standard_normal((3, 3, 2, 4)).astype(np.float32)


def scaled_by_width(x):
    return x * tf.cast(tf.shape(x)[1], tf.float32)


def convolution(x):
    return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, KERNEL, 1, "SAME")), axis=[1, 2])


def declared(tmp_path, function, shape, *, any_shape=True):
    """Return the shape that the graph of a function of x declares, or None if it declares none."""
    module = tf.Module()
    module.function = tf.function(
        lambda x: {"y": function(x)}, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")]
    )
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.function})
    read = saved_model.read_signatures(tmp_path)
    with SessionProcess(tmp_path) as reference:
        to_onnx.write(tmp_path, read, model_name="m", reference=reference if any_shape else None)
    tensor = onnx.load(tmp_path / "model.onnx").graph.input[0].type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [size.dim_param or size.dim_value for size in tensor.shape.dim]


@pytest.mark.parametrize(
    ("function", "shape", "expected"),
    [
        pytest.param(lambda x: x * 2 + 1, [None, 4], None, marks=pytest.mark.slow),
        pytest.param(lambda x: x * 2 + 1, [1], None, marks=pytest.mark.slow),
        pytest.param(tf.nn.relu, [None, 4], None, marks=pytest.mark.slow),
        pytest.param(
            lambda x: tf.reshape(x, (-1, 12)) @ WEIGHTS, [None, 3, 4], None, marks=pytest.mark.slow
        ),
        (lambda x: tf.concat([x, x], axis=1) @ tf.tile(WEIGHTS, [2, 1]), [3, 12], ["batch", "x_1"]),
        pytest.param(lambda x: x @ WEIGHTS, [None, 12], ["batch", 12], marks=pytest.mark.slow),
        pytest.param(scaled_by_width, [None, 4], ["batch", 4], marks=pytest.mark.slow),
        (convolution, [None, 8, 8, 2], ["batch", 8, 8, 2]),
    ],
    ids=["sum", "one value", "relu", "flat", "rows", "matrix", "width", "convolution"],
)
def test_graph_declares_what_tensorflow_answers(tmp_path, function, shape, expected):
    """The graph takes all shapes that TensorFlow answers, unless this changes its operations."""
    assert declared(tmp_path, function, shape) == expected


def test_placeholders_shapes_are_kept_on_request(tmp_path):
    """Without TensorFlow as a reference, the graph declares the placeholder's shape."""
    assert declared(tmp_path, lambda x: x + 1, [None, 4], any_shape=False) == ["batch", 4]


@pytest.mark.slow
def test_a_shape_that_only_tensorflow_answers_is_logged(tmp_path, caplog):
    """The log names a shape that TensorFlow answers and the graph does not take."""
    with caplog.at_level(logging.INFO, "export"):
        declared(tmp_path, scaled_by_width, [None, 4])

    assert "TensorFlow answers x (3, 1), which this graph does not take" in caplog.text


def test_flat_graph_answers_other_groupings(tmp_path):
    """A graph that flattens pictures also answers flat ones, which many clients send."""
    declared(tmp_path, lambda x: tf.reshape(x, (-1, 12)) @ WEIGHTS, [None, 3, 4])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    x = np.arange(24, dtype=np.float32)

    answers = [
        session.run(["y"], {"x": x.reshape(shape)})[0] for shape in ((2, 3, 4), (2, 12), (24,))
    ]

    for answer in answers:
        np.testing.assert_allclose(answer, x.reshape(2, 12) @ WEIGHTS, rtol=1e-5)


@pytest.mark.slow
def test_signature_that_contradicts_its_graph_is_corrected(tmp_path):
    """If a signature declares a scalar for a matrix, the published one has the graph's shape.

    Models of early TensorFlow have such signatures.
    """
    module = tf.Module()
    module.function = tf.function(
        lambda x: {"y": x @ WEIGHTS}, input_signature=[tf.TensorSpec([None, 12], name="x")]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.function})
    file = tmp_path / "saved" / "saved_model.pb"
    message = saved_model_file.read(tmp_path / "saved")
    definition = message.meta_graphs[0].signature_def["serving_default"]
    for info in (definition.inputs["x"], definition.outputs["y"]):
        del info.tensor_shape.dim[:]
    file.write_bytes(message.SerializeToString())

    version = publish_saved_model(tmp_path / "saved", tmp_path, name="old")

    signature = version.metrics["export"]["signatures"]
    assert list(signature) == ["serving_default"]
    card = (version.path / "MODEL_CARD.md").read_text()
    assert "| `serving_default` | input | `x` | DT_FLOAT | [-1, 12] |" in card
    assert "| `serving_default` | output | `y` | DT_FLOAT | [-1, 3] |" in card

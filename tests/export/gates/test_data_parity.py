import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import numpy_helper

from export.convert import to_onnx
from export.errors import ExportError, GateFailed
from export.gates import data_parity
from export.sources import saved_model
from export.sources.labelled_data import NPZ, LabelledData
from export.sources.serving_session import ServingSession


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """Make a SavedModel with logits and classes, its ONNX graph and its signature."""
    module = tf.Module()
    random = np.random.default_rng(0)
    module.weights = tf.Variable(random.standard_normal((4, 3)).astype(np.float32))
    module.ask = tf.function(
        lambda x: {"logits": x @ module.weights, "classes": tf.argmax(x @ module.weights, axis=1)},
        input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")],
    )
    folder = tmp_path_factory.mktemp("linear")
    tf.saved_model.save(module, str(folder), {"serving_default": module.ask})
    signatures = to_onnx.write(folder, saved_model.read_signatures(folder), model_name="linear")
    return folder, signatures["serving_default"]


def rows(array):
    """Return test data of one float32 input."""
    return LabelledData(
        name="test.npz",
        variant=NPZ,
        inputs={"x": array},
        dtypes={"x": np.dtype(np.float32)},
        labels=None,
    )


def check(linear, data, change=None, scores="logits"):
    folder, signature = linear
    graph = onnx.load(folder / "model.onnx")
    if change:
        weights = next(x for x in graph.graph.initializer if len(x.dims) == 2)
        weights.CopyFrom(
            numpy_helper.from_array(change(numpy_helper.to_array(weights)), weights.name)
        )
    with ServingSession(folder) as session:
        return data_parity.check(session, graph.SerializeToString(), signature, data, scores)


X = np.random.default_rng(1).standard_normal((600, 4)) * 100


def test_all_rows_are_compared(linear):
    """All rows are compared in several batches; the scores are in the order of the rows."""
    found = check(linear, rows(X))

    assert found.section["rows"] == found.section["same_class"] == 600
    assert [each["output"] for each in found.section["outputs"]] == ["classes", "logits"]
    assert found.scores.shape == (600, 3)
    np.testing.assert_array_equal(found.scores, check(linear, rows(X[::-1])).scores[::-1])


def test_models_without_scores_are_compared(linear):
    """Without scores only the outputs are compared, and the section has no classes and ties."""
    found = check(linear, rows(X), scores=None)

    assert found.scores is None
    assert "ties" not in found.section


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w * 1.001, r"output 'logits': 600 of 600 rows outside rtol 0.0001, .* row 0;"),
        (lambda w: w[:, ::-1].copy(), r"another class: \d+ of 600 rows \(0 ties not counted\)"),
    ],
)
def test_other_graphs_are_refused(linear, change, message):
    """Weights that are off by a thousandth, or columns in another order, raise GateFailed."""
    with pytest.raises(GateFailed, match=message):
        check(linear, rows(X), change)


def test_ties_may_have_another_class(linear):
    """Rows with three equal scores pass with another class, because rounding decides it."""
    tiny = np.float32(1e-9) * X

    found = check(linear, rows(tiny), lambda w: w[:, ::-1].copy())

    assert found.section["ties"] == 600


def test_rows_that_tensorflow_refuses_are_named(linear):
    """If TensorFlow refuses a batch, the ExportError names its rows."""
    with pytest.raises(ExportError, match=r"TensorFlow refuses rows 0 to 255 of test\.npz"):
        check(linear, rows(X[:, :3]))

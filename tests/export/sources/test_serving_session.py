import numpy as np
import pytest
import tensorflow as tf

from export.errors import ExportError
from export.publishing.from_saved_model import publish_saved_model
from export.sources import saved_model
from export.sources.serving_session import ServingSession


@pytest.fixture
def with_lost_optimizer(tmp_path):
    """A SavedModel whose optimizer tf.saved_model.load cannot rebuild, as Keras 2 wrote them."""
    module = tf.Module()
    module.weights = tf.Variable(np.arange(12.0).reshape(4, 3), dtype=tf.float32)
    module.optimizer = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module.weights**2)
    gradient = tape.gradient(loss, module.weights)
    module.optimizer.apply_gradients([(gradient, module.weights)])
    module.function = tf.function(
        lambda x: {"y": x @ module.weights},
        input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.function})
    return tmp_path / "saved"


def test_optimizers_are_no_matter(with_lost_optimizer, tmp_path):
    """A SavedModel with such an optimizer is published: only graph and variables are needed."""
    with pytest.raises(AttributeError, match="add_slot"):
        tf.saved_model.load(str(with_lost_optimizer))

    version = publish_saved_model(with_lost_optimizer, tmp_path, name="lost")

    assert (version.path / "model.onnx").is_file()


def test_no_shape_is_checked(two_signatures):
    """The session checks no shapes; operations do: a sum along axis 1 takes any matrix."""
    signature = saved_model.read_signatures(two_signatures)["sum/up"]
    with ServingSession(two_signatures) as session:
        answer = session.ask(signature, {"x": np.ones((2, 7), np.float32)})
        with pytest.raises(tf.errors.InvalidArgumentError, match="reduction dimension"):
            session.ask(signature, {"x": np.ones(7, np.float32)})

    assert answer["total"].tolist() == [7, 7]


def test_variables_without_a_reader_are_read(two_signatures, tmp_path):
    """The session adds ReadVariableOps for variables, which can then become constants."""
    signature = saved_model.read_signatures(two_signatures)["serving_default"]
    names = [spec.graph_name for spec in signature.outputs.values()]
    with ServingSession(two_signatures) as session:
        readers = [
            node.name for node in session._graph.as_graph_def().node if node.op == "ReadVariableOp"
        ]
        part = session.graph(names)
        constants = session.with_constants(part, [name.partition(":")[0] for name in names])

    assert readers
    assert "VarHandleOp" in {node.op for node in part.node}
    assert "VarHandleOp" not in {node.op for node in constants.node}


def test_what_cannot_be_loaded_is_an_input_error(two_signatures, tmp_path):
    """A SavedModel without its variables is an ExportError in one line."""
    saved_model.copy(two_signatures, tmp_path / "copy")
    (tmp_path / "copy" / "variables" / "variables.index").unlink()

    with pytest.raises(ExportError, match=r"TensorFlow [\d.]+ cannot load .*copy \("):
        ServingSession(tmp_path / "copy")
